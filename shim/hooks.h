/* SPDX-License-Identifier: MIT
 *
 * What libc's patched functions lead to: the call of the same meaning, through the overlay.
 */
#ifndef SHIM_HOOKS_H
#define SHIM_HOOKS_H

#include "symbols.h"

struct shim_hook {
    const char *symbol; /* libc's function */
    const void *body;   /* what its entry leads to */
};
extern const struct shim_hook shim_hooks[];
extern const unsigned shim_hooks_count;

/* Whether libc is patched. */
extern bool shim_hooks_active;

/* Before anything is patched: what the hooks need of libc is at hand.  False if it is not there. */
bool shim_hooks_prepare(const struct shim_object *libc);

/* Something was patched: our own calls of it need not take the way through a hook. */
void shim_hooks_done(const struct shim_object *libc);

#endif
