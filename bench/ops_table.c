// SPDX-License-Identifier: MIT
//
// What each operation does.  One that fails ends the program: a failure must never be measured as a fast success.

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ops.h"
#include "timing.h"

struct name {
    char text[PATH_MAX + 32];
};

// The object of a number: f0 f1 ... are in the lower layer.
static struct name named(const struct place *p, const char *stem, int number)
{
    struct name name;
    snprintf(name.text, sizeof name.text, "%s%s%d", p->prefix, stem, number);
    return name;
}

// One that only this process uses: it works beside others in the same directory.
static struct name own(const struct place *p, const char *stem, int number)
{
    char mine[32];
    snprintf(mine, sizeof mine, "%s%d-", stem, p->process);
    return named(p, mine, number);
}

// The calls, as programs make them: those with a directory descriptor only where there is one.

static int call_open(const struct place *p, const char *name, int flags)
{
    return p->at == AT_FDCWD ? open(name, flags, 0644) : openat(p->at, name, flags, 0644);
}

static int call_stat(const struct place *p, const char *name, struct stat *st)
{
    return p->at == AT_FDCWD ? stat(name, st) : fstatat(p->at, name, st, 0);
}

static int call_unlink(const struct place *p, const char *name)
{
    return p->at == AT_FDCWD ? unlink(name) : unlinkat(p->at, name, 0);
}

static int call_rename(const struct place *p, const char *from, const char *to)
{
    return p->at == AT_FDCWD ? rename(from, to) : renameat(p->at, from, p->at, to);
}

static int call_chmod(const struct place *p, const char *name, mode_t mode)
{
    return p->at == AT_FDCWD ? chmod(name, mode) : fchmodat(p->at, name, mode, 0);
}

static void must(int result, struct name name)
{
    if (result < 0)
        timing_fail(name.text);
}

static int opened(const struct place *p, struct name name, int flags)
{
    int fd = call_open(p, name.text, flags);
    must(fd, name);
    return fd;
}

static void stat_existing(const struct place *p, int number)
{
    struct stat st;
    struct name name = named(p, "f", number);
    must(call_stat(p, name.text, &st), name);
}

static void stat_missing(const struct place *p, int number)
{
    struct stat st;
    struct name name = named(p, "missing", number);
    if (call_stat(p, name.text, &st) == 0 || errno != ENOENT)
        timing_fail(name.text);
}

// One name in each of many directories.
static void stat_each(const struct place *p, int number)
{
    struct stat st;
    struct name name = named(p, "d", number);
    strcat(name.text, "/f");
    must(call_stat(p, name.text, &st), name);
}

static void open_close(const struct place *p, int number)
{
    close(opened(p, named(p, "f", number), O_RDONLY));
}

static void list(const struct place *p, int number)
{
    struct name name;
    snprintf(name.text, sizeof name.text, "%s.", p->prefix);
    DIR *dir = fdopendir(opened(p, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!dir)
        timing_fail(name.text);
    (void)number;
    int found = 0;
    while (readdir(dir))
        found++;
    closedir(dir);
    if (found < 1000)
        timing_fail("a listing is short of names");
}

static void make_own(const struct place *p, int number)
{
    close(opened(p, own(p, "n", number), O_WRONLY | O_CREAT));
}

static void remove_own(const struct place *p, int number)
{
    struct name name = own(p, "n", number);
    must(call_unlink(p, name.text), name);
}

static void create_unlink(const struct place *p, int number)
{
    make_own(p, number);
    remove_own(p, number);
}

static void make_to_rename(const struct place *p, int number)
{
    make_own(p, number);
    call_unlink(p, own(p, "renamed", number).text);
}

static void rename_own(const struct place *p, int number)
{
    struct name from = own(p, "n", number), to = own(p, "renamed", number);
    must(call_rename(p, from.text, to.text), from);
}

static void chmod_own(const struct place *p, int number)
{
    struct name name = own(p, "n", number);
    must(call_chmod(p, name.text, number % 2 ? 0640 : 0604), name);
}

static void write_one(const struct place *p, struct name name)
{
    int fd = opened(p, name, O_WRONLY);
    must((int)write(fd, "w", 1), name);
    close(fd);
}

// The first write to a file of the lower layer, k0 k1 ...: an overlay copies it up.
static void first_write(const struct place *p, int number)
{
    write_one(p, named(p, "k", number));
}

// What the same costs without an overlay: a plain copy, put in place by a rename, then the write.
static void copy_write(const struct place *p, int number)
{
    struct name from = named(p, "k", number), to = own(p, "copy", number);
    int in = opened(p, from, O_RDONLY), out = opened(p, to, O_WRONLY | O_CREAT | O_EXCL);
    ssize_t done;
    do {
        done = copy_file_range(in, NULL, out, NULL, 1 << 30, 0);
    } while (done > 0);
    must((int)done, from);
    close(in);
    close(out);
    must(call_rename(p, to.text, from.text), from);
    write_one(p, from);
}

static const struct op ops[] = {
    {"stat", NULL, stat_existing},
    {"missing", NULL, stat_missing},
    {"each", NULL, stat_each},
    {"open", NULL, open_close},
    {"list", NULL, list},
    {"create", NULL, create_unlink},
    {"unlink", make_own, remove_own},
    {"rename", make_to_rename, rename_own},
    {"chmod", make_own, chmod_own},
    {"write", NULL, first_write},
    {"copy", NULL, copy_write},
};

const struct op *op_of(const char *name)
{
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (strcmp(ops[i].name, name) == 0)
            return &ops[i];
    return NULL;
}
