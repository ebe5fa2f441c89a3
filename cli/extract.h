/* SPDX-License-Identifier: MIT
 *
 * An archive's objects become a layer: a directory.
 */
#ifndef CLI_EXTRACT_H
#define CLI_EXTRACT_H

#include "progress.h"
#include "tree.h"

#include <archive.h>
#include <ovl.h>

struct extraction {
    const char *source; /* for messages */
    struct archive *from;
    struct tree tree;
    struct ovl_ctx ctx;
    struct progress *progress;
    int64_t before; /* bytes of the archive that were told already */
    uint64_t objects, whiteouts;
    uint64_t devices_left; /* that may not be made */
    uint64_t xattrs_left;  /* attributes and access lists that could not be set */
};

/* Make the objects below an open directory, which is closed.  0, or -1 after a message.
 *
 * Nothing outside of it is reached: names with "..", and those that go through something of the layer that is no
 * directory, are refused, and so are hard links to anything but a file of the layer. */
int extract(struct extraction *x, int root);

#endif
