/* SPDX-License-Identifier: MIT
 *
 * The operations table that core gets: the next library's functions.
 */
#ifndef SHIM_NEXT_H
#define SHIM_NEXT_H

#include "ovl.h"

extern struct ovl_ops shim_next;
/* Once, when the next libraries' functions are known. */
void shim_next_start(void);

#endif
