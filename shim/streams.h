/* SPDX-License-Identifier: MIT
 *
 * Merged listings of descriptors that are read by getdents64 without a DIR.
 */
#ifndef SHIM_STREAMS_H
#define SHIM_STREAMS_H

#include "ovl.h"

/* The merged listing of what fd refers to: 1; 0 when it is no merged directory; -1 with errno. (wrap_dir.c) */
int shim_list_fd(int fd, struct ovl_listing *listing);

/* The snapshot that belongs to fd, taken anew at offset 0; NULL when fd is no merged directory. */
struct ovl_listing *shim_stream_of(int fd);

/* fd is closed: free its snapshot. */
void shim_stream_close(int fd);

#endif
