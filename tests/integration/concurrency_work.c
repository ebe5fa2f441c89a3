/* SPDX-License-Identifier: MIT
 *
 * What each of the processes does, at random: see concurrency.c.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "concurrency.h"

enum { NAME = 64 };

static unsigned random_below(unsigned *seed, unsigned n)
{
    return (unsigned)rand_r(seed) / 7 % n;
}

static void numbered(char *name, const char *in, unsigned number)
{
    snprintf(name, NAME, "%s%u", in, number);
}

/* A name that no process has used before. */
static void temporary_name(char *name, const char *in)
{
    snprintf(name, NAME, "%s.t%d-%u", in, worker, ledger->temporary[worker]++);
}

/* A new file with sealed content; false where its directory has gone. */
static bool put_sealed(const char *name, unsigned number, unsigned *seed)
{
    char text[SEAL + PAYLOAD];
    size_t size = seal(text, number, seed);
    int fd = openat(root, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (!may_fail("create", name, fd, ENOENT, ENOTDIR, 0))
        return false;
    /* In two pieces, as it may be seen half by nobody but us. */
    must("write", name, write(fd, text, size / 2), (long)(size / 2));
    must("write", name, write(fd, text + size / 2, size - size / 2), (long)(size - size / 2));
    close(fd);
    return true;
}

static void whole_lock(int fd, const char *name, bool by_fcntl)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int r;
    do
        r = by_fcntl ? fcntl(fd, F_SETLKW, &whole) : flock(fd, LOCK_EX);
    while (r < 0 && errno == EINTR);
    must("lock", name, r, 0);
}

/* Lock a file that is there for nothing else. */
static int take_lock(const char *kind, unsigned i)
{
    char name[NAME];
    snprintf(name, sizeof name, "lock/%s%u", kind, i);
    int fd = openat(root, name, O_RDWR | O_CLOEXEC);
    may_fail("open", name, fd, 0);
    whole_lock(fd, name, false);
    return fd;
}

/* ---- files that are never replaced: nothing that was written is lost ---------------------------------------- */

/* How long a log that moves is known to be, by the letter and the number of its first line; NULL for others. */
static atomic_uint *known_size(int fd)
{
    char base[RECORD + 1] = "", kind;
    unsigned number;
    if (pread(fd, base, RECORD, 0) != RECORD || sscanf(base, "base %c%u ", &kind, &number) != 2 || number >= PLACES)
        return NULL;
    return kind == 'r' || kind == 'p' ? &ledger->size[kind == 'p'][number] : NULL;
}

static void note_size(int fd)
{
    struct stat st;
    atomic_uint *known = known_size(fd);
    must("fstat", "a log", fstat(fd, &st), 0);
    for (unsigned seen = known ? *known : UINT_MAX; seen < (unsigned)st.st_size;)
        if (atomic_compare_exchange_weak(known, &seen, (unsigned)st.st_size))
            break;
}

static void append(const char *name, int flags, bool at_end, unsigned *seed)
{
    char record[RECORD];
    int fd = openat(root, name, flags | O_CLOEXEC, 0644);
    if (!may_fail("open", name, fd, ENOENT, 0))
        return;
    if (at_end)
        whole_lock(fd, name, false);
    unsigned number = ledger->begun[worker];
    if (number < RECORDS_MAX) {
        make_record(record, worker, number);
        ledger->begun[worker] = number + 1;
        if (at_end)
            must("lseek", name, lseek(fd, 0, SEEK_END) % RECORD, 0);
        must("append", name, write(fd, record, RECORD), RECORD);
        ledger->appended[worker][number] = 1;
        note_size(fd);
    }
    if (random_below(seed, 50) == 0)
        must("fsync", name, fsync(fd), 0);
    close(fd);
}

static void append_to_log(unsigned *seed)
{
    char name[NAME];
    unsigned i = random_below(seed, LOGS);
    numbered(name, "log/", i);
    bool at_end = i == 1; /* a name of its own: who appends elsewhere takes no lock */
    append(name, at_end ? O_RDWR : O_WRONLY | O_APPEND | O_CREAT, at_end, seed);
}

static void append_to_roaming(unsigned *seed)
{
    char name[NAME];
    numbered(name, "roam/", random_below(seed, ROAM));
    append(name, O_RDWR | O_APPEND, false, seed);
}

static void append_in_moving(unsigned *seed)
{
    char name[NAME];
    snprintf(name, sizeof name, "move/p%u/log", random_below(seed, PLACES));
    append(name, O_RDWR | O_APPEND, false, seed);
}

/* Whatever name a log has by now, it is not seen as it was before. */
static void read_log_that_moves(unsigned *seed)
{
    char name[NAME];
    unsigned before[2][PLACES];
    struct stat st;
    for (unsigned i = 0; i < 2 * PLACES; i++)
        before[i / PLACES][i % PLACES] = ledger->size[i / PLACES][i % PLACES];
    if (random_below(seed, 2))
        numbered(name, "roam/", random_below(seed, ROAM));
    else
        snprintf(name, sizeof name, "move/p%u/log", random_below(seed, PLACES));
    int fd = openat(root, name, O_RDONLY | O_CLOEXEC);
    if (!may_fail("open", name, fd, ENOENT, 0))
        return;
    must("fstat", name, fstat(fd, &st), 0);
    const atomic_uint *known = known_size(fd);
    must("a log's first line", name, known != NULL, true);
    unsigned least = (&before[0][0])[known - &ledger->size[0][0]];
    must("as long as it was", name, st.st_size >= least, true);
    close(fd);
}

/* Two processes come to a lower file that nobody has changed, at the same time if they can. */
static void append_to_fresh(unsigned *seed)
{
    char name[NAME];
    unsigned ticket = ledger->fresh < 2 * FRESH ? ledger->fresh++ : 2 * FRESH;
    if (ticket >= 2 * FRESH)
        return;
    for (int i = 0; i < 10000 && !ledger->stop && ledger->fresh <= (ticket | 1); i++)
        sched_yield(); /* awake at once when the other one waits for its disk */
    numbered(name, "fresh/", ticket / 2);
    append(name, O_WRONLY | O_APPEND, false, seed);
}

static void increment(const char *name, bool by_fcntl)
{
    char text[COUNTER + 1] = "";
    unsigned long value;
    int fd = openat(root, name, O_RDWR | O_CLOEXEC);
    if (!may_fail("open", name, fd, ENOENT, 0))
        return;
    whole_lock(fd, name, by_fcntl);
    must("read", name, pread(fd, text, COUNTER, 0), COUNTER);
    must("counter", name, sscanf(text, "%lu", &value), 1);
    snprintf(text, sizeof text, "%015lu\n", value + 1);
    ledger->increments_begun++;
    must("write", name, pwrite(fd, text, COUNTER, 0), COUNTER);
    ledger->increments++;
    close(fd);
}

static void increment_counter(unsigned *seed)
{
    char name[NAME];
    unsigned i = random_below(seed, COUNTERS);
    numbered(name, "count/", i);
    increment(name, i == 1);
}

static void increment_in_moving(unsigned *seed)
{
    char name[NAME];
    snprintf(name, sizeof name, "move/p%u/count", random_below(seed, PLACES));
    increment(name, false);
}

/* To a free name, or with another one: nothing is replaced. */
static void move_about(const char *in, unsigned names, unsigned *seed)
{
    char from[NAME], to[NAME];
    unsigned flags = random_below(seed, 2) ? RENAME_NOREPLACE : RENAME_EXCHANGE;
    numbered(from, in, random_below(seed, names));
    numbered(to, in, random_below(seed, names));
    may_fail("move", from, renameat2(root, from, root, to, flags), ENOENT, EEXIST, 0);
}

static void move_roaming(unsigned *seed)
{
    move_about("roam/", ROAM, seed);
}

static void move_directory(unsigned *seed)
{
    move_about("move/p", PLACES, seed);
}

/* ---- names that are never missing, and names whose old content has gone ------------------------------------- */

static int open_mono(unsigned i, char *name)
{
    numbered(name, "mono/", i);
    int fd = openat(root, name, O_RDONLY | O_CLOEXEC);
    may_fail("a name that is always there", name, fd, 0);
    return fd;
}

static void replace_mono(unsigned *seed)
{
    char name[NAME], aside[NAME];
    unsigned i = random_below(seed, FILES);
    int lock = take_lock("mono", i);
    int fd = open_mono(i, name);
    unsigned number = unseal(fd, name);
    close(fd);
    must("at least what was written", name, number >= ledger->mono[i], true);
    temporary_name(aside, random_below(seed, 2) ? "tmp/" : "mono/");
    put_sealed(aside, number + 1, seed);
    bool exchanges = random_below(seed, 4) == 0;
    must("replace", name, renameat2(root, aside, root, name, exchanges ? RENAME_EXCHANGE : 0), 0);
    ledger->mono[i] = number + 1;
    if (exchanges)
        must("unlink", aside, unlinkat(root, aside, 0), 0);
    close(lock);
}

static void read_mono(unsigned *seed)
{
    char name[NAME];
    unsigned i = random_below(seed, FILES), known = ledger->mono[i];
    int fd = open_mono(i, name);
    must("no older content", name, unseal(fd, name) >= known, true);
    close(fd);
}

static void change_gone(unsigned *seed)
{
    char name[NAME], aside[NAME];
    unsigned i = random_below(seed, FILES);
    int lock = take_lock("gone", i);
    numbered(name, "gone/", i);
    unsigned next = ledger->gone[i] + 1;
    if (faccessat(root, name, F_OK, 0) == 0) {
        must("unlink", name, unlinkat(root, name, 0), 0);
        must("what was removed", name, faccessat(root, name, F_OK, 0), -1);
    } else {
        temporary_name(aside, random_below(seed, 2) ? "tmp/" : "gone/");
        put_sealed(aside, next, seed);
        must("rename", name, renameat2(root, aside, root, name, random_below(seed, 2) ? RENAME_NOREPLACE : 0), 0);
    }
    ledger->gone[i] = next;
    close(lock);
}

static void read_gone(unsigned *seed)
{
    char name[NAME];
    unsigned i = random_below(seed, FILES), known = ledger->gone[i];
    numbered(name, "gone/", i);
    int fd = openat(root, name, O_RDONLY | O_CLOEXEC);
    if (!may_fail("open", name, fd, ENOENT, 0))
        return;
    must("no removed content", name, unseal(fd, name) >= known, true);
    close(fd);
}

static DIR *open_directory(const char *name)
{
    int fd = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return may_fail("open", name, fd, ENOENT, ENOTDIR, 0) ? fdopendir(fd) : NULL;
}

static bool is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* The directory and what is in it; others may put in more meanwhile. */
static void remove_directory(const char *name)
{
    char path[2 * NAME + 256];
    DIR *dir = open_directory(name);
    if (!dir)
        return;
    for (struct dirent *d; (d = readdir(dir));) {
        snprintf(path, sizeof path, "%s/%s", name, d->d_name);
        if (!is_dot(d->d_name))
            may_fail("unlink", path, unlinkat(root, path, 0), ENOENT, ENOTDIR, 0);
    }
    closedir(dir);
    may_fail("rmdir", name, unlinkat(root, name, AT_REMOVEDIR), ENOENT, ENOTEMPTY, 0);
}

static void make_directory(const char *name, unsigned number, unsigned *seed)
{
    char aside[NAME], file[2 * NAME];
    const char *made = name;
    if (random_below(seed, 2)) {
        temporary_name(aside, "tmp/");
        made = aside;
    }
    must("mkdir", made, mkdirat(root, made, 0755), 0);
    snprintf(file, sizeof file, "%s/g%u", made, number);
    put_sealed(file, number, seed);
    if (made != name)
        must("rename", name, renameat(root, made, root, name), 0);
}

static void change_gone_directory(unsigned *seed)
{
    char name[NAME];
    unsigned i = random_below(seed, DIRS);
    int lock = take_lock("dir", i);
    numbered(name, "gone/d", i);
    unsigned next = ledger->gone_dir[i] + 1;
    if (faccessat(root, name, F_OK, 0) == 0) {
        remove_directory(name);
        must("what was removed", name, faccessat(root, name, F_OK, 0), -1);
    } else {
        make_directory(name, next, seed);
    }
    ledger->gone_dir[i] = next;
    close(lock);
}

static void list_gone_directory(unsigned *seed)
{
    char name[NAME], old[NAME];
    unsigned number, i = random_below(seed, DIRS), known = ledger->gone_dir[i];
    numbered(name, "gone/d", i);
    snprintf(old, sizeof old, "gone/d%u/old", i);
    if (known)
        must("what a lower directory had", old, faccessat(root, old, F_OK, 0), -1);
    DIR *dir = open_directory(name);
    for (struct dirent *d; dir && (d = readdir(dir));)
        if (!is_dot(d->d_name) && known)
            must(d->d_name, name, sscanf(d->d_name, "g%u", &number) == 1 && number >= known, true);
    if (dir)
        closedir(dir);
}

/* ---- a pool of names to which anything may happen: what is there is whole ----------------------------------- */

static void pool_name(char *name, unsigned *seed)
{
    unsigned dir = random_below(seed, POOL_DIRS);
    snprintf(name, NAME, "pool/d%u/n%u", dir, random_below(seed, POOL_NAMES));
}

static void put_in_pool(unsigned *seed)
{
    char name[NAME], dir[NAME], aside[NAME];
    pool_name(name, seed);
    snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(name, '/') + 1 - name), name);
    temporary_name(aside, random_below(seed, 2) ? "tmp/" : dir);
    if (!put_sealed(aside, 1, seed))
        return;
    int r = renameat(root, aside, root, name);
    /* Its directory has gone elsewhere, or whoever removed that has removed the file too. */
    if (!may_fail("rename", aside, r, ENOENT, ENOTDIR, 0))
        may_fail("unlink", aside, unlinkat(root, aside, 0), ENOENT, ENOTDIR, 0);
}

static void read_in_pool(unsigned *seed)
{
    char name[NAME];
    pool_name(name, seed);
    int fd = openat(root, name, (random_below(seed, 8) ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (!may_fail("open", name, fd, ENOENT, ENOTDIR, 0))
        return;
    unseal(fd, name);
    close(fd);
}

static void change_in_pool(unsigned *seed)
{
    char name[NAME], other[NAME];
    pool_name(name, seed);
    pool_name(other, seed);
    switch (random_below(seed, 6)) {
    case 0:
        may_fail("unlink", name, unlinkat(root, name, 0), ENOENT, ENOTDIR, 0);
        break;
    case 1:
        may_fail("chmod", name, fchmodat(root, name, 0600 | random_below(seed, 64), 0), ENOENT, ENOTDIR, 0);
        break;
    case 2:
        may_fail("link", name, linkat(root, name, root, other, 0), ENOENT, ENOTDIR, EEXIST, 0);
        break;
    case 3:
        may_fail("exchange", name, renameat2(root, name, root, other, RENAME_EXCHANGE), ENOENT, ENOTDIR, 0);
        break;
    case 4:
        may_fail("rename", name, renameat2(root, name, root, other, RENAME_NOREPLACE), ENOENT, ENOTDIR, EEXIST, 0);
        break;
    default:
        may_fail("rename", name, renameat(root, name, root, other), ENOENT, ENOTDIR, 0);
    }
}

static void change_pool_directory(unsigned *seed)
{
    char name[NAME], other[NAME];
    numbered(name, "pool/d", random_below(seed, POOL_DIRS));
    numbered(other, "pool/d", random_below(seed, POOL_DIRS));
    switch (random_below(seed, 5)) {
    case 0:
        remove_directory(name);
        break;
    case 1:
        may_fail("mkdir", name, mkdirat(root, name, 0755), EEXIST, 0);
        break;
    case 2:
        may_fail("exchange", name, renameat2(root, name, root, other, RENAME_EXCHANGE), ENOENT, 0);
        break;
    default:
        may_fail("rename", name, renameat(root, name, root, other), ENOENT, ENOTEMPTY, EEXIST, 0);
    }
}

/* ---- listings ----------------------------------------------------------------------------------------------- */

/* A directory that moves about has what it has, wherever it is met. */
static void list_moving(unsigned *seed)
{
    char name[NAME];
    unsigned found = 0, other = 0;
    snprintf(name, sizeof name, "move/p%u", random_below(seed, PLACES));
    DIR *dir = open_directory(name);
    if (!dir)
        return;
    for (struct dirent *d; (d = readdir(dir));)
        if (strcmp(d->d_name, "id") == 0 || strcmp(d->d_name, "log") == 0 || strcmp(d->d_name, "count") == 0)
            found++;
        else
            other += !is_dot(d->d_name);
    closedir(dir);
    must("listed", name, found, 3);
    must("other names listed", name, other, 1);
}

/* Each name once; those that are always there are listed. */
static void list_mono(unsigned *seed)
{
    (void)seed;
    unsigned seen[FILES] = {0};
    DIR *dir = open_directory("mono");
    for (struct dirent *d; dir && (d = readdir(dir));) {
        must("a marker is listed", d->d_name, strncmp(d->d_name, ".wh.", 4) == 0, false);
        if (d->d_name[0] >= '0' && d->d_name[0] < '0' + FILES)
            seen[d->d_name[0] - '0']++;
    }
    closedir(dir);
    for (unsigned i = 0; i < FILES; i++)
        must("listed", "mono", seen[i], 1);
}

static void list_pool(unsigned *seed)
{
    char name[NAME];
    unsigned seen[POOL_NAMES] = {0};
    numbered(name, "pool/d", random_below(seed, POOL_DIRS));
    DIR *dir = open_directory(name);
    for (struct dirent *d; dir && (d = readdir(dir));) {
        must("a marker is listed", d->d_name, strncmp(d->d_name, ".wh.", 4) == 0, false);
        if (d->d_name[0] == 'n')
            must("listed once", name, seen[d->d_name[1] - '0']++, 0);
    }
    if (dir)
        closedir(dir);
}

/* ---- one winner --------------------------------------------------------------------------------------------- */

/* Make a name in one of the ways that fail where it is there: 0, or -1 and EEXIST. */
static int make_exclusively(const char *name, unsigned way, unsigned *seed)
{
    char aside[NAME];
    if (way == 0) {
        int fd = openat(root, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        return fd < 0 ? -1 : close(fd);
    }
    if (way == 1)
        return mkdirat(root, name, 0700);
    if (way == 2)
        return symlinkat("nowhere", root, name);
    temporary_name(aside, "tmp/");
    put_sealed(aside, 0, seed);
    int r = way == 3 ? linkat(root, aside, root, name, 0) : renameat2(root, aside, root, name, RENAME_NOREPLACE);
    int error = errno;
    if (way == 3 || r < 0)
        must("unlink", aside, unlinkat(root, aside, 0), 0);
    errno = error;
    return r;
}

static void remove_anything(const char *name)
{
    if (unlinkat(root, name, 0) < 0 && errno == EISDIR)
        may_fail("rmdir", name, unlinkat(root, name, AT_REMOVEDIR), ENOENT, 0);
}

/* Everybody tries for the same name; then it is the next one's turn, and an old one goes. */
static void race(unsigned *seed)
{
    char name[NAME];
    unsigned turn = ledger->race;
    if (turn >= RACES_MAX)
        return;
    numbered(name, "race/", turn);
    bool won = may_fail("make", name, make_exclusively(name, random_below(seed, 5), seed), EEXIST, 0);
    if (won && ledger->removed[turn]) {
        remove_anything(name); /* we were too late */
        return;
    }
    if (won)
        must("winners", name, ++ledger->won[turn], 1);
    if (!atomic_compare_exchange_strong(&ledger->race, &turn, turn + 1) || turn < RACE_KEPT)
        return;
    ledger->removed[turn - RACE_KEPT] = 1;
    numbered(name, "race/", turn - RACE_KEPT);
    remove_anything(name);
}

/* ---- a program that begins in the middle of it -------------------------------------------------------------- */

static void start_program(unsigned *seed)
{
    (void)seed;
    int status;
    pid_t pid = vfork();
    if (pid == 0) {
        execl("/proc/self/exe", "concurrency", directory, "look", NULL);
        _exit(97);
    }
    while (waitpid(pid, &status, 0) < 0)
        must("waitpid", "a program", errno, EINTR);
    must("status", "a program", status, 0);
}

/* ---- a step ------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    unsigned often; /* of a thousand or so */
    void (*act)(unsigned *seed);
} work[] = {
    {"append_to_log", 100, append_to_log},
    {"append_to_roaming", 60, append_to_roaming},
    {"append_in_moving", 60, append_in_moving},
    {"append_to_fresh", 80, append_to_fresh},
    {"read_log_that_moves", 80, read_log_that_moves},
    {"increment_counter", 60, increment_counter},
    {"increment_in_moving", 40, increment_in_moving},
    {"move_roaming", 40, move_roaming},
    {"move_directory", 20, move_directory},
    {"replace_mono", 50, replace_mono},
    {"read_mono", 80, read_mono},
    {"change_gone", 60, change_gone},
    {"read_gone", 80, read_gone},
    {"change_gone_directory", 20, change_gone_directory},
    {"list_gone_directory", 30, list_gone_directory},
    {"put_in_pool", 60, put_in_pool},
    {"read_in_pool", 60, read_in_pool},
    {"change_in_pool", 80, change_in_pool},
    {"change_pool_directory", 20, change_pool_directory},
    {"list_moving", 20, list_moving},
    {"list_mono", 20, list_mono},
    {"list_pool", 20, list_pool},
    {"race", 60, race},
    {"start_program", 3, start_program},
};

void step(unsigned *seed)
{
    enum { KINDS = sizeof work / sizeof *work };
    unsigned all = 0, i = 0;
    for (unsigned k = 0; k < KINDS; k++)
        all += work[k].often;
    for (unsigned left = random_below(seed, all); left >= work[i].often; i++)
        left -= work[i].often;
    ledger->doing[worker] = work[i].name;
    work[i].act(seed);
}
