/* SPDX-License-Identifier: MIT
 *
 * Copying extended attributes (and with them ACLs and file capabilities) at copy-up.
 */
#include "types.h"

#include <linux/limits.h>
#include <sys/mman.h>

#define CAPABILITY "security.capability"

/* Not the overlay's own marks, which belong to the layer and not to the object. */
static bool is_copied(const char *name, bool keep_caps)
{
    if (ovl_is_private_xattr(name))
        return false;
    return keep_caps || !ovl_streq(name, CAPABILITY);
}

/* Errors that mean "not for this caller" or "not on this file system", against those that mean that
 * the copy is not whole. */
static bool is_droppable(ssize_t r)
{
    return r == -EPERM || r == -EACCES || r == -EOPNOTSUPP || r == -ENODATA || r == -EINVAL;
}

static int copy_one(const char *from, const char *to, const char *name, char *value)
{
    ssize_t n = ovl_sys_lgetxattr(from, name, value, XATTR_SIZE_MAX);
    if (n >= 0)
        n = ovl_sys_lsetxattr(to, name, value, (size_t)n, 0);
    if (n >= 0)
        return 0;
    if (!is_droppable(n))
        return (int)n;
    ovl_log_line(OVL_LOG_INFO, from, ": extended attribute ", name, " is not copied up", NULL);
    return 0;
}

int ovl_copy_xattrs(struct ovl_ctx *ctx, const char *from, const char *to, bool keep_caps)
{
    (void)ctx;
    char probe[1];
    ssize_t n = ovl_sys_llistxattr(from, probe, 0);
    if (n == 0 || n == -EOPNOTSUPP)
        return 0;
    if (n < 0)
        return (int)n;
    /* Rare and large: mapped rather than taken from the call's memory. */
    const size_t size = XATTR_LIST_MAX + XATTR_SIZE_MAX;
    char *list = ovl_sys_mmap(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (!list)
        return -ENOMEM;
    char *value = list + XATTR_LIST_MAX;
    n = ovl_sys_llistxattr(from, list, XATTR_LIST_MAX);
    int r = n < 0 ? (int)n : 0;
    for (ssize_t at = 0; r == 0 && at < n; at += (ssize_t)ovl_strlen(list + at) + 1)
        if (is_copied(list + at, keep_caps))
            r = copy_one(from, to, list + at, value);
    ovl_sys_munmap(list, size);
    return r;
}
