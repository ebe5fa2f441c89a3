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

static void must(int result, const char *name)
{
    if (result < 0)
        timing_fail(name);
}

static int opened(const struct place *p, const char *name, int flags)
{
    int fd = call_open(p, name, flags);
    must(fd, name);
    return fd;
}

static void stat_existing(const struct place *p, const struct object *o)
{
    struct stat st;
    must(call_stat(p, o->name, &st), o->name);
}

static void stat_missing(const struct place *p, const struct object *o)
{
    struct stat st;
    if (call_stat(p, o->name, &st) == 0 || errno != ENOENT)
        timing_fail(o->name);
}

static void open_close(const struct place *p, const struct object *o)
{
    close(opened(p, o->name, O_RDONLY));
}

static void list(const struct place *p, const struct object *o)
{
    DIR *dir = fdopendir(opened(p, o->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!dir)
        timing_fail(o->name);
    int found = 0;
    while (readdir(dir))
        found++;
    closedir(dir);
    if (found < 1000)
        timing_fail("a listing is short of names");
}

static void make(const struct place *p, const struct object *o)
{
    close(opened(p, o->name, O_WRONLY | O_CREAT));
}

static void remove_it(const struct place *p, const struct object *o)
{
    must(call_unlink(p, o->name), o->name);
}

static void create_unlink(const struct place *p, const struct object *o)
{
    make(p, o);
    remove_it(p, o);
}

static void make_to_rename(const struct place *p, const struct object *o)
{
    make(p, o);
    call_unlink(p, o->other);
}

static void rename_it(const struct place *p, const struct object *o)
{
    must(call_rename(p, o->name, o->other), o->name);
}

static void chmod_it(const struct place *p, const struct object *o)
{
    must(call_chmod(p, o->name, o->number % 2 ? 0640 : 0604), o->name);
}

static void first_write(const struct place *p, const struct object *o)
{
    int fd = opened(p, o->name, O_WRONLY);
    must((int)write(fd, "w", 1), o->name);
    close(fd);
}

// What a first write costs without an overlay: a plain copy, put in place by a rename, then the write.
static void copy_write(const struct place *p, const struct object *o)
{
    int in = opened(p, o->name, O_RDONLY), out = opened(p, o->other, O_WRONLY | O_CREAT | O_EXCL);
    ssize_t done;
    do {
        done = copy_file_range(in, NULL, out, NULL, 1 << 30, 0);
    } while (done > 0);
    must((int)done, o->name);
    close(in);
    close(out);
    must(call_rename(p, o->other, o->name), o->name);
    first_write(p, o);
}

// f0 f1 ... and k0 k1 ... are in the lower layer; "each" is one name in each of many directories.
static const struct op ops[] = {
    {"stat", "f%d", NULL, false, NULL, stat_existing},
    {"missing", "missing%d", NULL, false, NULL, stat_missing},
    {"each", "d%d/f", NULL, false, NULL, stat_existing},
    {"open", "f%d", NULL, false, NULL, open_close},
    {"list", ".", NULL, false, NULL, list},
    {"create", "n%d", NULL, true, NULL, create_unlink},
    {"unlink", "n%d", NULL, true, make, remove_it},
    {"rename", "n%d", "renamed%d", true, make_to_rename, rename_it},
    {"chmod", "n%d", NULL, true, make, chmod_it},
    {"write", "k%d", NULL, false, NULL, first_write},
    {"copy", "k%d", "copy%d", false, NULL, copy_write},
};

const struct op *op_of(const char *name)
{
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (strcmp(ops[i].name, name) == 0)
            return &ops[i];
    return NULL;
}
