/* SPDX-License-Identifier: MIT
 *
 * The whole tree after the work: whether all that was done is there, and as lines of text: see concurrency.c.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "concurrency.h"

enum { PATH = 512 };

typedef void visit(const char *path, const struct stat *st);

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void walk(const char *path, visit *act)
{
    struct dirent **names;
    char below[PATH + 1 + sizeof names[0]->d_name];
    struct stat st;
    int n = scandirat(root, path, &names, NULL, by_name);
    must("scandir", path, n >= 2, true);
    for (int i = 0; i < n; i++) {
        snprintf(below, sizeof below, "%s/%s", path, names[i]->d_name);
        bool is_dot = strcmp(names[i]->d_name, ".") == 0 || strcmp(names[i]->d_name, "..") == 0;
        free(names[i]);
        if (is_dot)
            continue;
        must("stat", below, fstatat(root, below, &st, AT_SYMLINK_NOFOLLOW), 0);
        act(below, &st);
        if (S_ISDIR(st.st_mode))
            walk(below, act);
    }
    free(names);
}

/* ---- as text ------------------------------------------------------------------------------------------------ */

static unsigned long sum_of(const char *path)
{
    char buf[4096];
    unsigned long sum = 5381;
    int fd = openat(root, path, O_RDONLY | O_CLOEXEC);
    for (ssize_t n; (n = read(fd, buf, sizeof buf)) > 0;)
        for (ssize_t i = 0; i < n; i++)
            sum = sum * 33 + (unsigned char)buf[i];
    close(fd);
    return sum;
}

/* Without the times of directories, which clearing what the killed have left may change. */
static void print(const char *path, const struct stat *st)
{
    bool is_dir = S_ISDIR(st->st_mode);
    printf("%s %o %ld %ld.%09ld %lx:%lx %lu %lx\n", path, st->st_mode, is_dir ? 0L : (long)st->st_size,
           is_dir ? 0L : (long)st->st_mtim.tv_sec, is_dir ? 0L : st->st_mtim.tv_nsec, (unsigned long)st->st_dev,
           (unsigned long)st->st_ino, is_dir ? 1 : (unsigned long)st->st_nlink,
           S_ISREG(st->st_mode) ? sum_of(path) : 0);
}

void print_tree(void)
{
    walk(".", print);
}

/* ---- what must be there ------------------------------------------------------------------------------------- */

static unsigned char found[WORKERS][RECORDS_MAX];
static unsigned long counted;

/* Whether an object was met by another of its names already. */
static bool is_known(const struct stat *st)
{
    enum { MAX = 64 };
    static ino_t seen[MAX];
    static unsigned n;
    for (unsigned i = 0; st->st_nlink > 1 && i < n; i++)
        if (seen[i] == st->st_ino)
            return true;
    if (st->st_nlink > 1 && n < MAX)
        seen[n++] = st->st_ino;
    return false;
}

static void find_records(const char *path)
{
    char record[RECORD];
    int who, fd = openat(root, path, O_RDONLY | O_CLOEXEC);
    unsigned number;
    FILE *f = fdopen(fd, "r");
    must("open", path, f != NULL, true);
    for (size_t n; (n = fread(record, 1, RECORD, f)) > 0;) {
        must("record", path, (long)n, RECORD);
        if (!read_record(record, path, &who, &number))
            continue;
        must("worker", path, who >= 0 && who < WORKERS && number < RECORDS_MAX, true);
        must("times that a record is there", path, ++found[who][number], 1);
    }
    fclose(f);
}

static void count(const char *path)
{
    char text[COUNTER + 1] = "";
    unsigned long value;
    int fd = openat(root, path, O_RDONLY | O_CLOEXEC);
    must("counter", path, read(fd, text, COUNTER), COUNTER);
    must("counter", path, sscanf(text, "%lu", &value), 1);
    counted += value;
    close(fd);
}

static void check_sealed(const char *path)
{
    int fd = openat(root, path, O_RDONLY | O_CLOEXEC);
    may_fail("open", path, fd, 0);
    unseal(fd, path);
    close(fd);
}

static bool is_in(const char *path, const char *dir)
{
    return strncmp(path, dir, strlen(dir)) == 0;
}

static bool is_called(const char *path, const char *name)
{
    return strcmp(strrchr(path, '/') + 1, name) == 0;
}

static bool killed_once;

/* Written in its place, or given up with its temporary name. */
static bool may_be_half(const char *path)
{
    return killed_once && (strstr(path, "/.t") || strncmp(strrchr(path, '/') + 1, "g", 1) == 0);
}

static void check(const char *path, const struct stat *st)
{
    must("a name of our own", path, strncmp(strrchr(path, '/') + 1, ".wh.", 4) == 0, false);
    if (!S_ISREG(st->st_mode) || is_in(path, "./race/") || is_in(path, "./lock/") || is_called(path, "id"))
        return;
    if (is_in(path, "./log/") || is_in(path, "./roam/") || is_in(path, "./fresh/") || is_called(path, "log")) {
        if (!is_known(st))
            find_records(path);
    } else if (is_in(path, "./count/") || is_called(path, "count")) {
        if (!is_known(st))
            count(path);
    } else if (!may_be_half(path)) {
        check_sealed(path);
    }
}

static void check_records(bool killed)
{
    char name[32];
    for (int who = 0; who < WORKERS; who++)
        for (unsigned i = 0; i < ledger->begun[who]; i++) {
            snprintf(name, sizeof name, "%d %u", who, i);
            if (!killed)
                must("record that was not written", name, ledger->appended[who][i], 1);
            if (ledger->appended[who][i])
                must("times that a written record is there", name, found[who][i], 1);
        }
}

void check_tree(bool killed)
{
    killed_once = killed;
    walk(".", check);
    check_records(killed);
    must("increments at least", "counters", counted >= ledger->increments, true);
    must("increments at most", "counters", counted <= (killed ? ledger->increments_begun : ledger->increments), true);
}
