/* SPDX-License-Identifier: MIT
 *
 * Tree walks: fts_open, fts_read, fts_children, fts_set, fts_close, in libc's <fts.h> structures.
 *
 * Done here for the reason that wrap_ftw.c has.  Every walk is one with FTS_NOCHDIR: fts(3) promises
 * no particular directory without it, only that fts_accpath can be used from where the program is.
 * Each entry owns its path.  What must hold: a stream is read by whoever opened it, so ours
 * carry a mark of their own in fts_options.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "real.h"
#include "wrap.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define OURS 0x40000000 /* in fts_options */

enum purpose { FOR_READ, FOR_CHILDREN, FOR_NAMES };

typedef int compare_entries(const FTSENT **, const FTSENT **);

static bool is_ours(const FTS *fts)
{
    return fts->fts_options & OURS;
}

static bool is_dot(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* ---- entries ----------------------------------------------------------------------------------- */

/* An entry with room for its name, its stat and the path that is `dir` (or nothing), a slash, the name. */
static FTSENT *new_entry(const char *dir, size_t dir_length, const char *name)
{
    size_t length = strlen(name);
    size_t path_length = dir ? dir_length + 1 + length : length;
    if (path_length > USHRT_MAX) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    size_t stat_at = (sizeof(FTSENT) + length + _Alignof(struct stat)) & ~(_Alignof(struct stat) - 1);
    char *memory = calloc(1, stat_at + sizeof(struct stat) + path_length + 1);
    if (!memory)
        return NULL;
    FTSENT *p = (FTSENT *)(void *)memory;
    p->fts_statp = (struct stat *)(void *)(memory + stat_at);
    p->fts_path = p->fts_accpath = memory + stat_at + sizeof(struct stat);
    if (dir) {
        memcpy(p->fts_path, dir, dir_length);
        p->fts_path[dir_length] = '/';
    }
    memcpy(p->fts_path + path_length - length, name, length + 1);
    memcpy(p->fts_name, name, length + 1);
    p->fts_namelen = (unsigned short)length;
    p->fts_pathlen = (unsigned short)path_length;
    p->fts_instr = FTS_NOINSTR;
    return p;
}

static void free_list(FTSENT *p)
{
    while (p) {
        FTSENT *next = p->fts_link;
        free(p);
        p = next;
    }
}

/* fts_info of a directory: it may be one that the walk is in already. */
static unsigned short classify_directory(FTSENT *p, const struct stat *st)
{
    p->fts_dev = st->st_dev;
    p->fts_ino = st->st_ino;
    p->fts_nlink = st->st_nlink;
    if (is_dot(p->fts_name))
        return FTS_DOT;
    for (FTSENT *above = p->fts_parent; above->fts_level >= FTS_ROOTLEVEL; above = above->fts_parent) {
        if (above->fts_ino == st->st_ino && above->fts_dev == st->st_dev) {
            p->fts_cycle = above;
            return FTS_DC;
        }
    }
    return FTS_D;
}

/* Look at the object and say what it is, as fts_info has it. */
static unsigned short examine(const FTS *fts, FTSENT *p, bool follow)
{
    struct stat *st = p->fts_statp;
    if ((fts->fts_options & FTS_LOGICAL) || follow) {
        if (wrap_stat(p->fts_accpath, st) == -1) {
            int error = errno;
            if (wrap_lstat(p->fts_accpath, st) == 0) {
                errno = 0;
                return FTS_SLNONE;
            }
            p->fts_errno = error;
            memset(st, 0, sizeof *st);
            return FTS_NS;
        }
    } else if (wrap_lstat(p->fts_accpath, st) == -1) {
        p->fts_errno = errno;
        memset(st, 0, sizeof *st);
        return FTS_NS;
    }
    if (S_ISDIR(st->st_mode))
        return classify_directory(p, st);
    return S_ISLNK(st->st_mode) ? FTS_SL : S_ISREG(st->st_mode) ? FTS_F : FTS_DEFAULT;
}

/* ---- lists of entries ---------------------------------------------------------------------------- */

static FTSENT *sort(FTS *fts, FTSENT *head, size_t count)
{
    FTSENT **array = reallocarray(NULL, count, sizeof *array);
    if (!array)
        return head; /* unsorted is better than lost */
    size_t n = 0;
    for (FTSENT *p = head; p; p = p->fts_link)
        array[n++] = p;
    qsort(array, n, sizeof *array, fts->fts_compar);
    for (size_t i = 0; i < n; i++)
        array[i]->fts_link = i + 1 < n ? array[i + 1] : NULL;
    head = array[0];
    free(array);
    return head;
}

/* Whether the walk was asked to spare the stat and the listing already says that this is no directory. */
static bool spares_stat(const FTS *fts, enum purpose purpose, const struct dirent *d)
{
    if (purpose == FOR_NAMES)
        return true;
    return (fts->fts_options & FTS_NOSTAT) && (fts->fts_options & FTS_PHYSICAL) && d->d_type != DT_DIR &&
           d->d_type != DT_UNKNOWN;
}

static FTSENT *child_of(const FTS *fts, FTSENT *dir, const struct dirent *d, enum purpose purpose)
{
    size_t length = dir->fts_pathlen;
    if (length > 0 && dir->fts_path[length - 1] == '/')
        length--;
    FTSENT *p = new_entry(dir->fts_path, length, d->d_name);
    if (!p)
        return NULL;
    p->fts_level = (short)(dir->fts_level + 1);
    p->fts_parent = dir;
    p->fts_info = spares_stat(fts, purpose, d) ? FTS_NSOK : examine(fts, p, false);
    return p;
}

static FTSENT *read_children(FTS *fts, FTSENT *dir, DIR *stream, enum purpose purpose)
{
    FTSENT *head = NULL, **tail = &head;
    size_t count = 0;
    const struct dirent *d;
    while ((d = wrap_readdir(stream)) != NULL) {
        if (!(fts->fts_options & FTS_SEEDOT) && is_dot(d->d_name))
            continue;
        FTSENT *p = child_of(fts, dir, d, purpose);
        if (!p) {
            int error = errno;
            free_list(head);
            fts->fts_options |= FTS_STOP;
            dir->fts_info = FTS_ERR;
            dir->fts_errno = errno = error;
            return NULL;
        }
        *tail = p;
        tail = &p->fts_link;
        count++;
    }
    return fts->fts_compar && count > 1 ? sort(fts, head, count) : head;
}

/* The entries of the current directory; none is an answer too. */
static FTSENT *build(FTS *fts, enum purpose purpose)
{
    FTSENT *dir = fts->fts_cur;
    DIR *stream = wrap_opendir(dir->fts_accpath);
    if (!stream) {
        if (purpose == FOR_READ) {
            dir->fts_info = FTS_DNR;
            dir->fts_errno = errno;
        }
        return NULL;
    }
    FTSENT *head = read_children(fts, dir, stream, purpose);
    int error = errno;
    wrap_closedir(stream);
    errno = error;
    if (!head && purpose == FOR_READ && !(fts->fts_options & FTS_STOP))
        dir->fts_info = FTS_DP;
    return head;
}

/* ---- opening and closing --------------------------------------------------------------------------- */

static FTSENT *open_root(const FTS *fts, FTSENT *parent, const char *path)
{
    if (!*path) {
        errno = ENOENT;
        return NULL;
    }
    FTSENT *p = new_entry(NULL, 0, path);
    if (!p)
        return NULL;
    p->fts_level = FTS_ROOTLEVEL;
    p->fts_parent = parent;
    p->fts_info = examine(fts, p, fts->fts_options & FTS_COMFOLLOW);
    if (p->fts_info == FTS_DOT)
        p->fts_info = FTS_D;
    return p;
}

static int open_roots(FTS *fts, char *const *paths)
{
    FTSENT *start = new_entry(NULL, 0, "");
    FTSENT *parent = new_entry(NULL, 0, "");
    if (!start || !parent) {
        free(start);
        free(parent);
        return -1;
    }
    parent->fts_level = FTS_ROOTPARENTLEVEL;
    start->fts_parent = parent;
    start->fts_info = FTS_INIT;
    fts->fts_cur = start;
    FTSENT **tail = &start->fts_link;
    size_t count = 0;
    for (; *paths; paths++, count++) {
        *tail = open_root(fts, parent, *paths);
        if (!*tail)
            return -1;
        tail = &(*tail)->fts_link;
    }
    if (fts->fts_compar && count > 1)
        start->fts_link = sort(fts, start->fts_link, count);
    return 0;
}

int wrap_fts_close(FTS *fts)
{
    if (!is_ours(fts))
        return REAL(fts_close)(fts);
    FTSENT *p = fts->fts_cur;
    while (p) {
        FTSENT *next = p->fts_link ? p->fts_link : p->fts_parent;
        free(p);
        p = next;
    }
    free_list(fts->fts_child);
    free(fts);
    return 0;
}

FTS *wrap_fts_open(char *const *paths, int options, compare_entries *compare)
{
    if (!shim_is_active())
        return REAL(fts_open)(paths, options, compare);
    if (options & ~FTS_OPTIONMASK) {
        errno = EINVAL;
        return NULL;
    }
    FTS *fts = calloc(1, sizeof *fts);
    if (!fts)
        return NULL;
    fts->fts_rfd = -1;
    fts->fts_compar = (int (*)(const void *, const void *))(void *)compare;
    fts->fts_options = options | FTS_NOCHDIR | OURS;
    if (open_roots(fts, paths) == 0)
        return fts;
    int error = errno;
    wrap_fts_close(fts);
    errno = error;
    return NULL;
}

/* ---- reading ------------------------------------------------------------------------------------- */

static FTSENT *stand_on(FTS *fts, FTSENT *p)
{
    fts->fts_path = p->fts_path;
    return fts->fts_cur = p;
}

/* Begin with a root: from here on its name is the last component. */
static FTSENT *load_root(FTS *fts, FTSENT *p)
{
    const char *slash = strrchr(p->fts_name, '/');
    if (slash && (slash != p->fts_name || slash[1])) {
        size_t length = strlen(slash + 1);
        memmove(p->fts_name, slash + 1, length + 1);
        p->fts_namelen = (unsigned short)length;
    }
    fts->fts_dev = p->fts_dev;
    return stand_on(fts, p);
}

/* From a directory to its first entry, or to its second visit. */
static FTSENT *descend(FTS *fts, FTSENT *p, int instruction)
{
    if (instruction == FTS_SKIP || ((fts->fts_options & FTS_XDEV) && p->fts_dev != fts->fts_dev)) {
        free_list(fts->fts_child);
        fts->fts_child = NULL;
        p->fts_info = FTS_DP;
        return p;
    }
    if (fts->fts_options & FTS_NAMEONLY) {
        fts->fts_options &= ~FTS_NAMEONLY;
        free_list(fts->fts_child);
        fts->fts_child = NULL;
    }
    FTSENT *first = fts->fts_child ? fts->fts_child : build(fts, FOR_READ);
    fts->fts_child = NULL;
    if (!first)
        return fts->fts_options & FTS_STOP ? NULL : p;
    return first;
}

/* What the program asked of an entry before the walk came to it: false to pass it over. */
static bool takes(const FTS *fts, FTSENT *p)
{
    if (p->fts_instr == FTS_SKIP)
        return false;
    if (p->fts_instr == FTS_FOLLOW) {
        p->fts_info = examine(fts, p, true);
        p->fts_instr = FTS_NOINSTR;
    }
    return true;
}

/* On to the next entry beside p, or back up. */
static FTSENT *advance(FTS *fts, FTSENT *p)
{
    while (p->fts_link) {
        FTSENT *next = p->fts_link;
        free(p);
        p = next;
        if (p->fts_level == FTS_ROOTLEVEL)
            return load_root(fts, p);
        if (takes(fts, p))
            return stand_on(fts, p);
    }
    FTSENT *up = p->fts_parent;
    free(p);
    if (up->fts_level == FTS_ROOTPARENTLEVEL) {
        free(up);
        fts->fts_cur = NULL;
        errno = 0;
        return NULL;
    }
    up->fts_info = up->fts_errno ? FTS_ERR : FTS_DP;
    return stand_on(fts, up);
}

FTSENT *wrap_fts_read(FTS *fts)
{
    if (!is_ours(fts))
        return REAL(fts_read)(fts);
    FTSENT *p = fts->fts_cur;
    if (!p || (fts->fts_options & FTS_STOP))
        return NULL;
    int instruction = p->fts_instr;
    p->fts_instr = FTS_NOINSTR;
    if (instruction == FTS_AGAIN) {
        p->fts_info = examine(fts, p, false);
        return p;
    }
    if (instruction == FTS_FOLLOW && (p->fts_info == FTS_SL || p->fts_info == FTS_SLNONE)) {
        p->fts_info = examine(fts, p, true);
        return p;
    }
    if (p->fts_info != FTS_D)
        return advance(fts, p);
    FTSENT *next = descend(fts, p, instruction);
    if (!next || next == p)
        return next;
    while (!takes(fts, next)) {
        FTSENT *after = next->fts_link;
        if (!after)
            return advance(fts, next);
        free(next);
        next = after;
    }
    return stand_on(fts, next);
}

FTSENT *wrap_fts_children(FTS *fts, int instruction)
{
    if (!is_ours(fts))
        return REAL(fts_children)(fts, instruction);
    if (instruction != 0 && instruction != FTS_NAMEONLY) {
        errno = EINVAL;
        return NULL;
    }
    FTSENT *p = fts->fts_cur;
    errno = 0;
    if (!p || (fts->fts_options & FTS_STOP))
        return NULL;
    if (p->fts_info == FTS_INIT)
        return p->fts_link;
    if (p->fts_info != FTS_D)
        return NULL;
    free_list(fts->fts_child);
    if (instruction == FTS_NAMEONLY)
        fts->fts_options |= FTS_NAMEONLY;
    fts->fts_child = build(fts, instruction == FTS_NAMEONLY ? FOR_NAMES : FOR_CHILDREN);
    return fts->fts_child;
}

int wrap_fts_set(FTS *fts, FTSENT *p, int instruction)
{
    if (!is_ours(fts))
        return REAL(fts_set)(fts, p, instruction);
    if (instruction < 0 || instruction > FTS_SKIP) {
        errno = EINVAL;
        return 1;
    }
    p->fts_instr = (unsigned short)instruction;
    return 0;
}

#define SHIM_FILE_fts
#include "export.h"
