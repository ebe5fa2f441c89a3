/* SPDX-License-Identifier: MIT
 *
 * The second layer: libc's own calls inside.
 *
 * libc calls itself without a symbol that could be interposed: getpwnam, setlocale, iconv_open, tzset and
 * gettext open their files by libc's own open.  Where an overlay covers such files, the entries of a few
 * functions of libc are overwritten with jumps to hooks (hooks.h).
 */
#ifndef SHIM_PATCH_H
#define SHIM_PATCH_H

#include "ovl.h"

/* Patch what a space needs, at the start of a process.  0, also when not everything could be done and the log says
 * so; -1 when an overlay has patch=require and something could not be done: *why says what. */
int shim_patch_start(const struct ovl_space *space, struct ovl_message *why);

/* Patch now, if that was not done yet, because libc will read below the mount of this overlay. */
void shim_patch_for(const struct ovl *o);

#endif
