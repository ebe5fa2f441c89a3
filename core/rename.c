/* SPDX-License-Identifier: MIT
 *
 * renameat2(2) inside one overlay.
 *
 * Files are copied up and then moved by one rename of the upper, with a whiteout for the old name made
 * before it.  A directory that only the upper has moves whole; one with lower content answers EXDEV,
 * as overlayfs without redirect_dir does.  What must hold: the new name is at no moment missing or
 * partial; a directory that moves over a lower one is opaque before it arrives.
 */
#include "types.h"

#define TRIES 16
#define NOREPLACE 1u
#define EXCHANGE 2u
#define WHITEOUT 4u

struct move {
    struct ovl_node *from, *to;
    unsigned flags;
    bool from_lower, to_lower; /* lower layers have the name */
    char *place;               /* of `to` in the upper */
};

static bool is_dir(const struct ovl_node *node)
{
    return node->exists && S_ISDIR(node->st.st_mode);
}

/* Whether b lies below a. */
static bool is_ancestor(const struct ovl_node *a, const struct ovl_node *b)
{
    return b->length > a->length && ovl_is_below(b->path, a->path, a->length);
}

static bool is_same(const struct ovl_node *a, const struct ovl_node *b)
{
    if (a->length == b->length && memcmp(a->path, b->path, a->length) == 0)
        return true;
    return a->exists && b->exists && !is_dir(a) && a->top == b->top && a->st.st_dev == b->st.st_dev &&
           a->st.st_ino == b->st.st_ino;
}

/* ---- refusals, in the kernel's order (fs/namei.c, do_renameat2() and vfs_rename()) ------------------- */

/* The overlay in whose directory a name stands; a mount's own name stands in what lies around it. */
static const struct ovl *home_of(struct ovl_ctx *ctx, const struct ovl_node *node)
{
    if (!ovl_is_mount(node) || node->last == OVL_LAST_DOT || node->last == OVL_LAST_DOTDOT)
        return node->ovl;
    const char *parent = ovl_parent_path(ctx, node);
    const struct ovl_region *region = parent && node->length > 1 ? ovl_region_of(ctx->space, parent) : NULL;
    return region ? region->ovl : NULL;
}

/* 1 when there is nothing to do. */
static int check_names(struct ovl_ctx *ctx, const struct ovl_node *from, const struct ovl_node *to, unsigned flags)
{
    if (flags & ~(NOREPLACE | EXCHANGE) || flags == (NOREPLACE | EXCHANGE))
        return -EINVAL;
    if (home_of(ctx, from) != home_of(ctx, to))
        return -EXDEV;
    if (from->last == OVL_LAST_DOT || from->last == OVL_LAST_DOTDOT)
        return -EBUSY;
    if (to->last == OVL_LAST_DOT || to->last == OVL_LAST_DOTDOT)
        return flags & NOREPLACE ? -EEXIST : -EBUSY;
    if (ovl_is_mount(from) || ovl_is_mount(to))
        return is_same(from, to) && from->length > 1 && !flags ? 1 : -EBUSY;
    return from->ovl->has_upper ? 0 : -EROFS;
}

static int check_objects(const struct ovl_node *from, const struct ovl_node *to, unsigned flags)
{
    if (!from->exists)
        return -ENOENT;
    if ((flags & NOREPLACE) && to->exists)
        return -EEXIST;
    if ((flags & EXCHANGE) && !to->exists)
        return -ENOENT;
    if (flags & EXCHANGE && !is_dir(to) && to->slash)
        return -ENOTDIR;
    if (!is_dir(from) && (from->slash || (to->slash && !(flags & EXCHANGE))))
        return -ENOTDIR;
    if (is_ancestor(from, to))
        return -EINVAL;
    if (is_ancestor(to, from))
        return flags & EXCHANGE ? -EINVAL : -ENOTEMPTY;
    if (to->reserved)
        return -EINVAL;
    if (flags & EXCHANGE || !to->exists || is_same(from, to))
        return 0;
    if (is_dir(from) && !is_dir(to))
        return -ENOTDIR;
    return !is_dir(from) && is_dir(to) ? -EISDIR : 0;
}

static int check_directories(struct ovl_ctx *ctx, const struct ovl_node *from, const struct ovl_node *to,
                             unsigned flags)
{
    const struct ovl *o = from->ovl;
    if (is_dir(to) && !(flags & EXCHANGE)) {
        struct ovl_listing listing;
        int r = ovl_list(ctx, to, &listing);
        if (r < 0)
            return r;
        r = listing.count > 2 ? -ENOTEMPTY : 0;
        ovl_listing_free(&listing);
        if (r < 0)
            return r;
    }
    if (is_dir(from) && ovl_has_lower(o, &from->dirs))
        return -EXDEV;
    return flags & EXCHANGE && is_dir(to) && ovl_has_lower(o, &to->dirs) ? -EXDEV : 0;
}

/* ---- the move ---------------------------------------------------------------------------------------- */

/* Make a directory that arrives over a lower one hide it, with its own times kept. */
static int make_opaque(struct ovl_ctx *ctx, const struct ovl_node *node)
{
    const struct timespec times[2] = {node->st.st_atim, node->st.st_mtim};
    int r = ovl_opaque_set(ctx, node->ovl, node->real);
    ovl_sys_utimensat(AT_FDCWD, node->real, times, AT_SYMLINK_NOFOLLOW);
    return r;
}

static int prepare_directory(struct ovl_ctx *ctx, const struct ovl_node *dir, bool over_lower)
{
    return is_dir(dir) && over_lower ? make_opaque(ctx, dir) : 0;
}

static void forget_replaced(const struct ovl_node *to)
{
    if (to->exists && to->top == 0 && !is_dir(to) && to->st.st_nlink <= 1)
        ovl_identity_forget(to->ovl, &to->st);
}

/* An empty upper directory in the way may hold markers, which would stop the kernel's rename; the
 * whiteout beside it, or its opaque mark, stands in for them meanwhile. */
static int clear_target(struct ovl_ctx *ctx, const struct move *m)
{
    if (!is_dir(m->to) || m->to->top != 0)
        return 0;
    int r = 0;
    if (m->to_lower)
        r = ovl_whiteout_takes_name(m->to) ? ovl_opaque_set(ctx, m->to->ovl, m->to->real)
                                           : ovl_whiteout_make(ctx, m->to);
    return r < 0 ? r : ovl_markers_clear(ctx, m->to->real);
}

/* A directory goes where a whiteout has the name: the two change places. */
static int swap_with_whiteout(struct ovl_ctx *ctx, const struct move *m)
{
    int r = ctx->ops->rename(m->from->real, m->place, EXCHANGE);
    if (r == 0 && !m->from_lower)
        ovl_sys_unlink(m->from->real);
    return r;
}

static int move_over(struct ovl_ctx *ctx, const struct move *m)
{
    int at_name = ovl_whiteout_at_name(ctx, m->to);
    if (at_name < 0)
        return at_name;
    if (at_name && is_dir(m->from))
        return swap_with_whiteout(ctx, m);
    bool takes_name = ovl_whiteout_takes_name(m->from);
    bool beside = m->from_lower && !takes_name;
    int r = beside ? ovl_whiteout_make(ctx, m->from) : 0;
    if (r < 0)
        return r;
    /* RENAME_WHITEOUT leaves a 0/0 device under the old name in the same step (rename(2)). */
    bool device = m->from_lower && takes_name;
    r = ctx->ops->rename(m->from->real, m->place, device ? WHITEOUT : 0);
    if (r < 0 && beside)
        ovl_whiteout_remove(ctx, m->from);
    if (r == 0 && device && m->from->ovl->whiteout != OVL_WHITEOUT_KERNEL && ovl_whiteout_make(ctx, m->from) < 0)
        ovl_log_line(OVL_LOG_WARN, m->from->path, ": hidden by a device instead of an attribute", NULL);
    return r;
}

static int replace(struct ovl_ctx *ctx, const struct move *m)
{
    int r = prepare_directory(ctx, m->from, m->to_lower);
    if (r == 0)
        r = clear_target(ctx, m);
    if (r == 0)
        r = move_over(ctx, m);
    if (r < 0)
        return r;
    forget_replaced(m->to);
    /* Beside the object that has moved over it, a whiteout that stays hides nothing more. */
    if (ovl_whiteout_remove(ctx, m->to) < 0)
        ovl_log_line(OVL_LOG_WARN, m->to->path, ": its whiteout could not be removed", NULL);
    return 0;
}

static int exchange(struct ovl_ctx *ctx, const struct move *m)
{
    int r = prepare_directory(ctx, m->from, m->to_lower);
    if (r == 0)
        r = prepare_directory(ctx, m->to, m->from_lower);
    return r < 0 ? r : ctx->ops->rename(m->from->real, m->place, EXCHANGE);
}

static int move_locked(struct ovl_ctx *ctx, struct move *m)
{
    int r = ovl_refresh(ctx, m->from);
    if (r == 0)
        r = ovl_refresh(ctx, m->to);
    if (r == 0)
        r = check_objects(m->from, m->to, m->flags);
    if (r == 0)
        r = check_directories(ctx, m->from, m->to, m->flags);
    if (r < 0)
        return r;
    if (m->from->top != 0 || !ovl_stack_has(&m->to->in, 0) || (m->flags & EXCHANGE && m->to->top != 0))
        return -ESTALE;
    if (is_same(m->from, m->to))
        return 0;
    r = ovl_upper_path(ctx, m->to, m->place);
    if (r < 0)
        return r;
    bool moves_dir = is_dir(m->from) || (m->flags & EXCHANGE && is_dir(m->to));
    r = m->flags & EXCHANGE ? exchange(ctx, m) : replace(ctx, m);
    if (r == 0 && moves_dir)
        ovl_shared_renamed(ovl_shared(m->from->ovl));
    return r;
}

static int prepare(struct ovl_ctx *ctx, struct move *m)
{
    int r = ovl_may_change_parent(ctx, m->from);
    if (r == 0)
        r = ovl_may_change_parent(ctx, m->to);
    if (r == 0 && !is_dir(m->from))
        r = ovl_copy_up(ctx, m->from, OVL_COPY_ALL);
    if (r == 0 && m->flags & EXCHANGE && !is_dir(m->to))
        r = ovl_copy_up(ctx, m->to, OVL_COPY_ALL);
    if (r == 0)
        r = ovl_copy_up_parents(ctx, m->to);
    if (r < 0)
        return r;
    int from_lower = ovl_lower_has(ctx, m->from);
    int to_lower = ovl_lower_has(ctx, m->to);
    m->from_lower = from_lower > 0;
    m->to_lower = to_lower > 0;
    return from_lower < 0 ? from_lower : to_lower < 0 ? to_lower : 0;
}

static int move_once(struct ovl_ctx *ctx, struct move *m)
{
    int r = check_objects(m->from, m->to, m->flags);
    if (r < 0 || is_same(m->from, m->to))
        return r;
    r = check_directories(ctx, m->from, m->to, m->flags);
    if (r == 0)
        r = prepare(ctx, m);
    if (r < 0)
        return r;
    const char *a = ovl_parent_path(ctx, m->from);
    const char *b = ovl_parent_path(ctx, m->to);
    m->place = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    if (!a || !b || !m->place)
        return -ENOMEM;
    struct ovl_held held;
    r = is_dir(m->from) || is_dir(m->to) ? ovl_lock_tree(m->from->ovl, &held)
                                         : ovl_lock_dirs(m->from->ovl, a, b, &held);
    if (r == 0) {
        r = move_locked(ctx, m);
        ovl_unlock(&held);
    }
    return r;
}

int ovl_rename(struct ovl_ctx *ctx, struct ovl_node *from, struct ovl_node *to, unsigned flags)
{
    int r = check_names(ctx, from, to, flags);
    if (r != 0)
        return r < 0 ? r : 0;
    struct move m = {.from = from, .to = to, .flags = flags};
    size_t mark = ctx->used;
    r = -ESTALE;
    for (int i = 0; r == -ESTALE && i < TRIES; i++) {
        r = i ? ovl_refresh(ctx, from) : 0;
        if (r == 0 && i)
            r = ovl_refresh(ctx, to);
        if (r == 0)
            r = move_once(ctx, &m);
        ovl_ctx_reset(ctx, mark);
    }
    return r;
}
