/* SPDX-License-Identifier: MIT
 *
 * Children that share their parent's memory until they call exec or _exit.
 *
 * Such a child must write nothing that is the process's own (the cwd, the table of descriptors,
 * the heap), and what it took and could not give back, because exec never returns, is given back
 * by its parent.  Every way to make one (vfork, clone, posix_spawn) stands between
 * shim_vfork_begin() and shim_vfork_end().
 *
 * Known by process id, not by a depth that must return to zero: a signal handler that jumps out
 * of the parent before shim_vfork_end() then leaves a mark that says "not a vfork child".
 */
#ifndef SHIM_VFORK_H
#define SHIM_VFORK_H

#include <stdint.h>

/* What the parent restores.  Two words, so that the vfork stub can keep it in registers: the
 * child runs on the parent's stack and overwrites what stands there. */
struct shim_vfork {
    uint64_t mark;
    void *scratch;
};

/* Before the child is made: from here on shim_in_vfork() is true in every other process that
 * runs in this thread's memory. */
struct shim_vfork shim_vfork_begin(void);

/* In the parent, with the system call's answer (negative errno on failure) and the two words of
 * shim_vfork_begin().  Returns the child's pid, or -1 with errno set. */
long shim_vfork_end(long result, uint64_t mark, void *scratch);

#endif
