/* SPDX-License-Identifier: MIT
 *
 * What dlopen_entry.S calls.
 */
#ifndef SHIM_DLOPEN_H
#define SHIM_DLOPEN_H

#include <dlfcn.h>

/* Known to dlopen_entry.S by its offsets. */
struct shim_dlopen {
    void *handle; /* the answer */
    void *next;   /* or the next library's function, for the same arguments */
};

/* Answer dlopen or dlmopen for a caller: 1 with answer->handle, or 0 with answer->next. */
int shim_dlopen(const char *path, int flags, const void *caller, struct shim_dlopen *answer);
int shim_dlmopen(Lmid_t space, const char *path, int flags, const void *caller, struct shim_dlopen *answer);

#endif
