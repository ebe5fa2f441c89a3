/* SPDX-License-Identifier: MIT
 *
 * All libraries that a program, or a library, would bring with it, in the order in which ld.so loads them.
 */
#ifndef SHIM_CLOSURE_H
#define SHIM_CLOSURE_H

#include "elf_file.h"
#include "library_search.h"

struct shim_object {
    struct shim_object *next;
    struct shim_asker asker;
    enum shim_library_kind kind;
    const char *name; /* that it was looked for by */
    struct shim_elf elf;
    uint32_t name_hash, soname_hash;
};

struct shim_closure {
    struct ovl_ctx *ctx;
    struct shim_libraries *search;
    bool (*has)(const char *name); /* whether a library is loaded already; NULL: none is */
    struct shim_object first;      /* the program, or the library that is opened */
    struct shim_object *last;
    struct shim_library *found;
    unsigned objects;
};

/* Call function(ctx, argument) with a call's memory and, if that is too small for it (-ENOMEM), again with more: large
 * programs bring hundreds of libraries.  Returns what it returned. */
int shim_with_memory(struct ovl_space *space, const struct ovl_ops *ops,
                     int (*function)(struct ovl_ctx *ctx, void *argument), void *argument);

/* An empty closure in ctx's memory, with a search; NULL when there is no memory.  `first` and the search's fields
 * are the caller's to fill. */
struct shim_closure *shim_closure_new(struct ovl_ctx *ctx);

/* Read what the object is that was found last, and close fd.  What can't be read is
 * ld.so's to complain of.  0, -ENOMEM. */
int shim_closure_read(struct shim_closure *c, struct shim_object *object, int fd, const char *path);

/* Note that the library `name` is there already. 0, -ENOMEM. */
int shim_closure_note(struct shim_closure *c, const char *name);

/* Add the library `name`, that `object` needs.  0; -ENOMEM, -EMFILE, -ENFILE. */
int shim_closure_add(struct shim_closure *c, const struct shim_object *object, const char *name);

/* Add all that those need which are in it. */
int shim_closure_complete(struct shim_closure *c);

#endif
