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

/* Where a relative path begins, with room for a slash: its length, or 0. */
static size_t base_of(const struct ovl_space *space, int dirfd, char *buf, unsigned *layer)
{
    size_t n = dirfd == AT_FDCWD ? shim_cwd_inside(space, buf, SHIM_SPOT_MAX, layer)
                                 : shim_fds_inside(space, dirfd, buf, SHIM_SPOT_MAX, layer);
    if (n > 1)
        buf[n++] = '/'; /* the root has one */
    return n;
}

static int glance_from(struct ovl_space *space, int dirfd, const char *path, unsigned *layer, struct ovl_glance *glance,
                       struct shim_spot *spot)
{
    const size_t n = strlen(path), base = base_of(space, dirfd, spot->merged, layer);
    if (base == 0 || base + n >= SHIM_SPOT_MAX)
        return 0;
    memcpy(spot->merged + base, path, n + 1);
    spot->path = spot->merged + base;
    int r = ovl_glance(space, spot->merged, base + n, glance);
    return r < 0 && !shim_glance_holds(glance) ? 0 : r;
}

bool shim_glance_holds(const struct ovl_glance *glance)
{
    return ovl_moves_settled(shim_space(), glance->moves);
}

int shim_look(int dirfd, const char *path, unsigned flags, struct ovl_glance *glance, struct shim_spot *spot)
{
    struct ovl_space *space = shim_space();
    unsigned layer = SHIM_NO_LAYER;
    glance->path = NULL;
    if (!space || !path || !*path)
        return 0;
    glance->moves = ovl_moves(space);
    int r = *path == '/' ? ovl_glance(space, path, strlen(path), glance)
                         : glance_from(space, dirfd, path, &layer, glance, spot);
    if (shim_is_watched)
        return 0;
    if (r <= 0)
        return r;
    if (!ovl_glance_spot(glance, flags, spot->real, SHIM_SPOT_MAX, &spot->is))
        return 0;
    const bool is_near = spot->is.layer == layer;
    spot->dirfd = is_near ? dirfd : AT_FDCWD;
    spot->path = is_near ? spot->path : spot->is.real;
    return 1;
}

/* What waits, for the other end of a FIFO, must be a cancellation point, which libc's function is and a system call is
 * not.
 */
static bool may_wait(int flags)
{
    return !(flags & (O_PATH | O_NONBLOCK)) && !__libc_single_threaded;
}

int shim_open_outside(const char *path, int flags)
{
    const struct ovl_space *space = shim_space();
    if (!space || !path || *path != '/' || may_wait(flags) || !shim_real_is_libc() || shim_is_watched ||
        shim_has_dotdot(path) || ovl_space_holds(space, path))
        return -EAGAIN;
    const struct ovl_open_how how = {.flags = ovl_openat2_flags(flags), .resolve = OVL_RESOLVE_NO_SYMLINKS};
    int fd = ovl_sys_openat2(AT_FDCWD, path, &how);
    /* Whatever else it says may be because of a link, or because it can't be asked so. */
    return fd >= 0 || fd == -ENOENT || fd == -ENOTDIR || fd == -EACCES || fd == -ENAMETOOLONG ? fd : -EAGAIN;
}
