/* SPDX-License-Identifier: MIT
 *
 * unlink(2) and rmdir(2).
 *
 * The whiteout comes first, then the upper object goes: at no moment does a lower object show
 * through.  What must hold: a name that no lower layer has leaves no whiteout; after an error the name
 * is what it was.
 */
#include "types.h"

#define TRIES 16

typedef int remover(struct ovl_ctx *ctx, struct ovl_node *node, bool whiteout);

/* Remove an object that the upper has. */
static int remove_and_forget(struct ovl_ctx *ctx, struct ovl_node *node, bool whiteout, remover *remove)
{
    ovl_identity_forget(node->ovl, &node->st);
    int r = remove(ctx, node, whiteout);
    ovl_identity_forgotten(node->ovl, &node->st, r);
    return r;
}

/* `whiteout` says whether a lower layer has the name too. */
static int remove_upper(struct ovl_ctx *ctx, struct ovl_node *node, bool whiteout)
{
    if (whiteout && ovl_whiteout_takes_name(node))
        return ovl_whiteout_make(ctx, node); /* replaces the object */
    int r = whiteout ? ovl_whiteout_make(ctx, node) : 0;
    if (r < 0)
        return r;
    r = ctx->ops->unlink(node->real);
    if (r < 0 && whiteout)
        ovl_whiteout_remove(ctx, node);
    return r;
}

static int unlink_locked(struct ovl_ctx *ctx, struct ovl_node *node, bool whiteout)
{
    int r = ovl_refresh(ctx, node);
    if (r < 0)
        return r;
    if (!node->exists)
        return -ENOENT;
    if (S_ISDIR(node->st.st_mode))
        return -EISDIR;
    if (whiteout && !ovl_stack_has(&node->in, 0))
        return -ESTALE;
    return node->top == 0 ? remove_and_forget(ctx, node, whiteout, remove_upper) : ovl_whiteout_make(ctx, node);
}

static int unlink_once(struct ovl_ctx *ctx, struct ovl_node *node)
{
    int r = ovl_may_change_parent(ctx, node);
    int lower = r < 0 ? r : ovl_lower_has(ctx, node);
    if (lower < 0)
        return lower;
    r = lower ? ovl_copy_up_parents(ctx, node) : 0;
    if (r < 0)
        return r;
    struct ovl_held held;
    r = ovl_lock_names(node, NULL, NULL, &held);
    if (r == 0) {
        r = unlink_locked(ctx, node, lower);
        if (r == 0)
            ovl_held_gone(&held, 0);
        ovl_unlock(&held);
    }
    if (r == 0)
        ovl_group_name_gone(ctx, node);
    return r;
}

int ovl_unlink(struct ovl_ctx *ctx, struct ovl_node *node)
{
    int r = ovl_check_last(node, -EISDIR, -EISDIR, -EISDIR);
    if (r < 0)
        return r;
    if (!node->ovl->has_upper)
        return -EROFS;
    if (!node->exists)
        return -ENOENT;
    bool is_dir = S_ISDIR(node->st.st_mode);
    if (node->slash)
        return is_dir ? -EISDIR : -ENOTDIR; /* before the directory is asked */
    if (is_dir)
        return ovl_refused_first(ctx, node, -EISDIR);
    size_t mark = ctx->used;
    r = -ESTALE;
    for (int i = 0; r == -ESTALE && i < TRIES; i++) {
        r = i ? ovl_refresh(ctx, node) : 0;
        if (r == 0)
            r = unlink_once(ctx, node);
        ovl_ctx_reset(ctx, mark);
    }
    return r;
}

/* ---- directories ---------------------------------------------------------------------------------- */

static int count_names(struct ovl_ctx *ctx, const struct ovl_node *node)
{
    int r = ovl_count(ctx, node);
    return r > 0 ? -ENOTEMPTY : r;
}

/* An opaque mark too may have been out of reach. */
static int look_and_count(struct ovl_ctx *ctx, void *arg)
{
    struct ovl_node *node = arg;
    int r = ovl_refresh(ctx, node);
    if (r == 0 && !(node->exists && S_ISDIR(node->st.st_mode)))
        r = -ESTALE;
    return r < 0 ? r : count_names(ctx, node);
}

int ovl_check_empty(struct ovl_ctx *ctx, struct ovl_node *node)
{
    int r = count_names(ctx, node);
    if (r != -EACCES || node->top != 0 || !node->ovl->has_upper)
        return r;
    size_t mark = ctx->used;
    char *real = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    if (!real)
        return -ENOMEM;
    memcpy(real, node->real, ovl_strlen(node->real) + 1);
    r = ovl_with_access(ctx, node->ovl, real, look_and_count, node);
    ovl_ctx_reset(ctx, mark);
    return r;
}

/* The upper has the directory, empty but for markers.  Where no whiteout hides it beside, its own marks
 * must not go before itself: it is moved away whole. */
static int remove_upper_dir(struct ovl_ctx *ctx, struct ovl_node *node, bool whiteout)
{
    if (whiteout && ovl_whiteout_takes_name(node))
        return ovl_whiteout_make(ctx, node);
    int r = whiteout ? ovl_whiteout_make(ctx, node) : 0;
    if (r < 0)
        return r;
    r = ctx->ops->rmdir(node->real);
    if (r == -ENOTEMPTY || r == -EEXIST) {
        r = ovl_markers_clear(ctx, node->ovl, node->real);
        if (r == 0)
            r = ctx->ops->rmdir(node->real);
    }
    return r;
}

static int rmdir_locked(struct ovl_ctx *ctx, struct ovl_node *node, bool whiteout)
{
    int r = ovl_refresh(ctx, node);
    if (r < 0)
        return r;
    if (!node->exists)
        return -ENOENT;
    if (!S_ISDIR(node->st.st_mode))
        return -ENOTDIR;
    r = ovl_check_empty(ctx, node);
    if (r < 0)
        return r;
    if (whiteout && !ovl_stack_has(&node->in, 0))
        return -ESTALE;
    uint64_t log = ovl_moves_begin(ctx, node, NULL, OVL_MOVE_REMOVED);
    r = node->top == 0 && node->ovl->has_upper ? remove_and_forget(ctx, node, whiteout, remove_upper_dir)
                                               : ovl_whiteout_make(ctx, node);
    ovl_moves_end(node->ovl, log, r);
    return r;
}

static int rmdir_once(struct ovl_ctx *ctx, struct ovl_node *node)
{
    int r = ovl_may_change_parent(ctx, node);
    if (r == 0)
        r = ovl_check_empty(ctx, node);
    if (r == -ENOTEMPTY)
        r = ovl_refused_first(ctx, node, r);
    int lower = r < 0 ? r : ovl_lower_has(ctx, node);
    if (lower < 0)
        return lower;
    r = lower ? ovl_copy_up_parents(ctx, node) : 0;
    if (r < 0)
        return r;
    struct ovl_held held;
    r = ovl_lock_tree(node->ovl, node, NULL, &held);
    if (r == 0) {
        r = rmdir_locked(ctx, node, lower);
        if (r == 0)
            ovl_held_gone(&held, 0);
        ovl_unlock(&held);
    }
    return r;
}

int ovl_rmdir(struct ovl_ctx *ctx, struct ovl_node *node)
{
    int r = ovl_check_last(node, -EINVAL, -ENOTEMPTY, -EBUSY);
    if (r < 0)
        return r;
    if (!node->ovl->has_upper)
        return -EROFS;
    if (!node->exists)
        return -ENOENT;
    if (!S_ISDIR(node->st.st_mode))
        return ovl_refused_first(ctx, node, -ENOTDIR);
    size_t mark = ctx->used;
    r = -ESTALE;
    for (int i = 0; r == -ESTALE && i < TRIES; i++) {
        r = i ? ovl_refresh(ctx, node) : 0;
        if (r == 0)
            r = rmdir_once(ctx, node);
        ovl_ctx_reset(ctx, mark);
    }
    return r;
}
