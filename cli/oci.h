/* SPDX-License-Identifier: MIT
 *
 * Images: which layers they have, and where those lie.
 */
#ifndef CLI_OCI_H
#define CLI_OCI_H

#include "reader.h"

struct image {
    struct blob *layer; /* the lowest first */
    size_t count;
};

/* Read what a directory or a file is: an OCI layout, as a directory or in an archive, or what `docker save` writes.
 * `name`: which image, by its tag, where there are several, or NULL.  0; 1 when it is a file that is no image; -1 after
 * a message. */
int image_read(struct image *image, const char *path, const char *name);
void image_free(struct image *image);

#endif
