/* SPDX-License-Identifier: MIT
 *
 * What this machine allows.
 */
#include "probe.h"

#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

/* ---- the file system -------------------------------------------------------------------------------- */

static int make_file(const char *folder, const char *name)
{
    char *path = text("%s/%s", folder, name);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    free(path);
    return fd;
}

static void remove_file(const char *folder, const char *name)
{
    char *path = text("%s/%s", folder, name);
    unlink(path);
    free(path);
}

int probe_user_xattrs(const char *folder)
{
    int fd = make_file(folder, "xattr");
    int error = fd < 0 || fsetxattr(fd, "user.overlay.probe", "y", 1, 0) < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    remove_file(folder, "xattr");
    return error;
}

int probe_reflink(const char *folder)
{
    int from = make_file(folder, "from"), to = make_file(folder, "to");
    int error = from < 0 || to < 0 || write(from, "x", 1) != 1 || ioctl(to, FICLONE, from) < 0 ? errno : 0;
    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
    remove_file(folder, "from");
    remove_file(folder, "to");
    return error;
}

int probe_device(const char *folder)
{
    char *path = text("%s/device", folder);
    int error = mknod(path, S_IFCHR, 0) < 0 ? errno : 0;
    unlink(path);
    free(path);
    return error;
}

/* ---- name spaces --------------------------------------------------------------------------------------- */

/* Call try(arg) in a child, whose name spaces are its own: what it returns, an errno. */
static int in_child(int (*try)(const char *arg), const char *arg)
{
    int how = 0;
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        return errno;
    if (pid == 0)
        _exit(try(arg));
    while (waitpid(pid, &how, 0) < 0)
        if (errno != EINTR)
            return errno;
    return WIFEXITED(how) ? WEXITSTATUS(how) : EINTR;
}

static int write_text(const char *path, const char *content)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : write(fd, content, strlen(content));
    int error = n < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    return error;
}

static int map_id(const char *file, unsigned id)
{
    char *line = text("0 %u 1\n", id);
    int error = write_text(file, line);
    free(line);
    return error;
}

static int enter_user_namespace(const char *arg)
{
    const uid_t uid = geteuid();
    const gid_t gid = getegid();
    (void)arg;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return errno;
    int error = map_id("/proc/self/uid_map", uid);
    if (error == 0)
        write_text("/proc/self/setgroups", "deny");
    return error ? error : map_id("/proc/self/gid_map", gid);
}

int probe_user_namespace(void)
{
    return in_child(enter_user_namespace, NULL);
}

static int mount_overlay(const char *folder)
{
    static const char *const parts[] = {"l", "u", "w", "m"};
    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0) {
        int error = enter_user_namespace(NULL);
        if (error)
            return error;
    }
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char *path = text("%s/%s", folder, parts[i]);
        int r = mkdir(path, 0700);
        free(path);
        if (r < 0 && errno != EEXIST)
            return errno;
    }
    if (chdir(folder) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return errno;
    return mount("overlay", "m", "overlay", 0, "lowerdir=l,upperdir=u,workdir=w,userxattr") < 0 ? errno : 0;
}

int probe_overlayfs(const char *folder)
{
    return in_child(mount_overlay, folder);
}

/* ---- programs -------------------------------------------------------------------------------------------- */

int probe_fuse(void)
{
    return access("/dev/fuse", R_OK | W_OK) < 0 ? errno : 0;
}

char *probe_program(const char *name)
{
    const char *path = getenv("PATH");
    for (const char *at = path ? path : ""; *at;) {
        size_t n = strcspn(at, ":");
        char *candidate = text("%.*s/%s", (int)n, at, name);
        struct stat st;
        if (n && access(candidate, X_OK) == 0 && stat(candidate, &st) == 0 && S_ISREG(st.st_mode))
            return candidate;
        free(candidate);
        at += n + (at[n] == ':');
    }
    return NULL;
}
