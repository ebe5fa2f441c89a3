/* SPDX-License-Identifier: MIT
 *
 * Where ld.so would find a library if it saw the merged view: the rules of ld.so(8), in one place for those who
 * ask before a program starts (loader.c), while it starts (audit.c) and while it runs (wrap_dl.c).
 *
 * Each place is looked at twice, as the kernel sees it and in the merged view, because mostly both come to the same
 * file, and then ld.so is best left alone.  Nothing but core is called; async-signal-safe.
 */
#ifndef SHIM_LIBRARY_SEARCH_H
#define SHIM_LIBRARY_SEARCH_H

#include "elf_file.h"
#include "library_cache.h"

struct link_map;

/* An object that wants a library: what of it decides where that is looked for. */
struct shim_asker {
    const char *file;   /* the path that ld.so knows it by, for $ORIGIN; NULL: not known */
    const char *merged; /* the same in the merged view; NULL: found from `file` */
    const char *rpath, *runpath;
    bool no_default;
    const struct shim_asker *loader; /* the object that it was loaded for */
};

enum shim_library_kind {
    SHIM_LIBRARY_ABSENT,  /* neither view has it */
    SHIM_LIBRARY_NATIVE,  /* both have the same file: ld.so finds it by itself */
    SHIM_LIBRARY_VIRTUAL, /* the merged view has another file than the kernel's, or has it alone */
    SHIM_LIBRARY_HIDDEN,  /* the kernel's view alone has it: it must not be loaded */
};

struct shim_library {
    enum shim_library_kind kind;
    int fd;                  /* open for reading where it was found; the caller's to close */
    char path[OVL_REAL_MAX]; /* NATIVE: as ld.so will name it; VIRTUAL: in its layer */
};

/* Where nothing is: for the names of hidden libraries, so that ld.so's message has the name. */
#define SHIM_NOWHERE "/proc/self/task/0"

/* A file in both views. */
struct shim_place {
    char file[OVL_REAL_MAX]; /* the kernel's; "": there is none */
    char merged[OVL_REAL_MAX];
    size_t file_length, merged_length;
};

/* A directory, met before, whose names are the same in both views: they need no walk. */
#define SHIM_KNOWN_DIRECTORIES 8
struct shim_known {
    char text[128], real[128];
    enum { SHIM_HWCAPS_UNKNOWN, SHIM_HWCAPS_NONE, SHIM_HWCAPS_SOME } hwcaps;
};

struct shim_libraries {
    struct ovl_ctx *ctx;
    const struct shim_asker *program; /* or NULL */
    const char *library_path;         /* LD_LIBRARY_PATH, or NULL */
    const char *cwd;                  /* merged, for relative paths; NULL: find_cwd is asked when there is one */
    const char *(*find_cwd)(struct ovl_ctx *ctx, void *argument); /* or NULL: relative paths are not looked for */
    void *cwd_argument;
    struct shim_place *place;
    struct ovl_node *node;
    struct shim_elf_window *window;                /* a part of the file that was opened last */
    struct shim_library_cache cache, merged_cache; /* the latter only where it is another file */
    bool has_cache, has_merged_cache;
    bool hidden; /* by the search under way: the kernel's view had one */
    struct shim_known known[SHIM_KNOWN_DIRECTORIES];
    unsigned knows;
};

/* A search in ctx's memory (about 30 KiB of it), or NULL; its other fields are the caller's to fill. */
struct shim_libraries *shim_libraries_new(struct ovl_ctx *ctx);
void shim_libraries_end(struct shim_libraries *l);

/* Find a library by its name for an object; one with a slash is a path, which may begin with $ORIGIN.  0, or
 * -ENOMEM, -EMFILE, -ENFILE: it could not be looked for. */
int shim_library_find(struct shim_libraries *l, const struct shim_asker *asker, const char *name,
                      struct shim_library *found);

/* What a loaded object wants, from its dynamic section. `file` is used where the map has no name (the program). */
void shim_asker_of_map(const struct link_map *map, const char *file, struct shim_asker *asker);

#endif
