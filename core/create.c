/* SPDX-License-Identifier: MIT
 *
 * Making names: files, directories, nodes, symbolic and hard links, through one path.
 *
 * The object is made by the kernel in the merged parent's own upper directory, so that umask, default
 * ACL, setgid group and quota are those of the place.  Where a whiteout stands beside the name it
 * goes last; where one has taken the name itself, the object is made under a reserved name beside
 * it (hidden, as every .wh. name) and moved over it.  What must hold: what lies below in the lower
 * layers is never seen through a new directory, not for a moment.
 */
#include "types.h"

#define RENAME_EXCHANGE_FLAG 2u

enum kind { MAKE_FILE, MAKE_DIR, MAKE_NODE, MAKE_SYMLINK, MAKE_LINK, MAKE_LINK_FD, MAKE_WITH };

struct make {
    enum kind kind;
    mode_t mode;
    dev_t dev;
    int flags;                                /* of open */
    int fd;                                   /* of MAKE_LINK_FD */
    const char *from;                         /* a link's target */
    struct ovl_node *object;                  /* of MAKE_LINK */
    int (*with)(void *arg, const char *real); /* of MAKE_WITH */
    void *arg;
};

const char *ovl_parent_path(struct ovl_ctx *ctx, const struct ovl_node *node)
{
    char *parent = ovl_ctx_alloc(ctx, node->name + 2);
    if (!parent)
        return NULL;
    memcpy(parent, node->path, node->name);
    parent[ovl_parent_length(node)] = '\0';
    return parent;
}

/* Returns a descriptor for a file, else 0. */
static int make_object(struct ovl_ctx *ctx, const struct make *m, const char *path)
{
    switch (m->kind) {
    case MAKE_FILE:
        return ovl_open_exact(path, (m->flags & ~O_TRUNC) | O_CREAT | O_EXCL, m->mode);
    case MAKE_DIR:
        return ctx->ops->mkdir(path, m->mode);
    case MAKE_NODE:
        return ctx->ops->mknod(path, m->mode, m->dev);
    case MAKE_SYMLINK:
        return ovl_sys_symlink(m->from, path);
    case MAKE_LINK:
        return ovl_sys_linkat(AT_FDCWD, m->object->real, AT_FDCWD, path, 0);
    case MAKE_WITH:
        return m->with(m->arg, path);
    case MAKE_LINK_FD:
        break;
    }
    char link[OVL_FD_PATH_MAX];
    ovl_fd_path(m->fd, "", link, sizeof link);
    return ovl_sys_linkat(AT_FDCWD, link, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
}

static void undo_object(struct ovl_ctx *ctx, const struct ovl *o, const struct make *m, const char *path, int made)
{
    if (m->kind == MAKE_FILE && made >= 0)
        ovl_sys_close(made);
    if (m->kind != MAKE_DIR) {
        ctx->ops->unlink(path);
        return;
    }
    ovl_markers_clear(ctx, o, path);
    ctx->ops->rmdir(path);
}

/* Nothing visible and no whiteout has the name in the upper: the kernel can make it in place. */
static int make_in_place(struct ovl_ctx *ctx, struct ovl_node *node, const struct make *m, const char *place)
{
    const struct ovl *o = node->ovl;
    int beside =
        ovl_cache_has_no_whiteout(ctx, node) ? 0 : ovl_has_whiteout(ctx, o->layer[0].path, ovl_relative(o, node->path));
    if (beside < 0)
        return beside;
    int made = make_object(ctx, m, place);
    if (made < 0 || !beside)
        return made;
    /* A directory beside its own whiteout counts as opaque, so the mark can come second. */
    int r = m->kind == MAKE_DIR ? ovl_opaque_set(ctx, o, place) : 0;
    if (r == 0)
        r = ovl_whiteout_remove(ctx, node);
    if (r < 0) {
        undo_object(ctx, o, m, place, made);
        return r;
    }
    return made;
}

/* The path of an object that is made beside its place. */
static int name_aside(const char *place, char *aside)
{
    char prefix[64];
    char number[24];
    ssize_t n = ovl_append(prefix, sizeof prefix, 0, OVL_WH_ASIDE);
    ovl_append(prefix, sizeof prefix, (size_t)n, ovl_decimal(number, (uint64_t)ovl_sys_gettid()));
    memcpy(aside, place, ovl_strlen(place) + 1);
    size_t dir = (size_t)(ovl_strrchr(aside, '/') + 1 - aside);
    n = ovl_append(aside, OVL_REAL_MAX, dir, prefix);
    return n < 0 ? (int)n : 0;
}

static int make_aside(struct ovl_ctx *ctx, struct ovl *o, const struct make *m, const char *aside)
{
    int made = make_object(ctx, m, aside);
    if (made != -EEXIST)
        return made;
    /* The directory is locked: a killed thread of this number has left it. */
    ovl_work_discard(ctx, o, aside);
    return make_object(ctx, m, aside);
}

static int move_aside_in(struct ovl_ctx *ctx, struct ovl_node *node, const struct make *m, const char *aside,
                         const char *place)
{
    int made = make_aside(ctx, node->ovl, m, aside);
    if (made < 0)
        return made;
    int r = m->kind == MAKE_DIR ? ovl_opaque_set(ctx, node->ovl, aside) : 0;
    if (r == 0)
        r = ovl_sys_rename(aside, place, m->kind == MAKE_DIR ? RENAME_EXCHANGE_FLAG : 0);
    if (r < 0) {
        undo_object(ctx, node->ovl, m, aside, made);
        return r;
    }
    if (m->kind == MAKE_DIR)
        ovl_sys_unlink(aside); /* now the whiteout */
    return made;
}

/* A whiteout has the very name: make the object beside it, then let them change places.  The work directory says
 * meanwhile where that is, so that a kill leaves nothing in the upper for ever. */
static int make_over_whiteout(struct ovl_ctx *ctx, struct ovl_node *node, const struct make *m, const char *place)
{
    char *aside = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    char *note = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    int r = aside && note ? name_aside(place, aside) : -ENOMEM;
    if (r == 0)
        r = ovl_work_note(node->ovl, aside, note);
    if (r < 0)
        return r;
    int made = move_aside_in(ctx, node, m, aside, place);
    if (*note)
        ovl_sys_unlink(note);
    return made;
}

/* The type of what is made, where that is certain and no directory; else 0. */
static mode_t type_made(const struct make *m)
{
    const mode_t of_node = m->kind == MAKE_NODE ? m->mode & S_IFMT : 0;
    if (of_node)
        return of_node;
    return m->kind == MAKE_FILE || m->kind == MAKE_NODE ? S_IFREG : m->kind == MAKE_SYMLINK ? S_IFLNK : 0;
}

/* What has become of the name. */
static void tell(struct ovl_held *held, const struct ovl_node *node, const struct make *m, const char *place)
{
    const mode_t type = type_made(m);
    if (type)
        ovl_held_there(held, 0, type);
    else if (m->kind == MAKE_DIR)
        ovl_held_made(held, 0, node->ovl, place);
}

/* While the tree is held no directory moves: whether the object that is to get one more name is there still. */
static int look_for_object(struct ovl_ctx *ctx, struct ovl_node *object)
{
    int r = ovl_refresh(ctx, object);
    if (r < 0)
        return r;
    if (!object->exists || object->top != 0)
        return -ENOENT;
    return S_ISDIR(object->st.st_mode) ? -EPERM : 0;
}

static int make_locked(struct ovl_ctx *ctx, struct ovl_node *node, const struct make *m, struct ovl_held *held)
{
    int r = ovl_refresh(ctx, node);
    if (r < 0)
        return r;
    if (node->exists)
        return -EEXIST;
    if (!ovl_stack_has(&node->in, 0))
        return -ESTALE; /* the parent was removed and made again meanwhile */
    char *place = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    if (!place)
        return -ENOMEM;
    r = m->object ? look_for_object(ctx, m->object) : 0;
    if (r == 0)
        r = ovl_upper_path(ctx, node, place);
    if (r == 0)
        r = ovl_whiteout_at_name(ctx, node);
    if (r < 0)
        return r;
    int made = r ? make_over_whiteout(ctx, node, m, place) : make_in_place(ctx, node, m, place);
    if (made >= 0)
        tell(held, node, m, place);
    /* Something that the overlay does not see has the name: made from outside since we looked. */
    return made == -EEXIST ? -ESTALE : made;
}

static int make_once(struct ovl_ctx *ctx, struct ovl_node *node, const struct make *m)
{
    if (node->exists)
        return -EEXIST;
    int r = ovl_may_change_parent(ctx, node);
    if (r == 0)
        r = ovl_copy_up_parents(ctx, node);
    if (r < 0)
        return r;
    struct ovl_held held;
    /* A new directory's own lock too: nobody makes anything in it before it is known to be empty. */
    r = ovl_lock_names(node, NULL, m->kind == MAKE_DIR ? node->path : NULL, &held);
    if (r == 0) {
        r = make_locked(ctx, node, m, &held);
        ovl_unlock(&held);
    }
    return r;
}

int ovl_check_target(const struct ovl_node *to)
{
    int r = ovl_check_last(to, -EEXIST, -EEXIST, -EEXIST);
    if (r < 0)
        return r;
    if (to->exists)
        return -EEXIST;
    if (to->slash)
        return -ENOENT;
    return to->ovl->has_upper ? 0 : -EROFS;
}

/* The order of refusals is the kernel's (fs/namei.c, filename_create()). */
static int make(struct ovl_ctx *ctx, struct ovl_node *node, const struct make *m)
{
    enum { TRIES = 16 };
    int r = ovl_check_last(node, -EEXIST, -EEXIST, -EEXIST);
    if (r < 0)
        return r;
    if (node->exists)
        return -EEXIST;
    if (node->slash && m->kind != MAKE_DIR)
        return m->kind == MAKE_FILE ? -EISDIR : -ENOENT;
    if (node->reserved)
        return -EINVAL;
    if (!node->ovl->has_upper)
        return -EROFS;
    if (m->kind == MAKE_NODE && S_ISCHR(m->mode) && m->dev == 0)
        return ovl_refused_first(ctx, node, -EPERM); /* it would be a whiteout (overlayfs refuses it too) */
    size_t mark = ctx->used;
    r = -ESTALE;
    for (int i = 0; r == -ESTALE && i < TRIES; i++) {
        r = i ? ovl_refresh(ctx, node) : 0;
        if (r == 0)
            r = make_once(ctx, node, m);
        ovl_ctx_reset(ctx, mark);
    }
    return r == -ESTALE ? -EIO : r;
}

int ovl_create_file(struct ovl_ctx *ctx, struct ovl_node *node, int flags, mode_t mode)
{
    const struct make m = {.kind = MAKE_FILE, .flags = flags, .mode = mode};
    return make(ctx, node, &m);
}

int ovl_mkdir(struct ovl_ctx *ctx, struct ovl_node *node, mode_t mode)
{
    const struct make m = {.kind = MAKE_DIR, .mode = mode};
    return make(ctx, node, &m);
}

int ovl_mknod(struct ovl_ctx *ctx, struct ovl_node *node, mode_t mode, dev_t dev)
{
    if (S_ISDIR(mode))
        return -EPERM;
    const struct make m = {.kind = MAKE_NODE, .mode = mode, .dev = dev};
    return make(ctx, node, &m);
}

int ovl_symlink(struct ovl_ctx *ctx, const char *target, struct ovl_node *node)
{
    if (!*target)
        return -ENOENT;
    const struct make m = {.kind = MAKE_SYMLINK, .from = target};
    return make(ctx, node, &m);
}

int ovl_link(struct ovl_ctx *ctx, struct ovl_node *from, struct ovl_node *to)
{
    if (!from->exists)
        return -ENOENT;
    int r = ovl_check_target(to);
    if (r < 0)
        return r;
    if (from->ovl != to->ovl)
        return -EXDEV;
    if (S_ISDIR(from->st.st_mode))
        return ovl_refused_first(ctx, to, -EPERM);
    if (to->reserved)
        return -EINVAL;
    r = ovl_refused_first(ctx, to, 0);
    if (r == 0)
        r = ovl_copy_up(ctx, from, OVL_COPY_ALL);
    if (r < 0)
        return r;
    const struct make m = {.kind = MAKE_LINK, .object = from};
    return make(ctx, to, &m);
}

int ovl_link_fd(struct ovl_ctx *ctx, int fd, struct ovl_node *to)
{
    const struct make m = {.kind = MAKE_LINK_FD, .fd = fd};
    return make(ctx, to, &m);
}

int ovl_make_with(struct ovl_ctx *ctx, struct ovl_node *node, int (*with)(void *arg, const char *real), void *arg)
{
    const struct make m = {.kind = MAKE_WITH, .with = with, .arg = arg};
    return make(ctx, node, &m);
}
