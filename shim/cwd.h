/* SPDX-License-Identifier: MIT
 *
 * Where the process is, in merged terms.
 *
 * The kernel's own cwd is a layer's directory; the merged one is remembered here, written by
 * chdir and fchdir, and follows its directory through renames (ovl_follow()).  A vfork child neither writes nor reads
 * the memory: it asks the kernel.
 */
#ifndef SHIM_CWD_H
#define SHIM_CWD_H

#include "boundary.h"

/* The merged cwd into buf of OVL_PATH_MAX bytes: 1 inside an overlay, 0 outside (its real path), SHIM_REMOVED (the
 * path of the parent, or ""), negative errno. */
int shim_cwd(struct shim_call *call, char *buf);

/* What an exec hands on, if the cwd lies in an overlay: 1 and text in buf, else 0. */
#define SHIM_CWD_TEXT_MAX (OVL_PATH_MAX + 32)
int shim_cwd_export(struct shim_call *call, char *buf);

/* The same at once, if it is remembered, lies inside and is shorter than n: its length, and the layer that has it; else
 * 0.  Directories may move meanwhile: ask ovl_moves() before. */
size_t shim_cwd_inside(const struct ovl_space *space, char *buf, size_t n, unsigned *layer);

/* The kernel's cwd has become this place, as this layer has it, found out since call->moves; path NULL: it must be
 * asked again.  SHIM_REMOVED: with the path of the parent. */
void shim_cwd_set(struct shim_call *call, const char *path, int place, unsigned layer);

/* Once, when the process has started. (wrap_cwd.c) */
void shim_cwd_start(void);

/* From now on threads may have directories of their own (unshare(2) of CLONE_FS): nothing is remembered any more. */
void shim_cwd_split(void);

#endif
