/* SPDX-License-Identifier: MIT
 *
 * What this machine allows: tried out, in a directory that is made for it and removed.
 */
#ifndef CLI_PROBE_H
#define CLI_PROBE_H

#include <stdbool.h>

/* Each answers 0, or the errno that says why not. `folder` is a directory that may be written to. */
int probe_user_xattrs(const char *folder);
/* Copies that share their data with the original until one is changed. */
int probe_reflink(const char *folder);
/* 0/0 character devices, whiteouts of the kernel's form. */
int probe_device(const char *folder);
/* A user name space, and in it (for root: without one) a mount of overlayfs on layers in the folder. */
int probe_user_namespace(void);
int probe_overlayfs(const char *folder);
/* /dev/fuse. */
int probe_fuse(void);
/* A program in PATH: its path, the caller's to free, or NULL. */
char *probe_program(const char *name);

#endif
