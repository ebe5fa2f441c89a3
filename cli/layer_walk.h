/* SPDX-License-Identifier: MIT
 *
 * A walk through a layer as it lies on disk, with the marks in it.
 */
#ifndef CLI_LAYER_WALK_H
#define CLI_LAYER_WALK_H

#include "tree.h"

#include <ovl.h>

/* A directory of the layer. */
struct layer_dir {
    struct ovl_ctx *ctx;
    struct tree *tree; /* stands in it */
    int fd;
    const char *real;     /* by way of the descriptor, for ovl_mark_*() */
    const char *relative; /* below the layer; "" is that itself */
};

struct layer_visitor {
    /* A directory, the marks among the names in it, and the directory again, before the directories in it (leave may
     * be NULL).  0 to go on, -1 after a message. */
    int (*enter)(const struct layer_dir *dir, void *arg);
    int (*mark)(const struct layer_dir *dir, const char *name, enum ovl_mark mark, void *arg);
    int (*leave)(const struct layer_dir *dir, void *arg);
    void *arg;
    bool looks; /* they change nothing */
};

/* Walk, directory by directory; names come in byte order, those of one directory are held in memory.  Symbolic links
 * and other file systems are not entered.  0, or -1 after a message. */
int layer_walk(struct ovl_ctx *ctx, const char *layer, const struct layer_visitor *visitor);

#endif
