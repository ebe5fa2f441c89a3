/* SPDX-License-Identifier: MIT
 *
 * What some of an overlay's layers show under one name.
 */
#include "shown.h"

#include "output.h"

#include <stdlib.h>
#include <string.h>

/* Go from the mount to the path, name by name: 0, 1 when something on the way is no directory, or an error. */
static int go(struct ovl_ctx *ctx, const struct ovl_view *view, const char *relative, struct ovl_node *node)
{
    char *rest = need(strdup(relative)), *save = NULL;
    int r = ovl_view_mount(ctx, view, node);
    for (char *name = strtok_r(rest, "/", &save); r == 0 && name; name = strtok_r(NULL, "/", &save)) {
        const struct ovl_stack dirs = node->dirs;
        r = node->exists && S_ISDIR(node->st.st_mode) ? ovl_view_name(ctx, view, &dirs, name, node) : 1;
    }
    free(rest);
    return r;
}

int shown_from(struct ovl_ctx *ctx, struct ovl *o, unsigned first, const char *relative)
{
    const struct ovl_view view = {o, first, ovl_layers(o)};
    const size_t mark = ctx->used;
    const int fds = ctx->fds;
    if (first >= ovl_layers(o))
        return SHOWN_NOTHING;
    struct ovl_node *node = need(ovl_node_new(ctx));
    int r = go(ctx, &view, relative, node);
    if (r == 0 && node->exists)
        r = S_ISDIR(node->st.st_mode) ? SHOWN_DIRECTORY : SHOWN_OBJECT;
    else if (r > 0)
        r = SHOWN_NOTHING;
    ovl_ctx_close(ctx, fds);
    ovl_ctx_reset(ctx, mark);
    return r;
}
