/* SPDX-License-Identifier: MIT
 *
 * What ld.so reads of a program or library before it loads it: which libraries it needs and where it wants them to
 * be looked for.
 */
#ifndef SHIM_ELF_FILE_H
#define SHIM_ELF_FILE_H

#include "ovl.h"

/* Most names of needed libraries that are read of one file. */
#define SHIM_NEEDED_MAX 512

/* Strings live in the context. */
struct shim_elf {
    const char *interpreter;              /* PT_INTERP, or NULL */
    const char *soname, *rpath, *runpath; /* or NULL; an rpath beside a runpath counts for nothing and is NULL */
    const char **needed;
    unsigned needs;
    size_t static_tls; /* bytes of the static TLS block that it must have; 0 where it can do without */
    bool no_default;   /* not to be satisfied from the default directories (-z nodefaultlib) */
};

/* A part of a file: what is asked for stands close together, at its beginning, in its dynamic section and in a piece
 * of its string table. */
#define SHIM_ELF_WINDOW 4096
struct shim_elf_window {
    uint64_t at;
    size_t n;
    char bytes[SHIM_ELF_WINDOW];
};

/* Whether the file is one that ld.so would load here: 1; 0 for an object of another class or machine, which its
 * search passes over; -ENOEXEC for anything else.  Its beginning is read into the window. */
int shim_elf_fits(int fd, struct shim_elf_window *window);

/* Read what is above from a file of which the window has a part (none: n is 0): 0; -ENOEXEC where it is none for this
 * machine or broken; -ENOMEM. */
int shim_elf_read(struct ovl_ctx *ctx, int fd, struct shim_elf_window *window, struct shim_elf *elf);

#endif
