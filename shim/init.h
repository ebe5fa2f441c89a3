/* SPDX-License-Identifier: MIT
 *
 * The start of the library in a process, and what stays the same from then on.
 */
#ifndef SHIM_INIT_H
#define SHIM_INIT_H

#include "boundary.h"

/* Make the space of this process if that was not done yet. False while it is inert or not there yet. */
bool shim_start(void);

/* The absolute path of libovl.so. */
const char *shim_library(void);

/* The merged cwd that the process that exec'd us handed over, or NULL. */
const char *shim_inherited_cwd(void);

/* LD_LIBRARY_PATH as ld.so took it, and the program's file where the loader was called itself; NULL: none. */
const char *shim_library_path(void);
const char *shim_program(void);

/* Whether this process's ld.so asks the audit object (audit.c) where libraries are. */
bool shim_audit_helps(void);

/* One line on stderr: "libovl: ", the strings up to NULL, newline; only while fd 2 is what it was at
 * the start (CONTRACT 5.2).  errno is untouched; async-signal-safe. */
void shim_stderr_line(const char *first, ...);

#endif
