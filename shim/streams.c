/* SPDX-License-Identifier: MIT
 *
 * Snapshots by descriptor (streams.h).  getdents64 is not async-signal-safe and one descriptor is read by
 * one thread at a time, as POSIX has it for directory streams; different descriptors are independent.
 */
#define _GNU_SOURCE
#include "streams.h"

#include "boundary.h"
#include "sys.h"

#include <stdlib.h>
#include <unistd.h>

#define STREAMS 1024

static struct ovl_listing *stream[STREAMS];

void shim_stream_close(int fd)
{
    if (fd < 0 || fd >= STREAMS || !__atomic_load_n(&stream[fd], __ATOMIC_RELAXED) || shim_in_vfork())
        return;
    struct ovl_listing *old = __atomic_exchange_n(&stream[fd], NULL, __ATOMIC_ACQ_REL);
    if (!old)
        return;
    ovl_listing_free(old);
    free(old);
}

int shim_stream_of(int fd, struct ovl_listing *own, struct ovl_listing **listing)
{
    *listing = own;
    if (fd < 0 || !shim_space())
        return 0;
    if (fd >= STREAMS)
        return shim_list_fd(fd, own);
    bool at_start = ovl_sys_lseek(fd, 0, SEEK_CUR) == 0;
    *listing = __atomic_load_n(&stream[fd], __ATOMIC_ACQUIRE);
    if (*listing && !at_start)
        return 1;
    struct ovl_listing *fresh = calloc(1, sizeof *fresh);
    int r = fresh ? shim_list_fd(fd, fresh) : -1;
    if (r != 1) {
        free(fresh);
        return r;
    }
    shim_stream_close(fd);
    __atomic_store_n(&stream[fd], fresh, __ATOMIC_RELEASE);
    *listing = fresh;
    return 1;
}
