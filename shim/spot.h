/* SPDX-License-Identifier: MIT
 *
 * Looking something up at a glance, where the directory cache knows enough for that: most look-ups of most programs.
 */
#ifndef SHIM_SPOT_H
#define SHIM_SPOT_H

#include "boundary.h"

#define SHIM_SPOT_MAX 512

/* A file, or a symbolic link that is not to be followed, and how the kernel gets there fastest: from the directory that
 * it has for the program's own, if that is of the layer that shows the object.  It is on the stack, of which a handler
 * of signals may have little: what has a long path is found in other ways, and by functions that are not inlined. */
struct shim_spot {
    struct ovl_spot is;
    int dirfd;
    const char *path;
    char merged[SHIM_SPOT_MAX], real[SHIM_SPOT_MAX];
};

/* Look at (dirfd, path), with flags of ovl_resolve(), without even beginning a call.  1: *spot, where shim_find() must
 * be asked if the caller's call there fails, or if it is true no more afterwards; of a relative path that must be known
 * before what can't be undone.  -ENOENT: nothing is there.  0: ask shim_find(), for which *glance may serve the call.
 */
int shim_look(int dirfd, const char *path, unsigned flags, struct ovl_glance *glance, struct shim_spot *spot);

/* Whether it is still true: no directory has moved. */
bool shim_glance_holds(const struct ovl_glance *glance);

/* Open an absolute path that leads nowhere but outside, by the kernel at once, for reading or with O_PATH: a descriptor
 * or the kernel's error; -EAGAIN: ask shim_find(). */
int shim_open_outside(const char *path, int flags);

#endif
