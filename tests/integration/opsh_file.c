/* SPDX-License-Identifier: MIT
 *
 * opsh's operations on descriptors, and the few that do a whole file at once.
 */
#include "opsh.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { BUFFER = 1 << 16 };

static mode_t mode_of(const char *word)
{
    return word ? (mode_t)number(word) : 0666;
}

static void do_open(char **a)
{
    keep(a[1], open(a[2], number(a[3]), mode_of(a[4])));
}
static void do_openat(char **a)
{
    keep(a[1], openat(fd_of(a[2]), a[3], number(a[4]), mode_of(a[5])));
}
/* openat2 SLOT DIR PATH FLAGS MODE RESOLVE */
static void do_openat2(char **a)
{
    struct open_how how = {
        .flags = (unsigned)number(a[4]), .mode = (unsigned)number(a[5]), .resolve = (unsigned)number(a[6])};
    keep(a[1], (int)syscall(SYS_openat2, fd_of(a[2]), a[3], &how, sizeof how));
}
static void do_creat(char **a)
{
    keep(a[1], creat(a[2], mode_of(a[3])));
}
static void do_close(char **a)
{
    int r = close(fd_of(a[1]));
    if (r == 0)
        slot[number(a[1]) % SLOTS] = -1;
    say(r);
}
static void do_dup(char **a)
{
    keep(a[1], dup(fd_of(a[2])));
}

static void do_read(char **a)
{
    static char buf[BUFFER];
    say_bytes(buf, read(fd_of(a[1]), buf, sizeof buf));
}
static void do_pread(char **a)
{
    static char buf[BUFFER];
    say_bytes(buf, pread(fd_of(a[1]), buf, (size_t)number(a[2]), number(a[3])));
}
static void do_write(char **a)
{
    say_number(write(fd_of(a[1]), a[2], strlen(a[2])));
}
static void do_pwrite(char **a)
{
    say_number(pwrite(fd_of(a[1]), a[2], strlen(a[2]), number(a[3])));
}
static void do_lseek(char **a)
{
    say_number(lseek(fd_of(a[1]), number(a[2]), number(a[3])));
}
static void do_ftruncate(char **a)
{
    say(ftruncate(fd_of(a[1]), number(a[2])));
}
static void do_fsync(char **a)
{
    say(fsync(fd_of(a[1])));
}

static void do_fdatasync(char **a)
{
    say(fdatasync(fd_of(a[1])));
}

static void do_syncfs(char **a)
{
    say(syncfs(fd_of(a[1])));
}
static void do_fstat(char **a)
{
    struct stat st;
    if (fstat(fd_of(a[1]), &st) != 0) {
        say_errno();
        return;
    }
    fputs("ok ", stdout);
    put_stat(&st);
    putchar('\n');
}
static void do_fident(char **a)
{
    struct stat st;
    if (fstat(fd_of(a[1]), &st) != 0)
        say_errno();
    else
        printf("ok %d%s\n", identity(st.st_dev, st.st_ino), st.st_nlink ? "" : " nameless");
}
static void do_fchmod(char **a)
{
    say(fchmod(fd_of(a[1]), (mode_t)number(a[2])));
}
static void do_fchown(char **a)
{
    say(fchown(fd_of(a[1]), (uid_t)number(a[2]), (gid_t)number(a[3])));
}
static void do_futimens(char **a)
{
    struct timespec t[2] = {time_of(a[2]), time_of(a[3])};
    say(futimens(fd_of(a[1]), t));
}
static void do_fsetxattr(char **a)
{
    say(fsetxattr(fd_of(a[1]), a[2], a[3], value_of(a[3]), 0));
}
static void do_fgetxattr(char **a)
{
    static char buf[BUFFER];
    say_bytes(buf, fgetxattr(fd_of(a[1]), a[2], buf, sizeof buf));
}
static void do_fremovexattr(char **a)
{
    say(fremovexattr(fd_of(a[1]), a[2]));
}
static void do_flistxattr(char **a)
{
    static char buf[BUFFER];
    say_names(buf, flistxattr(fd_of(a[1]), buf, sizeof buf));
}
static void do_flock(char **a)
{
    say(flock(fd_of(a[1]), strcmp(a[2], "ex") == 0 ? LOCK_EX | LOCK_NB : LOCK_SH | LOCK_NB));
}
static void do_fallocate(char **a)
{
    say(fallocate(fd_of(a[1]), a[4] ? number(a[4]) : 0, number(a[2]), number(a[3])));
}

static void do_copy_file_range(char **a)
{
    say_number(copy_file_range(fd_of(a[1]), NULL, fd_of(a[2]), NULL, (size_t)number(a[3]), 0));
}
static void do_sendfile(char **a)
{
    say_number(sendfile(fd_of(a[2]), fd_of(a[1]), NULL, (size_t)number(a[3])));
}

/* A mapping of a file that is shorter than was thought answers like a call that fails. */
static sigjmp_buf beyond_end;

static void on_bus_error(int signal)
{
    (void)signal;
    siglongjmp(beyond_end, 1);
}

static bool is_beyond_end(void)
{
    signal(SIGBUS, on_bus_error);
    return sigsetjmp(beyond_end, 1) != 0;
}

/* mmapput SLOT TEXT: write through a shared mapping of a file that has room for it. */
static void do_mmapput(char **a)
{
    struct stat st;
    size_t n = strlen(a[2]);
    errno = ENODATA;
    if (fstat(fd_of(a[1]), &st) != 0 || (S_ISREG(st.st_mode) && st.st_size < (off_t)n)) {
        say_errno();
        return;
    }
    char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd_of(a[1]), 0);
    if (p == MAP_FAILED) {
        say_errno();
        return;
    }
    if (is_beyond_end()) {
        puts("SIGBUS");
        return;
    }
    memcpy(p, a[2], n);
    say(munmap(p, n));
}

/* mmapsum SLOT N: the first bytes of a file, at most so many and at most its size, through a mapping. */
static void do_mmapsum(char **a)
{
    struct stat st;
    size_t n = (size_t)number(a[2]);
    if (fstat(fd_of(a[1]), &st) != 0) {
        say_errno();
        return;
    }
    void *p = mmap(NULL, n, PROT_READ, MAP_SHARED, fd_of(a[1]), 0);
    if (p == MAP_FAILED) {
        say_errno();
        return;
    }
    if (is_beyond_end()) {
        puts("SIGBUS");
        return;
    }
    say_hash(p, (ssize_t)(st.st_size < (off_t)n ? (size_t)st.st_size : n));
    munmap(p, n);
}

/* sum PATH, fsum SLOT OFFSET: a whole file (the rest of one) as its length and hash. */
static void do_sum(char **a)
{
    static char buf[16 * BUFFER];
    int fd = open(a[1], O_RDONLY | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof buf);
    int saved = errno;
    if (fd >= 0)
        close(fd);
    errno = saved;
    say_hash(buf, n);
}
static void do_fsum(char **a)
{
    static char buf[16 * BUFFER];
    say_hash(buf, pread(fd_of(a[1]), buf, sizeof buf, number(a[2])));
}

/* The whole file, by read(2) until its end. */
static void do_cat(char **a)
{
    static char buf[BUFFER];
    int fd = open(a[1], O_RDONLY);
    size_t n = 0;
    ssize_t r = fd;
    while (fd >= 0 && n < sizeof buf && (r = read(fd, buf + n, sizeof buf - n)) > 0)
        n += (size_t)r;
    int saved = errno;
    if (fd >= 0)
        close(fd);
    errno = saved;
    say_bytes(buf, r < 0 ? -1 : (ssize_t)n);
}

static void write_whole(const char *path, int flags, const char *text)
{
    int fd = open(path, flags | O_NONBLOCK, 0666);
    ssize_t r = fd < 0 ? -1 : write(fd, text, strlen(text));
    int saved = errno;
    if (fd >= 0)
        close(fd);
    errno = saved;
    say(r);
}
static void do_put(char **a)
{
    write_whole(a[1], O_WRONLY | O_CREAT | O_TRUNC, a[2]);
}
static void do_append(char **a)
{
    write_whole(a[1], O_WRONLY | O_APPEND, a[2]);
}

/* fill PATH BYTES: a file of so many bytes; what could be written is what the answer says. */
static void do_fill(char **a)
{
    static char buf[BUFFER];
    long left = number(a[2]);
    int fd = open(a[1], O_WRONLY | O_CREAT, 0666);
    ssize_t r = fd;
    memset(buf, 'x', sizeof buf);
    while (r >= 0 && left > 0) {
        r = write(fd, buf, left < BUFFER ? (size_t)left : BUFFER);
        left -= r > 0 ? r : 0;
    }
    int saved = errno;
    if (fd >= 0)
        close(fd);
    errno = saved;
    say(r);
}

static void do_fopen(char **a)
{
    char buf[256];
    FILE *f = fopen(a[1], a[2]);
    if (!f) {
        say_errno();
        return;
    }
    if (a[3])
        fputs(a[3], f);
    size_t n = a[3] ? 0 : fread(buf, 1, sizeof buf, f);
    fclose(f);
    say_bytes(buf, (ssize_t)n);
}

static int unix_socket(const char *path, int (*call)(int, const struct sockaddr *, socklen_t))
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (call(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}
static int call_bind(int fd, const struct sockaddr *address, socklen_t n)
{
    return bind(fd, address, n) || listen(fd, 1) ? -1 : 0;
}
static int call_connect(int fd, const struct sockaddr *address, socklen_t n)
{
    return connect(fd, address, n);
}
static void do_bind(char **a)
{
    keep(a[1], unix_socket(a[2], call_bind));
}
static void do_connect(char **a)
{
    keep(a[1], unix_socket(a[2], call_connect));
}

/* run PROGRAM [ARGUMENT ...]: its status; its output is lost. */
static void do_run(char **a)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(null, 1);
        dup2(null, 2);
        execvp(a[1], a + 1);
        _exit(errno == ENOENT ? 127 : 126);
    }
    int status = 0;
    say_number(waitpid(pid, &status, 0) < 0 ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* exec PROGRAM [ARGUMENT ...]: the errno of an execve in a child, or its status. */
static void do_exec(char **a)
{
    int channel[2], error = 0, status = 0;
    fflush(stdout);
    if (pipe2(channel, O_CLOEXEC) != 0) {
        say_errno();
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        execv(a[1], a + 1);
        _exit(write(channel[1], &errno, sizeof errno) > 0);
    }
    close(channel[1]);
    ssize_t n = read(channel[0], &error, sizeof error);
    close(channel[0]);
    waitpid(pid, &status, 0);
    errno = error;
    say_number(n > 0 ? -1 : WEXITSTATUS(status));
}

/* forked OPERATION ...: are later calls of another process the same?  Only for unlink and put. */
static void do_forked_put(char **a)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(a[1], O_WRONLY | O_CREAT | O_TRUNC, 0666);
        _exit(fd < 0 || write(fd, a[2], strlen(a[2])) < 0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    say_number(WEXITSTATUS(status));
}

const struct op file_ops[] = {
    {"open", 3, do_open},
    {"openat", 4, do_openat},
    {"openat2", 6, do_openat2},
    {"creat", 2, do_creat},
    {"close", 1, do_close},
    {"dup", 2, do_dup},
    {"read", 1, do_read},
    {"pread", 3, do_pread},
    {"write", 2, do_write},
    {"pwrite", 3, do_pwrite},
    {"lseek", 3, do_lseek},
    {"ftruncate", 2, do_ftruncate},
    {"fsync", 1, do_fsync},
    {"fdatasync", 1, do_fdatasync},
    {"syncfs", 1, do_syncfs},
    {"fstat", 1, do_fstat},
    {"fident", 1, do_fident},
    {"fchmod", 2, do_fchmod},
    {"fchown", 3, do_fchown},
    {"futimens", 3, do_futimens},
    {"fsetxattr", 3, do_fsetxattr},
    {"fgetxattr", 2, do_fgetxattr},
    {"fremovexattr", 2, do_fremovexattr},
    {"flistxattr", 1, do_flistxattr},
    {"flock", 2, do_flock},
    {"fallocate", 3, do_fallocate},
    {"copy_file_range", 3, do_copy_file_range},
    {"sendfile", 3, do_sendfile},
    {"mmapput", 2, do_mmapput},
    {"mmapsum", 2, do_mmapsum},
    {"sum", 1, do_sum},
    {"fsum", 2, do_fsum},
    {"cat", 1, do_cat},
    {"put", 2, do_put},
    {"append", 2, do_append},
    {"fill", 2, do_fill},
    {"fopen", 2, do_fopen},
    {"bind", 2, do_bind},
    {"connect", 2, do_connect},
    {"run", 1, do_run},
    {"exec", 1, do_exec},
    {"forked_put", 2, do_forked_put},
    {NULL, 0, NULL},
};
