/* SPDX-License-Identifier: MIT
 *
 * Canonical paths for the configuration: realpath(3), but in the name space that is being set up.
 *
 * Mounts, uppers and work directories are places on the real file system.  A lower layer may lie below
 * the mount of another overlay, which need not exist on disk: there the walk asks that overlay's layers
 * and follows the symbolic links that it shows (CONTRACT 1.9).  Components that are missing at the end
 * are kept as text: a mount need not exist.
 */
#include "config.h"

#define LINKS_MAX 40 /* as the kernel's */

int ovl_walk_init(struct ovl_walk *walk, struct ovl_arena *arena)
{
    memset(walk, 0, sizeof *walk);
    walk->path = ovl_arena_alloc(arena, OVL_REAL_MAX);
    walk->rest = ovl_arena_alloc(arena, OVL_PATH_MAX);
    walk->spare = ovl_arena_alloc(arena, OVL_PATH_MAX);
    return walk->path && walk->rest && walk->spare ? 0 : -ENOMEM;
}

/* ---- in another overlay ---------------------------------------------------------------------------- */

/* What layer i has at rel, a path that it is asked for as one of w->stack: 1 go on to the next layer
 * with or without it in the stack, 0 decided. */
static int ask_layer(struct ovl_walk *w, const char *rel, unsigned i, struct ovl_stack *dirs, bool *found)
{
    struct ovl_ctx *ctx = &w->plans->ctx;
    const struct ovl_plan_layer *layer = &w->in->layer[i];
    struct stat st;
    size_t mark = ctx->used;
    int fds = ctx->fds;
    char *real = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    int r = real ? ovl_real_path(ctx, layer->path, rel, real) : -ENOMEM;
    if (r == 0)
        r = ovl_sys_lstat(real, &st);
    bool is_there = r == 0;
    if (r == -ENOENT || r == -ENOTDIR || r == -ENAMETOOLONG)
        r = 0;
    int hidden = r == 0 && is_there ? ovl_is_whiteout(ctx, real, &st) : 0;
    if (hidden < 0)
        r = hidden;
    if (r < 0 || hidden)
        goto out;
    if (is_there && !*found) {
        w->st = st;
        *found = true;
    }
    bool merges = is_there && S_ISDIR(st.st_mode) && S_ISDIR(w->st.st_mode);
    if (merges)
        ovl_stack_add(dirs, i);
    if (!is_there || merges) {
        r = merges ? ovl_is_opaque(ctx, real) : 0;
        if (r == 0)
            r = ovl_has_whiteout(ctx, layer->path, rel);
        r = r < 0 ? r : !r;
    }
out:
    ovl_ctx_close(ctx, fds);
    ovl_ctx_reset(ctx, mark);
    return r;
}

/* Go down one component in w->in: w->path up to `end`.  -ENOENT when its layers don't show it. */
static int step(struct ovl_walk *w, size_t end)
{
    struct ovl_stack dirs = {.impure = false};
    bool found = false;
    char kept = w->path[end];
    int r = 1;
    w->path[end] = '\0';
    const char *rel = w->path + w->in->mount_length;
    if (ovl_has_prefix(ovl_strrchr(rel, '/') + 1, OVL_WH_PREFIX))
        r = -ENOENT;
    for (unsigned i = 0; r == 1; i++) {
        i = ovl_stack_next(&w->stack, i, w->in->layers);
        if (i == w->in->layers)
            break;
        r = ask_layer(w, rel, i, &dirs, &found);
    }
    w->path[end] = kept;
    w->stack = dirs;
    w->at = end;
    return r < 0 ? r : found ? 0 : -ENOENT;
}

static int enter(struct ovl_walk *w, struct ovl_plan *plan)
{
    int r = ovl_plan_lowers(w->plans, plan);
    if (r == 0 && plan->has_upper)
        r = ovl_plan_make_upper(w->plans, plan);
    if (r < 0)
        return r;
    w->in = plan;
    w->at = plan->mount_length;
    w->st = plan->layer[0].st;
    memset(&w->stack, 0, sizeof w->stack);
    for (unsigned i = 0; i < plan->roots; i++)
        ovl_stack_add(&w->stack, i);
    return 0;
}

static int look_inside(struct ovl_walk *w, struct ovl_plan *plan)
{
    int r = 0;
    if (w->in != plan || w->at > w->length)
        r = enter(w, plan);
    while (r == 0 && w->at < w->length) {
        size_t end = w->at + 1;
        while (w->path[end] && w->path[end] != '/')
            end++;
        r = step(w, end);
    }
    return r;
}

/* ---- one component after the other ------------------------------------------------------------------ */

/* The overlay, other than the walk's own, that has w->path. */
static struct ovl_plan *other_plan(const struct ovl_walk *w)
{
    struct ovl_plan *plan = w->plans ? ovl_plan_of(w->plans, w->path) : NULL;
    return plan == w->own ? NULL : plan;
}

/* A mount is there even if what leads to it is not. */
static bool is_other_mount(const struct ovl_walk *w)
{
    const struct ovl_plan *plan = other_plan(w);
    return plan && plan->mount_length == w->length;
}

/* Find out what is at w->path. */
static int look(struct ovl_walk *w)
{
    struct ovl_plan *plan = other_plan(w);
    w->known = true;
    w->missing = 0;
    if (plan)
        return look_inside(w, plan);
    w->in = NULL;
    return ovl_sys_lstat(w->length ? w->path : "/", &w->st);
}

static void go_up(struct ovl_walk *w)
{
    while (w->length > 0 && w->path[--w->length] != '/')
        ;
    w->path[w->length] = '\0';
    w->known = false;
    if (w->at > w->length)
        w->in = NULL;
}

static int read_link(struct ovl_walk *w, char *target)
{
    struct ovl_ctx *ctx = w->in ? &w->plans->ctx : NULL;
    if (!ctx)
        return (int)ovl_sys_readlink(w->path, target, OVL_REAL_MAX);
    /* The first layer that has the name is the one that shows it. */
    size_t mark = ctx->used;
    int fds = ctx->fds, r = -ENOENT;
    char *real = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    for (unsigned i = 0; real && r < 0 && i < w->in->layers; i++) {
        struct stat st;
        if (ovl_real_path(ctx, w->in->layer[i].path, w->path + w->in->mount_length, real) == 0 &&
            ovl_sys_lstat(real, &st) == 0 && st.st_ino == w->st.st_ino && st.st_dev == w->st.st_dev)
            r = (int)ovl_sys_readlink(real, target, OVL_REAL_MAX);
        ovl_ctx_close(ctx, fds);
    }
    ovl_ctx_reset(ctx, mark);
    return r;
}

/* Replace the link at w->path and what follows by the link's target and what follows. */
static int follow(struct ovl_walk *w, const char *after)
{
    if (++w->links > LINKS_MAX)
        return -ELOOP;
    int n = read_link(w, w->spare);
    if (n <= 0)
        return n < 0 ? n : -ENOENT;
    if (n >= OVL_REAL_MAX)
        return -ENAMETOOLONG;
    w->spare[n] = '\0';
    if (ovl_append(w->spare, OVL_PATH_MAX, (size_t)n, after) < 0)
        return -ENAMETOOLONG;
    go_up(w);
    if (w->spare[0] == '/') {
        w->length = 0;
        w->path[0] = '\0';
        w->in = NULL;
    }
    char *old = w->rest;
    w->rest = w->spare;
    w->spare = old;
    return 0;
}

static int append(struct ovl_walk *w, const char *name, size_t n)
{
    if (n > OVL_NAME_MAX || w->length + 1 + n >= OVL_REAL_MAX)
        return -ENAMETOOLONG;
    w->path[w->length] = '/';
    memcpy(w->path + w->length + 1, name, n);
    w->length += 1 + n;
    w->path[w->length] = '\0';
    return 0;
}

/* Go to the component of n bytes at name; *next is what follows it. */
static int go_to(struct ovl_walk *w, const char *name, size_t n, const char **next)
{
    if (n == 1 && name[0] == '.')
        return 0;
    if (n == 2 && name[0] == '.' && name[1] == '.') {
        if (w->missing)
            w->missing--;
        go_up(w);
        return 0;
    }
    if (!w->missing && w->known && !S_ISDIR(w->st.st_mode))
        return -ENOTDIR;
    int r = append(w, name, n);
    if (r < 0)
        return r;
    if (w->missing && !is_other_mount(w)) {
        w->missing++;
        return 0;
    }
    r = look(w);
    if (r == -ENOENT) {
        w->missing = 1;
        return 0;
    }
    bool is_last = !(*next)[0] || ovl_streq(*next, "/");
    if (r < 0 || !S_ISLNK(w->st.st_mode) || (w->no_follow && is_last))
        return r;
    r = follow(w, *next);
    *next = w->rest;
    return r;
}

int ovl_walk(struct ovl_walk *w, const char *path)
{
    w->length = w->at = 0;
    w->missing = w->links = 0;
    w->path[0] = '\0';
    w->in = NULL;
    w->known = false;
    if (ovl_append(w->rest, OVL_PATH_MAX, 0, path) < 0)
        return -ENAMETOOLONG;
    const char *next = w->rest;
    for (;;) {
        while (*next == '/')
            next++;
        if (!*next)
            break;
        const char *name = next;
        while (*next && *next != '/')
            next++;
        int r = go_to(w, name, (size_t)(next - name), &next);
        if (r < 0)
            return r;
    }
    return w->known || w->missing ? 0 : look(w);
}
