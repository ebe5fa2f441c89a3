/* SPDX-License-Identifier: MIT
 *
 * libovl.so: where it lies, and what it says when a program is started with it.
 */
#ifndef CLI_LIBRARY_H
#define CLI_LIBRARY_H

#include <stdbool.h>

/* A program of every system, that libovl is loaded into first: by way of it all others are started. */
#define LIBRARY_STARTER "/usr/bin/env"

/* Its path, the caller's to free: what OVL_LIBRARY names, or where it was installed or built with this program.  NULL
 * after a message. */
char *library_find(void);
/* Start the starter, which does nothing, with the library and a configuration, and wait for it: its exit status, -1
 * when it can't be started.  *line, if it is not NULL, is the first line that was said, without "libovl: ": the
 * caller's to free. */
int library_start(const char *library, const char *conf, char **line);
/* Whether ld.so loads it: it runs a program all the same where it can't, outside of every overlay. */
bool library_is_loaded(const char *library);

#endif
