/* SPDX-License-Identifier: MIT
 *
 * Which merged directory a descriptor stands for.
 *
 * A cache: an entry is believed only if the descriptor still is the same object, follows the directory
 * through renames (ovl_follow()), and without one the place is derived from /proc/self/fd.  So nothing goes wrong when
 * a program closes, duplicates or passes descriptors behind our back.
 */
#ifndef SHIM_FDS_H
#define SHIM_FDS_H

#include "boundary.h"

enum shim_fd_kind {
    SHIM_FD_UNKNOWN,
    SHIM_FD_INSIDE,  /* a merged directory */
    SHIM_FD_REMOVED, /* one that was removed: the path is its parent's, or "" */
    SHIM_FD_OUTSIDE, /* a directory used under its real path, a layer's own one perhaps */
};

/* fd was opened on this directory, as this layer has it (or SHIM_NO_LAYER). */
void shim_fds_set(struct shim_call *call, int fd, enum shim_fd_kind kind, const char *path, unsigned layer);
/* fd was opened outside by this path: what it refers to is not a merged directory, even in a layer. */
void shim_fds_set_outside(struct shim_call *call, int fd, const char *path);
/* The entry, checked against the descriptor and brought up to date; path is copied into buf of OVL_PATH_MAX bytes, the
 * layer into call->layer. */
enum shim_fd_kind shim_fds_get(struct shim_call *call, int fd, char *buf);
/* The same at once, if it is a merged directory's and up to date, and shorter than n: the path's length, and the layer;
 * else 0.  Directories may move meanwhile: ask ovl_moves() before. */
size_t shim_fds_inside(const struct ovl_space *space, int fd, char *buf, size_t n, unsigned *layer);
/* A quick look that errs only towards yes: false where fd was known for something else when it was opened. */
bool shim_fds_may_be_inside(int fd);
void shim_fds_clear(int fd);
void shim_fds_clear_range(unsigned first, unsigned last);
void shim_fds_copy(int from, int to);
/* Nothing that is remembered counts any more. */
void shim_fds_forget(void);

#endif
