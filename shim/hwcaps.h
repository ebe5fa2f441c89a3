/* SPDX-License-Identifier: MIT
 *
 * The subdirectories that ld.so looks into before a directory itself, by what the processor can do.
 */
#ifndef SHIM_HWCAPS_H
#define SHIM_HWCAPS_H

/* The names of those that this processor can use, best first, up to NULL. */
const char *const *shim_hwcaps(void);

#endif
