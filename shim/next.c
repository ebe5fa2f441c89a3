/* SPDX-License-Identifier: MIT
 *
 * What core does on the program's behalf goes to the next library in the chain, so that fakeroot knows
 * of a copy's owner and of a removed file's number.  errno is put back by whoever left the program.
 */
#define _GNU_SOURCE
#include "next.h"

#include "boundary.h"
#include "real.h"

static int next_open(const char *path, int flags, mode_t mode)
{
    return (int)shim_result(REAL(openat)(AT_FDCWD, path, flags, mode));
}

static int next_lstat(const char *path, struct stat *st)
{
    return (int)shim_result(REAL(fstatat)(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW));
}

static int next_fstat(int fd, struct stat *st)
{
    return (int)shim_result(REAL(fstat)(fd, st));
}

static int next_mkdir(const char *path, mode_t mode)
{
    return (int)shim_result(REAL(mkdirat)(AT_FDCWD, path, mode));
}

static int next_mknod(const char *path, mode_t mode, dev_t dev)
{
    return (int)shim_result(REAL(mknodat)(AT_FDCWD, path, mode, dev));
}

static int next_unlink(const char *path)
{
    return (int)shim_result(REAL(unlinkat)(AT_FDCWD, path, 0));
}

static int next_rmdir(const char *path)
{
    return (int)shim_result(REAL(unlinkat)(AT_FDCWD, path, AT_REMOVEDIR));
}

static int next_rename(const char *from, const char *to, unsigned flags)
{
    if (flags)
        return (int)shim_result(REAL(renameat2)(AT_FDCWD, from, AT_FDCWD, to, flags));
    return (int)shim_result(REAL(renameat)(AT_FDCWD, from, AT_FDCWD, to));
}

static int next_chmod(const char *path, mode_t mode)
{
    return (int)shim_result(REAL(fchmodat)(AT_FDCWD, path, mode, 0));
}

static int next_fchmod(int fd, mode_t mode)
{
    return (int)shim_result(REAL(fchmod)(fd, mode));
}

static int next_lchown(const char *path, uid_t uid, gid_t gid)
{
    return (int)shim_result(REAL(fchownat)(AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW));
}

static int next_fchown(int fd, uid_t uid, gid_t gid)
{
    return (int)shim_result(REAL(fchown)(fd, uid, gid));
}

struct ovl_ops shim_next = {
    .open = next_open,
    .lstat = next_lstat,
    .fstat = next_fstat,
    .mkdir = next_mkdir,
    .mknod = next_mknod,
    .unlink = next_unlink,
    .rmdir = next_rmdir,
    .rename = next_rename,
    .chmod = next_chmod,
    .fchmod = next_fchmod,
    .lchown = next_lchown,
    .fchown = next_fchown,
};

void shim_next_start(void)
{
    shim_next.is_kernel = shim_real_is_libc();
}
