/* SPDX-License-Identifier: MIT
 *
 * What the scenarios of `escapes` share.
 */
#ifndef ESCAPES_H
#define ESCAPES_H

#include <stdbool.h>

/* The directory to work in, and its last component. */
extern const char *root, *base;

/* Whether result() prints the lowest free descriptor, too. */
extern bool show_lowest;
/* Print " WHAT ok" or errno's name. */
void result(const char *what, long r);
/* A path below the directory; eight of them can be in use at once. */
const char *in(const char *name);
/* Print what the plain path shows: mode and content. */
void show(const char *name);
/* A descriptor of the directory. */
int to_dir(void);

/* escapes_route.c */
void do_route(const char *number);
int count_routes(void);
/* escapes_fd.c */
void do_empty(const char *unused);
void do_fchmodat2(const char *unused);
void do_thread_cwd(const char *unused);
void do_renamed(const char *outside);
void do_high_listing(const char *unused);
/* escapes_room.c: every signal-safe call, and parts of that */
void many_calls(void);
void calls_by_name(void);
void calls_by_descriptor(void);
void calls_on_sockets(void);
void do_signal_stack(const char *unused);
void do_small_thread(const char *unused);
void do_few_files(const char *unused);
void do_few_files_moving(const char *unused);
/* escapes_limits.c */
void do_lowest(const char *unused);
void do_any_number(const char *unused);
void do_no_memory(const char *unused);
void do_cancelled(const char *unused);
void do_name_spaces(const char *unused);
void do_sandbox(const char *error);

#endif
