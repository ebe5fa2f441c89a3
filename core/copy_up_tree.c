/* SPDX-License-Identifier: MIT
 *
 * Copying up everything below a directory, so that it can move whole (rename.c).
 *
 * Two steps.  First, without any lock, what only lower layers have is copied into a tree in the work
 * directory: a disk that fills up or a file that can't be read ends the matter there, and nothing was changed.
 * Then, with the whole tree locked, the copies are moved into the upper, each by one rename.  What
 * must hold: at every moment between the merged view is what it was, because a copy is what it is copied
 * from; what others have copied up, changed or removed meanwhile counts, not our copy of it; and when the
 * second step succeeds nothing below the directory is in a lower layer alone.
 *
 * A directory of the copy that only holds places for what lies below (the upper has the directory itself) is
 * told from a copied one by the upper having it.
 *
 * Names of one hard-linked object are links of one copy from the first step on (link_index.c), so that a directory
 * that only lower layers have can move in whole.
 */
#include "types.h"

struct copy_tree {
    const struct ovl_node *top;
    const char *aside; /* the path of top's copy in the work directory */
    char *place;       /* OVL_REAL_MAX bytes: the copy of the object that is visited */
};

/* The path of the node's copy. */
static int copy_path(struct ovl_ctx *ctx, const struct copy_tree *tree, const struct ovl_node *node)
{
    return ovl_real_path(ctx, tree->aside, node->path + tree->top->length, tree->place);
}

/* A directory keeps the identity that it has as a merged one when its lower parts no longer take part. */
static int keep_identity(struct ovl_ctx *ctx, const struct ovl_node *dir, const char *real)
{
    struct stat shown, st;
    int r = ovl_sys_lstat(real, &st);
    if (r < 0)
        return r;
    ovl_identity_dir(ctx, dir, &shown);
    return ovl_identity_record(dir->ovl, AT_FDCWD, real, &st, &shown, NULL);
}

/* ---- the first step: copies aside ------------------------------------------------------------------------ */

/* Bare until it is filled: its own mode could keep us out, and its default ACL would be handed down to the copies. */
static int make_dir(struct ovl_ctx *ctx, const struct copy_tree *tree, const struct ovl_node *node)
{
    int r = ctx->ops->mkdir(tree->place, 0700);
    if (r == 0)
        r = ovl_sys_chmod(tree->place, 0700); /* whatever the umask is */
    return r < 0 || node->top == 0 ? r : keep_identity(ctx, node, tree->place);
}

static int make(struct ovl_ctx *ctx, const struct copy_tree *tree, const struct ovl_node *node)
{
    if (S_ISDIR(node->st.st_mode))
        return make_dir(ctx, tree, node);
    if (node->linked)
        return ovl_copy_link(node, tree->place);
    int r = ovl_copy_make(ctx, node, tree->place, OVL_COPY_ALL);
    return r < 0 ? r : ovl_group_share(ctx, node, tree->place);
}

static int enter_copying(struct ovl_ctx *ctx, struct ovl_node *node, void *arg)
{
    const struct copy_tree *tree = arg;
    bool is_dir = S_ISDIR(node->st.st_mode);
    if (node->top == 0 && !(is_dir && ovl_has_lower(node->ovl, &node->dirs)))
        return 0;
    int r = copy_path(ctx, tree, node);
    if (r == 0)
        r = make(ctx, tree, node);
    return r == 0 && is_dir ? OVL_VISIT_BELOW : r;
}

/* What was put into a copied directory has changed its times, and its mode let that be done. */
static int leave_copying(struct ovl_ctx *ctx, struct ovl_node *node, void *arg)
{
    const struct copy_tree *tree = arg;
    if (node->top == 0)
        return 0;
    int r = copy_path(ctx, tree, node);
    return r < 0 ? r : ovl_copy_finish_dir(ctx, node, tree->place);
}

int ovl_copy_up_tree_aside(struct ovl_ctx *ctx, const struct ovl_node *dir, char *aside)
{
    size_t mark = ctx->used;
    struct copy_tree tree = {.top = dir, .aside = aside, .place = ovl_ctx_alloc(ctx, OVL_REAL_MAX)};
    const struct ovl_visitor copying = {.enter = enter_copying, .leave = leave_copying, .arg = &tree};
    int r = tree.place ? ovl_work_name(dir->ovl, aside) : -ENOMEM;
    if (r < 0) {
        aside[0] = '\0';
        return r;
    }
    memcpy(tree.place, aside, ovl_strlen(aside) + 1);
    r = make(ctx, &tree, dir);
    if (r == 0)
        r = ovl_tree_walk(ctx, dir, &copying);
    if (r == 0 && dir->top != 0)
        r = ovl_copy_finish_dir(ctx, dir, aside);
    ovl_ctx_reset(ctx, mark);
    return r;
}

/* ---- the second step: into the upper ----------------------------------------------------------------------- */

static int move_in(struct ovl_ctx *ctx, const struct copy_tree *tree, struct ovl_node *node)
{
    int r = copy_path(ctx, tree, node);
    if (r == 0)
        r = ovl_copy_move_in(ctx, node, tree->place);
    if (r == 0 && S_ISDIR(node->st.st_mode))
        ovl_group_cover_tree(ctx, node);
    return r == -ENOENT ? -ESTALE : r; /* something that the first step did not see */
}

static int enter_placing(struct ovl_ctx *ctx, struct ovl_node *node, void *arg)
{
    const struct copy_tree *tree = arg;
    bool merges = S_ISDIR(node->st.st_mode) && ovl_has_lower(node->ovl, &node->dirs);
    if (node->top != 0)
        return move_in(ctx, tree, node);
    if (!merges)
        return 0;
    /* It may have been a copied directory in the first step, with a mode that keeps us out. */
    int r = copy_path(ctx, tree, node);
    if (r == 0)
        ovl_sys_chmod(tree->place, 0700);
    if (r == 0)
        r = keep_identity(ctx, node, node->real);
    return r < 0 ? r : OVL_VISIT_BELOW;
}

int ovl_copy_up_tree_place(struct ovl_ctx *ctx, struct ovl_node *dir, const char *aside)
{
    size_t mark = ctx->used;
    struct copy_tree tree = {.top = dir, .aside = aside, .place = ovl_ctx_alloc(ctx, OVL_REAL_MAX)};
    const struct ovl_visitor placing = {.enter = enter_placing, .arg = &tree};
    if (!tree.place)
        return -ENOMEM;
    int r;
    if (dir->top != 0) {
        r = move_in(ctx, &tree, dir);
    } else {
        ovl_sys_chmod(aside, 0700);
        r = keep_identity(ctx, dir, dir->real);
        if (r == 0)
            r = ovl_tree_walk(ctx, dir, &placing);
    }
    ovl_ctx_reset(ctx, mark);
    return r;
}
