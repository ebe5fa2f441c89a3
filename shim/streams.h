/* SPDX-License-Identifier: MIT
 *
 * Merged listings of descriptors that are read by getdents64 without a DIR.
 */
#ifndef SHIM_STREAMS_H
#define SHIM_STREAMS_H

#include "ovl.h"

/* The merged listing of what fd refers to: 1; 0 when it is no merged directory; -1 with errno. (wrap_dir.c) */
int shim_list_fd(int fd, struct ovl_listing *listing);

/* The snapshot that belongs to fd, taken anew at offset 0: 1 and *listing; 0 when fd is no merged directory; -1 with
 * errno.  Where none can be kept it is taken into *own, which is then *listing and the caller's to free. */
int shim_stream_of(int fd, struct ovl_listing *own, struct ovl_listing **listing);

/* fd is closed: free its snapshot. */
void shim_stream_close(int fd);

#endif
