/* SPDX-License-Identifier: MIT
 *
 * The extended attributes of an object.
 */
#include "xattrs.h"

#include "output.h"

#include <errno.h>
#include <ovl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#define TRIES 16 /* while somebody changes them */

/* ---- one call -------------------------------------------------------------------------------------------- */

/* The list of names, or the value of one: *size bytes that are the caller's; NULL with errno. */
static char *get(const char *path, const char *name, size_t *size)
{
    for (int i = 0; i < TRIES; i++) {
        ssize_t n = name ? lgetxattr(path, name, NULL, 0) : llistxattr(path, NULL, 0);
        if (n < 0)
            return NULL;
        char *value = need(malloc((size_t)n + 1));
        if (n > 0)
            n = name ? lgetxattr(path, name, value, (size_t)n) : llistxattr(path, value, (size_t)n);
        if (n >= 0) {
            *size = (size_t)n;
            return value;
        }
        free(value);
        if (errno != ERANGE)
            return NULL;
    }
    return NULL;
}

static int add_one(struct xattrs *xattrs, const char *path, const char *name)
{
    size_t size;
    char *value = get(path, name, &size);
    if (!value)
        return errno == ENODATA ? 0 : -1;
    xattrs_add(xattrs, name, value, size);
    free(value);
    return 0;
}

/* ---- all --------------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct xattr *)a)->name, ((const struct xattr *)b)->name);
}

int xattrs_read(struct xattrs *xattrs, const char *path)
{
    size_t size;
    *xattrs = (struct xattrs){.at = NULL};
    char *names = get(path, NULL, &size);
    if (!names)
        return errno == EOPNOTSUPP ? 0 : -1;
    int r = 0;
    for (size_t at = 0; r == 0 && at < size; at += strlen(names + at) + 1)
        if (!ovl_is_private_xattr(names + at))
            r = add_one(xattrs, path, names + at);
    free(names);
    if (r < 0)
        xattrs_free(xattrs);
    else if (xattrs->count > 1)
        qsort(xattrs->at, xattrs->count, sizeof *xattrs->at, by_name);
    return r;
}

void xattrs_add(struct xattrs *xattrs, const char *name, const void *value, size_t size)
{
    xattrs->at = need(realloc(xattrs->at, (xattrs->count + 1) * sizeof *xattrs->at));
    struct xattr *x = &xattrs->at[xattrs->count++];
    *x = (struct xattr){.name = need(strdup(name)), .value = need(malloc(size + 1)), .size = size};
    if (size)
        memcpy(x->value, value, size);
}

void xattrs_free(struct xattrs *xattrs)
{
    for (size_t i = 0; i < xattrs->count; i++) {
        free(xattrs->at[i].name);
        free(xattrs->at[i].value);
    }
    free(xattrs->at);
    *xattrs = (struct xattrs){.at = NULL};
}

bool xattr_is_label(const char *name)
{
    return strcmp(name, "security.selinux") == 0 || strcmp(name, "security.SMACK64") == 0;
}

void xattrs_drop_local(struct xattrs *xattrs)
{
    size_t kept = 0;
    for (size_t i = 0; i < xattrs->count; i++) {
        if (!xattr_is_local(xattrs->at[i].name)) {
            xattrs->at[kept++] = xattrs->at[i];
            continue;
        }
        free(xattrs->at[i].name);
        free(xattrs->at[i].value);
    }
    xattrs->count = kept;
}

bool xattr_is_local(const char *name)
{
    static const char *const local[] = {"security.selinux", "security.ima", "security.evm", "security.SMACK64",
                                        "system.nfs4_acl"};
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        if (strcmp(name, local[i]) == 0)
            return true;
    return strncmp(name, "btrfs.", 6) == 0;
}
