/* SPDX-License-Identifier: MIT
 *
 * Calls that move the name space itself, or give the kernel a file to use: chroot, mount, swapon ...
 *
 * On a merged path they are refused with EPERM and one line, because the kernel knows no merged
 * names and would reach what lies below the mount, or write to a lower layer (swap, accounting).
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "cwd.h"
#include "fds.h"
#include "real.h"
#include "wrap.h"

#include <sched.h>
#include <sys/mount.h>

/* Flags of <linux/mount.h>, which can't be included beside <sys/mount.h>. */
enum { MOVE_FROM_SYMLINKS = 0x01, MOVE_FROM_EMPTY = 0x04, MOVE_TO_SYMLINKS = 0x10, MOVE_TO_EMPTY = 0x40 };
enum { PICK_NOFOLLOW = 0x02, PICK_EMPTY = 0x08 };
enum { CONFIG_SET_PATH = 3, CONFIG_SET_PATH_EMPTY = 4 };

static long refuse_place(const char *what, const struct ovl_node *node)
{
    ovl_log_line(OVL_LOG_WARN, what, " ", node->path, ": not possible inside an overlay", NULL);
    return -EPERM;
}

/* Refuse with EPERM and one line when the path leads into an overlay: 0 when it does not, with *dirfd and
 * *path as they are to be used. */
static long refuse(struct shim_call *call, const char *what, int *dirfd, const char **path, unsigned flags)
{
    struct ovl_node *node;
    int r = shim_find(call, dirfd, path, flags, &node);
    return r == SHIM_INSIDE ? refuse_place(what, node) : r;
}

/* The same where an empty path can mean the descriptor. */
static long refuse_at(struct shim_call *call, const char *what, int *dirfd, const char **path, bool empty, bool follow)
{
    struct ovl_node *node;
    if (!empty || !*path || **path)
        return refuse(call, what, dirfd, path, follow ? OVL_FOLLOW : 0);
    if (*dirfd != AT_FDCWD)
        return shim_find_fd(call, *dirfd, &node) == SHIM_INSIDE ? refuse_place(what, node) : 0;
    const char *cwd = ".";
    int at = AT_FDCWD;
    return refuse(call, what, &at, &cwd, 0);
}

/* ---- name spaces of a process's own ---------------------------------------------------------------- */

/* What is remembered of directories may be another one's from here on (CONTRACT 4.6). */
static void forget_directories(struct shim_call *call)
{
    shim_cwd_set(call, NULL, SHIM_OUTSIDE, SHIM_NO_LAYER);
    shim_fds_forget();
}

int wrap_unshare(int flags)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(unshare)(flags);
    /* Each of these gives the thread a current directory of its own. */
    if (flags & (CLONE_FS | CLONE_NEWNS | CLONE_NEWUSER))
        shim_cwd_split();
    long r = shim_result(REAL(unshare)(flags));
    if (r == 0)
        forget_directories(&call);
    return (int)shim_leave(&call, r);
}

int wrap_setns(int fd, int type)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(setns)(fd, type);
    long r = shim_result(REAL(setns)(fd, type));
    if (r == 0)
        forget_directories(&call);
    return (int)shim_leave(&call, r);
}

/* ---- calls that are refused below a mount ---------------------------------------------------------- */

int wrap_chroot(const char *path)
{
    struct shim_call call;
    int dirfd = AT_FDCWD;
    if (!shim_enter(&call))
        return REAL(chroot)(path);
    long r = refuse(&call, "chroot", &dirfd, &path, OVL_FOLLOW);
    if (r >= 0)
        r = shim_result(REAL(chroot)(path));
    if (r == 0)
        forget_directories(&call);
    return (int)shim_leave(&call, r);
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
    long r = refuse_at(&call, "open_tree", &dirfd, &path, flags & AT_EMPTY_PATH, !(flags & AT_SYMLINK_NOFOLLOW));
    return (int)shim_leave(&call, r < 0 ? r : shim_result(REAL(open_tree)(dirfd, path, flags)));
}

int wrap_move_mount(int from_dirfd, const char *from, int to_dirfd, const char *to, unsigned flags)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(move_mount)(from_dirfd, from, to_dirfd, to, flags);
    long r = refuse_at(&call, "move_mount", &from_dirfd, &from, flags & MOVE_FROM_EMPTY, flags & MOVE_FROM_SYMLINKS);
    if (r == 0)
        r = refuse_at(&call, "move_mount", &to_dirfd, &to, flags & MOVE_TO_EMPTY, flags & MOVE_TO_SYMLINKS);
    return (int)shim_leave(&call, r < 0 ? r : shim_result(REAL(move_mount)(from_dirfd, from, to_dirfd, to, flags)));
}

int wrap_fspick(int dirfd, const char *path, unsigned flags)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(fspick)(dirfd, path, flags);
    long r = refuse_at(&call, "fspick", &dirfd, &path, flags & PICK_EMPTY, !(flags & PICK_NOFOLLOW));
    return (int)shim_leave(&call, r < 0 ? r : shim_result(REAL(fspick)(dirfd, path, flags)));
}

int wrap_mount_setattr(int dirfd, const char *path, unsigned flags, struct mount_attr *attr, size_t size)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(mount_setattr)(dirfd, path, flags, attr, size);
    long r = refuse_at(&call, "mount_setattr", &dirfd, &path, flags & AT_EMPTY_PATH, !(flags & AT_SYMLINK_NOFOLLOW));
    return (int)shim_leave(&call, r < 0 ? r : shim_result(REAL(mount_setattr)(dirfd, path, flags, attr, size)));
}

/* Only the commands that have a path. */
int wrap_fsconfig(int fd, unsigned command, const char *key, const void *value, int aux)
{
    struct shim_call call;
    const char *path = value;
    if ((command != CONFIG_SET_PATH && command != CONFIG_SET_PATH_EMPTY) || !shim_enter(&call))
        return REAL(fsconfig)(fd, command, key, value, aux);
    long r = refuse_at(&call, "fsconfig", &aux, &path, command == CONFIG_SET_PATH_EMPTY, true);
    return (int)shim_leave(&call, r < 0 ? r : shim_result(REAL(fsconfig)(fd, command, key, path, aux)));
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
