/* SPDX-License-Identifier: MIT
 *
 * At a glance (spot.h).
 *
 * What must hold: what is told of a relative path is true of the directory that it begins in, though that may be just
 * being renamed: then nothing is told.
 */
#define _GNU_SOURCE
#include "spot.h"

#include "cwd.h"
#include "fds.h"
#include "real.h"
#include "sys.h"

#include <string.h>
#include <sys/single_threaded.h>

static bool may_be_inside(int dirfd)
{
    return dirfd == AT_FDCWD ? shim_cwd_is_inside() : shim_fds_is_directory(dirfd);
}

/* Glance at a relative path: *from is then the path, in the call's memory. */
static int glance_from(struct shim_call *call, int dirfd, const char *path, struct ovl_glance *glance,
                       const char **from)
{
    struct ovl_space *space = call->ctx.space;
    const size_t n = strlen(path);
    char *whole =
        n < OVL_REAL_MAX && may_be_inside(dirfd) ? ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX + OVL_REAL_MAX) : NULL;
    if (!whole)
        return 0;
    call->moves = ovl_moves(space);
    if (shim_dir_place(call, dirfd, whole) != SHIM_INSIDE)
        return 0;
    size_t length = strlen(whole);
    length -= length == 1; /* the root */
    whole[length] = '/';
    memcpy(whole + length + 1, path, n + 1);
    *from = whole + length + 1;
    int r = ovl_glance(space, whole, length + 1 + n, glance);
    return ovl_moves_settled(space, call->moves) ? r : 0;
}

bool shim_see(const struct ovl_glance *glance, unsigned flags, char real[SHIM_SPOT_MAX], struct ovl_spot *spot)
{
    return glance->path && !shim_is_watched && ovl_glance_spot(glance, flags, real, SHIM_SPOT_MAX, spot);
}

int shim_look(struct shim_call *call, int dirfd, const char *path, unsigned flags, struct shim_spot *spot)
{
    struct ovl_glance glance;
    const char *from;
    if (!path || !*path || *path == '/' || call->ctx.size == 0 || shim_is_watched)
        return 0;
    const size_t mark = call->ctx.used;
    int r = glance_from(call, dirfd, path, &glance, &from);
    if (r <= 0) {
        ovl_ctx_reset(&call->ctx, mark);
        return r;
    }
    char *real = ovl_ctx_alloc(&call->ctx, OVL_REAL_MAX);
    if (!real || !ovl_glance_spot(&glance, flags, real, OVL_REAL_MAX, &spot->is))
        return 0;
    const bool is_near = spot->is.layer == call->layer;
    spot->dirfd = is_near ? dirfd : AT_FDCWD;
    spot->path = is_near ? from : spot->is.real;
    return 1;
}

/* What waits, for the other end of a FIFO, must be a cancellation point, which libc's function is and a system call is
 * not.
 */
static bool may_wait(int flags)
{
    return !(flags & (O_PATH | O_NONBLOCK)) && !__libc_single_threaded;
}

int shim_open_outside(const struct shim_call *call, const char *path, int flags)
{
    if (!path || *path != '/' || may_wait(flags) || !shim_real_is_libc() || call->ctx.size == 0 || shim_is_watched ||
        shim_has_dotdot(path) || ovl_space_holds(call->ctx.space, path))
        return -EAGAIN;
    const struct ovl_open_how how = {.flags = ovl_openat2_flags(flags), .resolve = OVL_RESOLVE_NO_SYMLINKS};
    int fd = ovl_sys_openat2(AT_FDCWD, path, &how);
    /* Whatever else it says may be because of a link, or because it can't be asked so. */
    return fd >= 0 || fd == -ENOENT || fd == -ENOTDIR || fd == -EACCES || fd == -ENAMETOOLONG ? fd : -EAGAIN;
}
