/* SPDX-License-Identifier: MIT
 *
 * Exports the bodies of one file under their libc names.  Included once, at the end of wrap_FILE.c,
 * behind `#define SHIM_FILE_FILE`.  The names are given to the assembler, not to the compiler, so
 * that libc's own declarations (attributes, __REDIRECT, nonnull) don't come into it.  A row without a
 * body does not compile.
 */
#define CALL(name, type, parameters, safety)                                                                           \
    extern __typeof__(wrap_##name) shim_export_##name __asm__(#name)                                                   \
        __attribute__((alias("wrap_" #name), visibility("default")));
#define TWIN(symbol, name)                                                                                             \
    extern __typeof__(wrap_##name) shim_export_##symbol __asm__(#symbol)                                               \
        __attribute__((alias("wrap_" #name), visibility("default")));
#include "calls.def"
#undef CALL
#undef TWIN
