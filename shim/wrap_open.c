/* SPDX-License-Identifier: MIT
 *
 * open, openat, creat and their twins.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "fds.h"
#include "next.h"
#include "real.h"
#include "spot.h"
#include "wrap.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* The flags of resolution that an open with these flags has. */
static unsigned walk_flags(int flags)
{
    unsigned walk = 0;
    if (!(flags & O_NOFOLLOW) && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL))
        walk |= OVL_FOLLOW;
    if ((flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC))
        walk |= OVL_CHANGE;
    else
        walk |= OVL_TYPE;
    return walk;
}

/* What open refuses before it looks at the path (Linux 6.4 and later, open(2)). */
static bool is_contradiction(int flags)
{
    if ((flags & O_TMPFILE) == O_TMPFILE)
        return (flags & O_ACCMODE) == O_RDONLY || flags & O_CREAT;
    return (flags & O_CREAT) && (flags & O_DIRECTORY);
}

static bool ends_in_slash(const char *path)
{
    size_t n = path ? strlen(path) : 0;
    return n > 0 && path[n - 1] == '/';
}

/* A file without a name (O_TMPFILE) is opened by its directory's. */
static bool is_nameless(int flags)
{
    return (flags & O_TMPFILE) == O_TMPFILE;
}

static bool is_for_directory(int flags)
{
    return (flags & (O_DIRECTORY | O_PATH)) && !is_nameless(flags);
}

/* Remember which directory a new descriptor stands for; whatever else it is forgets the last one. */
static void remember(struct shim_call *call, int fd, const struct ovl_node *node, int flags, const char *outside)
{
    if (call->removed)
        shim_fds_set(call, fd, SHIM_FD_REMOVED, call->removed, SHIM_NO_LAYER);
    else if (node && S_ISDIR(node->st.st_mode) && node->exists && !is_nameless(flags))
        shim_fds_set(call, fd, SHIM_FD_INSIDE, node->path, node->top);
    else if (!node && is_for_directory(flags))
        shim_fds_set_outside(call, fd, outside);
    else
        shim_fds_clear(fd);
}

static int open_found(struct shim_call *call, struct ovl_node *node, int flags, mode_t mode)
{
    int r = ovl_open(&call->ctx, node, flags, mode);
    return r == -ELOOP && !(flags & O_NOFOLLOW) ? -ESTALE : r; /* a link has its name by now, which is to be followed */
}

/* A program that writes to a device or FIFO that lies in a lower layer changes nothing there. */
static int retry_special(struct shim_call *call, int *dirfd, const char **path, unsigned walk, struct ovl_node **node)
{
    int r = shim_find(call, dirfd, path, walk & ~OVL_CHANGE, node);
    struct stat st;
    if (r != SHIM_OUTSIDE)
        return r;
    if (REAL(fstatat)(*dirfd, *path, &st, walk & OVL_FOLLOW ? 0 : AT_SYMLINK_NOFOLLOW) < 0 || S_ISREG(st.st_mode) ||
        S_ISDIR(st.st_mode))
        return -EROFS;
    return SHIM_OUTSIDE;
}

/* The flags that count: beside O_PATH only three (open(2)). */
static int flags_that_count(int flags)
{
    return flags & O_PATH ? flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : flags;
}

/* Whether an open is to read a file, and nothing else. */
static bool is_plain_reading(int flags)
{
    return (flags & (O_ACCMODE | O_CREAT | O_TRUNC | O_DIRECTORY | O_PATH)) == O_RDONLY;
}

/* A descriptor, or an error; -EAGAIN: it must be looked up, also to tell why it can't be opened. */
__attribute__((noinline)) static int read_at_a_glance(const struct shim_way *way, int dirfd, const char *path,
                                                      int flags, struct ovl_glance *glance)
{
    struct shim_spot spot;
    int r = shim_look(dirfd, path, walk_flags(flags), glance, &spot), fd = -EAGAIN;
    if (r < 0)
        return r;
    if (!is_plain_reading(flags))
        return -EAGAIN;
    if (r == 0)
        fd = shim_open_outside(path, flags);
    else if (S_ISREG(spot.is.type) && way->ops->is_kernel &&
             (*path == '/' || shim_glance_holds(glance))) /* else it begins elsewhere by now, perhaps */
        fd = ovl_open_exact_at(spot.dirfd, spot.path, flags, 0);
    if (fd >= 0)
        shim_fds_clear(fd);
    return r > 0 && fd < 0 ? -EAGAIN : fd;
}

int shim_open_at(const struct shim_way *way, const char *function, int dirfd, const char *path, int flags, mode_t mode)
{
    const bool is_made = flags & O_CREAT || is_nameless(flags);
    struct ovl_glance glance;
    int r = is_made ? -EAGAIN : read_at_a_glance(way, dirfd, path, flags, &glance);
    if (r != -EAGAIN)
        return shim_return(r);
    struct shim_call call;
    if (!shim_begin(&call, function))
        return way->openat(dirfd, path, flags, mode);
    call.ctx.ops = way->ops;
    call.glance = is_made ? NULL : &glance;
    struct ovl_node *node;
    call.flags = flags = flags_that_count(flags);
    if (is_contradiction(flags))
        return (int)shim_leave(&call, -EINVAL);
    unsigned walk = walk_flags(flags);
    if ((flags & O_CREAT) && ends_in_slash(path))
        walk = OVL_CHANGE | OVL_NAME; /* EISDIR, whatever is there */
    const char *place;
    struct shim_try tried = shim_try(&call);
    do {
        int at = dirfd;
        place = path;
        r = shim_find(&call, &at, &place, walk, &node);
        if (r == -EROFS && (walk & OVL_CHANGE) && !(flags & O_CREAT)) {
            at = dirfd;
            place = path;
            r = retry_special(&call, &at, &place, walk, &node);
        }
        if (r == SHIM_INSIDE)
            r = open_found(&call, node, flags, mode);
        else if (r == SHIM_OUTSIDE)
            r = (int)shim_result(way->openat(at, place, flags, mode));
    } while (shim_again(&call, &tried, r));
    if (r >= 0)
        remember(&call, r, node, flags, place);
    return (int)shim_leave(&call, r);
}

/* A cancellation point, whatever happens next; from here on it is one again only where a FIFO is waited for. */
static int open_at(const char *function, int dirfd, const char *path, int flags, mode_t mode)
{
    pthread_testcancel();
    const struct shim_way way = {REAL(openat), &shim_next};
    return shim_open_at(&way, function, dirfd, path, flags, mode);
}

int shim_open_directory(int dirfd, const char *path)
{
    int cancel;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    int fd = open_at("open", dirfd, path, O_RDONLY | O_NONBLOCK | O_DIRECTORY | O_CLOEXEC, 0);
    pthread_setcancelstate(cancel, NULL);
    return fd;
}

static mode_t mode_of(int flags, va_list args)
{
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(args, mode_t) : 0;
}

int wrap_openat(int dirfd, const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    return open_at("openat", dirfd, path, flags, mode);
}

int wrap_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    return open_at("open", AT_FDCWD, path, flags, mode);
}

int wrap_creat(const char *path, mode_t mode)
{
    return open_at("creat", AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

void __chk_fail(void) __attribute__((noreturn)); /* libc's end of a program that _FORTIFY_SOURCE catches */

int wrap___open_2(const char *path, int flags)
{
    if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE)
        __chk_fail();
    return open_at("open", AT_FDCWD, path, flags, 0);
}

int wrap___openat_2(int dirfd, const char *path, int flags)
{
    if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE)
        __chk_fail();
    return open_at("openat", dirfd, path, flags, 0);
}

#define SHIM_FILE_open
#include "export.h"
