/* SPDX-License-Identifier: MIT
 *
 * What help ld.so needs to load a program's libraries as the merged view has them, asked before each exec
 * (CONTRACT 4.4, 4.3, 1.14).
 */
#ifndef SHIM_LOADER_H
#define SHIM_LOADER_H

#include "boundary.h"
#include "elf_file.h"

/* No help (all zero) for most programs: every library is the file that ld.so finds by itself. */
struct shim_loader {
    const char *audit;        /* the audit object, which tells ld.so each library's place; NULL: none */
    const char *library_path; /* directories in front of LD_LIBRARY_PATH instead; NULL: none */
    const char *interpreter;  /* the loader, where PT_INTERP is another file inside: it must be called itself, */
    const char *program;      /* with the program's file */
};

/* A program as the kernel is given it. */
struct shim_program {
    int dirfd;
    const char *path;
    const struct ovl_node *node; /* where it lies inside, else NULL */
    const struct shim_elf *elf;
};

/* Decide for a program and its environment: 0, or a negative errno, -ENOENT where its loader does not exist
 * inside.  Strings live as shim_scratch() has it.  Async-signal-safe. */
int shim_loader_ask(struct shim_call *call, const struct shim_program *program, char *const *env,
                    struct shim_loader *loader);

/* For a search's find_cwd: the merged cwd, of a struct shim_call; NULL where it can't be had. */
const char *shim_find_cwd(struct ovl_ctx *ctx, void *call);

/* The audit object's name is the library's with this in place of ".so". */
#define SHIM_AUDIT_SUFFIX "-audit.so"

/* What env.c adds to GLIBC_TUNABLES beside the audit object: with one, ld.so reserves static TLS before it knows
 * the program's libraries. */
#define SHIM_STATIC_TLS 8192
#define SHIM_STATIC_TLS_TUNABLE "glibc.rtld.optional_static_tls"

#endif
