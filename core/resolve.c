/* SPDX-License-Identifier: MIT
 *
 * Walking a path through the whole name space: overlays, what lies outside them, and symbolic links
 * across the border both ways, by the rules of path_resolution(7).
 *
 * What must hold: whatever the path looks like, the place that comes out has no symbolic link, "." or
 * ".." in its parent directory, so that prefix tests on its text are true.
 */
#include "types.h"

#include <unistd.h>

#define LINKS_MAX 40 /* MAXSYMLINKS of the kernel */
#define TRIES 16     /* while a name becomes a link and none in turn */
#define REST_MAX ((size_t)OVL_PATH_MAX * 2)

struct walk {
    struct ovl_ctx *ctx;
    struct ovl_node *node;
    unsigned flags;
    char *buf; /* REST_MAX bytes; what is left to walk stands at its end, so that a link's target fits before it */
    char *rest;
    char *link; /* OVL_REAL_MAX bytes */
    int links;
    int fds;
    bool fresh; /* node's layer path and type are those of its place */
};

/* ---- text ------------------------------------------------------------------------------------ */

static int prepend(struct walk *w, const char *text, size_t n)
{
    bool slash = *w->rest && *w->rest != '/';
    if (n + slash > (size_t)(w->rest - w->buf))
        return -ENAMETOOLONG;
    if (slash)
        *--w->rest = '/';
    w->rest -= n;
    memcpy(w->rest, text, n);
    return 0;
}

/* Whether `path` begins with the mount, however its slashes and dots are written: where it goes on,
 * or NULL. */
static const char *behind_mount(const char *path, const char *mount)
{
    while (*mount) {
        while (path[0] == '/' && (path[1] == '/' || (path[1] == '.' && (path[2] == '/' || !path[2]))))
            path += path[1] == '/' ? 1 : 2;
        size_t n = 1;
        while (mount[n] && mount[n] != '/')
            n++;
        for (size_t i = 0; i < n; i++)
            if (path[i] != mount[i])
                return NULL;
        if (path[n] && path[n] != '/')
            return NULL;
        mount += n;
        path += n;
    }
    return path;
}

bool ovl_space_holds(const struct ovl_space *space, const char *path)
{
    for (unsigned i = 0; i < space->regions; i++) {
        const struct ovl_region *region = &space->region[i];
        if (region->ovl ? behind_mount(path, region->path) != NULL : ovl_is_below(path, region->path, region->length))
            return region->ovl != NULL;
    }
    return false;
}

bool ovl_space_layers_near(const struct ovl_space *space, const char *path)
{
    size_t length = ovl_strlen(path);
    if (length == 1)
        length = 0; /* the root holds everything */
    for (unsigned i = 0; i < space->ovls; i++) {
        const struct ovl *o = &space->ovl[i];
        for (unsigned k = o->has_upper; k < o->layers; k++)
            if (behind_mount(path, o->layer[k].path) || ovl_is_below(o->layer[k].path, path, length))
                return true;
    }
    return false;
}

/* Stand on a directory on the way. */
static int locate(struct walk *w, const char *path)
{
    w->fresh = true;
    return ovl_locate_type(w->ctx, w->node, path);
}

/* Begin with the name of what passes through, which may be a link: it is there whether or not the way to it is. */
static int start_above(struct walk *w, const struct ovl_region *region)
{
    struct ovl_node *node = w->node;
    const char *name = ovl_strrchr(region->path, '/') + 1;
    size_t n = (size_t)(name - region->path);
    int r = prepend(w, name, region->length - n);
    if (r < 0)
        return r;
    node->ovl = NULL;
    node->length = n > 1 ? n - 1 : 1;
    memcpy(node->path, region->path, node->length);
    node->path[node->length] = '\0';
    return 0;
}

/* Begin an absolute walk: straight at the mount, or at what passes through it, that the rest begins with, else at the
 * root. */
static int start_at_root(struct walk *w)
{
    const struct ovl_space *space = w->ctx->space;
    w->fresh = true; /* what passes through needs no more */
    for (unsigned i = 0; i < space->regions; i++) {
        const struct ovl_region *region = &space->region[i];
        const char *on = behind_mount(w->rest, region->path);
        if (!on)
            continue;
        w->rest += on - w->rest;
        if (!region->ovl)
            return start_above(w, region);
        w->node->slash = *w->rest == '/';
        return locate(w, region->length ? region->path : "/");
    }
    return locate(w, "/");
}

/* ---- magic links of /proc ---------------------------------------------------------------------- */

/* Whether an outside symbolic link is one that the kernel follows to an object, not to a name. */
static bool is_magic(const struct ovl_node *node, const char *target)
{
    if (!ovl_has_prefix(node->path, "/proc/"))
        return false;
    const char *name = node->path + node->name;
    if (ovl_streq(name, "cwd") || ovl_streq(name, "root") || ovl_streq(name, "exe"))
        return true;
    /* Ordinary links in /proc are relative: self, net, mounts. */
    return target[0] == '/' || ovl_strchr(target, ':');
}

static bool same_object(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* The magic link leads to an object below some layer: find it by its merged name.  1 when the walk
 * can go on at that name (put into link), 0 when the kernel must follow the link itself. */
static int magic_inside(struct walk *w, size_t *length)
{
    struct ovl_ctx *ctx = w->ctx;
    size_t mark = ctx->used;
    int fds = ctx->fds;
    struct ovl_node *other = ovl_node_new(ctx);
    if (!other)
        return -ENOMEM;
    ssize_t n = ovl_linked_path(ctx->space, w->link, other->path, OVL_PATH_MAX);
    if (n < 0)
        n = ovl_place_of(ctx, w->link, other->path, OVL_PATH_MAX);
    struct stat there;
    bool known = n >= 0 && ovl_sys_stat(w->node->path, &there) == 0;
    int r =
        n == 0 && known && S_ISDIR(there.st_mode) ? -ENOENT : 0; /* a removed one, whose lower part is still there */
    if (n > 0 && known) {
        other->length = (size_t)n;
        other->name = (size_t)(ovl_strrchr(other->path, '/') + 1 - other->path);
        const struct ovl_region *region = ovl_region_of(ctx->space, other->path);
        other->ovl = region ? region->ovl : NULL;
        if (other->ovl && ovl_refresh(ctx, other) == 0 && other->exists) {
            struct stat here = other->st;
            if (!S_ISDIR(here.st_mode))
                ovl_identity(ctx->space, AT_FDCWD, other->real, AT_SYMLINK_NOFOLLOW, &here);
            r = same_object(&here, &there) || same_object(&other->st, &there) ||
                (S_ISDIR(here.st_mode) && S_ISDIR(there.st_mode));
        }
        if (r && n < OVL_REAL_MAX) {
            memcpy(w->link, other->path, (size_t)n + 1);
            *length = (size_t)n;
        }
    }
    ovl_ctx_close(ctx, fds);
    ovl_ctx_reset(ctx, mark);
    return r;
}

/* Follow or keep a magic link: 1 followed (the walk starts again at link), 0 kept as a place. */
static int take_magic(struct walk *w, size_t *length)
{
    int r = w->link[0] == '/' ? magic_inside(w, length) : 0;
    if (r != 0)
        return r;
    struct stat there, named;
    if (w->link[0] == '/' && ovl_sys_stat(w->node->path, &there) == 0 && S_ISDIR(there.st_mode) &&
        ovl_sys_stat(w->link, &named) == 0 && same_object(&there, &named))
        return 1;
    if ((w->flags & OVL_CHANGE) && w->link[0] == '/' && ovl_is_protected(w->ctx->space, w->link)) {
        ovl_log_line(OVL_LOG_WARN, w->link, ": refused to change a lower layer through ", w->node->path, NULL);
        return -EROFS;
    }
    w->node->magic = true;
    return 0;
}

/* ---- steps ------------------------------------------------------------------------------------- */

/* Replace the link that node stands on by its target. */
static int follow(struct walk *w, size_t length)
{
    if (w->flags & OVL_NOLINKS || ++w->links > LINKS_MAX)
        return -ELOOP;
    if (length == 0)
        return -ENOENT;
    if (prepend(w, w->link, length) < 0)
        return -ELOOP; /* only a loop makes links so long in all */
    if (w->link[0] == '/')
        return start_at_root(w);
    ovl_node_parent(w->node);
    w->node->dirs = w->node->in;
    w->fresh = false;
    return 0;
}

static int read_link(struct walk *w, const char *path, size_t *length)
{
    ssize_t n = ovl_sys_readlink(path, w->link, OVL_REAL_MAX - 1);
    if (n < 0)
        return (int)n;
    w->link[n] = '\0';
    *length = (size_t)n;
    return 0;
}

/* A name outside every overlay: the kernel is asked only for what the walk must know. */
static int step_outside(struct walk *w, bool last, bool must_follow)
{
    struct stat st;
    size_t length = 0;
    struct ovl_node *node = w->node;
    if (node->length >= OVL_REAL_MAX)
        return -ENAMETOOLONG;
    if (last && !must_follow)
        return 0;
    int r = ovl_sys_lstat(node->path, &st);
    if (r < 0)
        return last ? 0 : r;
    if (!S_ISLNK(st.st_mode))
        return last || S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
    r = read_link(w, node->path, &length);
    if (r == -ENAMETOOLONG && !(w->flags & OVL_CHANGE)) {
        node->magic = true; /* of an object too deep to be named: the kernel can follow, nobody can say where to */
        return 0;
    }
    if (r == 0 && is_magic(node, w->link)) {
        r = take_magic(w, &length);
        if (r <= 0)
            return r;
        r = 0;
    }
    return r < 0 ? r : follow(w, length);
}

/* Look the name up, and read where it leads if that is to be followed. */
static int look_inside(struct walk *w, bool type_only, bool follows, size_t *length)
{
    struct ovl_node *node = w->node;
    int r = -EINVAL;
    for (int i = 0; r == -EINVAL && i < TRIES; i++) {
        *length = 0;
        r = type_only ? ovl_lookup_type(w->ctx, node) : ovl_lookup(w->ctx, node);
        if (r == 0 && node->exists && S_ISLNK(node->st.st_mode) && follows)
            r = read_link(w, node->real, length); /* -EINVAL: it is none any more */
    }
    return r;
}

static int step_inside(struct walk *w, bool last, bool must_follow)
{
    size_t length = 0;
    struct ovl_node *node = w->node;
    /* realpath(3) looks each name up by its whole path. */
    if (w->flags & OVL_LONG && ovl_anchor_of(w->ctx, node->ovl, node->path, node->length))
        return -EACCES;
    node->in = node->dirs;
    ovl_ctx_close(w->ctx, w->fds);
    const bool follows = !last || must_follow;
    int r = look_inside(w, !last || w->flags & OVL_TYPE, follows, &length);
    if (r < 0)
        return r;
    if (!node->exists)
        return last ? 0 : -ENOENT;
    if (S_ISLNK(node->st.st_mode) && follows)
        return follow(w, length);
    return last || S_ISDIR(node->st.st_mode) ? 0 : -ENOTDIR;
}

/* "." and ".." are looked up like any name, in a directory that may be searched; realpath(3) goes by the text. */
static int may_search(struct walk *w)
{
    struct ovl_node *node = w->node;
    if (w->flags & OVL_LONG)
        return 0;
    int r = w->fresh ? 0 : locate(w, node->path);
    if (r < 0)
        return r;
    if (node->ovl)
        return ovl_may(w->ctx, node->ovl, node->top, node->real, &node->st, X_OK, true);
    return node->magic ? 0 : ovl_may_search(node->path);
}

static int step(struct walk *w, const char *name, size_t n, bool last, bool must_follow)
{
    struct ovl_node *node = w->node;
    if (n > OVL_NAME_MAX || ovl_has_prefix(name, OVL_WH_PREFIX)) {
        int searched = may_search(w); /* which the kernel looks at first */
        if (searched < 0 || n > OVL_NAME_MAX)
            return searched < 0 ? searched : -ENAMETOOLONG;
    }
    int r = ovl_node_append(node, name, n);
    if (r < 0)
        return r;
    node->last = OVL_LAST_NAME;
    w->fresh = true;
    const struct ovl_region *region = ovl_region_at(w->ctx->space, node->path, node->length);
    if (region && region->ovl)
        return locate(w, node->path);
    if (region)
        node->ovl = NULL;
    return node->ovl ? step_inside(w, last, must_follow) : step_outside(w, last, must_follow);
}

static int step_up(struct walk *w)
{
    int r = may_search(w);
    if (r < 0)
        return r;
    struct ovl_node *node = w->node;
    node->last = OVL_LAST_DOTDOT;
    if (node->length == 1)
        return locate(w, node->path);
    size_t length = node->length;
    char *slash = (char *)(uintptr_t)ovl_strrchr(node->path, '/');
    ovl_node_parent(node);
    r = locate(w, node->path);
    if (r != -EACCES || !w->ctx->anchors || slash == node->path)
        return r;
    *slash = '/'; /* the path that was left is still there behind it */
    r = ovl_anchor_above(w->ctx, node->path, length);
    *slash = '\0';
    w->fds = w->ctx->fds;
    return r < 0 ? r : locate(w, node->path);
}

static int walk(struct walk *w)
{
    int r = 0;
    struct ovl_node *node = w->node;
    while (r == 0) {
        while (*w->rest == '/')
            w->rest++;
        const char *name = w->rest;
        while (*w->rest && *w->rest != '/')
            w->rest++;
        size_t n = (size_t)(w->rest - name);
        if (n == 0)
            break;
        const char *on = w->rest;
        while (*on == '/')
            on++;
        bool last = !*on;
        node->slash = last && *w->rest == '/';
        if (n == 1 && name[0] == '.') {
            node->last = OVL_LAST_DOT;
            r = last ? may_search(w) : 0; /* else what follows is looked up there */
        } else if (n == 2 && name[0] == '.' && name[1] == '.') {
            r = step_up(w);
        } else {
            r = step(w, name, n, last, w->flags & OVL_FOLLOW || (node->slash && !(w->flags & OVL_NAME)));
        }
        node->crossed |= node->ovl != NULL;
    }
    bool is_described = w->fresh && !(node->ovl && node->partly && !(w->flags & OVL_TYPE));
    if (r == 0 && !is_described)
        r = w->flags & OVL_TYPE ? locate(w, node->path) : ovl_locate(w->ctx, node, node->path);
    return r;
}

static int finish(struct walk *w)
{
    struct ovl_node *node = w->node;
    bool is_name = w->flags & OVL_NAME;
    if (node->ovl)
        return !is_name && node->slash && node->exists && !S_ISDIR(node->st.st_mode) ? -ENOTDIR : 0;
    if (!node->magic && (w->flags & OVL_CHANGE) && ovl_is_protected(w->ctx->space, node->path)) {
        ovl_log_line(OVL_LOG_WARN, node->path, ": refused to change a lower layer", NULL);
        return -EROFS;
    }
    /* The kernel shall see that a directory is asked for, and that a dot can't be made, moved or removed. */
    const char *tail = is_name && node->last != OVL_LAST_NAME ? "/." : node->slash && node->length > 1 ? "/" : "";
    ssize_t length = ovl_append(node->path, OVL_REAL_MAX, node->length, tail);
    if (length >= 0)
        node->length = (size_t)length;
    return 0;
}

/* What a look at the whole path says of it, if that is not a link to follow. */
static int seen_at_once(int seen, unsigned flags, struct ovl_node *node)
{
    node->slash = node->magic = false;
    node->crossed = true;
    node->last = OVL_LAST_NAME;
    return seen > 0 && node->exists && S_ISLNK(node->st.st_mode) && flags & OVL_FOLLOW ? 0 : seen;
}

/* Most paths have no link, no dot and no slash at their end, and the cache knows all their names: 1, 0 when this one
 * must be walked, or an error. */
static int look_at_once(struct ovl_ctx *ctx, const char *base, const char *path, size_t length, unsigned flags,
                        struct ovl_node *node)
{
    size_t at = path[0] == '/' ? 0 : ovl_strlen(base);
    if (flags & OVL_LONG || path[length - 1] == '/' || at + length + 1 >= OVL_PATH_MAX)
        return 0;
    if (at > 0) {
        memcpy(node->path, base, at);
        at -= at == 1; /* the root */
        node->path[at++] = '/';
    }
    memcpy(node->path + at, path, length + 1);
    node->length = at + length;
    const struct ovl_region *region = ovl_region_of(ctx->space, node->path);
    if (!region || !region->ovl)
        return 0;
    node->ovl = region->ovl;
    return seen_at_once(ovl_lookup_path(ctx, node, flags & OVL_TYPE), flags, node);
}

int ovl_resolve_known(struct ovl_ctx *ctx, const struct ovl_glance *glance, unsigned flags, struct ovl_node *node)
{
    if (!glance->path || flags & OVL_LONG)
        return 0;
    return seen_at_once(ovl_lookup_known(ctx, glance, node, flags & OVL_TYPE), flags, node);
}

int ovl_resolve(struct ovl_ctx *ctx, const char *base, const char *path, unsigned flags, struct ovl_node *node)
{
    size_t length = ovl_strlen(path);
    if (length == 0)
        return -ENOENT;
    if (length >= (flags & OVL_LONG ? REST_MAX : OVL_REAL_MAX))
        return -ENAMETOOLONG;
    int r = look_at_once(ctx, base, path, length, flags, node);
    if (r != 0)
        return r < 0 ? r : 0;
    size_t mark = ctx->used;
    struct walk w = {.ctx = ctx, .node = node, .flags = flags};
    w.buf = ovl_ctx_alloc(ctx, REST_MAX);
    w.link = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    if (!w.buf || !w.link)
        return -ENOMEM;
    w.fds = ctx->fds;
    w.rest = w.buf + REST_MAX - 1 - length;
    memcpy(w.rest, path, length + 1);
    node->last = OVL_LAST_ROOT;
    node->slash = node->magic = node->reserved = node->crossed = false;

    if (path[0] == '/') {
        r = start_at_root(&w);
    } else {
        r = locate(&w, base);
    }
    if (r == 0) {
        node->crossed = node->ovl != NULL;
        r = walk(&w);
    }
    if (r == 0)
        r = finish(&w);
    ovl_ctx_reset(ctx, mark);
    return r;
}
