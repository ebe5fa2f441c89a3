/* SPDX-License-Identifier: MIT
 *
 * Calls that are made where there is little room: small stacks, few descriptors.
 */
#include "escapes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- little room ------------------------------------------------------------------------------------------------ */

/* Calls that POSIX lets a handler make, on lower objects, upper ones, through links and to outside. */
static void many_calls(void)
{
    struct stat st;
    struct statx stx;
    char buf[64];
    const struct timespec times[2] = {{1, 0}, {2, 0}};
    result("chdir", chdir(root));
    result("stat", stat("link", &st));
    result("statx", statx(AT_FDCWD, "d/g", 0, STATX_ALL, &stx));
    result("access", access("deep/a/b/c/d/x", W_OK));
    result("readlink", readlink("link", buf, sizeof buf));
    int fd = open("deep/a/b/c/d/x", O_RDWR);
    result("copy up", write(fd, "more", 4));
    result("fstat", fstat(fd, &st));
    close(fd);
    fd = open("/proc/self/cwd/d/../e", O_RDONLY | O_DIRECTORY);
    result("openat", close(openat(fd, "h", O_RDONLY)));
    result("mkdirat", mkdirat(fd, "made", 0700));
    result("create", close(openat(fd, "made/x", O_CREAT | O_EXCL | O_WRONLY, 0600)));
    result("link", link("f1", "e/made/l"));
    result("symlink", symlink("../f1", "e/s"));
    result("rename", rename("f2", "e/made/f2"));
    result("unlink", unlink("f3"));
    result("chmod", chmod("f4", 0640));
    result("fchmod", fchmod(fd, 0750));
    result("chown", lchown("f5", getuid(), getgid()));
    result("utimensat", utimensat(fd, "h", times, 0));
    result("fchdir", fchdir(fd));
    result("mkfifo", mkfifo("fifo", 0600));
    result("rmdir", rmdir("../c"));
    result("dup2", dup2(fd, 60));
    result("close", close(fd));
    pid_t pid = vfork();
    if (pid == 0) {
        execl("/bin/true", "true", NULL);
        _exit(1);
    }
    int status;
    waitpid(pid, &status, 0);
    printf(" status %d", status);
}

static void handler(int unused)
{
    (void)unused;
    many_calls();
}

/* An alternate stack of 8 KiB between pages that can't be touched. */
void do_signal_stack(const char *unused)
{
    (void)unused;
    setvbuf(stdout, malloc(65536), _IOFBF, 65536);
    char *pages = mmap(NULL, 4 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(pages + 4096, 8192, PROT_READ | PROT_WRITE);
    stack_t stack = {.ss_sp = pages + 4096, .ss_size = 8192};
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    printf("first"); /* what printf needs once is its own business */
    errno = 0;
    result("sigaltstack", sigaltstack(&stack, NULL));
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    puts("");
}

static void *small_thread(void *unused)
{
    (void)unused;
    many_calls();
    return NULL;
}

void do_small_thread(const char *unused)
{
    pthread_attr_t attributes;
    pthread_t thread;
    (void)unused;
    pthread_attr_init(&attributes);
    result("size", -pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN));
    pthread_create(&thread, &attributes, small_thread, NULL);
    pthread_join(thread, NULL);
    puts("");
}

/* The highest descriptor there can be. */
static int use_all_descriptors(void)
{
    const struct rlimit limit = {4, 4};
    close_range(3, ~0u, 0);
    int highest = fcntl(0, F_DUPFD_CLOEXEC, 3);
    setrlimit(RLIMIT_NOFILE, &limit);
    return highest;
}

/* Directories that move (which overlayfs refuses) are found again without a descriptor, too. */
void do_few_files_moving(const char *unused)
{
    (void)unused;
    int one = use_all_descriptors();
    result("chdir", chdir(root));
    result("rename", rename("deep/a", "deep/z"));
    result("chdir", chdir("deep/z/b"));
    result("rename", rename("../../../deep", "../../../deeper"));
    result("followed", access("c/d/x", F_OK));
    puts("");
    close(one);
    show("deeper/z/b/c/d/x");
}

/* Every call has exactly the descriptors that it needs without an overlay. */
void do_few_files(const char *unused)
{
    (void)unused;
    struct stat st;
    const struct timespec times[2] = {{1, 0}, {2, 0}};
    int one = use_all_descriptors();
    result("chdir", chdir(root));
    result("stat", stat("link", &st));
    result("access", access("f1", W_OK));
    result("chmod", chmod("f1", 0640));
    result("times", utimensat(AT_FDCWD, "f2", times, 0));
    result("truncate", truncate("f3", 2));
    result("rename", rename("f4", "f4b"));
    result("link", link("f5", "f5b"));
    result("unlink", unlink("f6"));
    result("mkdir", mkdir("new", 0700));
    result("mkdir", mkdir("d/new", 0700));
    result("rmdir", rmdir("c"));
    result("symlink", symlink("x", "d/s"));
    result("emptied", truncate("f8", 0));
    result("remove", rmdir("e"));
    result("remove", unlink("e/h") | rmdir("e"));
    result("no child", waitpid(-1, NULL, __WALL | WNOHANG));
    result("full", open("f7", O_RDONLY));
    close(one);
    result("chdir", chdir(root));
    int fd = open("f7", O_WRONLY | O_APPEND);
    result("write", fd < 0 ? fd : write(fd, "more\n", 5));
    close(fd);
    DIR *dir = opendir("d");
    int count = 0;
    while (dir && readdir(dir))
        count++;
    printf(" %d entries\n", count);
    closedir(dir);
    show("f7");
}
