/* SPDX-License-Identifier: MIT
 *
 * The dynamic symbols of an object that is loaded, read where they lie in memory: faster than dladdr1(3), which
 * looks at every symbol, and with the sizes that dlsym(3) does not tell.
 */
#ifndef SHIM_SYMBOLS_H
#define SHIM_SYMBOLS_H

#include <link.h>
#include <stdbool.h>
#include <stddef.h>

struct shim_object {
    uintptr_t base;
    const ElfW(Sym) * symbols;
    const char *strings;
    const uint32_t *hash; /* of DT_GNU_HASH */
};

/* The object that an address lies in. */
bool shim_object_of(const void *address, struct shim_object *object);

/* The function that an object defines under a name (of several versions any), and its size; NULL if there is none. */
void *shim_object_function(const struct shim_object *object, const char *name, size_t *size);

#endif
