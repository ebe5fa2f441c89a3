/* SPDX-License-Identifier: MIT
 *
 *   stress DIRECTORY SECONDS
 *
 * Eight threads that make, open, rename, list and remove, with a signal handler that does the same in between, forks
 * and vforks.  Each thread knows what its own names must show; names that all of them share have contents that tell
 * what they are. Status 0, or a line for the first wrong answer; 3 when a thread stands still.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif

enum { THREADS = 8, NAMES = 12, SHARED = 16, STILL = 30 };

struct worker {
    pthread_t thread;
    int number;
    unsigned seed;
    bool there[NAMES];       /* which of its own names are */
    unsigned content[NAMES]; /* and what is in them */
    unsigned long rounds, handled;
    unsigned handler_round;
};

static struct worker workers[THREADS];
static __thread struct worker *self;
static volatile bool stop;
static int root; /* a descriptor, so that the directory may be named from it too */
static const char *directory;

/* ---- answers --------------------------------------------------------------------------------------------------- */

/* Signal-safe, as a handler may have found it. */
static void wrong(const char *what, const char *name, long have, long want)
{
    char line[512];
    int n = snprintf(line, sizeof line, "thread %d: %s %s: %ld, not %ld (%s)\n", self ? self->number : -1, what, name,
                     have, want, strerrorname_np(errno));
    if (write(STDOUT_FILENO, line, (size_t)n) < 0)
        _exit(4);
    _exit(1);
}

static void must(const char *what, const char *name, long have, long want)
{
    if (have != want)
        wrong(what, name, have, want);
}

/* Either it worked or somebody else was faster. */
static void may_fail(const char *what, const char *name, long have, int error, int other)
{
    if (have < 0 && errno != error && errno != other)
        wrong(what, name, -errno, -error);
}

/* ---- own names --------------------------------------------------------------------------------------------------- */

static void own_name(char *name, const char *prefix, unsigned i)
{
    sprintf(name, "own%d/%s%u", self->number, prefix, i);
}

static void put(const char *name, unsigned content)
{
    int fd = openat(root, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        wrong("open", name, fd, 0);
    must("write", name, write(fd, &content, sizeof content), sizeof content);
    close(fd);
}

static void check(const char *name, unsigned content)
{
    unsigned have = 0;
    int fd = openat(root, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        wrong("open", name, fd, 0);
    must("read", name, read(fd, &have, sizeof have), sizeof have);
    must("content", name, have, content);
    close(fd);
}

static void make_own(unsigned i)
{
    char name[64];
    own_name(name, "n", i);
    self->content[i] = (unsigned)rand_r(&self->seed);
    put(name, self->content[i]);
    self->there[i] = true;
    check(name, self->content[i]);
}

static void remove_own(unsigned i)
{
    char name[64];
    own_name(name, "n", i);
    must("unlink", name, unlinkat(root, name, 0), self->there[i] ? 0 : -1);
    self->there[i] = false;
    must("access", name, faccessat(root, name, F_OK, 0), -1);
}

static void rename_own(unsigned i, unsigned k)
{
    char from[64], to[64];
    own_name(from, "n", i);
    own_name(to, "n", k);
    must("rename", from, renameat(root, from, root, to), self->there[i] ? 0 : -1);
    if (!self->there[i] || i == k)
        return;
    self->there[i] = false;
    self->there[k] = true;
    self->content[k] = self->content[i];
    check(to, self->content[k]);
}

/* What the handler has comes and goes: names of its own. */
static void list_own(void)
{
    char path[4200];
    unsigned seen[NAMES] = {0};
    snprintf(path, sizeof path, "%s/own%d", directory, self->number);
    DIR *dir = opendir(path);
    if (!dir)
        wrong("opendir", path, -1, 0);
    for (struct dirent *d; (d = readdir(dir));)
        if (d->d_name[0] == 'n')
            seen[atoi(d->d_name + 1) % NAMES]++;
    closedir(dir);
    for (unsigned i = 0; i < NAMES; i++)
        must("listed", path, seen[i], self->there[i]);
}

static void check_own(void)
{
    char name[64];
    for (unsigned i = 0; i < NAMES; i++) {
        own_name(name, "n", i);
        if (self->there[i])
            check(name, self->content[i]);
        else
            must("access", name, faccessat(root, name, F_OK, 0), -1);
    }
}

/* A directory of the thread's own that moves with what is in it. */
static void move_directory(void)
{
    char a[64], b[64], in[80];
    own_name(a, "dir", 0);
    own_name(b, "dir", 1);
    must("mkdir", a, mkdirat(root, a, 0700), 0);
    sprintf(in, "%s/f", a);
    put(in, 7);
    must("rename", a, renameat(root, a, root, b), 0);
    sprintf(in, "%s/f", b);
    check(in, 7);
    must("rmdir", b, unlinkat(root, b, AT_REMOVEDIR), -1);
    must("unlink", in, unlinkat(root, in, 0), 0);
    must("rmdir", b, unlinkat(root, b, AT_REMOVEDIR), 0);
}

/* ---- shared names -------------------------------------------------------------------------------------------------
 */

/* A lower file "shared K ..." that others append to, rename and exchange: whole, and no mixture, whatever name it has.
 */
static void read_shared(unsigned i)
{
    char name[64], text[16] = "";
    sprintf(name, "shared/s%u", i);
    int fd = openat(root, name, (rand_r(&self->seed) % 4 ? O_RDONLY : O_RDWR | O_APPEND) | O_CLOEXEC);
    may_fail("open", name, fd, ENOENT, ENOENT);
    if (fd < 0)
        return;
    must("read", name, pread(fd, text, 7, 0), 7);
    must("content", name, memcmp(text, "shared ", 7), 0);
    close(fd);
}

static void append_shared(unsigned i)
{
    char name[64];
    sprintf(name, "shared/s%u", i);
    int fd = openat(root, name, O_WRONLY | O_APPEND | O_CLOEXEC);
    may_fail("open", name, fd, ENOENT, ENOENT);
    if (fd >= 0)
        must("append", name, write(fd, "more\n", 5), 5);
    close(fd);
}

static void move_shared(unsigned i, unsigned k)
{
    char from[64], to[64];
    sprintf(from, "shared/s%u", i);
    sprintf(to, "shared/s%u", k);
    int flags = rand_r(&self->seed) % 2 ? RENAME_EXCHANGE : RENAME_NOREPLACE;
    may_fail("renameat2", from, renameat2(root, from, root, to, (unsigned)flags), ENOENT, EEXIST);
}

static void list_shared(void)
{
    char path[4200];
    unsigned count = 0;
    snprintf(path, sizeof path, "%s/shared", directory);
    DIR *dir = opendir(path);
    while (dir && readdir(dir))
        count++;
    must("listed", path, count > 2 && count <= 2 + SHARED + 2 * THREADS, true);
    closedir(dir);
}

/* One of all threads makes it. */
static void race(void)
{
    int fd = openat(root, "shared/race", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    may_fail("create", "shared/race", fd, EEXIST, EEXIST);
    if (fd < 0)
        return;
    close(fd);
    must("unlink", "shared/race", unlinkat(root, "shared/race", 0), 0);
}

/* ---- processes ------------------------------------------------------------------------------------------------------
 */

static void wait_for(pid_t pid, const char *what)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            wrong(what, "waitpid", -1, 0);
    must(what, "status", status, 0);
}

static void in_child(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        char name[64];
        own_name(name, "child", 0);
        put(name, 1);
        check(name, 1);
        must("unlink", name, unlinkat(root, name, 0), 0);
        read_shared(0);
        _exit(0);
    }
    wait_for(pid, "fork");
}

static void start_program(void)
{
    pid_t pid = vfork();
    if (pid == 0) {
        execl("/bin/true", "true", NULL);
        _exit(97);
    }
    wait_for(pid, "vfork");
}

/* ---- the handler
 * ------------------------------------------------------------------------------------------------------ */

static void handle(int unused)
{
    (void)unused;
    char name[64], other[64];
    struct stat st;
    int saved = errno;
    if (!self || stop)
        return;
    unsigned i = self->handler_round++ % 4;
    own_name(name, "handler", i);
    own_name(other, "handled", i);
    put(name, i);
    must("rename", name, renameat(root, name, root, other), 0);
    check(other, i);
    must("stat", other, fstatat(root, other, &st, 0), 0);
    must("size", other, st.st_size, sizeof i);
    must("unlink", other, unlinkat(root, other, 0), 0);
    self->handled++;
    errno = saved;
}

/* ---- the threads
 * ------------------------------------------------------------------------------------------------------ */

static void step(void)
{
    unsigned what = (unsigned)rand_r(&self->seed) % 100, i = (unsigned)rand_r(&self->seed),
             k = (unsigned)rand_r(&self->seed);
    if (what < 20)
        make_own(i % NAMES);
    else if (what < 35)
        remove_own(i % NAMES);
    else if (what < 50)
        rename_own(i % NAMES, k % NAMES);
    else if (what < 58)
        list_own();
    else if (what < 62)
        check_own();
    else if (what < 66)
        move_directory();
    else if (what < 76)
        read_shared(i % SHARED);
    else if (what < 82)
        append_shared(i % SHARED);
    else if (what < 90)
        move_shared(i % SHARED, k % SHARED);
    else if (what < 94)
        list_shared();
    else if (what < 98)
        race();
    else if (what < 99)
        in_child();
    else
        start_program();
}

static void *work(void *argument)
{
    self = argument;
    while (!stop) {
        step();
        __atomic_add_fetch(&self->rounds, 1, __ATOMIC_RELAXED);
    }
    check_own();
    list_own();
    return NULL;
}

static void begin(int number)
{
    char name[64];
    struct worker *w = &workers[number];
    w->number = number;
    w->seed = (unsigned)number * 7919 + (unsigned)getpid();
    sprintf(name, "own%d", number);
    must("mkdir", name, mkdirat(root, name, 0700), 0);
    pthread_create(&w->thread, NULL, work, w);
}

/* Signals for everybody, until the time is over; a thread that does nothing for long stands still. */
static void disturb(double seconds)
{
    unsigned long before[THREADS] = {0};
    struct timespec start, now, looked;
    clock_gettime(CLOCK_MONOTONIC, &start);
    looked = start;
    for (unsigned i = 0;; i++) {
        usleep(300);
        pthread_kill(workers[i % THREADS].thread, SIGUSR1);
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9 > seconds)
            return;
        if (now.tv_sec - looked.tv_sec < STILL)
            continue;
        looked = now;
        for (int k = 0; k < THREADS; k++) {
            unsigned long rounds = __atomic_load_n(&workers[k].rounds, __ATOMIC_RELAXED);
            if (rounds == before[k]) {
                printf("thread %d stands still\n", k);
                fflush(stdout);
                _exit(3);
            }
            before[k] = rounds;
        }
    }
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
    if (argc != 3)
        return 2;
    directory = argv[1];
    root = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return 2;
    sigaction(SIGUSR1, &action, NULL);
    for (int i = 0; i < THREADS; i++)
        begin(i);
    disturb(atof(argv[2]));
    stop = true;
    alarm(2 * STILL);
    unsigned long rounds = 0, handled = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        rounds += workers[i].rounds;
        handled += workers[i].handled;
    }
    printf("%lu %lu\n", rounds, handled);
    return 0;
}
