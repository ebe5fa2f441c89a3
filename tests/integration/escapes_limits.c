/* SPDX-License-Identifier: MIT
 *
 * Library calls leave no trace in the process (C-4.6): its descriptors, its memory, its cancellation points, its name
 * spaces are what they would be without an overlay.
 */
#include "escapes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- descriptors ------------------------------------------------------------------------------------------------- */

/* After each call, the lowest free number. */
void do_lowest(const char *unused)
{
    (void)unused;
    show_lowest = true;
    many_calls();
    DIR *dir = opendir("e");
    result("opendir", dirfd(dir));
    while (readdir(dir))
        continue;
    result("readdir", 0);
    result("closedir", closedir(dir));
    free(realpath("link", NULL));
    result("realpath", 0);
    FILE *file = fopen("f1", "r+");
    result("fopen", fclose(file));
    char template[] = "tempXXXXXX";
    result("mkstemp", close(mkstemp(template)));
    result("system", system("exit 0"));
    puts("");
}

/* Every number that there is has been taken by the program, or closed. */
void do_any_number(const char *unused)
{
    struct stat null, now;
    (void)unused;
    many_calls();
    puts("");
    int fd = open("/dev/null", O_RDWR);
    fstat(fd, &null);
    for (int n = 3; n < 200; n++)
        dup2(fd, n);
    calls_by_name();
    for (int n = 3; n < 200; n++)
        if (fstat(n, &now) < 0 || now.st_ino != null.st_ino || now.st_rdev != null.st_rdev)
            printf(" %d is another file", n);
    puts("");
    close_range(3, ~0u, 0);
    calls_by_name();
    puts("");
    fd = open("f1", O_RDONLY);
    printf("%d\n", fd);
}

/* ---- memory ---------------------------------------------------------------------------------------------------------
 */

/* No more address space than the process has. */
void do_no_memory(const char *unused)
{
    (void)unused;
    long pages = 0;
    static char buffer[1 << 16];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld", &pages) != 1)
        exit(1);
    fclose(file);
    struct rlimit limit = {(rlim_t)pages * 4096, (rlim_t)pages * 4096};
    result("limit", setrlimit(RLIMIT_AS, &limit));
    calls_by_name();
    calls_by_descriptor();
    calls_on_sockets();
    puts("");
}

/* ---- cancellation
 * ---------------------------------------------------------------------------------------------------- */

static void call_open(void)
{
    open(in("f1"), O_RDONLY);
}

static void call_openat(void)
{
    openat(AT_FDCWD, in("f1"), O_RDWR);
}

static void call_creat(void)
{
    creat(in("created"), 0600);
}

static void call_connect(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    strcpy(name.sun_path, "socket");
    connect(socket(AF_UNIX, SOCK_DGRAM, 0), (struct sockaddr *)&name, sizeof name);
}

static void call_system(void)
{
    system("exit 0");
}

static void call_stat(void)
{
    struct stat st;
    stat(in("f1"), &st);
}

static void call_rename(void)
{
    rename(in("f2"), in("f2b"));
}

static void call_opendir(void)
{
    closedir(opendir(in("d")));
}

static void call_fopen(void)
{
    fopen(in("f1"), "r");
}

static void call_sendto(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "socket"};
    sendto(socket(AF_UNIX, SOCK_DGRAM, 0), "", 1, 0, (struct sockaddr *)&name, sizeof name);
}

static void call_mkstemp(void)
{
    mkstemp(strdup(in("madeXXXXXX")));
}

static void call_unlink(void)
{
    unlink(in("f3"));
}

static void call_scandir(void)
{
    struct dirent **list;
    scandir(in("d"), &list, NULL, NULL);
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)path, (void)st, (void)type, (void)at;
    return 0;
}

static void call_nftw(void)
{
    nftw(in("d"), visit, 3, FTW_PHYS);
}

static void call_glob(void)
{
    glob_t found;
    glob("*", 0, NULL, &found);
}

static void call_popen(void)
{
    popen("exit 0", "r");
}

static void call_spawn(void)
{
    char *argv[] = {"true", NULL};
    posix_spawn(NULL, "/bin/true", NULL, NULL, argv, NULL);
}

static void call_realpath(void)
{
    realpath(in("link"), NULL);
}

static void call_statvfs(void)
{
    struct statvfs st;
    statvfs(in("d"), &st);
}

static const struct {
    const char *name;
    void (*call)(void);
} points[] = {
    {"open", call_open},       {"openat", call_openat},     {"creat", call_creat},     {"connect", call_connect},
    {"sendto", call_sendto},   {"system", call_system},     {"stat", call_stat},       {"rename", call_rename},
    {"opendir", call_opendir}, {"fopen", call_fopen},       {"mkstemp", call_mkstemp}, {"unlink", call_unlink},
    {"scandir", call_scandir}, {"nftw", call_nftw},         {"glob", call_glob},       {"popen", call_popen},
    {"spawn", call_spawn},     {"realpath", call_realpath}, {"statvfs", call_statvfs}};

static void *call_cancelled(void *argument)
{
    const size_t *i = argument;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_cancel(pthread_self());
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    points[*i].call();
    return NULL;
}

/* What acts on a cancellation that is pending, and what does not. */
void do_cancelled(const char *unused)
{
    (void)unused;
    result("chdir", chdir(root));
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        pthread_t thread;
        void *answer;
        pthread_create(&thread, NULL, call_cancelled, &i);
        pthread_join(thread, &answer);
        printf(" %s %s", points[i].name, answer == PTHREAD_CANCELED ? "cancelled" : "done");
    }
    puts("");
    show("created");
    show("f2");
}

/* ---- name spaces ---------------------------------------------------------------------------------------------------
 */

static void show_cwd(const char *what)
{
    char cwd[4096] = "";
    getcwd(cwd, sizeof cwd);
    printf(" %s %s", what, strcmp(cwd, in("d")) == 0 ? "d" : strcmp(cwd, "/") == 0 ? "/" : "?");
    result("g", access("g", F_OK));
}

/* unshare keeps the current directory, setns moves it to the root: no remembered one may be believed. */
void do_name_spaces(const char *unused)
{
    (void)unused;
    int own = open("/proc/self/ns/mnt", O_RDONLY);
    result("chdir", chdir(in("d")));
    int dir = open(".", O_RDONLY | O_DIRECTORY);
    show_cwd("before");
    result("unshare", unshare(CLONE_FS | CLONE_NEWNS));
    show_cwd("unshared");
    result("by fd", faccessat(dir, "g", F_OK, 0));
    result("setns", setns(own, CLONE_NEWNS));
    show_cwd("set");
    result("by fd", faccessat(dir, "g", F_OK, 0));
    result("fchdir", fchdir(dir));
    show_cwd("back");
    result("append", write(open("g", O_WRONLY | O_APPEND), "more\n", 5));
    puts("");
    show("d/g");
}

/* ---- a sandbox ------------------------------------------------------------------------------------------------------
 */

/* Newer system calls, which a sandbox made before them refuses by its default: EPERM. */
static const int newer[] = {SYS_statx,         SYS_renameat2,        SYS_copy_file_range,
                            437 /* openat2 */, 439 /* faccessat2 */, 452 /* fchmodat2 */};
#define NEWER (sizeof newer / sizeof *newer)

static void refuse_newer(unsigned error)
{
    struct sock_filter filter[NEWER + 3];
    size_t n = 0;
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < NEWER; i++)
        filter[n++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)newer[i], (unsigned char)(NEWER - i), 0);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error);
    struct sock_fprog program = {.len = (unsigned short)n, .filter = filter};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* sandbox ERROR: 0 for none. */
void do_sandbox(const char *error)
{
    if (atoi(error))
        refuse_newer((unsigned)atoi(error));
    many_calls();
    result("rename", rename("deep", "e/deep"));
    puts("");
    show("e/deep/a/b/c/d/x");
}
