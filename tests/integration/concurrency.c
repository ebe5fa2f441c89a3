/* SPDX-License-Identifier: MIT
 *
 *   concurrency DIRECTORY work SECONDS SEED   sixteen processes at work on the same names
 *   concurrency DIRECTORY kill SECONDS SEED   the same, and one is killed every few milliseconds
 *   concurrency DIRECTORY tree                what is in the directory, one line an object
 *   concurrency DIRECTORY look                a short look: status 0 when all is as it must be
 *
 * What the names must show is known from their content, which has checksums, and from a ledger in shared memory: what
 * has been written is there, once; what was removed or replaced is not seen again; a name that is never missing is
 * there; one process wins.  After `work` and `kill` the tree is printed as their parent sees it, who was there all the
 * time.  Status 0, or a line for the first wrong answer; 3 when a process stands still.
 */
#include "concurrency.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STILL = 30, PACE_US = 3000 };

struct ledger *ledger;
int root;
const char *directory;
int worker = -1;

static pid_t pids[WORKERS];

/* ---- answers ------------------------------------------------------------------------------------------------ */

void wrong(const char *what, const char *name, long have, long want)
{
    char line[512];
    int n = snprintf(line, sizeof line, "process %d: %s: %s: %ld, not %ld (%s; %s)\n", worker, what, name, have, want,
                     strerrorname_np(errno), worker < 0 ? "at the end" : ledger->doing[worker]);
    if (write(STDOUT_FILENO, line, (size_t)n) < 0)
        _exit(4);
    _exit(1);
}

void must(const char *what, const char *name, long have, long want)
{
    if (have != want)
        wrong(what, name, have, want);
}

bool may_fail(const char *what, const char *name, long result, ...)
{
    bool known = false;
    if (result >= 0)
        return true;
    va_list errors;
    va_start(errors, result);
    for (int error; !known && (error = va_arg(errors, int)) != 0;)
        known = errno == error;
    va_end(errors);
    if (!known)
        wrong(what, name, -errno, 0);
    return false;
}

/* ---- the processes ------------------------------------------------------------------------------------------ */

static void begin(int number, unsigned seed)
{
    fflush(stdout);
    pids[number] = fork();
    must("fork", "worker", pids[number] >= 0, true);
    if (pids[number])
        return;
    worker = number;
    while (!ledger->stop) {
        step(&seed);
        ledger->rounds[worker]++;
    }
    _exit(0);
}

static void end_all(void)
{
    for (int i = 0; i < WORKERS; i++)
        if (pids[i] > 0)
            kill(pids[i], SIGKILL);
}

/* Whoever ends before its time has said why. */
static void look_after(int flags)
{
    int status;
    pid_t pid = waitpid(-1, &status, flags);
    for (int i = 0; pid > 0 && i < WORKERS; i++)
        if (pids[i] == pid)
            pids[i] = 0;
    if (pid <= 0 || status == 0)
        return;
    if (WIFSIGNALED(status))
        printf("a process died of signal %d\n", WTERMSIG(status));
    end_all();
    exit(1);
}

static void look_for_standstill(time_t now)
{
    static time_t looked;
    static unsigned long before[WORKERS];
    if (!looked)
        looked = now;
    if (now - looked < STILL)
        return;
    looked = now;
    for (int i = 0; i < WORKERS; i++) {
        if (pids[i] && ledger->rounds[i] == before[i]) {
            printf("process %d (%d) stands still: %s\n", i, (int)pids[i], ledger->doing[i]);
            end_all();
            exit(3);
        }
        before[i] = ledger->rounds[i];
    }
}

static void kill_one(unsigned *seed)
{
    int status, i = rand_r(seed) / 7 % WORKERS;
    kill(pids[i], SIGKILL);
    must("waitpid", "killed", waitpid(pids[i], &status, 0), pids[i]);
    if (status != SIGKILL) {
        end_all();
        exit(1); /* it has said why */
    }
    begin(i, (unsigned)rand_r(seed));
}

/* How many were killed. */
static unsigned long attend(double seconds, bool kills, unsigned *seed)
{
    unsigned long killed = 0;
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        usleep(PACE_US);
        look_after(WNOHANG);
        if (kills) {
            kill_one(seed);
            killed++;
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
        look_for_standstill(now.tv_sec);
    } while ((double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9 < seconds);
    ledger->stop = true;
    for (int i = 0; i < WORKERS;) {
        look_after(WNOHANG);
        clock_gettime(CLOCK_MONOTONIC, &now);
        look_for_standstill(now.tv_sec);
        if (pids[i])
            usleep(PACE_US);
        else
            i++;
    }
    return killed;
}

/* ---- their parent, who is there all the time ---------------------------------------------------------------- */

static void read_id(int dir, char *id)
{
    int fd = openat(dir, "id", O_RDONLY | O_CLOEXEC);
    may_fail("open", "id", fd, 0);
    ssize_t n = read(fd, id, 7);
    id[n < 0 ? 0 : n] = '\0';
    close(fd);
}

/* A directory that was opened at the beginning is what it was, and is seen at the name that it has now. */
static void follow(int dir, const char *was)
{
    char id[8], name[32];
    struct stat here, there;
    read_id(dir, id);
    must(id, "id of a directory that moved", strcmp(id, was), 0);
    must("fstat", id, fstat(dir, &here), 0);
    for (int i = 0; i < PLACES; i++) {
        snprintf(name, sizeof name, "move/p%d", i);
        if (fstatat(root, name, &there, 0) == 0 && there.st_ino == here.st_ino && there.st_dev == here.st_dev)
            return;
    }
    wrong("no name has the directory", was, 0, 1);
}

static int run(double seconds, unsigned seed, bool kills)
{
    char at_descriptor[8], at_cwd[8];
    unsigned long rounds = 0;
    int dir = openat(root, "move/p0", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must("chdir", "move/p1", chdir(directory) == 0 && chdir("move/p1") == 0, true);
    read_id(dir, at_descriptor);
    read_id(AT_FDCWD, at_cwd);
    for (int i = 0; i < WORKERS; i++)
        begin(i, seed + (unsigned)i);
    const unsigned long killed = attend(seconds, kills, &seed);
    follow(dir, at_descriptor);
    int cwd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    follow(cwd, at_cwd);
    close(cwd);
    close(dir);
    check_tree(kills);
    for (int i = 0; i < WORKERS; i++)
        rounds += ledger->rounds[i];
    printf("rounds %lu killed %lu\n", rounds, killed);
    print_tree();
    return 0;
}

/* What a program that has just begun can know. */
static int look(void)
{
    char name[32];
    for (unsigned i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "mono/%u", i);
        int fd = openat(root, name, O_RDONLY | O_CLOEXEC);
        may_fail("look at", name, fd, 0);
        unseal(fd, name);
        close(fd);
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[2] : "";
    if (argc < 3)
        return 2;
    directory = argv[1];
    root = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (root < 0 || ledger == MAP_FAILED)
        return 2;
    if (strcmp(what, "tree") == 0)
        print_tree();
    else if (strcmp(what, "look") == 0)
        return look();
    else if (argc == 5)
        return run(atof(argv[3]), (unsigned)atoi(argv[4]), strcmp(what, "kill") == 0);
    return 0;
}
