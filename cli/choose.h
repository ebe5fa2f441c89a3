/* SPDX-License-Identifier: MIT
 *
 * The one overlay, of those of a configuration, whose upper a command is about.
 */
#ifndef CLI_CHOOSE_H
#define CLI_CHOOSE_H

#include "space.h"

/* That of the mount among the arguments, which may be left out where only one overlay has an upper.  NULL, and *status,
 * after a message. */
struct ovl *choose_overlay(struct space *s, const char *command, char *const *arguments, int *status);

#endif
