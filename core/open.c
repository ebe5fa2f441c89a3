/* SPDX-License-Identifier: MIT
 *
 * open(2) on a merged path.
 *
 * Reading opens the object where it lies.  Writing copies up first and opens the upper file.  No link is followed, so
 * that no race can turn one object into something else.  The order of refusals is the kernel's (fs/namei.c, do_open()).
 */
#include "types.h"

#include <unistd.h>

#define TRIES 16

static bool is_for_writing(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
}

static bool is_of_upper(const struct ovl_node *node)
{
    return node->ovl->has_upper && node->top == 0;
}

static int open_tmpfile(struct ovl_ctx *ctx, struct ovl_node *node, int flags, mode_t mode)
{
    if (!S_ISDIR(node->st.st_mode))
        return -ENOTDIR;
    if (!node->ovl->has_upper)
        return -EROFS;
    int r = 0;
    if (node->top != 0)
        r = ovl_may(ctx, node->ovl, node->top, node->real, &node->st, W_OK | X_OK, true);
    if (r == 0)
        r = ovl_copy_up(ctx, node, OVL_COPY_ALL);
    return r < 0 ? r : ovl_open_exact(node->real, flags, mode);
}

static int wanted_access(int flags)
{
    static const int access_of[] = {R_OK, W_OK, R_OK | W_OK, R_OK | W_OK};
    return access_of[flags & O_ACCMODE] | (flags & O_TRUNC ? W_OK : 0);
}

static int open_for_writing(struct ovl_ctx *ctx, struct ovl_node *node, int flags)
{
    if (!node->ovl->has_upper)
        return -EROFS;
    if (node->top != 0) {
        int r = ovl_may(ctx, node->ovl, ovl_layer_of(node), node->real, &node->st, wanted_access(flags), true);
        if (r == 0 && (flags & O_TRUNC) && !node->linked)
            return ovl_copy_up_emptied(ctx, node, flags & ~(O_CREAT | O_EXCL));
        if (r == 0)
            r = ovl_copy_up(ctx, node, OVL_COPY_ALL);
        if (r < 0)
            return r;
    }
    return ovl_open_exact(node->real, flags & ~(O_CREAT | O_EXCL), 0);
}

/* Open what lies in a lower layer and has no data to copy, by way of a descriptor that holds it: its path may lead out
 * of the layer by now, to a file that would be emptied or written.  The answer takes the number of that descriptor, the
 * lowest that was free. */
static int open_held(struct ovl_ctx *ctx, const struct ovl_node *node, int flags)
{
    struct ovl_source held;
    size_t mark = ctx->used;
    char *path = ovl_ctx_alloc(ctx, OVL_FD_PATH_MAX);
    int r = path ? ovl_source_open(node, &held) : -ENOMEM;
    if (r == 0) {
        ovl_fd_path(held.fd, "", path, OVL_FD_PATH_MAX);
        r = ctx->ops->open(path, flags & ~O_NOFOLLOW, 0);
        if (r < 0) {
            ovl_sys_close(held.fd);
        } else {
            ovl_sys_dup3(r, held.fd, flags & O_CLOEXEC);
            ovl_sys_close(r);
            r = held.fd;
        }
    }
    ovl_ctx_reset(ctx, mark);
    return r;
}

/* What the next library opens is not followed either, though fcntl(2) shows that then. */
static int open_in_place(struct ovl_ctx *ctx, const struct ovl_node *node, int flags)
{
    flags &= ~(O_CREAT | O_EXCL);
    if (is_for_writing(flags) && !is_of_upper(node))
        return open_held(ctx, node, flags);
    if (ctx->ops->is_kernel && (flags & O_PATH || S_ISREG(node->st.st_mode) || S_ISDIR(node->st.st_mode)))
        return ovl_open_exact(node->real, flags, 0);
    return ctx->ops->open(node->real, flags | O_NOFOLLOW, 0);
}

/* What is written to a FIFO changes its times, and both ends must be of one object: whoever opens it opens the copy. */
static int open_fifo(struct ovl_ctx *ctx, struct ovl_node *node, int flags)
{
    int r = 0;
    if (node->ovl->has_upper && node->top != 0)
        r = ovl_may(ctx, node->ovl, ovl_layer_of(node), node->real, &node->st, wanted_access(flags & ~O_TRUNC), true);
    if (r == 0 && node->ovl->has_upper)
        r = ovl_copy_up(ctx, node, OVL_COPY_ALL);
    return r < 0 ? r : open_in_place(ctx, node, flags);
}

static int open_existing(struct ovl_ctx *ctx, struct ovl_node *node, int flags)
{
    const mode_t mode = node->st.st_mode;
    if ((flags & O_CREAT) && (flags & O_EXCL))
        return -EEXIST;
    if (S_ISLNK(mode) && !(flags & O_NOFOLLOW))
        return -ELOOP; /* what follows links has looked up another object */
    if (flags & O_PATH)
        return S_ISLNK(mode) ? ctx->ops->open(node->real, flags, 0) : open_in_place(ctx, node, flags);
    if ((flags & O_CREAT) && (node->slash || S_ISDIR(mode)))
        return -EISDIR;
    if ((flags & O_CREAT) && ovl_may_create_in_sticky(ctx, node) < 0)
        return -EACCES;
    if ((flags & O_DIRECTORY) && !S_ISDIR(mode))
        return -ENOTDIR;
    if (S_ISLNK(mode))
        return -ELOOP;
    if (S_ISDIR(mode) && is_for_writing(flags))
        return -EISDIR;
    if (S_ISREG(mode) && is_for_writing(flags))
        return open_for_writing(ctx, node, flags);
    if (S_ISFIFO(mode))
        return open_fifo(ctx, node, flags);
    /* Devices and sockets have no data to copy: they are opened where they are. */
    return open_in_place(ctx, node, flags);
}

/* Whether what was found is not there any more, or has been away: a rename changes its ctime.  A whiteout that had its
 * name for that moment, a device, may have answered the call with any error. */
static bool is_replaced(const struct ovl_node *node)
{
    const struct stat *then = &node->st;
    struct stat now;
    int r = ovl_sys_lstat(node->real, &now);
    return r == -ENOENT ||
           (r == 0 && (now.st_ino != then->st_ino || now.st_dev != then->st_dev ||
                       now.st_ctim.tv_sec != then->st_ctim.tv_sec || now.st_ctim.tv_nsec != then->st_ctim.tv_nsec));
}

static int open_once(struct ovl_ctx *ctx, struct ovl_node *node, int flags, mode_t mode)
{
    if (!node->exists) {
        if (!(flags & O_CREAT))
            return -ENOENT;
        int r = ovl_create_file(ctx, node, flags, mode);
        return r == -EEXIST && !(flags & O_EXCL) ? -ESTALE : r;
    }
    int r = open_existing(ctx, node, flags);
    if (r >= 0 || r == -EINTR) /* a FIFO has been waited for long enough */
        return r;
    return r == -ENOENT || is_replaced(node) ? -ESTALE : r;
}

int ovl_open(struct ovl_ctx *ctx, struct ovl_node *node, int flags, mode_t mode)
{
    if ((flags & O_TMPFILE) == O_TMPFILE && !(flags & O_PATH))
        return node->exists ? open_tmpfile(ctx, node, flags, mode) : -ENOENT;
    if ((flags & O_CREAT) && (flags & O_DIRECTORY) && !(flags & O_PATH))
        return -EINVAL;
    if ((flags & O_CREAT) && node->slash && !(flags & O_PATH))
        return -EISDIR;
    int r = -ESTALE;
    for (int i = 0; r == -ESTALE && i < TRIES; i++) {
        r = i ? ovl_refresh(ctx, node) : 0;
        if (r < 0)
            return r;
        r = open_once(ctx, node, flags, mode);
    }
    return r == -ESTALE ? -ENOENT : r;
}
