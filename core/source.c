/* SPDX-License-Identifier: MIT
 *
 * The lower object that is copied up, held open.
 *
 * Whoever may write to a lower layer can put a symbolic link in place of a directory of it while something below is
 * copied up.  What must hold: content, owner, mode and attributes of a copy are all those of the object that was
 * looked up, and no way to it leads through a symbolic link: else a copy could have the content of a file outside with
 * the mode of another, or its file capabilities.
 */
#include "types.h"

#define SOURCE_FLAGS (O_NOFOLLOW | O_CLOEXEC)

static bool is_object(const struct ovl_node *node, const struct stat *st)
{
    return st->st_ino == node->st.st_ino && st->st_dev == node->st.st_dev;
}

int ovl_source_stat(struct ovl_ctx *ctx, const struct ovl_node *node, struct stat *st)
{
    int r = ctx->ops->lstat(node->real, st); /* of fakeroot's, even the type may be another than the kernel's */
    return r == 0 && !is_object(node, st) ? -ESTALE : r;
}

int ovl_source_open(const struct ovl_node *node, struct ovl_source *source)
{
    struct stat now;
    source->path = node->real;
    source->readable = S_ISREG(node->st.st_mode) || S_ISDIR(node->st.st_mode);
    source->fd =
        source->readable ? ovl_open_exact(node->real, SOURCE_FLAGS | O_RDONLY | O_NONBLOCK | O_NOCTTY, 0) : -EACCES;
    if (source->fd == -EACCES) {
        source->readable = false;
        source->fd = ovl_open_exact(node->real, SOURCE_FLAGS | O_PATH, 0);
    }
    if (source->fd < 0)
        return source->fd == -ELOOP || source->fd == -ENXIO ? -ESTALE : source->fd;
    int r = ovl_sys_fstat(source->fd, &now);
    if (r == 0 && (!is_object(node, &now) || (now.st_mode & S_IFMT) != (node->st.st_mode & S_IFMT)))
        r = -ESTALE;
    if (r < 0)
        ovl_sys_close(source->fd);
    return r;
}
