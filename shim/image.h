/* SPDX-License-Identifier: MIT
 *
 * What kind of program a file is, asked before exec: a script, which may have to be taken apart
 * here, a program that preloading reaches, or one that it can't (CONTRACT 1.12).
 */
#ifndef SHIM_IMAGE_H
#define SHIM_IMAGE_H

#include "elf_file.h"

enum shim_image {
    SHIM_IMAGE_OTHER,   /* neither ELF nor script: the kernel answers ENOEXEC or has a handler */
    SHIM_IMAGE_SCRIPT,  /* begins with "#!" and names an interpreter */
    SHIM_IMAGE_DYNAMIC, /* ELF that preloading reaches, or the dynamic loader itself */
    /* From here on: those that it doesn't. */
    SHIM_IMAGE_STATIC,
    SHIM_IMAGE_GO,      /* makes its system calls itself */
    SHIM_IMAGE_LIBC,    /* loaded by another libc's loader */
    SHIM_IMAGE_MACHINE, /* for another machine */
    SHIM_IMAGE_SECURE,  /* set-id bits, file capabilities: ld.so ignores LD_PRELOAD */
    SHIM_IMAGE_UNKNOWN, /* may be run but not be read */
};

/* As much of a script as the kernel reads (BINPRM_BUF_SIZE). */
#define SHIM_SCRIPT_LINE 256

struct shim_script {
    char line[SHIM_SCRIPT_LINE];
    const char *interpreter; /* in line; may be "" */
    const char *argument;    /* in line, or NULL */
};

/* The program at (dirfd, path), where the kernel would find it; an empty path means dirfd itself.  For
 * a script, fills *script; for a program that preloading reaches, *elf, in the context's memory (nothing in it where
 * it can't be read).  Returns the kind, or a negative errno: of path resolution, -EACCES for
 * what is not a regular file, -ENOEXEC for a script without an interpreter. */
int shim_image(struct ovl_ctx *ctx, int dirfd, const char *path, struct shim_script *script, struct shim_elf *elf);

/* A descriptor to read from: of the path or, where that is empty, of what dirfd stands for, which may be open for
 * other things than reading. */
int shim_image_open(int dirfd, const char *path);

/* Split the first line by the kernel's rules: 0 or -ENOEXEC.  The line has a NUL in its last byte
 * or was cut there. */
int shim_script_parse(struct shim_script *script);

#endif
