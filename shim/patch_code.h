/* SPDX-License-Identifier: MIT
 *
 * The beginning of a function's machine code: may it be overwritten, and with what.
 *
 * What must hold: nothing is overwritten that is not understood.  What stood there is never executed
 * again, so all that matters is that it belongs to this function alone, that nothing but the entry leads into
 * it, and that nobody else has put something there.
 */
#ifndef SHIM_PATCH_CODE_H
#define SHIM_PATCH_CODE_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of what shim_patch_write() writes, with a landing pad that stays before it. */
#if defined __x86_64__
enum { SHIM_PATCH_BYTES = 14, SHIM_PATCH_PAD = 4 };
#else
enum { SHIM_PATCH_BYTES = 20, SHIM_PATCH_PAD = 0 };
#endif

/* How many bytes of a function of `size` bytes are kept before what is written (a landing pad), or -1: it must stay
 * as it is. */
int shim_patch_check(const uint8_t *code, size_t size);

/* Write a jump to `target` at `code`, which must be writable.  No register but those that a linker's stub may use
 * is changed. */
void shim_patch_write(uint8_t *code, const void *target);

#endif
