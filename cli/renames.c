/* SPDX-License-Identifier: MIT
 *
 * What was renamed.  The overlay remembers of what it has copied up which lower object that was (core's identity.c), so
 * a name that is new and an object whose name is gone can be the same.  Not known are those that another run has
 * recorded elsewhere, and those beyond the first 65536.
 */
#include "changes.h"
#include "output.h"

#include <stdlib.h>
#include <string.h>

#define ENTRIES_MAX 65536

struct entry {
    dev_t dev;
    ino_t ino;
    char *path;
};

struct entries {
    struct entry *at;
    size_t count;
};

struct pair {
    char *from, *to;
};

struct renames {
    struct pair *by_from, *by_to; /* the same pairs, sorted */
    size_t count;
};

struct finding {
    struct ovl_ctx *ctx;
    struct entries gone, come;
};

static void add(struct entries *list, const struct stat *st, const char *path)
{
    if (list->count == ENTRIES_MAX)
        return;
    if ((list->count & (list->count - 1)) == 0)
        list->at = need(realloc(list->at, (list->count ? list->count * 2 : 1) * sizeof *list->at));
    list->at[list->count++] = (struct entry){st->st_dev, st->st_ino, need(strdup(path))};
}

static void clear(struct entries *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->at[i].path);
    free(list->at);
}

static int by_identity(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->ino != y->ino)
        return x->ino < y->ino ? -1 : 1;
    return x->dev == y->dev ? 0 : x->dev < y->dev ? -1 : 1;
}

static int by_from(const void *a, const void *b)
{
    return strcmp(((const struct pair *)a)->from, ((const struct pair *)b)->from);
}

static int by_to(const void *a, const void *b)
{
    return strcmp(((const struct pair *)a)->to, ((const struct pair *)b)->to);
}

/* The identity of a node of the walk's; false where it can't be told. */
static bool identify(const struct finding *f, const struct ovl_node *node, struct stat *st)
{
    return ovl_stat(f->ctx, node, st) == 0;
}

static int collect(const struct change *change, void *arg)
{
    struct finding *f = arg;
    struct stat st;
    if (change->kind == CHANGE_DELETED) {
        if (identify(f, change->lower.node, &st))
            add(&f->gone, &st, change->path);
    } else if (change->kind == CHANGE_ADDED || change->kind == CHANGE_REPLACED) {
        /* What was made new has its own number. */
        bool is_copy = identify(f, change->upper.node, &st) &&
                       (st.st_ino != change->upper.st.st_ino || st.st_dev != change->upper.st.st_dev);
        if (is_copy)
            add(&f->come, &st, change->path);
    }
    return 0;
}

/* Each name that is gone is one that has come at most: of hard links the others are new. */
static struct renames *match(struct finding *f)
{
    struct renames *made = need(calloc(1, sizeof *made));
    size_t room = f->come.count < f->gone.count ? f->come.count : f->gone.count;
    made->by_from = need(calloc(room + 1, sizeof *made->by_from));
    qsort(f->gone.at, f->gone.count, sizeof *f->gone.at, by_identity);
    for (size_t i = 0; i < f->come.count && made->count < room; i++) {
        struct entry *gone = bsearch(&f->come.at[i], f->gone.at, f->gone.count, sizeof *gone, by_identity);
        if (!gone || !gone->path)
            continue;
        made->by_from[made->count++] = (struct pair){gone->path, f->come.at[i].path};
        gone->path = f->come.at[i].path = NULL;
    }
    made->by_to = need(calloc(made->count + 1, sizeof *made->by_to));
    memcpy(made->by_to, made->by_from, made->count * sizeof *made->by_to);
    qsort(made->by_from, made->count, sizeof *made->by_from, by_from);
    qsort(made->by_to, made->count, sizeof *made->by_to, by_to);
    return made;
}

struct renames *renames_find(struct ovl_ctx *ctx, struct ovl *o, bool go_on, int *failed)
{
    struct finding f = {.ctx = ctx};
    struct changes_visitor visitor = {.each = collect, .arg = &f, .flags = CHANGES_NAMES};
    visitor.flags |= go_on ? CHANGES_SILENT : 0; /* the second walk will say it */
    *failed = changes_walk(ctx, o, &visitor);
    struct renames *made = *failed || !f.gone.count || !f.come.count ? NULL : match(&f);
    clear(&f.gone);
    clear(&f.come);
    return made;
}

void renames_free(struct renames *renames)
{
    if (!renames)
        return;
    for (size_t i = 0; i < renames->count; i++) {
        free(renames->by_from[i].from);
        free(renames->by_from[i].to);
    }
    free(renames->by_from);
    free(renames->by_to);
    free(renames);
}

const char *renames_from(const struct renames *renames, const char *to)
{
    const struct pair key = {.to = (char *)(uintptr_t)to};
    const struct pair *found = renames ? bsearch(&key, renames->by_to, renames->count, sizeof key, by_to) : NULL;
    return found ? found->from : NULL;
}

const char *renames_to(const struct renames *renames, const char *from)
{
    const struct pair key = {.from = (char *)(uintptr_t)from};
    const struct pair *found = renames ? bsearch(&key, renames->by_from, renames->count, sizeof key, by_from) : NULL;
    return found ? found->to : NULL;
}
