/* SPDX-License-Identifier: MIT
 *
 * Functions that ask the kernel directly, for the moment when it is too early to ask libc.
 */
#ifndef SHIM_EARLY_H
#define SHIM_EARLY_H

/* The early form of a libc function; one that fails with ENOSYS where there is none. Never NULL. */
void *shim_early_function(const char *name);

#endif
