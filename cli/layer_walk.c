/* SPDX-License-Identifier: MIT
 *
 * A walk through a layer as it lies on disk.  tree.c sees to it that nothing else is reached, and that directories keep
 * mode and times.
 */
#include "layer_walk.h"

#include "options.h"
#include "output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct walk {
    struct ovl_ctx *ctx;
    const struct layer_visitor *visitor;
    const char *layer;
    struct tree tree;
    dev_t dev;
};

static int refuse(const struct walk *w, const char *relative, int error)
{
    complain("%s%s%s: %s", w->layer, *relative ? "/" : "", relative, strerror(error));
    return -1;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_names(int fd, struct list *names)
{
    int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = own < 0 ? NULL : fdopendir(own);
    if (!dir)
        return -1;
    for (const struct dirent *entry; (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            list_add(names, entry->d_name);
    closedir(dir);
    if (names->count > 1)
        qsort(names->at, names->count, sizeof *names->at, by_name);
    return 0;
}

/* Give the marks to the visitor; what stays in the list are the directories. */
static int visit_marks(const struct walk *w, const struct layer_dir *dir, struct list *names)
{
    size_t kept = 0;
    int r = 0;
    for (size_t i = 0; i < names->count; i++) {
        struct stat st;
        char *name = names->at[i];
        int mark = r < 0 ? 0 : ovl_mark_of(w->ctx, dir->real, name);
        if (mark > 0)
            r = w->visitor->mark(dir, name, (enum ovl_mark)mark, w->visitor->arg);
        else if (mark < 0 && mark != -ENOENT)
            r = refuse(w, dir->relative, -mark);
        bool below = mark == OVL_MARK_NONE && fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                     S_ISDIR(st.st_mode) && st.st_dev == w->dev;
        if (below)
            names->at[kept++] = name;
        else
            free(name);
    }
    names->count = kept;
    return r;
}

static int visit(struct walk *w, const char *relative);

static int visit_below(struct walk *w, const char *relative, const struct list *names)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < names->count; i++) {
        char *path = text("%s%s%s", relative, *relative ? "/" : "", names->at[i]);
        r = visit(w, path);
        free(path);
    }
    return r;
}

/* Stand in the directory, and let the visitor look at it. */
static int look(struct walk *w, const char *relative, struct list *names)
{
    int fd = tree_go(&w->tree, relative, false);
    if (fd < 0 || list_names(fd, names) < 0)
        return refuse(w, relative, errno);
    char *real = path_in(fd, ".");
    const struct layer_dir dir = {.ctx = w->ctx, .tree = &w->tree, .fd = fd, .real = real, .relative = relative};
    int r = w->visitor->enter(&dir, w->visitor->arg);
    if (r == 0)
        r = visit_marks(w, &dir, names);
    if (r == 0 && w->visitor->leave)
        r = w->visitor->leave(&dir, w->visitor->arg);
    free(real);
    return r;
}

static int visit(struct walk *w, const char *relative)
{
    struct list names = {NULL, 0};
    int r = look(w, relative, &names);
    if (r == 0)
        r = visit_below(w, relative, &names);
    list_free(&names);
    return r;
}

int layer_walk(struct ovl_ctx *ctx, const char *layer, const struct layer_visitor *visitor)
{
    struct walk w = {.ctx = ctx, .visitor = visitor, .layer = layer};
    struct stat st;
    int fd = open(layer, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || (visitor->looks ? tree_look : tree_open)(&w.tree, fd) < 0)
        return refuse(&w, "", errno);
    w.dev = st.st_dev;
    int r = visit(&w, "");
    if (tree_close(&w.tree) < 0 && r == 0)
        r = refuse(&w, "", errno);
    return r;
}
