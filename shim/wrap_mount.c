/* SPDX-License-Identifier: MIT
 *
 * Calls that move the name space itself, or give the kernel a file to use: chroot, mount, swapon ...
 *
 * On a merged path they are refused with EPERM and one line, because the kernel knows no merged
 * names and would reach what lies below the mount, or write to a lower layer (swap, accounting).
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "real.h"
#include "wrap.h"

#include <sys/mount.h>

/* Refuse with EPERM and one line when the path leads into an overlay: 0 when it does not, with *dirfd and
 * *path as they are to be used. */
static long refuse(struct shim_call *call, const char *what, int *dirfd, const char **path, unsigned flags)
{
    struct ovl_node *node;
    int r = shim_find(call, dirfd, path, flags, &node);
    if (r != SHIM_INSIDE)
        return r;
    ovl_log_line(OVL_LOG_WARN, what, " ", node->path, ": not possible inside an overlay", NULL);
    return -EPERM;
}

int wrap_chroot(const char *path)
{
    struct shim_call call;
    int dirfd = AT_FDCWD;
    if (!shim_enter(&call))
        return REAL(chroot)(path);
    long r = refuse(&call, "chroot", &dirfd, &path, OVL_FOLLOW);
    return (int)shim_leave(&call, r < 0 ? r : shim_result(REAL(chroot)(path)));
}

int wrap_pivot_root(const char *new_root, const char *put_old)
{
    struct shim_call call;
    int a = AT_FDCWD, b = AT_FDCWD;
    if (!shim_enter(&call))
        return REAL(pivot_root)(new_root, put_old);
    long r = refuse(&call, "pivot_root", &a, &new_root, OVL_FOLLOW);
    if (r == 0)
        r = refuse(&call, "pivot_root", &b, &put_old, OVL_FOLLOW);
    return (int)shim_leave(&call, r < 0 ? r : shim_result(REAL(pivot_root)(new_root, put_old)));
}

int wrap_mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)
{
    struct shim_call call;
    int a = AT_FDCWD, b = AT_FDCWD;
    if (!shim_enter(&call))
        return REAL(mount)(source, target, type, flags, data);
    long r = refuse(&call, "mount", &a, &target, OVL_FOLLOW);
    /* Any other source is a device or a word for the file system. */
    if (r == 0 && source && source[0] == '/')
        r = refuse(&call, "mount", &b, &source, OVL_FOLLOW);
    return (int)shim_leave(&call, r < 0 ? r : shim_result(REAL(mount)(source, target, type, flags, data)));
}

int wrap_umount(const char *target)
{
    struct shim_call call;
    int dirfd = AT_FDCWD;
    if (!shim_enter(&call))
        return REAL(umount)(target);
    long r = refuse(&call, "umount", &dirfd, &target, OVL_FOLLOW);
    return (int)shim_leave(&call, r < 0 ? r : shim_result(REAL(umount)(target)));
}

int wrap_umount2(const char *target, int flags)
{
    struct shim_call call;
    int dirfd = AT_FDCWD;
    if (!shim_enter(&call))
        return REAL(umount2)(target, flags);
    long r = refuse(&call, "umount", &dirfd, &target, flags & UMOUNT_NOFOLLOW ? 0 : OVL_FOLLOW);
    return (int)shim_leave(&call, r < 0 ? r : shim_result(REAL(umount2)(target, flags)));
}

int wrap_open_tree(int dirfd, const char *path, unsigned flags)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(open_tree)(dirfd, path, flags);
    long r = refuse(&call, "open_tree", &dirfd, &path, flags & AT_SYMLINK_NOFOLLOW ? 0 : OVL_FOLLOW);
    return (int)shim_leave(&call, r < 0 ? r : shim_result(REAL(open_tree)(dirfd, path, flags)));
}

int wrap_move_mount(int from_dirfd, const char *from, int to_dirfd, const char *to, unsigned flags)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(move_mount)(from_dirfd, from, to_dirfd, to, flags);
    long r = refuse(&call, "move_mount", &from_dirfd, &from, OVL_FOLLOW);
    if (r == 0)
        r = refuse(&call, "move_mount", &to_dirfd, &to, OVL_FOLLOW);
    return (int)shim_leave(&call, r < 0 ? r : shim_result(REAL(move_mount)(from_dirfd, from, to_dirfd, to, flags)));
}

int wrap_fspick(int dirfd, const char *path, unsigned flags)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(fspick)(dirfd, path, flags);
    long r = refuse(&call, "fspick", &dirfd, &path, OVL_FOLLOW);
    return (int)shim_leave(&call, r < 0 ? r : shim_result(REAL(fspick)(dirfd, path, flags)));
}

int wrap_mount_setattr(int dirfd, const char *path, unsigned flags, struct mount_attr *attr, size_t size)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(mount_setattr)(dirfd, path, flags, attr, size);
    long r = refuse(&call, "mount_setattr", &dirfd, &path, OVL_FOLLOW);
    return (int)shim_leave(&call, r < 0 ? r : shim_result(REAL(mount_setattr)(dirfd, path, flags, attr, size)));
}

int wrap_acct(const char *path)
{
    struct shim_call call;
    int dirfd = AT_FDCWD;
    if (!path || !shim_enter(&call))
        return REAL(acct)(path);
    long r = refuse(&call, "acct", &dirfd, &path, OVL_FOLLOW | OVL_CHANGE);
    return (int)shim_leave(&call, r < 0 ? r : shim_result(REAL(acct)(path)));
}

int wrap_swapon(const char *path, int flags)
{
    struct shim_call call;
    int dirfd = AT_FDCWD;
    if (!shim_enter(&call))
        return REAL(swapon)(path, flags);
    long r = refuse(&call, "swapon", &dirfd, &path, OVL_FOLLOW | OVL_CHANGE);
    return (int)shim_leave(&call, r < 0 ? r : shim_result(REAL(swapon)(path, flags)));
}

int wrap_swapoff(const char *path)
{
    struct shim_call call;
    int dirfd = AT_FDCWD;
    if (!shim_enter(&call))
        return REAL(swapoff)(path);
    long r = refuse(&call, "swapoff", &dirfd, &path, OVL_FOLLOW);
    return (int)shim_leave(&call, r < 0 ? r : shim_result(REAL(swapoff)(path)));
}

int wrap_quotactl(int command, const char *special, int id, char *address)
{
    struct shim_call call;
    int dirfd = AT_FDCWD;
    if (!special || !shim_enter(&call))
        return REAL(quotactl)(command, special, id, address);
    long r = refuse(&call, "quotactl", &dirfd, &special, OVL_FOLLOW);
    return (int)shim_leave(&call, r < 0 ? r : shim_result(REAL(quotactl)(command, special, id, address)));
}

#define SHIM_FILE_mount
#include "export.h"
