/* SPDX-License-Identifier: MIT
 *
 * Scenarios of limits, watches, old forms of functions, and syscall(2).
 */
#include "families.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the file system --------------------------------------------------------------------------------- */

void do_limits(void)
{
    struct statvfs v;
    result("statvfs", statvfs(in("dir"), &v));
    printf("names %lu blocks %d read-only %d\n", v.f_namemax, v.f_blocks > 0, (v.f_flag & ST_RDONLY) != 0);
    result("missing", statvfs(in("missing"), &v));
    result("through link", statvfs(in("link"), &v));
    int fd = open(in("file"), O_RDONLY);
    result("fstatvfs", fstatvfs(fd, &v));
    result("name length", pathconf(in("dir"), _PC_NAME_MAX));
    result("path length", pathconf(in("file"), _PC_PATH_MAX));
    result("no limit", pathconf(in("file"), _PC_PRIO_IO) == -1 && errno != ENOENT);
    result("missing", pathconf(in("missing"), _PC_NAME_MAX));
    key_t before = ftok(in("file"), 7);
    result("touch", chmod(in("file"), 0600));
    printf("ftok same %d other %d\n", before == ftok(in("file"), 7), before != ftok(in("file"), 8));
    result("ftok missing", ftok(in("missing"), 7));
}

static void print_events(int fd)
{
    char buf[4096] __attribute__((aligned(8)));
    struct pollfd ready = {fd, POLLIN, 0};
    while (poll(&ready, 1, 200) > 0) {
        ssize_t n = read(fd, buf, sizeof buf);
        for (ssize_t at = 0; at < n;) {
            struct inotify_event *e = (struct inotify_event *)(buf + at);
            printf("event %d %x %s\n", e->wd, e->mask, e->len ? e->name : "-");
            at += (ssize_t)(sizeof *e + e->len);
        }
    }
}

void do_inotify(void)
{
    int fd = inotify_init1(IN_CLOEXEC);
    result("upper file", inotify_add_watch(fd, in("upper"), IN_MODIFY | IN_ATTRIB));
    result("directory", inotify_add_watch(fd, in("dir"), IN_CREATE | IN_MOVED_TO));
    result("missing", inotify_add_watch(fd, in("missing"), IN_MODIFY));
    result("only directories", inotify_add_watch(fd, in("file"), IN_MODIFY | IN_ONLYDIR));
    int out = open(in("upper"), O_WRONLY | O_APPEND);
    result("write", write(out, "x", 1));
    close(out);
    print_events(fd);
    close(open(in("dir/created"), O_WRONLY | O_CREAT, 0600));
    result("rename", rename(in("upper"), in("dir/moved")));
    print_events(fd);
    result("dangling", inotify_add_watch(fd, in("dangling"), IN_ATTRIB));
    result("dangling itself", inotify_add_watch(fd, in("dangling"), IN_ATTRIB | IN_DONT_FOLLOW) > 0);
}

/* ---- old and checked forms ------------------------------------------------------------------------------ */

extern char *__realpath_chk(const char *, char *, size_t);
extern char *__getcwd_chk(char *, size_t, size_t);
extern ssize_t __readlink_chk(const char *, char *, size_t, size_t);
extern ssize_t __readlinkat_chk(int, const char *, char *, size_t, size_t);

static void overflows(const char *what, int which)
{
    char buf[4096];
    int status;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        close(2);
        if (which == 0)
            __realpath_chk(root, buf, 10);
        else if (which == 1)
            __getcwd_chk(buf, 100, 10);
        else if (which == 2)
            __readlink_chk(in("link"), buf, 100, 10);
        else
            __readlinkat_chk(AT_FDCWD, in("link"), buf, 100, 10);
        _exit(0);
    }
    waitpid(child, &status, 0);
    printf("%s: signal %d\n", what, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

void do_compat(void)
{
    struct stat st, plain;
    char buf[4096];
    int (*xstat)(int, const char *, struct stat *) =
        (int (*)(int, const char *, struct stat *))dlsym(RTLD_DEFAULT, "__xstat");
    int (*lxstat)(int, const char *, struct stat *) =
        (int (*)(int, const char *, struct stat *))dlsym(RTLD_DEFAULT, "__lxstat64");
    int (*fxstat)(int, int, struct stat *) = (int (*)(int, int, struct stat *))dlsym(RTLD_DEFAULT, "__fxstat");
    int (*fxstatat)(int, int, const char *, struct stat *, int) =
        (int (*)(int, int, const char *, struct stat *, int))dlsym(RTLD_DEFAULT, "__fxstatat");
    int (*xmknod)(int, const char *, mode_t, dev_t *) =
        (int (*)(int, const char *, mode_t, dev_t *))dlsym(RTLD_DEFAULT, "__xmknod");
    dev_t dev = 0;
    stat(in("file"), &plain);
    result("xstat", xstat(0, in("file"), &st));
    printf("same %d\n", st.st_ino == plain.st_ino && st.st_dev == plain.st_dev && st.st_size == plain.st_size);
    result("xstat version", xstat(7, in("file"), &st));
    result("xstat missing", xstat(0, in("missing"), &st));
    result("lxstat", lxstat(0, in("link"), &st));
    printf("mode %o\n", st.st_mode);
    int fd = open(in("file"), O_RDONLY);
    result("fxstat", fxstat(0, fd, &st));
    printf("same %d\n", st.st_ino == plain.st_ino && st.st_dev == plain.st_dev);
    int dir = open(root, O_RDONLY | O_DIRECTORY);
    result("fxstatat", fxstatat(0, dir, "dir/file", &st, 0));
    result("xmknod", xmknod(0, in("fifo"), S_IFIFO | 0640, &dev));
    show_file("dir");
    printf("realpath %s\n", __realpath_chk(in("link"), buf, sizeof buf));
    printf("readlink %zd\n", __readlink_chk(in("link"), buf, sizeof buf, sizeof buf));
    printf("readlinkat %zd\n", __readlinkat_chk(dir, "link", buf, sizeof buf, sizeof buf));
    if (chdir(in("dir")) == 0)
        printf("getcwd %s\n", __getcwd_chk(buf, sizeof buf, sizeof buf));
    for (int i = 0; i < 4; i++)
        overflows("overflow", i);
}

/* ---- syscall(2) ----------------------------------------------------------------------------------------- */

static long openat2_of(int dirfd, const char *path, uint64_t flags, uint64_t resolve)
{
    struct open_how how = {.flags = flags, .resolve = resolve, .mode = flags & O_CREAT ? 0640 : 0};
    long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof how);
    printf("openat2 %s %lx: %s\n", path[0] == '/' ? "(absolute)" : path, (long)resolve, fd == -1 ? error_name() : "-");
    if (fd >= 0)
        close((int)fd);
    return fd;
}

void do_openat2(void)
{
    int dir = open(root, O_RDONLY | O_DIRECTORY);
    openat2_of(dir, "file", O_RDONLY, 0);
    openat2_of(dir, "link", O_RDONLY, 0);
    openat2_of(dir, "link", O_RDONLY, RESOLVE_NO_SYMLINKS);
    openat2_of(dir, "link", O_RDONLY | O_NOFOLLOW, 0);
    openat2_of(dir, "link", O_PATH | O_NOFOLLOW, RESOLVE_NO_SYMLINKS);
    openat2_of(dir, "dir/file", O_RDONLY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    openat2_of(dir, "dir/../file", O_RDONLY, RESOLVE_BENEATH);
    openat2_of(dir, "../dir", O_RDONLY, RESOLVE_BENEATH);
    openat2_of(dir, in("file"), O_RDONLY, RESOLVE_BENEATH);
    openat2_of(dir, "/dir/file", O_RDONLY, RESOLVE_IN_ROOT);
    openat2_of(dir, "dir/file", O_RDONLY, RESOLVE_NO_XDEV);
    openat2_of(dir, "dir/file", O_RDONLY, RESOLVE_NO_MAGICLINKS);
    openat2_of(dir, "made", O_WRONLY | O_CREAT | O_EXCL, 0);
    openat2_of(dir, "made", O_WRONLY | O_CREAT | O_EXCL, 0);
    openat2_of(dir, "missing/made", O_WRONLY | O_CREAT, RESOLVE_BENEATH);
    openat2_of(dir, "file", O_RDONLY, 1 << 20);
    openat2_of(99, "file", O_RDONLY, 0);
    struct open_how bad = {.flags = O_RDONLY, .mode = 0600};
    result("mode without creation", syscall(SYS_openat2, dir, "file", &bad, sizeof bad));
    result("short", syscall(SYS_openat2, dir, "file", &bad, 3));
    struct {
        struct open_how how;
        long more;
    } longer = {{.flags = O_RDONLY}, 1};
    result("long", syscall(SYS_openat2, dir, "file", &longer, sizeof longer));
    show_file("made");
}

static void print_dents(const char *what, const char *buf, long n, size_t name_at)
{
    char names[64][64];
    size_t count = 0;
    for (long at = 0; at < n && count < 64;) {
        unsigned short length;
        memcpy(&length, buf + at + 16, sizeof length);
        int type = name_at == 19 ? buf[at + 18] : buf[at + length - 1];
        snprintf(names[count++], sizeof names[0], "%s/%d", buf + at + name_at, type);
        at += length;
    }
    qsort(names, count, sizeof names[0], (int (*)(const void *, const void *))strcmp);
    printf("%s:", what);
    for (size_t i = 0; i < count; i++)
        printf(" %s", names[i]);
    puts("");
}

void do_syscall(void)
{
    static char buf[32768];
    struct stat st;
    long fd = syscall(SYS_openat, AT_FDCWD, in("dir/new"), O_RDWR | O_CREAT | O_EXCL, 0640);
    result("openat", fd >= 0);
    result("write", syscall(SYS_write, fd, "abc", 3));
    result("fchmod", syscall(SYS_fchmod, fd, 0600));
    result("close", syscall(SYS_close, fd));
    show_file("dir/new");
    result("newfstatat", syscall(SYS_newfstatat, AT_FDCWD, in("link"), &st, AT_SYMLINK_NOFOLLOW));
    printf("mode %o\n", st.st_mode);
    result("chdir", syscall(SYS_chdir, in("dir")));
    long n = syscall(SYS_getcwd, buf, sizeof buf);
    printf("getcwd %d %s\n", n == (long)strlen(buf) + 1, buf);
    result("getcwd small", syscall(SYS_getcwd, buf, 2));
    fd = syscall(SYS_openat, AT_FDCWD, ".", O_RDONLY | O_DIRECTORY);
    n = syscall(SYS_getdents64, fd, buf, sizeof buf);
    print_dents("getdents64", buf, n, 19);
    result("mkdirat", syscall(SYS_mkdirat, fd, "made", 0750));
    result("symlinkat", syscall(SYS_symlinkat, "file", fd, "soft"));
    result("linkat", syscall(SYS_linkat, fd, "file", fd, "hard", 0));
    result("renameat2", syscall(SYS_renameat2, fd, "new", fd, "renamed", 0));
    result("noreplace", syscall(SYS_renameat2, fd, "renamed", fd, "hard", 1));
    result("exchange", syscall(SYS_renameat2, fd, "renamed", fd, "hard", 2));
    show_file("dir/hard");
    result("unlinkat", syscall(SYS_unlinkat, fd, "hard", 0));
    result("fchmodat2", syscall(452, fd, "file", 0604, 0));
    result("faccessat2", syscall(SYS_faccessat2, fd, "file", R_OK, AT_EACCESS));
    struct timespec times[2] = {{1, 2}, {3, 4}};
    result("utimensat", syscall(SYS_utimensat, fd, "file", times, 0));
    stat(in("dir/file"), &st);
    printf("mtime %ld.%09ld\n", (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    int ro = open("file", O_RDONLY);
    result("utimensat NULL", syscall(SYS_utimensat, ro, NULL, times, 0));
    result("truncate", syscall(SYS_truncate, in("file"), 2));
    show_file("file");
    result("readlinkat", syscall(SYS_readlinkat, fd, "soft", buf, sizeof buf));
    result("setxattr", syscall(SYS_setxattr, in("file"), "user.k", "v", 1, 0));
    result("getxattr", syscall(SYS_getxattr, in("file"), "user.k", buf, sizeof buf));
    result("bad number", syscall(9999, 1));
    result("getpid", syscall(SYS_getpid) == getpid());
#ifdef SYS_open
    fd = syscall(SYS_open, in("dir"), O_RDONLY | O_DIRECTORY);
    print_dents("getdents", buf, syscall(SYS_getdents, fd, buf, sizeof buf), 18);
    result("stat", syscall(SYS_stat, in("dir/file"), &st));
    result("access", syscall(SYS_access, in("missing"), F_OK));
    result("rename", syscall(SYS_rename, in("dir/renamed"), in("r")));
    result("rmdir", syscall(SYS_rmdir, in("dir/made")));
    result("unlink", syscall(SYS_unlink, in("r")));
#endif
}
