/* SPDX-License-Identifier: MIT
 *
 * Memory for an exec: the environment and argument arrays, whose size the program decides.
 *
 * It comes from the call's context and, where that is too small, from a mapping of its own: exec must
 * work in a signal handler on 8 KiB of stack, without malloc.  After a successful exec nobody is
 * left to unmap; in a vfork child that would leak in the parent, so that mappings are chained in
 * the thread and the parent lets go of them.
 */
#ifndef SHIM_SCRATCH_H
#define SHIM_SCRATCH_H

#include "boundary.h"

/* n bytes, aligned for pointers, or NULL. They live until released or until the call is left. */
void *shim_scratch(struct shim_call *call, size_t n);

/* The newest mapping of this thread; and unmap all that are newer than a mark. */
void *shim_scratch_mark(void);
void shim_scratch_release(void *mark);

#endif
