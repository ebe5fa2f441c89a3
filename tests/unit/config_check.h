/* SPDX-License-Identifier: MIT
 *
 * Words for tests of the configuration: @ in a text is the fixture's root.
 */
#ifndef CONFIG_CHECK_H
#define CONFIG_CHECK_H

#include "fixture.h"

/* The text with every @ replaced; one of 8 buffers in turn, of 128 KiB. */
const char *expanded(const struct fixture *f, const char *text);
/* OVL_CONF=conf is refused with exactly this line, and no descriptor stays open. */
void assert_refused(const struct fixture *f, const char *conf, const char *message);
/* The same for a file @/ovl.ini with this text. */
void assert_file_refused(const struct fixture *f, const char *text, const char *message);
/* OVL_CONF=conf opens. */
struct ovl_space *opened(const struct fixture *f, const char *conf);
struct ovl_space *opened_file(const struct fixture *f, const char *text);
/* The layers of an overlay are these, one a line, highest first. */
void assert_layers(const struct fixture *f, const struct ovl *o, const char *layers);
/* The names in a real directory, with a blank after each, in no order. */
const char *names_in(const struct fixture *f, const char *path);

#endif
