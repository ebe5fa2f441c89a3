/* SPDX-License-Identifier: MIT
 *
 * Calls that are made where there is little room: small stacks, few descriptors.
 */
#include "escapes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utime.h>

/* What open() becomes with _FORTIFY_SOURCE. */
int __open_2(const char *path, int flags);
int __openat_2(int dirfd, const char *path, int flags);

/* ---- little room ------------------------------------------------------------------------------------------------ */

/* Every call that a handler may make (SAFE in shim/calls.def), on lower objects, upper ones, through links and to
 * outside. */
void calls_by_name(void)
{
    struct stat st;
    struct statx stx;
    char buf[64];
    const struct timespec times[2] = {{1, 0}, {2, 0}};
    const struct timeval old[2] = {{1, 0}, {2, 0}};
    const struct utimbuf older = {1, 2};
    const int flags = O_RDONLY;
    result("chdir", chdir(root));
    result("stat", stat("link", &st));
    result("lstat", lstat("link", &st));
    result("fstatat", fstatat(AT_FDCWD, "link", &st, AT_SYMLINK_NOFOLLOW));
    result("statx", statx(AT_FDCWD, "d/g", 0, STATX_ALL, &stx));
    result("access", access("deep/a/b/c/d/x", W_OK));
    result("faccessat", faccessat(AT_FDCWD, "gone", R_OK, 0));
    result("readlink", readlink("link", buf, sizeof buf));
    result("readlinkat", readlinkat(AT_FDCWD, "link", buf, sizeof buf));
    result("open", close(open("/proc/self/cwd/f1", O_RDONLY)));
    result("__open_2", close(__open_2("f1", flags)));
    result("__openat_2", close(__openat_2(AT_FDCWD, "f1", flags)));
    result("creat", close(creat("created", 0600)));
    result("mkdir", mkdir("made", 0700));
    result("mknod", mknod("node", S_IFREG | 0600, 0));
    result("mknodat", mknodat(AT_FDCWD, "gone", S_IFREG | 0600, 0));
    result("mkfifo", mkfifo("fifo", 0600));
    result("mkfifoat", mkfifoat(AT_FDCWD, "made/fifo", 0600));
    result("link", link("f1", "made/l"));
    result("linkat", linkat(AT_FDCWD, "f1", AT_FDCWD, "made/l2", 0));
    result("symlink", symlink("../f1", "e/s"));
    result("symlinkat", symlinkat("../f1", AT_FDCWD, "e/s2"));
    result("rename", rename("f2", "made/f2"));
    result("renameat", renameat(AT_FDCWD, "made/f2", AT_FDCWD, "f2"));
    result("renameat2", renameat2(AT_FDCWD, "f2", AT_FDCWD, "f1", RENAME_NOREPLACE));
    result("unlink", unlink("f3"));
    result("unlinkat", unlinkat(AT_FDCWD, "node", 0));
    result("rmdir", rmdir("c"));
    result("rmdir", rmdir("d"));
    result("chmod", chmod("f4", 0640));
    result("fchmodat", fchmodat(AT_FDCWD, "d/g", 0640, 0));
    result("chown", chown("f5", getuid(), getgid()));
    result("lchown", lchown("f5", getuid(), getgid()));
    result("fchownat", fchownat(AT_FDCWD, "f6", getuid(), getgid(), 0));
    result("utimensat", utimensat(AT_FDCWD, "f7", times, 0));
    result("utimes", utimes("f8", old));
    result("utime", utime("d", &older));
    result("syscall", syscall(SYS_faccessat, AT_FDCWD, "f1", R_OK));
}

static int count_object(struct dl_phdr_info *unused, size_t size, void *count)
{
    (void)unused;
    (void)size;
    ++*(int *)count;
    return 0;
}

void calls_by_descriptor(void)
{
    struct stat st;
    const struct timespec times[2] = {{1, 0}, {2, 0}};
    int objects = 0;
    int fd = open("deep/a/b/c/d/x", O_RDWR);
    result("copy up", write(fd, "more", 4));
    result("fstat", fstat(fd, &st));
    result("fsync", fsync(fd));
    result("fdatasync", fdatasync(fd));
    close(fd);
    fd = open("/proc/self/cwd/e/../e", O_RDONLY | O_DIRECTORY);
    result("openat", close(openat(fd, "h", O_RDONLY)));
    result("mkdirat", mkdirat(fd, "made", 0700));
    result("create", close(openat(fd, "made/x", O_CREAT | O_EXCL | O_WRONLY, 0600)));
    result("fchmod", fchmod(fd, 0750));
    result("fchown", fchown(fd, getuid(), getgid()));
    result("futimens", futimens(fd, times));
    result("fchdir", fchdir(fd));
    result("fcntl", close(fcntl(fd, F_DUPFD_CLOEXEC, 70)));
    result("dup", close(dup(fd)));
    result("dup2", dup2(fd, 60));
    result("dup3", dup3(fd, 61, O_CLOEXEC));
    result("close_range", close_range(60, 60, 0));
    closefrom(61);
    result("close", close(fd));
    result("fchdir", chdir(root));
    result("dl_iterate_phdr", dl_iterate_phdr(count_object, &objects));
}

/* In a vfork child: start /bin/true, or nothing at all, in the way of that number. */
static int start(int way)
{
    char *const argv[] = {"true", NULL};
    int fd;
    switch (way) {
    case 0:
        return execl("/bin/true", "true", NULL);
    case 1:
        return execlp("true", "true", NULL);
    case 2:
        return execle("/bin/true", "true", NULL, environ);
    case 3:
        return execv("/bin/true", argv);
    case 4:
        return execve("/bin/true", argv, NULL);
    case 5:
        return execvp("true", argv);
    case 6:
        return execvpe("true", argv, environ);
    case 7:
        return execveat(AT_FDCWD, "/bin/true", argv, environ, 0);
    case 8:
        fd = open("/bin/true", O_PATH | O_CLOEXEC);
        return fexecve(fd, argv, environ);
    default:
        return execv("f1", argv);
    }
}

static int cloned(void *unused)
{
    (void)unused;
    return access("f1", R_OK) ? 1 : 3;
}

static int start_in_child(int way)
{
    int status;
    pid_t pid = vfork();
    if (pid == 0) {
        start(way);
        _exit(errno);
    }
    waitpid(pid, &status, 0);
    return status;
}

static void calls_that_start(void)
{
    int status;
    for (int way = 0; way < 10; way++)
        printf(" start %x", start_in_child(way));
    static char stack[65536] __attribute__((aligned(16)));
    pid_t pid = clone(cloned, stack + sizeof stack, SIGCHLD, NULL);
    waitpid(pid, &status, 0);
    printf(" clone %d", WEXITSTATUS(status));
}

void calls_on_sockets(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "e/socket"}, from;
    struct sockaddr *to = (struct sockaddr *)&name, *peer = (struct sockaddr *)&from;
    char text[] = "text";
    struct iovec part = {text, sizeof text};
    struct msghdr message = {.msg_name = &name, .msg_namelen = sizeof name, .msg_iov = &part, .msg_iovlen = 1};
    struct mmsghdr messages = {.msg_hdr = message};
    socklen_t n = sizeof from;
    int server = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0), client = socket(AF_UNIX, SOCK_DGRAM, 0);
    result("bind", bind(server, to, sizeof name));
    result("getsockname", getsockname(server, peer, &n));
    result("sendto", sendto(client, text, sizeof text, 0, to, sizeof name));
    result("sendmsg", sendmsg(client, &message, 0));
    result("sendmmsg", sendmmsg(client, &messages, 1, 0));
    n = sizeof from;
    result("recvfrom", recvfrom(server, text, sizeof text, 0, peer, &n));
    message.msg_name = messages.msg_hdr.msg_name = &from;
    result("recvmsg", recvmsg(server, &message, 0));
    result("recvmmsg", recvmmsg(server, &messages, 1, 0, NULL));
    result("connect", connect(client, to, sizeof name));
    n = sizeof from;
    result("getpeername", getpeername(client, peer, &n));
    close(server);
    close(client);
    name.sun_path[0] = 'd';
    server = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    result("bind", bind(server, to, sizeof name) | listen(server, 2));
    for (int i = 0; i < 2; i++)
        result("connect", connect(socket(AF_UNIX, SOCK_STREAM, 0), to, sizeof name));
    n = sizeof from;
    result("accept", accept(server, peer, &n));
    n = sizeof from;
    result("accept4", accept4(server, peer, &n, SOCK_CLOEXEC));
}

void many_calls(void)
{
    calls_by_name();
    calls_by_descriptor();
    calls_that_start();
    calls_on_sockets();
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
