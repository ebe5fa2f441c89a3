/* SPDX-License-Identifier: MIT
 *
 * Another name of an object, and every kind of change by that name.
 */
#include "escapes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

/* ---- routes ---------------------------------------------------------------------------------------- */

/* Another name of NAME: its directory's descriptor (or AT_FDCWD) and a path. */
struct route {
    const char *what;
    int (*go)(const char *name, char *path);
};

static int by_cwd(const char *name, char *path)
{
    if (chdir(root))
        return -1;
    sprintf(path, "/proc/self/cwd/%s", name);
    return AT_FDCWD;
}

static int by_root(const char *name, char *path)
{
    sprintf(path, "/proc/self/root%s/%s", root, name);
    return AT_FDCWD;
}

static int by_pid_root(const char *name, char *path)
{
    sprintf(path, "/proc/%d/root%s//%s", getpid(), root, name);
    return AT_FDCWD;
}

/* A child that stands in the directory and has NAME open as 30, the directory as 31. */
static pid_t make_child(const char *name)
{
    int ready[2];
    char c;
    if (chdir(root) || pipe(ready))
        return -1;
    pid_t child = fork();
    if (child == 0) {
        dup2(open(name, O_RDONLY), 30);
        dup2(to_dir(), 31);
        if (write(ready[1], "x", 1) == 1)
            sleep(3);
        _exit(0);
    }
    return read(ready[0], &c, 1) == 1 && chdir("/") == 0 ? child : -1;
}

static int by_child_cwd(const char *name, char *path)
{
    sprintf(path, "/proc/%d/cwd/%s", make_child(name), name);
    return AT_FDCWD;
}

static int by_child_fd(const char *name, char *path)
{
    sprintf(path, "/proc/%d/fd/30", make_child(name));
    return AT_FDCWD;
}

static int by_child_dir(const char *name, char *path)
{
    sprintf(path, "/proc/%d/fd/31/%s", make_child(name), name);
    return AT_FDCWD;
}

/* A descriptor that the kernel puts into this process's table behind every function's back. */
static int by_stolen_fd(const char *name, char *path)
{
    strcpy(path, name);
    return (int)syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, make_child(name), 0), 31, 0);
}

static int by_link_to_proc(const char *name, char *path)
{
    char target[64];
    sprintf(target, "/proc/self/fd/%d", open(in(name), O_RDONLY));
    unlink(in("to-proc"));
    if (symlink(target, in("to-proc")))
        return -1;
    strcpy(path, in("to-proc"));
    return AT_FDCWD;
}

static int by_link_to_cwd(const char *name, char *path)
{
    unlink(in("to-cwd"));
    if (symlink("/proc/self/cwd", in("to-cwd")) || chdir(root))
        return -1;
    sprintf(path, "%s/%s", in("to-cwd"), name);
    return AT_FDCWD;
}

static int by_fd(const char *name, char *path)
{
    sprintf(path, "/proc/self/fd/%d", open(in(name), O_RDONLY));
    return AT_FDCWD;
}

static int by_path_fd(const char *name, char *path)
{
    sprintf(path, "/proc/self/fd/%d", open(in(name), O_PATH));
    return AT_FDCWD;
}

static int by_thread_fd(const char *name, char *path)
{
    sprintf(path, "/proc/thread-self/fd/%d", open(in(name), O_RDONLY));
    return AT_FDCWD;
}

static int by_task_fd(const char *name, char *path)
{
    sprintf(path, "/proc/self/task/%d/fd/%d", gettid(), open(in(name), O_RDONLY));
    return AT_FDCWD;
}

static int by_dev_fd(const char *name, char *path)
{
    sprintf(path, "/dev/fd/%d", open(in(name), O_RDONLY));
    return AT_FDCWD;
}

static int by_stdin(const char *name, char *path)
{
    close(0);
    if (open(in(name), O_RDONLY) != 0)
        return -1;
    strcpy(path, "/dev/stdin");
    return AT_FDCWD;
}

static int by_dir_fd_path(const char *name, char *path)
{
    sprintf(path, "/proc/self/fd/%d/%s", to_dir(), name);
    return AT_FDCWD;
}

static int by_dev_dir(const char *name, char *path)
{
    sprintf(path, "/dev/fd/%d/./%s", to_dir(), name);
    return AT_FDCWD;
}

static int by_dotdot_behind_fd(const char *name, char *path)
{
    sprintf(path, "/proc/self/fd/%d/../%s/%s", to_dir(), base, name);
    return AT_FDCWD;
}

static int by_parent(const char *name, char *path)
{
    sprintf(path, "%s/%s", base, name);
    return open(in(".."), O_PATH);
}

static int by_slash(const char *name, char *path)
{
    sprintf(path, "%s/%s", root + 1, name);
    return open("/", O_RDONLY | O_DIRECTORY);
}

static int by_dotdot(const char *name, char *path)
{
    sprintf(path, "../../%s/%s", base, name);
    return open(in("d"), O_PATH | O_DIRECTORY);
}

static int by_dotdot_from_elsewhere(const char *name, char *path)
{
    char up[256] = "..";
    int fd = open("/usr/share", O_RDONLY | O_DIRECTORY);
    sprintf(path, "%s/..%s/%s", up, root, name);
    return fd;
}

static int by_dup(const char *name, char *path)
{
    strcpy(path, name);
    int fd = to_dir();
    int other = open("/", O_RDONLY | O_DIRECTORY);
    dup2(fd, other);
    return fcntl(other, F_DUPFD, 40);
}

static int by_high_fd(const char *name, char *path)
{
    struct rlimit limit = {4096, 4096};
    strcpy(path, name);
    setrlimit(RLIMIT_NOFILE, &limit);
    return fcntl(to_dir(), F_DUPFD_CLOEXEC, 1500);
}

/* The number stood for another directory before, and was closed by the kernel alone. */
static int by_reused_fd(const char *name, char *path)
{
    strcpy(path, name);
    int fd = open(in("d"), O_RDONLY | O_DIRECTORY);
    close_range((unsigned)fd, (unsigned)fd, 0);
    return to_dir();
}

static int by_stream(const char *name, char *path)
{
    strcpy(path, name);
    DIR *dir = fdopendir(dup(to_dir()));
    return dir && readdir(dir) ? dirfd(dir) : -1;
}

/* Through a socket, as a descriptor that this process never opened; cmsg as well as its number are new. */
static int pass(int fd)
{
    int pair[2];
    char room[CMSG_SPACE(sizeof fd)] = "", c = 'x';
    struct iovec iov = {&c, 1};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || sendmsg(pair[0], &message, 0) != 1)
        return -1;
    close(fd);
    message.msg_controllen = sizeof room;
    if (recvmsg(pair[1], &message, 0) != 1 || !(header = CMSG_FIRSTHDR(&message)))
        return -1;
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
}

static int by_passed_fd(const char *name, char *path)
{
    strcpy(path, name);
    return pass(to_dir());
}

static int by_passed_cwd(const char *name, char *path)
{
    strcpy(path, name);
    return fchdir(pass(to_dir())) ? -1 : AT_FDCWD;
}

static int by_raw_openat(const char *name, char *path)
{
    strcpy(path, name);
    return (int)syscall(SYS_openat, AT_FDCWD, root, O_RDONLY | O_DIRECTORY);
}

static int by_dots_and_slashes(const char *name, char *path)
{
    sprintf(path, "/./%s//.//d/.././%s", root, name);
    return AT_FDCWD;
}

static int by_unshared_cwd(const char *name, char *path)
{
    strcpy(path, name);
    return chdir("/") || unshare(CLONE_FS) || chdir(root) ? -1 : AT_FDCWD;
}

static const struct route routes[] = {{"cwd", by_cwd},
                                      {"root", by_root},
                                      {"pid root", by_pid_root},
                                      {"child's cwd", by_child_cwd},
                                      {"child's fd", by_child_fd},
                                      {"child's dir", by_child_dir},
                                      {"stolen", by_stolen_fd},
                                      {"link to fd", by_link_to_proc},
                                      {"link to cwd", by_link_to_cwd},
                                      {"fd", by_fd},
                                      {"path fd", by_path_fd},
                                      {"thread fd", by_thread_fd},
                                      {"task fd", by_task_fd},
                                      {"/dev/fd", by_dev_fd},
                                      {"stdin", by_stdin},
                                      {"dir fd", by_dir_fd_path},
                                      {"/dev/fd dir", by_dev_dir},
                                      {"fd and ..", by_dotdot_behind_fd},
                                      {"parent", by_parent},
                                      {"slash", by_slash},
                                      {"dotdot", by_dotdot},
                                      {"elsewhere", by_dotdot_from_elsewhere},
                                      {"dup", by_dup},
                                      {"high", by_high_fd},
                                      {"reused", by_reused_fd},
                                      {"stream", by_stream},
                                      {"passed", by_passed_fd},
                                      {"passed cwd", by_passed_cwd},
                                      {"raw", by_raw_openat},
                                      {"dots", by_dots_and_slashes},
                                      {"unshared", by_unshared_cwd}};

/* ---- changes by a route ----------------------------------------------------------------------------- */

static void append(int dirfd, const char *path)
{
    int fd = openat(dirfd, path, O_WRONLY | O_APPEND);
    result("append", fd < 0 ? fd : write(fd, "more\n", 5));
    close(fd);
}

static void overwrite(int dirfd, const char *path)
{
    int fd = openat(dirfd, path, O_RDWR | O_TRUNC);
    result("overwrite", fd < 0 ? fd : write(fd, "new\n", 4));
    close(fd);
}

static void change_mode(int dirfd, const char *path)
{
    result("chmod", fchmodat(dirfd, path, 0600, 0));
}

static void change_owner(int dirfd, const char *path)
{
    result("chown", fchownat(dirfd, path, getuid(), getgid(), 0));
}

static void change_times(int dirfd, const char *path)
{
    const struct timespec times[2] = {{1, 0}, {2, 0}};
    struct stat st = {0};
    result("times", utimensat(dirfd, path, times, 0));
    result("stat", fstatat(dirfd, path, &st, 0));
    printf(" %ld", (long)st.st_mtime);
}

static void set_attribute(int dirfd, const char *path)
{
    char full[4200], value[8] = "";
    if (dirfd == AT_FDCWD)
        strcpy(full, path);
    else
        sprintf(full, "/proc/self/fd/%d/%s", dirfd, path);
    result("setxattr", setxattr(full, "user.k", "v", 1, 0));
    result("truncate", truncate(full, 3));
    result("getxattr", getxattr(full, "user.k", value, sizeof value));
    printf(" %s", value);
}

static void link_it(int dirfd, const char *path)
{
    result("link", linkat(dirfd, path, AT_FDCWD, in("linked"), AT_SYMLINK_FOLLOW));
    result("unlink", unlink(in("linked")));
}

/* Only where the route's last component is the name itself. */
static void move_it(int dirfd, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (strcmp(slash ? slash + 1 : path, "f8") != 0)
        return;
    result("rename", renameat(dirfd, path, AT_FDCWD, in("moved")));
    result("back", renameat(AT_FDCWD, in("moved"), dirfd, path));
    result("unlink", unlinkat(dirfd, path, 0));
    result("create", close(openat(dirfd, path, O_CREAT | O_EXCL | O_WRONLY, 0640)));
}

static void go(const struct route *route)
{
    static void (*const changes[])(int, const char *) = {append,       overwrite,     change_mode, change_owner,
                                                         change_times, set_attribute, link_it,     move_it};
    static const char *const names[] = {"f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        fflush(stdout);
        if (fork() == 0) {
            char path[4200] = "";
            printf("%s:", route->what);
            errno = 0;
            int dirfd = route->go(names[i], path);
            if (dirfd == -1)
                printf(" no way: %s", strerrorname_np(errno));
            else
                changes[i](dirfd, path);
            show(names[i]);
            _exit(0);
        }
        wait(NULL);
    }
}

void do_route(const char *number)
{
    go(&routes[strtoul(number, NULL, 0)]);
}

int count_routes(void)
{
    return (int)(sizeof routes / sizeof *routes);
}
