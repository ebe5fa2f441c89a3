/* SPDX-License-Identifier: MIT
 *
 * A part of an overlay's layers by themselves: what tools ask about, and no program inside ever sees.
 *
 * The layers below the upper tell what a change was made to, one layer alone tells where something lies.  What must
 * hold: what is hidden is decided by look-up (lookup.c) and by nothing else, only among fewer layers.
 */
#include "types.h"

/* The layers of the view that merge at the mount: up to the first whose root is opaque. */
static int find_roots(struct ovl_ctx *ctx, const struct ovl_view *view, struct ovl_stack *roots)
{
    const struct ovl *o = view->ovl;
    memset(roots, 0, sizeof *roots);
    roots->impure = o->impure;
    for (unsigned i = view->first; i < view->end; i++) {
        ovl_stack_add(roots, i);
        if (i + 1 == view->end || o->layer[i].borrowed)
            continue;
        int r = ovl_is_opaque(ctx, ovl_layer(o, i));
        if (r != 0)
            return r < 0 ? r : 0;
    }
    return 0;
}

int ovl_view_mount(struct ovl_ctx *ctx, const struct ovl_view *view, struct ovl_node *node)
{
    const struct ovl *o = view->ovl;
    const char *mount = ovl_mount(o);
    node->ovl = view->ovl;
    node->length = ovl_strlen(mount);
    memcpy(node->path, mount, node->length + 1);
    node->name = (size_t)(ovl_strrchr(mount, '/') + 1 - mount);
    node->exists = node->partly = node->linked = node->reserved = false;
    memset(&node->in, 0, sizeof node->in);
    int r = find_roots(ctx, view, &node->dirs);
    for (node->top = view->first; r == 0 && node->top < view->end && ovl_stack_has(&node->dirs, node->top);
         node->top++) {
        r = ovl_real_path(ctx, o->layer[node->top].path, "", node->real);
        if (r == 0)
            r = ovl_sys_lstat(node->real, &node->st);
        node->exists = r == 0;
        if (r != -ENOENT)
            return r;
        r = 0;
    }
    return r;
}

/* Its own number and content, though another of its names has a copy in the upper. */
static int see_itself(struct ovl_ctx *ctx, struct ovl_node *node)
{
    node->linked = false;
    int r = ovl_real_of_top(ctx, node);
    return r < 0 ? r : ovl_sys_lstat(node->real, &node->st);
}

int ovl_view_name(struct ovl_ctx *ctx, const struct ovl_view *view, const struct ovl_stack *dirs, const char *name,
                  struct ovl_node *node)
{
    node->ovl = view->ovl;
    node->in = *dirs;
    node->in.record = node->dirs.record = 0;
    int r = ovl_node_append(node, name, ovl_strlen(name));
    if (r < 0)
        return r;
    const struct ovl_region *region = ovl_region_of(ctx->space, node->path);
    if (!region || region->ovl != view->ovl) {
        node->ovl = NULL;
        node->exists = false;
        return 0;
    }
    r = ovl_lookup(ctx, node);
    return r == 0 && node->exists && node->linked && view->first > 0 ? see_itself(ctx, node) : r;
}

void ovl_view_up(struct ovl_node *node, size_t length)
{
    node->length = length;
    node->path[length] = '\0';
}

bool ovl_has_links(struct ovl *o)
{
    const struct ovl_shared *shared = o->has_upper ? ovl_shared(o) : NULL;
    return shared && ovl_shared_has_groups(shared);
}

static int say_of_mount(struct ovl_ctx *ctx, const struct ovl *o, unsigned layer, struct ovl_said *said)
{
    int r = ovl_real_path(ctx, o->layer[layer].path, "", said->real);
    if (r == 0)
        r = ovl_sys_lstat(said->real, &said->st);
    said->says = r == 0 ? OVL_SAYS_OBJECT : OVL_SAYS_NOTHING;
    if (r == 0 && !o->layer[layer].borrowed)
        r = ovl_is_opaque(ctx, said->real);
    said->opaque = r == 1;
    return r == -ENOENT || r > 0 ? 0 : r;
}

int ovl_layer_says(struct ovl_ctx *ctx, const struct ovl_node *node, unsigned layer, struct ovl_said *said)
{
    const struct ovl *o = node->ovl;
    const char *rel = ovl_relative(o, node->path);
    said->says = OVL_SAYS_NOTHING;
    said->opaque = false;
    if (ovl_is_mount(node))
        return say_of_mount(ctx, o, layer, said);
    int hidden = ovl_has_whiteout(ctx, o->layer[layer].path, rel);
    int r = hidden < 0 ? hidden : ovl_real_sibling(ctx, o->layer[layer].path, rel, "", said->real);
    if (r == 0)
        r = ovl_sys_lstat(said->real, &said->st);
    if (r == -ENOENT || r == -ENOTDIR) {
        said->says = hidden ? OVL_SAYS_WHITEOUT : OVL_SAYS_NOTHING;
        return 0;
    }
    if (r == 0)
        r = ovl_is_whiteout(ctx, said->real, &said->st);
    if (r < 0)
        return r;
    said->says = r ? OVL_SAYS_WHITEOUT : OVL_SAYS_OBJECT;
    if (r || !S_ISDIR(said->st.st_mode))
        return 0;
    r = hidden ? 1 : ovl_is_opaque(ctx, said->real);
    said->opaque = r == 1;
    return r < 0 ? r : 0;
}
