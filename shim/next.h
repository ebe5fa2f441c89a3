/* SPDX-License-Identifier: MIT
 *
 * The operations table that core gets: the next library's functions.
 */
#ifndef SHIM_NEXT_H
#define SHIM_NEXT_H

#include "ovl.h"

extern const struct ovl_ops shim_next;

#endif
