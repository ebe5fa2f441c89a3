/* SPDX-License-Identifier: MIT
 *
 * Tree walks: ftw and nftw.
 *
 * libc's own walk calls open, stat and chdir inside libc, where nobody sees it, so the walk is done
 * here, on our wrappers, for trees outside as well: they may hold a mount.  A directory is read as a
 * whole and closed before anything in it is visited: at most one descriptor is open, whatever
 * `nopenfd` says, and what the callback makes or removes can't disturb the reading.
 * Order, arguments and special cases are those of nftw(3) and of glibc where that is silent.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "real.h"
#include "wrap.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int ftw_callback(const char *, const struct stat *, int);
typedef int nftw_callback(const char *, const struct stat *, int, struct FTW *);

struct walk {
    nftw_callback *nftw;
    ftw_callback *ftw; /* instead of nftw */
    int flags;
    dev_t dev;  /* of the start */
    void *seen; /* tree of struct place: directories already visited, where links are followed */
    struct FTW at;
    char *path;
    size_t length, room;
    int start; /* with FTW_CHDIR: the directory that the program was in */
};

struct place {
    dev_t dev;
    ino_t ino;
};

static int visit_directory(struct walk *w, const struct stat *st, bool through_link);

/* ---- the path ---------------------------------------------------------------------------------- */

static int append(struct walk *w, const char *text, size_t n)
{
    if (w->length + n + 2 > w->room) {
        size_t room = (w->length + n + 2) * 2;
        char *path = realloc(w->path, room);
        if (!path)
            return -1;
        w->path = path;
        w->room = room;
    }
    memcpy(w->path + w->length, text, n);
    w->length += n;
    w->path[w->length] = '\0';
    return 0;
}

static void cut(struct walk *w, size_t length)
{
    w->length = length;
    w->path[length] = '\0';
}

/* How the object is named for a call: by the path, or by its name in the current directory. */
static const char *to_call(const struct walk *w)
{
    if (!(w->flags & FTW_CHDIR))
        return w->path;
    const char *name = w->path + w->at.base;
    return *name ? name : ".";
}

/* ---- telling the program ------------------------------------------------------------------------ */

static int tell(struct walk *w, const struct stat *st, int type)
{
    if (w->nftw)
        return w->nftw(w->path, st, type, &w->at);
    /* ftw knows neither links nor the second visit of a directory. */
    if (type == FTW_SL)
        type = FTW_F;
    else if (type == FTW_SLN)
        type = FTW_NS;
    else if (type == FTW_DP)
        type = FTW_D;
    return w->ftw(w->path, st, type);
}

static bool is_action(const struct walk *w, int r, int action)
{
    return (w->flags & FTW_ACTIONRETVAL) && r == action;
}

/* ---- directories already visited ------------------------------------------------------------------ */

static int compare_places(const void *a, const void *b)
{
    const struct place *p = a, *q = b;
    if (p->dev != q->dev)
        return p->dev < q->dev ? -1 : 1;
    return p->ino < q->ino ? -1 : p->ino > q->ino;
}

/* 1: seen before, 0: new, -1. */
static int remember(struct walk *w, const struct stat *st)
{
    struct place *place = malloc(sizeof *place);
    if (!place)
        return -1;
    place->dev = st->st_dev;
    place->ino = st->st_ino;
    struct place **found = tsearch(place, &w->seen, compare_places);
    if (!found || *found != place)
        free(place);
    return !found ? -1 : *found != place;
}

/* ---- the current directory -------------------------------------------------------------------------- */

/* Go back to the directory of path's first n characters, from one directory below it. */
static int return_to(const struct walk *w, size_t n, bool through_link)
{
    if (!through_link)
        return wrap_chdir("..");
    if (wrap_fchdir(w->start) == -1)
        return -1;
    if (n == 0)
        return 0;
    char *dir = strndup(w->path, n);
    if (!dir)
        return -1;
    int r = wrap_chdir(dir);
    free(dir);
    return r;
}

/* ---- reading a directory ---------------------------------------------------------------------------- */

struct names {
    char *text; /* each name NUL-terminated, an empty one at the end */
    size_t length, room;
};

static int add_name(struct names *names, const char *name)
{
    size_t n = strlen(name) + 1;
    if (names->length + n + 1 > names->room) {
        size_t room = (names->length + n + 1) * 2;
        char *text = realloc(names->text, room);
        if (!text)
            return -1;
        names->text = text;
        names->room = room;
    }
    memcpy(names->text + names->length, name, n);
    names->length += n;
    names->text[names->length] = '\0';
    return 0;
}

static int read_names(DIR *dir, struct names *names)
{
    const struct dirent *entry;
    int r = add_name(names, "") == -1 ? -1 : 0;
    names->length = 0;
    while (r == 0 && (errno = 0, entry = wrap_readdir(dir)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            r = add_name(names, entry->d_name);
    return r;
}

/* ---- the walk ---------------------------------------------------------------------------------------- */

/* What an entry is: a type for the callback, or -1. */
static int examine(const struct walk *w, struct stat *st)
{
    const char *name = to_call(w);
    bool physical = w->flags & FTW_PHYS;
    if ((physical ? wrap_lstat(name, st) : wrap_stat(name, st)) == 0)
        return S_ISDIR(st->st_mode) ? FTW_D : S_ISLNK(st->st_mode) ? FTW_SL : FTW_F;
    if (errno != EACCES && errno != ENOENT)
        return -1;
    if (!physical && wrap_lstat(name, st) == 0 && S_ISLNK(st->st_mode))
        return FTW_SLN;
    return FTW_NS;
}

static bool is_link(const struct walk *w)
{
    struct stat st;
    return !(w->flags & FTW_PHYS) && wrap_lstat(to_call(w), &st) == 0 && S_ISLNK(st.st_mode);
}

static int visit_entry(struct walk *w)
{
    struct stat st;
    memset(&st, 0, sizeof st);
    int type = examine(w, &st);
    if (type == -1)
        return -1;
    int r = 0;
    if (type != FTW_D) {
        r = tell(w, &st, type);
    } else if (!(w->flags & FTW_MOUNT) || st.st_dev == w->dev) {
        int seen = w->flags & FTW_PHYS ? 0 : remember(w, &st);
        r = seen == 0 ? visit_directory(w, &st, (w->flags & FTW_CHDIR) && is_link(w)) : seen == 1 ? 0 : -1;
    }
    return is_action(w, r, FTW_SKIP_SUBTREE) ? 0 : r;
}

/* Visit what is in the directory at path, with the names already read. */
static int visit_names(struct walk *w, const struct names *names)
{
    size_t length = w->length;
    int base = w->at.base, r = 0;
    if (w->path[length - 1] != '/' && append(w, "/", 1) == -1)
        return -1;
    size_t dir = w->length;
    w->at.level++;
    w->at.base = (int)dir;
    for (const char *name = names->text; r == 0 && *name; name += strlen(name) + 1) {
        r = append(w, name, strlen(name));
        if (r == 0)
            r = visit_entry(w);
        cut(w, dir);
    }
    cut(w, length);
    w->at.level--;
    w->at.base = base;
    return is_action(w, r, FTW_SKIP_SIBLINGS) ? 0 : r;
}

/* Open and read the directory: 0, -1, or 1 when the program is told that it can't be read. */
static int read_directory(const struct walk *w, struct names *names)
{
    DIR *dir = wrap_opendir(to_call(w));
    if (!dir)
        return errno == EACCES ? 1 : -1;
    int r = read_names(dir, names);
    int error = errno;
    wrap_closedir(dir);
    errno = error;
    return r;
}

static int visit_directory(struct walk *w, const struct stat *st, bool through_link)
{
    struct names names = {NULL, 0, 0};
    int r = read_directory(w, &names);
    if (r != 0) {
        free(names.text);
        return r == 1 ? tell(w, st, FTW_DNR) : -1;
    }
    if (!(w->flags & FTW_DEPTH))
        r = tell(w, st, FTW_D);
    bool inside = r == 0 && (w->flags & FTW_CHDIR);
    if (inside)
        r = wrap_chdir(to_call(w));
    if (r == 0)
        r = visit_names(w, &names);
    free(names.text);
    /* glibc makes the second visit from within the directory. */
    if (r == 0 && (w->flags & FTW_DEPTH))
        r = tell(w, st, FTW_DP);
    bool goes_on = r == 0 || ((w->flags & FTW_ACTIONRETVAL) && r != -1 && r != FTW_STOP);
    if (inside && goes_on && w->at.level > 0 && return_to(w, (size_t)w->at.base, through_link) == -1)
        r = -1;
    return r;
}

/* ---- the start ---------------------------------------------------------------------------------------- */

static int go_to_start(struct walk *w)
{
    w->start = wrap_open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (w->start == -1)
        return -1;
    if (w->at.base == 0)
        return 0;
    char *dir = strndup(w->path, (size_t)w->at.base);
    if (!dir)
        return -1;
    int r = wrap_chdir(dir);
    free(dir);
    return r;
}

static int visit_start(struct walk *w)
{
    struct stat st;
    const char *name = to_call(w);
    bool physical = w->flags & FTW_PHYS;
    if ((physical ? wrap_lstat(name, &st) : wrap_stat(name, &st)) == -1) {
        if (!physical && errno == ENOENT && wrap_lstat(name, &st) == 0 && S_ISLNK(st.st_mode))
            return tell(w, &st, FTW_SLN);
        return -1;
    }
    if (!S_ISDIR(st.st_mode))
        return tell(w, &st, S_ISLNK(st.st_mode) ? FTW_SL : FTW_F);
    w->dev = st.st_dev;
    if (!physical && remember(w, &st) == -1)
        return -1;
    return visit_directory(w, &st, false);
}

static int walk_tree(const char *path, struct walk *w)
{
    if (!*path) {
        errno = ENOENT;
        return -1;
    }
    w->start = -1;
    if (append(w, path, strlen(path)) == -1)
        return -1;
    while (w->length > 1 && w->path[w->length - 1] == '/')
        cut(w, w->length - 1);
    const char *slash = strrchr(w->path, '/');
    w->at.base = slash ? (int)(slash + 1 - w->path) : 0;

    int r = w->flags & FTW_CHDIR ? go_to_start(w) : 0;
    if (r == 0)
        r = visit_start(w);
    if (is_action(w, r, FTW_SKIP_SUBTREE) || is_action(w, r, FTW_SKIP_SIBLINGS))
        r = 0;

    int error = errno;
    if (w->start >= 0) {
        wrap_fchdir(w->start);
        shim_close(w->start);
    }
    tdestroy(w->seen, free);
    free(w->path);
    errno = error;
    return r;
}

int wrap_nftw(const char *path, nftw_callback *callback, int nopenfd, int flags)
{
    if (!shim_is_active())
        return REAL(nftw)(path, callback, nopenfd, flags);
    struct walk w = {.nftw = callback, .flags = flags};
    return walk_tree(path, &w);
}

int wrap_ftw(const char *path, ftw_callback *callback, int nopenfd)
{
    if (!shim_is_active())
        return REAL(ftw)(path, callback, nopenfd);
    struct walk w = {.ftw = callback};
    return walk_tree(path, &w);
}

#define SHIM_FILE_ftw
#include "export.h"
