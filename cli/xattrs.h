/* SPDX-License-Identifier: MIT
 *
 * The extended attributes of an object, without the overlay's own, in byte order of their names.
 */
#ifndef CLI_XATTRS_H
#define CLI_XATTRS_H

#include <stdbool.h>
#include <stddef.h>

struct xattr {
    char *name;
    void *value;
    size_t size;
};

struct xattrs {
    struct xattr *at;
    size_t count;
};

/* Read those of an object; a symbolic link is not followed.  0, or -1 with errno. */
int xattrs_read(struct xattrs *xattrs, const char *path);
void xattrs_add(struct xattrs *xattrs, const char *name, const void *value, size_t size);
void xattrs_free(struct xattrs *xattrs);
/* Whether an attribute is a machine's word of the object, and none of the object's own: labels, checksums for the
 * kernel's integrity check, what a file system makes up. */
bool xattr_is_local(const char *name);
/* Whether it is one of them that says who may use the object, whatever is in that. */
bool xattr_is_label(const char *name);
void xattrs_drop_local(struct xattrs *xattrs);

#endif
