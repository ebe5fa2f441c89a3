/* SPDX-License-Identifier: MIT
 *
 * Descriptors and current directories where a name would do too: empty paths, a thread with a directory of its own,
 * directories that are renamed, high descriptors.
 */
#include "escapes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

/* ---- descriptors without a path ------------------------------------------------------------------------ */

static void change_empty(const char *what, int fd)
{
    const struct timespec times[2] = {{1, 0}, {2, 0}};
    struct stat st = {0};
    struct statx stx;
    printf("%s:", what);
    result("chown", fchownat(fd, "", getuid(), getgid(), AT_EMPTY_PATH));
    result("times", utimensat(fd, "", times, AT_EMPTY_PATH));
    result("access", faccessat(fd, "", W_OK, AT_EMPTY_PATH | AT_EACCESS));
    result("bad access", faccessat(fd, "", 8, AT_EMPTY_PATH));
    result("stat", fstatat(fd, "", &st, AT_EMPTY_PATH));
    printf(" %ld", (long)st.st_mtime);
    result("statx", statx(fd, "", AT_EMPTY_PATH, STATX_INO, &stx));
    printf(" same %d", stx.stx_ino == st.st_ino);
    result("link", linkat(fd, "", AT_FDCWD, in("linked"), AT_EMPTY_PATH));
    result("no flag", fchownat(fd, "", getuid(), getgid(), 0));
    puts("");
    unlink(in("linked"));
    errno = 0;
}

void do_empty(const char *unused)
{
    (void)unused;
    change_empty("read", open(in("f1"), O_RDONLY));
    show("f1");
    change_empty("path", open(in("f2"), O_PATH));
    show("f2");
    change_empty("link", open(in("link"), O_PATH | O_NOFOLLOW));
    show("f3");
    change_empty("dir", open(in("d"), O_RDONLY | O_DIRECTORY));
    show("d");
    change_empty("dir path", open(in("e"), O_PATH | O_DIRECTORY));
    show("e");
    change_empty("bad", 99);
    result("chdir", chdir(in("c")));
    change_empty("cwd", AT_FDCWD);
    show("c");
}

void do_fchmodat2(const char *unused)
{
    (void)unused;
    int fd = open(in("f1"), O_PATH);
    result("empty", syscall(SYS_fchmodat2, fd, "", 0640, AT_EMPTY_PATH));
    show("f1");
    result("chdir", chdir(in("d")));
    result("empty cwd", syscall(SYS_fchmodat2, AT_FDCWD, "", 0711, AT_EMPTY_PATH));
    show("d");
    result("name", syscall(SYS_fchmodat2, fd, in("f2"), 0640, 0));
    show("f2");
    result("name nofollow", syscall(SYS_fchmodat2, fd, in("f3"), 0640, AT_SYMLINK_NOFOLLOW));
    show("f3");
    result("link nofollow", syscall(SYS_fchmodat2, fd, in("link"), 0640, AT_SYMLINK_NOFOLLOW));
    result("bad flag", syscall(SYS_fchmodat2, fd, in("f4"), 0640, 1));
    puts("");
}

/* ---- the current directory of one thread ------------------------------------------------------------------ */

static pthread_barrier_t turn;

static void *own_directory(void *unused)
{
    (void)unused;
    result("unshare", unshare(CLONE_FS));
    result("chdir", chdir(in("d")));
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    result("own", access("g", F_OK));
    result("other", access("f1", F_OK));
    int fd = open("g", O_WRONLY | O_APPEND);
    result("write", fd < 0 ? fd : write(fd, "thread\n", 7));
    printf(" %d", strcmp(getcwd(NULL, 0), in("d")));
    return NULL;
}

void do_thread_cwd(const char *unused)
{
    pthread_t thread;
    (void)unused;
    result("chdir", chdir(root));
    pthread_barrier_init(&turn, NULL, 2);
    pthread_create(&thread, NULL, own_directory, NULL);
    pthread_barrier_wait(&turn);
    result("main", access("f1", F_OK));
    result("chdir", chdir(in("e")));
    result("main", access("h", F_OK));
    pthread_barrier_wait(&turn);
    pthread_join(thread, NULL);
    result("main", access("h", F_OK));
    printf(" %d\n", strcmp(getcwd(NULL, 0), in("e")));
    show("d/g");
}

/* ---- directories that are renamed ------------------------------------------------------------------------- */

static void rename_by(const char *who, const char *from, const char *to)
{
    if (strcmp(who, "child") != 0) {
        result(who, rename(in(from), in(to)));
        return;
    }
    fflush(stdout);
    if (fork() == 0) {
        execlp("mv", "mv", in(from), in(to), NULL);
        _exit(1);
    }
    int status;
    wait(&status);
    result("mv", status);
}

/* The current directory and descriptors go with their directory (C-2.11), whoever renames it. */
static void follow(const char *who, const char *outside)
{
    char up[4096], cwd[4096];
    result("mkdir", mkdir(in("z"), 0700));
    int fd = open(in("z"), O_RDONLY | O_DIRECTORY);
    result("chdir", chdir(in("z")));
    result("create", close(open("before", O_CREAT | O_WRONLY, 0600)));
    rename_by(who, "z", "zz");
    result("before", access("before", F_OK));
    result("create", close(open("after", O_CREAT | O_WRONLY, 0600)));
    result("by fd", faccessat(fd, "after", F_OK, 0));
    printf(" %d", strcmp(getcwd(cwd, sizeof cwd) ? cwd : "", in("zz")));
    result("another", mkdir(in("z"), 0700));
    result("create", close(openat(fd, "again", O_CREAT | O_WRONLY, 0600)));
    result("old place", access(in("z/again"), F_OK));
    result("new place", access(in("zz/again"), F_OK));
    snprintf(up, sizeof up, "%s/o1", outside);
    result("outside", mkdir(up, 0700) | chdir(up) | symlink("file", "link"));
    fd = open(".", O_RDONLY | O_DIRECTORY);
    result("create", close(open("file", O_CREAT | O_WRONLY, 0600)));
    result("rename", rename("../o1", "../o2"));
    result("link", close(open("link", O_WRONLY)));
    result("by fd", close(openat(fd, "link", O_WRONLY)));
    puts("");
}

void do_renamed(const char *outside)
{
    char copy[4096];
    snprintf(copy, sizeof copy, "%s", outside);
    follow("rename", copy);
    result("chdir", chdir(root));
    result("clear", system("rm -r z zz"));
    snprintf(copy, sizeof copy, "%s/o2", outside);
    follow("child", copy);
}

/* ---- listings on high descriptors --------------------------------------------------------------------------- */

static void list_raw(int fd)
{
    char buf[256], names[64][16];
    size_t count = 0;
    long n;
    while ((n = getdents64(fd, buf, sizeof buf)) > 0) {
        for (long at = 0; at < n; at += ((struct dirent64 *)(void *)(buf + at))->d_reclen)
            snprintf(names[count++ % 64], 16, "%.15s", ((struct dirent64 *)(void *)(buf + at))->d_name);
    }
    qsort(names, count, sizeof names[0], (int (*)(const void *, const void *))strcmp);
    for (size_t i = 0; i < count; i++)
        printf(" %s", names[i]);
    result("end", n);
    puts("");
}

void do_high_listing(const char *unused)
{
    (void)unused;
    struct rlimit limit = {4096, 4096};
    setrlimit(RLIMIT_NOFILE, &limit);
    int fd = fcntl(to_dir(), F_DUPFD_CLOEXEC, 1500);
    list_raw(fd);
    lseek(fd, 0, SEEK_SET);
    list_raw(fd);
    DIR *dir = fdopendir(fd);
    size_t count = 0;
    while (dir && readdir(dir))
        count++;
    printf("%zu entries\n", count);
}
