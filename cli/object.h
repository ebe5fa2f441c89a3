/* SPDX-License-Identifier: MIT
 *
 * Making objects of the file system as they are described, in directories that are open: no path is walked.
 */
#ifndef CLI_OBJECT_H
#define CLI_OBJECT_H

#include "xattrs.h"

#include <stdbool.h>
#include <sys/stat.h>

struct object {
    struct stat st; /* its mode, owner, mtime and number */
    const char *target;
    struct xattrs xattrs;
    /* Write the content of a regular file: 0, or -1 with a message. */
    int (*write)(void *arg, int fd);
    void *arg;
    bool lost_xattrs; /* some could not be set */
};

/* Make it under a name that is free: 0; -1 with errno; -2 after a message. */
int object_make(int dir, const char *name, struct object *object);
/* Give one that is open (O_PATH) the metadata: 0, or -1 with errno.  An owner that only root could give is left, and so
 * are, without it, the set-id bits.  A directory whose metadata keep its owner out gets all of them. */
int object_dress(int fd, struct object *object);

/* Whether it is the caller's to give it metadata, as far as its owner tells. */
bool object_is_ours(const struct stat *st);

/* Take the ACLs away that a new object has from its directory: 0, or -1 with errno. */
int object_drop_acls(int dir, const char *name, mode_t mode);

/* The path of a name in an open directory, for calls that take no descriptor; the caller's to free. */
char *path_in(int dir, const char *name);

#endif
