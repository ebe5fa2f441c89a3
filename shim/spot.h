/* SPDX-License-Identifier: MIT
 *
 * Looking something up at a glance, where the directory cache knows enough for that: most look-ups of most programs.
 */
#ifndef SHIM_SPOT_H
#define SHIM_SPOT_H

#include "boundary.h"

/* A file, or a symbolic link that is not to be followed, and how the kernel gets there fastest: from the directory that
 * it has for the program's own, if that is of the layer that shows the object. */
struct shim_spot {
    struct ovl_spot is;
    int dirfd;
    const char *path; /* lives until the call is left */
};

/* Look at (dirfd, path), for which call->glance is used if it is set; flags are those of ovl_resolve().  1: *spot;
 * where the call that is then made fails, shim_find() must be asked.  -ENOENT: nothing is there.  0: ask shim_find().
 */
int shim_look(struct shim_call *call, int dirfd, const char *path, unsigned flags, struct shim_spot *spot);

/* Open an absolute path that leads nowhere but outside, by the kernel at once, for reading or with O_PATH: a descriptor
 * or the kernel's error; -EAGAIN: ask shim_find(). */
int shim_open_outside(const struct shim_call *call, const char *path, int flags);

#endif
