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

/* Of what can't be read (an O_PATH descriptor has no attributes) by its path: no caller that could set capabilities, or
 * another's marks, is kept from reading. */
static ssize_t get(const struct ovl_source *from, const char *name, char *value)
{
    return from->readable ? ovl_sys_fgetxattr(from->fd, name, value, XATTR_SIZE_MAX)
                          : ovl_sys_lgetxattr(from->path, name, value, XATTR_SIZE_MAX);
}

static ssize_t list_of(const struct ovl_source *from, char *list, size_t n)
{
    return from->readable ? ovl_sys_flistxattr(from->fd, list, n) : ovl_sys_llistxattr(from->path, list, n);
}

static int copy_one(const struct ovl_source *from, const char *to, const char *name, char *value)
{
    ssize_t n = get(from, name, value);
    if (n == -EACCES && ovl_has_prefix(name, "user."))
        return -EACCES; /* it is the object's content as its data are: what can't be read can't be copied up */
    if (n >= 0)
        n = ovl_sys_lsetxattr(to, name, value, (size_t)n, 0);
    if (n >= 0)
        return 0;
    if (!is_droppable(n))
        return (int)n;
    ovl_log_line(OVL_LOG_INFO, from->path, ": extended attribute ", name, " is not copied up", NULL);
    return 0;
}

/* What is copied: a list of n bytes, and room for a value. */
struct names {
    const char *list;
    size_t n;
    char *value;
    bool keep_caps;
};

static int copy_some(const struct ovl_source *from, const char *to, const struct names *names, bool acls)
{
    int r = 0;
    for (size_t at = 0; r == 0 && at < names->n; at += ovl_strlen(names->list + at) + 1) {
        const char *name = names->list + at;
        if (ovl_has_prefix(name, "system.posix_acl_") == acls && is_copied(name, names->keep_caps))
            r = copy_one(from, to, name, names->value);
    }
    return r;
}

int ovl_copy_xattrs(const struct ovl_source *from, const char *to, bool keep_caps)
{
    char probe[1];
    ssize_t n = list_of(from, probe, 0);
    if (n == 0 || n == -EOPNOTSUPP)
        return 0;
    if (n < 0)
        return (int)n;
    /* Rare and large: mapped rather than taken from the call's memory. */
    const size_t size = XATTR_LIST_MAX + XATTR_SIZE_MAX;
    char *list = ovl_sys_mmap(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (!list)
        return -ENOMEM;
    n = list_of(from, list, XATTR_LIST_MAX);
    int r = n < 0 ? (int)n : 0;
    const struct names names = {list, n < 0 ? 0 : (size_t)n, list + XATTR_LIST_MAX, keep_caps};
    /* ACLs come last: they set the copy's mode, which may keep its owner from setting the others. */
    if (r == 0)
        r = copy_some(from, to, &names, false);
    if (r == 0)
        r = copy_some(from, to, &names, true);
    ovl_sys_munmap(list, size);
    return r;
}
