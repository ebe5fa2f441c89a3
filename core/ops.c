/* SPDX-License-Identifier: MIT
 *
 * The operations table for users without an interposed chain: the kernel's own calls.
 */
#include "types.h"

static int kernel_open(const char *path, int flags, mode_t mode)
{
    return ovl_sys_open(AT_FDCWD, path, flags, mode);
}

const struct ovl_ops ovl_ops_kernel = {
    .open = kernel_open,
    .lstat = ovl_sys_lstat,
    .fstat = ovl_sys_fstat,
    .mkdir = ovl_sys_mkdir,
    .mknod = ovl_sys_mknod,
    .unlink = ovl_sys_unlink,
    .rmdir = ovl_sys_rmdir,
    .rename = ovl_sys_rename,
    .chmod = ovl_sys_chmod,
    .fchmod = ovl_sys_fchmod,
    .lchown = ovl_sys_lchown,
    .fchown = ovl_sys_fchown,
    .is_kernel = true,
};
