/* SPDX-License-Identifier: MIT
 *
 * What the scenarios of `escapes` share.
 */
#ifndef ESCAPES_H
#define ESCAPES_H

/* The directory to work in, and its last component. */
extern const char *root, *base;

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
/* escapes_room.c */
void do_signal_stack(const char *unused);
void do_small_thread(const char *unused);
void do_few_files(const char *unused);
void do_few_files_moving(const char *unused);

#endif
