/* SPDX-License-Identifier: MIT
 *
 * Names of hard-linked files: which was the first one of an object.
 *
 * Of each such object 64 to 128 bytes are kept in memory, and the name in a file without a name of its own: 200,000 of
 * them take 16 MiB, however long their paths are.
 */
#ifndef CLI_LINKS_H
#define CLI_LINKS_H

#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>

struct links {
    struct link_entry *entry;
    size_t count, size;
    FILE *names;
};

/* The name that the object was first seen by, the caller's to free; NULL: it is seen for the first time, and has this
 * name from now on.  Without st_nlink above 1 it is always the first time.  NULL and errno set where the name can't be
 * kept; else errno is 0. */
char *links_first(struct links *links, const struct stat *st, const char *name);
void links_free(struct links *links);

#endif
