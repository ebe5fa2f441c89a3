/* SPDX-License-Identifier: MIT
 *
 * ld.so's cache, /etc/ld.so.cache: which file a library's name stands for.
 */
#ifndef SHIM_LIBRARY_CACHE_H
#define SHIM_LIBRARY_CACHE_H

#include "ovl.h"

#define SHIM_LIBRARY_CACHE "/etc/ld.so.cache"

struct shim_library_cache {
    const char *data; /* mapped; NULL: none */
    size_t size;
};

/* Map the file.  A missing one, or one of another form, is an empty cache. */
void shim_library_cache_open(struct shim_library_cache *cache, const char *path);
void shim_library_cache_close(struct shim_library_cache *cache);

/* The path that the cache has for a library of this machine that needs no special processor, or NULL. */
const char *shim_library_cache_find(const struct shim_library_cache *cache, const char *name);

#endif
