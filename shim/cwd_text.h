/* SPDX-License-Identifier: MIT
 *
 * The cwd as OVL_CWD hands it over exec, to the program and to the audit object of its ld.so: "MARK:PATH", of a removed
 * directory "MARK!" and its parent's path.
 */
#ifndef SHIM_CWD_TEXT_H
#define SHIM_CWD_TEXT_H

#include "ovl.h"

/* The path, brought up to date, into buf of OVL_PATH_MAX bytes: 0; 1 of a removed directory (as ovl_follow() has
 * it); negative when the text says nothing that is known to be true.  That it is still the cwd is the caller's to see:
 * a program outside may have gone elsewhere in between. */
int shim_cwd_read(struct ovl_ctx *ctx, const char *text, char *buf);

#endif
