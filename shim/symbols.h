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
    const uint32_t *hash;     /* of DT_GNU_HASH */
    const uint16_t *versions; /* of DT_VERSYM; NULL: none */
};

/* The object that an address lies in. */
bool shim_object_of(const void *address, struct shim_object *object);

/* The objects behind the one that an address lies in, at most n, in the order in which they are searched: ld.so's own
 * dl_iterate_phdr(3) knows it, not ours.  How many; or -1, when there are more, or one of them can't be read. */
typedef int shim_iterate(int (*each)(struct dl_phdr_info *info, size_t size, void *argument), void *argument);
int shim_objects_behind(shim_iterate *iterate, const void *address, struct shim_object *objects, int n);

/* The function that an object defines under a name (of several versions any), and its size; NULL if there is none. */
void *shim_object_function(const struct shim_object *object, const char *name, size_t *size);

/* The address that dlsym(3) would give for a name that the object defines; NULL if it defines none, or one of which
 * only ld.so can say what it stands for (an indirect function). */
void *shim_object_symbol(const struct shim_object *object, const char *name, bool *is_indirect);

#endif
