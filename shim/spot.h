/* SPDX-License-Identifier: MIT
 *
 * Looking something up at a glance, where the directory cache knows enough for that: most look-ups of most programs.
 */
#ifndef SHIM_SPOT_H
#define SHIM_SPOT_H

#include "boundary.h"

/* An absolute path, without even beginning a call: what the glance has told of it, for ovl_glance_spot() with flags of
 * ovl_resolve(). The path in the layer lies in `real`, which is on the stack: long ones are found in other ways. */
enum { SHIM_SPOT_MAX = 512 };
bool shim_see(const struct ovl_glance *glance, unsigned flags, char real[SHIM_SPOT_MAX], struct ovl_spot *spot);

/* A relative path: a file, or a symbolic link that is not to be followed, and how the kernel gets there fastest: from
 * the directory that it has for the program's own, if that is of the layer that shows the object. */
struct shim_spot {
    struct ovl_spot is;
    int dirfd;
    const char *path; /* lives until the call is left */
};

/* Look at (dirfd, path), with flags of ovl_resolve().  1: *spot; where the call that is then made fails, shim_find()
 * must be asked.  -ENOENT: nothing is there.  0: ask shim_find().
 */
int shim_look(struct shim_call *call, int dirfd, const char *path, unsigned flags, struct shim_spot *spot);

/* Open an absolute path that leads nowhere but outside, by the kernel at once, for reading or with O_PATH: a descriptor
 * or the kernel's error; -EAGAIN: ask shim_find(). */
int shim_open_outside(const struct shim_call *call, const char *path, int flags);

#endif
