/* SPDX-License-Identifier: MIT
 *
 * Visiting everything below a merged directory, name by name, as look-up shows it.
 *
 * What must hold: what the visitor does to one object (copying it up, moving its copy into place) does not
 * disturb the walk, so each directory's names are taken before the first of them is visited.  The depth is
 * bounded by the length of a path only, so the frames lie in mapped memory.
 */
#include "types.h"

#include <sys/mman.h>

/* A directory on the way down. */
struct frame {
    struct ovl_listing names;
    size_t next;
    size_t length; /* of its path */
    struct ovl_stack dirs;
};

struct frames {
    struct frame *at;
    size_t count, room;
};

static int push(struct frames *frames, struct ovl_ctx *ctx, const struct ovl_node *dir)
{
    if (frames->count == frames->room) {
        size_t room = frames->room ? frames->room * 2 : 16, size = sizeof *frames->at;
        void *at = frames->at ? ovl_sys_mremap(frames->at, frames->room * size, room * size)
                              : ovl_sys_mmap(room * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
        if (!at)
            return -ENOMEM;
        frames->at = at;
        frames->room = room;
    }
    struct frame *frame = &frames->at[frames->count];
    int r = ovl_list(ctx, dir, &frame->names);
    if (r < 0)
        return r;
    frame->next = 2; /* behind "." and ".." */
    frame->length = dir->length;
    frame->dirs = dir->dirs;
    frames->count++;
    return 0;
}

static void pop(struct frames *frames)
{
    ovl_listing_free(&frames->at[--frames->count].names);
}

/* Put node at the next name in the innermost directory: 1, or 0 when that has no more. */
static int next_name(struct ovl_ctx *ctx, struct frame *frame, struct ovl_node *node)
{
    node->length = frame->length;
    node->path[node->length] = '\0';
    if (frame->next == frame->names.count)
        return 0;
    const struct ovl_entry *entry = &frame->names.entry[frame->next++];
    node->in = frame->dirs;
    int r = ovl_node_append(node, entry->name, entry->length);
    if (r == 0)
        r = ovl_lookup(ctx, node);
    return r < 0 ? r : 1;
}

/* Leave the innermost directory: node is put at it again. */
static int leave(struct ovl_ctx *ctx, struct frames *frames, struct ovl_node *node, const struct ovl_visitor *visitor)
{
    pop(frames);
    if (frames->count == 0 || !visitor->leave)
        return 0;
    node->in = frames->at[frames->count - 1].dirs;
    node->name = (size_t)(ovl_strrchr(node->path, '/') + 1 - node->path);
    int r = ovl_lookup(ctx, node);
    return r < 0 || !node->exists ? r : visitor->leave(ctx, node, visitor->arg);
}

static int step(struct ovl_ctx *ctx, struct frames *frames, struct ovl_node *node, const struct ovl_visitor *visitor)
{
    int r = next_name(ctx, &frames->at[frames->count - 1], node);
    if (r == 0)
        return leave(ctx, frames, node, visitor);
    if (r < 0 || !node->exists) /* vanished since it was listed */
        return r < 0 ? r : 0;
    r = visitor->enter(ctx, node, visitor->arg);
    return r == OVL_VISIT_BELOW ? push(frames, ctx, node) : r;
}

int ovl_tree_walk(struct ovl_ctx *ctx, const struct ovl_node *top, const struct ovl_visitor *visitor)
{
    size_t mark = ctx->used;
    int fds = ctx->fds;
    struct frames frames = {NULL, 0, 0};
    struct ovl_node *node = ovl_node_new(ctx);
    if (!node)
        return -ENOMEM;
    node->ovl = top->ovl;
    node->last = OVL_LAST_NAME;
    memcpy(node->path, top->path, top->length + 1);
    int r = push(&frames, ctx, top);
    while (r == 0 && frames.count > 0) {
        r = step(ctx, &frames, node, visitor);
        if (r == -EACCES && visitor->passes_closed)
            r = 0;
        ovl_ctx_close(ctx, fds);
    }
    while (frames.count > 0)
        pop(&frames);
    if (frames.at)
        ovl_sys_munmap(frames.at, frames.room * sizeof *frames.at);
    ovl_ctx_reset(ctx, mark);
    return r;
}
