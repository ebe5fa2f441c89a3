/* SPDX-License-Identifier: MIT
 *
 * openat2(2), through syscall(2), or through libc's function since glibc 2.43.
 *
 * What must hold: a restriction on the way to the object is kept or the call fails.  Where it hangs on
 * where a symbolic link leads to, the answer is ENOSYS: every program has another way for kernels
 * that lack the call.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "real.h"
#include "sys.h"
#include "wrap.h"

#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>

#define KEEPS_TO_TREE (RESOLVE_BENEATH | RESOLVE_IN_ROOT)

/* Whether a path without symbolic links goes above the directory that it begins in. */
static bool goes_above(const char *path)
{
    int depth = 0;
    while (*path) {
        const char *name = path;
        while (*path && *path != '/')
            path++;
        size_t n = (size_t)(path - name);
        if (n == 2 && name[0] == '.' && name[1] == '.')
            depth--;
        else if (n > 0 && !(n == 1 && name[0] == '.'))
            depth++;
        if (depth < 0)
            return true;
        while (*path == '/')
            path++;
    }
    return false;
}

/* RESOLVE_BENEATH and RESOLVE_IN_ROOT by the text of the path: 0, or the call's answer. */
static int check_text(uint64_t resolve, const char **path)
{
    if (resolve & RESOLVE_IN_ROOT)
        while (**path == '/')
            ++*path;
    if ((resolve & KEEPS_TO_TREE) && !**path)
        return -ENOSYS;
    if ((resolve & RESOLVE_BENEATH) && **path == '/')
        return -EXDEV;
    if ((resolve & KEEPS_TO_TREE) && goes_above(*path))
        return resolve & RESOLVE_BENEATH ? -EXDEV : -ENOSYS;
    return 0;
}

/* RESOLVE_NO_XDEV: the mount of an overlay counts as a mount. */
static int check_mount(struct shim_call *call, int dirfd, const char *path, const struct ovl_node *node)
{
    struct ovl_node *base = ovl_node_new(&call->ctx);
    char *dir = ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX);
    if (!base || !dir)
        return -ENOMEM;
    int r = *path == '/' ? 0 : shim_dir_path(call, dirfd, dir);
    if (r >= 0)
        r = ovl_resolve(&call->ctx, NULL, *path == '/' ? "/" : dir, 0, base);
    return r < 0 ? r : base->ovl != node->ovl ? -EXDEV : 0;
}

static bool makes_directory(const struct open_how *how, const char *path)
{
    size_t n = strlen(path);
    return how->flags & O_CREAT && n > 0 && path[n - 1] == '/';
}

static unsigned walk_flags(const struct open_how *how, const char *path)
{
    const uint64_t flags = how->flags;
    unsigned walk = how->resolve & (RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV | KEEPS_TO_TREE) ? OVL_NOLINKS : 0;
    if (makes_directory(how, path))
        return walk | OVL_CHANGE | OVL_NAME; /* EISDIR, whatever is there */
    if (!(flags & O_NOFOLLOW) && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL))
        walk |= OVL_FOLLOW;
    if (!(flags & O_PATH) && ((flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC))))
        walk |= OVL_CHANGE;
    return walk;
}

static long real_openat2(int dirfd, const char *path, const void *how, size_t size)
{
    return shim_result(REAL(syscall)(SYS_openat2, (long)dirfd, path, how, size));
}

/* Open a place that the walk found: its path has no link that is to be followed. */
static int open_found(const struct ovl_node *node, const struct open_how *how)
{
    if (how->resolve & RESOLVE_CACHED)
        return -EAGAIN; /* "not all that is needed is at hand": ask again without */
    if (node->slash && (how->flags & O_CREAT))
        return -EISDIR;
    return (int)shim_result(wrap_open(node->path, (int)how->flags, (mode_t)how->mode));
}

static int open_inside(struct shim_call *call, int dirfd, const char *path, const struct open_how *given,
                       const void *original, size_t size)
{
    struct ovl_node *node;
    int at = dirfd;
    const char *place = path;
    int r = check_text(given->resolve, &place);
    const char *walked = place;
    if (r < 0)
        return r;
    const unsigned walk = walk_flags(given, path);
    r = shim_find(call, &at, &place, walk, &node);
    if (r == -ELOOP && !(given->resolve & RESOLVE_NO_SYMLINKS) && (walk & OVL_NOLINKS))
        return -ENOSYS;
    if (r == SHIM_OUTSIDE)
        return (int)(place == walked ? real_openat2(dirfd, path, original, size)
                                     : real_openat2(at, place, original, size));
    if (r == SHIM_INSIDE && (given->resolve & RESOLVE_NO_XDEV)) {
        int other = check_mount(call, dirfd, walked, node);
        if (other < 0)
            return other;
    }
    return r < 0 ? r : open_found(node, given);
}

int wrap_openat2(int dirfd, const char *path, const void *how, size_t size)
{
    struct shim_call call;
    struct open_how given;
    if (!path || !*path || !how || !shim_enter(&call))
        return (int)REAL(syscall)(SYS_openat2, (long)dirfd, path, how, size);
    /* The kernel looks at `how` before the path, so with an empty one ENOENT means that `how` is well formed. */
    long r = real_openat2(AT_FDCWD, "", how, size);
    if (r == -ENOENT) {
        memcpy(&given, how, sizeof given);
        r = open_inside(&call, dirfd, path, &given, how, size);
    }
    return (int)shim_leave(&call, r);
}

#define SHIM_FILE_openat2
#include "export.h"
