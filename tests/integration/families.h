/* SPDX-License-Identifier: MIT
 *
 * What the scenarios of `families` share.
 */
#ifndef FAMILIES_H
#define FAMILIES_H

/* The directory to work in. */
extern const char *root;

/* errno's name, "0" for none. */
const char *error_name(void);
/* A path below the directory; eight of them can be in use at once. */
const char *in(const char *name);
/* Print a call's answer, and errno's name if it is -1. */
void result(const char *what, long r);
/* Print what is at a name: mode, size, content. */
void show_file(const char *name);

void do_fopen(void);
void do_freopen(void);
void do_mntent(void);
void do_temp(void);
void do_xattr(void);
void do_stream_socket(void);
void do_socket_errors(void);
void do_datagram_socket(void);
void do_limits(void);
void do_inotify(void);
void do_compat(void);
void do_openat2(void);
void do_syscall(void);
void do_words(void);
void do_catalog(void);
void do_login(void);
void do_library(void);
void do_newer(void);

#endif
