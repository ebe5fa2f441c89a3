/* SPDX-License-Identifier: MIT
 *
 * Where the process is, in merged terms.
 *
 * The kernel's own cwd is a layer's directory; the merged one is remembered here and written by
 * chdir and fchdir only.  A vfork child neither writes nor reads the memory: it asks the kernel.
 */
#ifndef SHIM_CWD_H
#define SHIM_CWD_H

#include "boundary.h"

/* The merged cwd into buf of OVL_PATH_MAX bytes: 1 inside an overlay, 0 outside (its real path),
 * negative errno (-ENOENT: removed). */
int shim_cwd(struct shim_call *call, char *buf);

/* The merged cwd if it lies in an overlay: 1 and buf (OVL_PATH_MAX bytes), else 0: what an exec hands on. */
int shim_cwd_export(struct shim_call *call, char *buf);

/* The kernel's cwd has become this place, found when so many directories were renamed (ovl_space_renames); path NULL:
 * it must be asked again. */
void shim_cwd_set(const char *path, bool inside, uint64_t renames);

/* Once, when the process has started. (wrap_cwd.c) */
void shim_cwd_start(void);

/* From now on threads may have directories of their own (unshare(2) of CLONE_FS): nothing is remembered any more. */
void shim_cwd_split(void);

#endif
