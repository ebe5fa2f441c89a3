/* SPDX-License-Identifier: MIT
 *
 * Whole directories at once: scandir and glob.
 *
 * scandir is built on our own directory streams.  glob stays libc's, with our functions in the places
 * that GLOB_ALTDIRFUNC has for them, so that its patterns, braces and tildes are libc's own.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "real.h"
#include "wrap.h"

#include <stdlib.h>
#include <string.h>

/* ---- scandir ----------------------------------------------------------------------------------- */

typedef int filter_entry(const struct dirent *);
typedef int compare_entries(const struct dirent **, const struct dirent **);

struct entries {
    struct dirent **list;
    size_t count, room;
};

static void free_entries(struct entries *entries)
{
    while (entries->count > 0)
        free(entries->list[--entries->count]);
    free(entries->list);
}

static int add_entry(struct entries *entries, const struct dirent *entry)
{
    if (entries->count == entries->room) {
        size_t room = entries->room ? entries->room * 2 : 16;
        struct dirent **list = reallocarray(entries->list, room, sizeof *list);
        if (!list)
            return -1;
        entries->list = list;
        entries->room = room;
    }
    struct dirent *copy = malloc(entry->d_reclen);
    if (!copy)
        return -1;
    entries->list[entries->count++] = memcpy(copy, entry, entry->d_reclen);
    return 0;
}

static int read_entries(DIR *dir, struct entries *entries, filter_entry *filter)
{
    for (;;) {
        errno = 0;
        const struct dirent *entry = wrap_readdir(dir);
        if (!entry)
            return errno ? -1 : 0;
        /* The filter is the program's own: its errno is no error of ours. */
        if ((!filter || filter(entry)) && add_entry(entries, entry) == -1)
            return -1;
    }
}

static int scan_stream(DIR *dir, struct dirent ***list, filter_entry *filter, compare_entries *compare, int before)
{
    struct entries entries = {NULL, 0, 0};
    int r = read_entries(dir, &entries, filter);
    int error = errno;
    wrap_closedir(dir);
    if (r == -1) {
        free_entries(&entries);
        errno = error;
        return -1;
    }
    if (!entries.list && !(entries.list = malloc(sizeof(struct dirent *))))
        return -1;
    if (compare && entries.count > 0)
        qsort(entries.list, entries.count, sizeof *entries.list, (int (*)(const void *, const void *))(void *)compare);
    *list = entries.list;
    errno = before;
    return (int)entries.count;
}

int wrap_scandir(const char *path, struct dirent ***list, filter_entry *filter, compare_entries *compare)
{
    if (!shim_is_active())
        return REAL(scandir)(path, list, filter, compare);
    int before = errno;
    DIR *dir = wrap_opendir(path);
    return dir ? scan_stream(dir, list, filter, compare, before) : -1;
}

int wrap_scandirat(int dirfd, const char *path, struct dirent ***list, filter_entry *filter, compare_entries *compare)
{
    if (!shim_is_active())
        return REAL(scandirat)(dirfd, path, list, filter, compare);
    int before = errno;
    int fd = shim_open_directory(dirfd, path);
    if (fd == -1)
        return -1;
    DIR *dir = wrap_fdopendir(fd);
    if (!dir) {
        int error = errno;
        shim_close(fd);
        errno = error;
        return -1;
    }
    return scan_stream(dir, list, filter, compare, before);
}

/* ---- glob -------------------------------------------------------------------------------------- */

static void *glob_opendir(const char *path)
{
    return wrap_opendir(path);
}

static struct dirent *glob_readdir(void *dir)
{
    return wrap_readdir(dir);
}

static void glob_closedir(void *dir)
{
    wrap_closedir(dir);
}

int wrap_glob(const char *pattern, int flags, int (*on_error)(const char *, int), glob_t *found)
{
    if ((flags & GLOB_ALTDIRFUNC) || !shim_is_active())
        return REAL(glob)(pattern, flags, on_error, found);
    glob_t own = *found;
    found->gl_opendir = glob_opendir;
    found->gl_readdir = glob_readdir;
    found->gl_closedir = glob_closedir;
    found->gl_stat = wrap_stat;
    found->gl_lstat = wrap_lstat;
    int r = REAL(glob)(pattern, flags | GLOB_ALTDIRFUNC, on_error, found);
    found->gl_opendir = own.gl_opendir;
    found->gl_readdir = own.gl_readdir;
    found->gl_closedir = own.gl_closedir;
    found->gl_stat = own.gl_stat;
    found->gl_lstat = own.gl_lstat;
    found->gl_flags &= ~GLOB_ALTDIRFUNC;
    return r;
}

#define SHIM_FILE_walk
#include "export.h"
