/* SPDX-License-Identifier: MIT
 *
 * Descriptors that come and go: what is remembered of them follows.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "fds.h"
#include "real.h"
#include "streams.h"
#include "wrap.h"

#include <linux/btrfs.h>
#include <linux/fs.h>
#include <linux/fscrypt.h>
#include <linux/fsverity.h>
#include <linux/msdos_fs.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static void forget(int fd)
{
    shim_fds_clear(fd);
    shim_stream_close(fd);
}

int wrap_close(int fd)
{
    forget(fd);
    return REAL(close)(fd);
}

int shim_close(int fd)
{
    int cancel;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    int r = wrap_close(fd);
    pthread_setcancelstate(cancel, NULL);
    return r;
}

static void forget_range(unsigned first, unsigned last)
{
    for (unsigned fd = first; fd <= last && fd < 1024; fd++)
        forget((int)fd);
}

int wrap_close_range(unsigned first, unsigned last, int flags)
{
    if (!(flags & 4 /* CLOSE_RANGE_CLOEXEC: nothing is closed now */))
        forget_range(first, last);
    return REAL(close_range)(first, last, flags);
}

void wrap_closefrom(int first)
{
    forget_range(first < 0 ? 0 : (unsigned)first, ~0u);
    REAL(closefrom)(first);
}

int wrap_dup(int fd)
{
    int r = REAL(dup)(fd);
    if (r >= 0)
        shim_fds_copy(fd, r);
    return r;
}

int wrap_dup2(int fd, int to)
{
    int r = REAL(dup2)(fd, to);
    if (r >= 0 && fd != to) {
        shim_stream_close(to);
        shim_fds_copy(fd, to);
    }
    return r;
}

int wrap_dup3(int fd, int to, int flags)
{
    int r = REAL(dup3)(fd, to, flags);
    if (r >= 0) {
        shim_stream_close(to);
        shim_fds_copy(fd, to);
    }
    return r;
}

int wrap_fcntl(int fd, int command, ...)
{
    va_list args;
    va_start(args, command);
    void *arg = va_arg(args, void *);
    va_end(args);
    int r = REAL(fcntl)(fd, command, arg);
    if (r >= 0 && (command == F_DUPFD || command == F_DUPFD_CLOEXEC))
        shim_fds_copy(fd, r);
    return r;
}

/* Requests that change an inode or what is in a directory, and need no descriptor that is open for writing. */
static bool changes_attributes(unsigned long request)
{
    switch (request) {
    case FS_IOC_SETFLAGS:
    case FS_IOC32_SETFLAGS:
    case FS_IOC_SETVERSION:
    case FS_IOC32_SETVERSION:
    case FS_IOC_FSSETXATTR:
    case FS_IOC_ENABLE_VERITY:
    case FS_IOC_SET_ENCRYPTION_POLICY:
    case FAT_IOCTL_SET_ATTRIBUTES:
    case BTRFS_IOC_SNAP_CREATE:
    case BTRFS_IOC_SNAP_CREATE_V2:
    case BTRFS_IOC_SUBVOL_CREATE:
    case BTRFS_IOC_SUBVOL_CREATE_V2:
    case BTRFS_IOC_SNAP_DESTROY:
    case BTRFS_IOC_SNAP_DESTROY_V2:
    case BTRFS_IOC_SUBVOL_SETFLAGS:
    case BTRFS_IOC_SET_RECEIVED_SUBVOL:
        return true;
    default:
        return false;
    }
}

static int refuse_lower(int fd)
{
    struct shim_call call;
    if (!shim_begin(&call, "ioctl"))
        return 0;
    struct ovl_node *node;
    int r = shim_find_fd(&call, fd, &node);
    bool lower = r == -EROFS || (r == 1 && (node->top != 0 || ovl_is_read_only(node->ovl)));
    return (int)shim_leave(&call, lower ? -EPERM : 0);
}

int wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    va_start(args, request);
    void *arg = va_arg(args, void *);
    va_end(args);
    if (changes_attributes(request) && refuse_lower(fd) < 0)
        return -1;
    return REAL(ioctl)(fd, request, arg);
}

#define SHIM_FILE_fd
#include "export.h"
