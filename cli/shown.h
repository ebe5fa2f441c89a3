/* SPDX-License-Identifier: MIT
 *
 * What some of an overlay's layers show under one name.
 */
#ifndef CLI_SHOWN_H
#define CLI_SHOWN_H

#include <ovl.h>

enum shown { SHOWN_NOTHING, SHOWN_OBJECT, SHOWN_DIRECTORY };

/* What the layers from `first` on show by themselves at a path below the mount, "" being that: enum shown, or a
 * negative errno. */
int shown_from(struct ovl_ctx *ctx, struct ovl *o, unsigned first, const char *relative);

#endif
