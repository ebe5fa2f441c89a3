/* SPDX-License-Identifier: MIT
 *
 * What programs ask of the file system as a whole, watches and handles.
 *
 * What must hold: free space and flags are those of the layer that takes the changes; no handle leads
 * around the overlay to a lower file.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "real.h"
#include "sys.h"
#include "wrap.h"

#include <string.h>
#include <sys/fanotify.h>
#include <sys/ipc.h>
#include <unistd.h>

/* ---- space and limits ------------------------------------------------------------------------------ */

/* Find the layer to ask about a place: SHIM_INSIDE with *layer set, SHIM_OUTSIDE with *path as it is to be
 * used, or an error. */
static int find_layer(struct shim_call *call, const char **path, const char **layer, bool *read_only)
{
    int dirfd = AT_FDCWD;
    struct ovl_node *node;
    int r = shim_find(call, &dirfd, path, OVL_FOLLOW, &node);
    if (r != SHIM_INSIDE)
        return r;
    if (!node->exists)
        return -ENOENT;
    *layer = ovl_layer(node->ovl, 0);
    *read_only = ovl_is_read_only(node->ovl);
    return SHIM_INSIDE;
}

static int find_layer_fd(struct shim_call *call, int fd, const char **layer, bool *read_only)
{
    struct ovl_node *node;
    if (shim_find_fd(call, fd, &node) != SHIM_INSIDE)
        return SHIM_OUTSIDE;
    *layer = ovl_layer(node->ovl, 0);
    *read_only = ovl_is_read_only(node->ovl);
    return SHIM_INSIDE;
}

static long layer_statfs(const char *layer, bool read_only, struct statfs *buf)
{
    long r = shim_result(REAL(statfs)(layer, buf));
    if (r == 0 && read_only)
        buf->f_flags |= ST_RDONLY;
    return r;
}

static long layer_statvfs(const char *layer, bool read_only, struct statvfs *buf)
{
    long r = shim_result(REAL(statvfs)(layer, buf));
    if (r == 0 && read_only)
        buf->f_flag |= ST_RDONLY;
    return r;
}

int wrap_statfs(const char *path, struct statfs *buf)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(statfs)(path, buf);
    const char *layer;
    bool read_only;
    long r = find_layer(&call, &path, &layer, &read_only);
    if (r == SHIM_OUTSIDE)
        r = shim_result(REAL(statfs)(path, buf));
    else if (r == SHIM_INSIDE)
        r = layer_statfs(layer, read_only, buf);
    return (int)shim_leave(&call, r);
}

int wrap_statvfs(const char *path, struct statvfs *buf)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(statvfs)(path, buf);
    const char *layer;
    bool read_only;
    long r = find_layer(&call, &path, &layer, &read_only);
    if (r == SHIM_OUTSIDE)
        r = shim_result(REAL(statvfs)(path, buf));
    else if (r == SHIM_INSIDE)
        r = layer_statvfs(layer, read_only, buf);
    return (int)shim_leave(&call, r);
}

int wrap_fstatfs(int fd, struct statfs *buf)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(fstatfs)(fd, buf);
    const char *layer;
    bool read_only;
    long r = find_layer_fd(&call, fd, &layer, &read_only) == SHIM_INSIDE ? layer_statfs(layer, read_only, buf)
                                                                         : shim_result(REAL(fstatfs)(fd, buf));
    return (int)shim_leave(&call, r);
}

int wrap_fstatvfs(int fd, struct statvfs *buf)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(fstatvfs)(fd, buf);
    const char *layer;
    bool read_only;
    long r = find_layer_fd(&call, fd, &layer, &read_only) == SHIM_INSIDE ? layer_statvfs(layer, read_only, buf)
                                                                         : shim_result(REAL(fstatvfs)(fd, buf));
    return (int)shim_leave(&call, r);
}

/* -1 with errno untouched is an answer: no limit. */
long wrap_pathconf(const char *path, int name)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(pathconf)(path, name);
    int dirfd = AT_FDCWD;
    struct ovl_node *node;
    long r = shim_find(&call, &dirfd, &path, OVL_FOLLOW, &node);
    if (r == SHIM_INSIDE && !node->exists)
        r = -ENOENT;
    if (r < 0)
        return shim_leave(&call, r);
    int before = errno;
    errno = 0;
    long answer = REAL(pathconf)(r == SHIM_INSIDE ? node->real : path, name);
    if (answer == -1 && errno != 0)
        return shim_leave(&call, -errno);
    shim_leave(&call, 0);
    errno = before;
    return answer;
}

/* ftok(3) is the low bits of the identity, which ours keeps across copy-up. */
key_t wrap_ftok(const char *path, int id)
{
    struct stat st;
    if (!shim_is_active())
        return REAL(ftok)(path, id);
    if (wrap_stat(path, &st) == -1)
        return -1;
    return (key_t)((st.st_ino & 0xffff) | (st.st_dev & 0xff) << 16 | (ino_t)(id & 0xff) << 24);
}

/* ---- watches and handles ----------------------------------------------------------------------------- */

/* New names of a directory come to be in the upper: without a directory there no watch would see them. */
static void prepare_watch(struct shim_call *call, struct ovl_node *node)
{
    if (S_ISDIR(node->st.st_mode) && !ovl_is_read_only(node->ovl))
        ovl_copy_up(&call->ctx, node, OVL_COPY_ALL);
}

int wrap_inotify_add_watch(int fd, const char *path, uint32_t mask)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(inotify_add_watch)(fd, path, mask);
    int dirfd = AT_FDCWD;
    struct ovl_node *node;
    long r = shim_find(&call, &dirfd, &path, mask & IN_DONT_FOLLOW ? 0 : OVL_FOLLOW, &node);
    if (r == SHIM_OUTSIDE) {
        r = shim_result(REAL(inotify_add_watch)(fd, path, mask));
    } else if (r == SHIM_INSIDE && !node->exists) {
        r = -ENOENT;
    } else if (r == SHIM_INSIDE) {
        prepare_watch(&call, node);
        r = shim_result(REAL(inotify_add_watch)(fd, node->real, mask | IN_DONT_FOLLOW));
    }
    return (int)shim_leave(&call, r);
}

int wrap_fanotify_mark(int fd, unsigned flags, uint64_t mask, int dirfd, const char *path)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(fanotify_mark)(fd, flags, mask, dirfd, path);
    struct ovl_node *node;
    long r = shim_find(&call, &dirfd, &path, flags & FAN_MARK_DONT_FOLLOW ? 0 : OVL_FOLLOW, &node);
    if (r == SHIM_OUTSIDE) {
        r = shim_result(REAL(fanotify_mark)(fd, flags, mask, dirfd, path));
    } else if (r == SHIM_INSIDE && !node->exists) {
        r = -ENOENT;
    } else if (r == SHIM_INSIDE) {
        if (!(flags & FAN_MARK_REMOVE))
            prepare_watch(&call, node);
        r = shim_result(REAL(fanotify_mark)(fd, flags | FAN_MARK_DONT_FOLLOW, mask, AT_FDCWD, node->real));
    }
    return (int)shim_leave(&call, r);
}

/* No handles of merged objects, as overlayfs without nfs_export: one of a lower file could be opened for
 * writing. */
int wrap_name_to_handle_at(int dirfd, const char *path, struct file_handle *handle, int *mount_id, int flags)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(name_to_handle_at)(dirfd, path, handle, mount_id, flags);
    struct ovl_node *node;
    bool empty = path && !*path && (flags & AT_EMPTY_PATH);
    const char *cwd = ".";
    int fd = dirfd;
    long r = empty && fd == AT_FDCWD ? shim_find(&call, &fd, &cwd, 0, &node)
             : empty                 ? shim_find_fd(&call, fd, &node)
                     : shim_find(&call, &dirfd, &path, flags & AT_SYMLINK_FOLLOW ? OVL_FOLLOW : 0, &node);
    if (r == SHIM_OUTSIDE)
        r = shim_result(REAL(name_to_handle_at)(dirfd, path, handle, mount_id, flags));
    else if (r == SHIM_INSIDE)
        r = node->exists ? -EOPNOTSUPP : -ENOENT;
    return (int)shim_leave(&call, r);
}

/* Whether what a handle leads to lies in a lower layer: looked at without opening it. */
static bool handle_is_protected(struct shim_call *call, int mount_fd, struct file_handle *handle)
{
    char *real = ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX);
    int fd = REAL(open_by_handle_at)(mount_fd, handle, O_PATH | O_CLOEXEC);
    if (fd < 0 || !real)
        return false;
    ssize_t n = shim_fd_text(fd, real);
    ovl_sys_close(fd);
    return n >= 0 && ovl_is_protected(call->ctx.space, real);
}

int wrap_open_by_handle_at(int mount_fd, struct file_handle *handle, int flags)
{
    struct shim_call call;
    bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
    if (!writes || !shim_enter(&call))
        return REAL(open_by_handle_at)(mount_fd, handle, flags);
    long r = handle_is_protected(&call, mount_fd, handle)
                 ? -EROFS
                 : shim_result(REAL(open_by_handle_at)(mount_fd, handle, flags));
    return (int)shim_leave(&call, r);
}

#define SHIM_FILE_fs
#include "export.h"
