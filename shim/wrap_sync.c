/* SPDX-License-Identifier: MIT
 *
 * Putting things on disk: fsync, fdatasync, syncfs (CONTRACT 3.12).
 *
 * A descriptor that was opened on a lower object before that was copied up means the copy too, in which the changes
 * are: it is put on disk as well, as overlayfs does.  In an overlay with volatile=on nothing is.  A program's own
 * descriptor comes last, outside of our call, so that a cancellation that it is a point of finds nothing of ours.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "real.h"
#include "sys.h"
#include "wrap.h"

#include <unistd.h>

enum { NEEDED, NOT_NEEDED }; /* the kernel's call for the program's own descriptor */

/* The object that fd is of, *st, and its place in an overlay; NULL when it has none. */
static struct ovl_node *place_of(struct shim_call *call, int fd, struct stat *st)
{
    struct ovl_node *node;
    if (ovl_sys_fstat(fd, st) < 0)
        return NULL;
    if (!S_ISDIR(st->st_mode))
        return S_ISREG(st->st_mode) && shim_find_fd(call, fd, &node) == 1 && node->exists ? node : NULL;
    char *path = ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX);
    node = ovl_node_new(&call->ctx);
    return path && node && shim_dir_node(call, fd, path, node) == SHIM_INSIDE && node->exists ? node : NULL;
}

static int sync_file_system(const struct ovl *o)
{
    int fd = ovl_sys_open(AT_FDCWD, ovl_layer(o, 0), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    int r = (int)shim_result(REAL(syncfs)(fd));
    ovl_sys_close(fd);
    return r;
}

static int sync_object(const struct ovl_node *node, bool data_only)
{
    int flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    int fd = ovl_sys_open(AT_FDCWD, node->real, O_RDONLY | flags, 0);
    if (fd == -EACCES)
        fd = ovl_sys_open(AT_FDCWD, node->real, O_WRONLY | flags, 0);
    if (fd == -EACCES || fd == -EISDIR)
        return sync_file_system(node->ovl);
    if (fd < 0)
        return fd;
    int r = (int)shim_result(data_only ? REAL(fdatasync)(fd) : REAL(fsync)(fd));
    ovl_sys_close(fd);
    return r;
}

/* Sync the copy of what fd was opened on. */
static int sync_copy(int fd, const char *function, bool data_only)
{
    struct shim_call call;
    struct stat st;
    if (!shim_begin(&call, function))
        return NEEDED;
    int r = NEEDED;
    const struct ovl_node *node = call.ctx.size ? place_of(&call, fd, &st) : NULL;
    if (node && ovl_is_volatile(node->ovl))
        r = NOT_NEEDED;
    else if (node && node->top == 0 && !ovl_is_read_only(node->ovl) && node->st.st_ino != st.st_ino)
        r = sync_object(node, data_only);
    return (int)shim_leave(&call, r);
}

int wrap_fsync(int fd)
{
    int r = sync_copy(fd, "fsync", false);
    return r == NEEDED ? REAL(fsync)(fd) : r < 0 ? r : 0;
}

int wrap_fdatasync(int fd)
{
    int r = sync_copy(fd, "fdatasync", true);
    return r == NEEDED ? REAL(fdatasync)(fd) : r < 0 ? r : 0;
}

/* The file system of the upper is meant where fd's is another. */
static int sync_upper(int fd)
{
    struct shim_call call;
    struct stat st, upper;
    if (!shim_begin(&call, "syncfs"))
        return NEEDED;
    int r = NEEDED;
    const struct ovl_node *node = call.ctx.size ? place_of(&call, fd, &st) : NULL;
    if (node && ovl_is_volatile(node->ovl))
        r = NOT_NEEDED;
    else if (node && !ovl_is_read_only(node->ovl) && ovl_sys_stat(ovl_layer(node->ovl, 0), &upper) == 0 &&
             upper.st_dev != st.st_dev)
        r = sync_file_system(node->ovl);
    return (int)shim_leave(&call, r);
}

int wrap_syncfs(int fd)
{
    int r = sync_upper(fd);
    return r == NEEDED ? REAL(syncfs)(fd) : r < 0 ? r : 0;
}

#define SHIM_FILE_sync
#include "export.h"
