/* SPDX-License-Identifier: MIT
 *
 * Changing what an inode says: chmod, chown, times, truncate.
 *
 * The change of a lower object copies it up and then goes through the next library to the copy; so
 * does one through a read-only descriptor (CONTRACT 3.2).
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "numbers.h"
#include "real.h"
#include "sys.h"
#include "wrap.h"

#include <unistd.h>

/* ---- one change ------------------------------------------------------------------------------------- */

enum what { MODE, OWNERS, TIMES };

struct change {
    enum what what;
    mode_t mode;
    uid_t uid;
    gid_t gid;
    const struct timespec *times;
    int fd;
    struct ovl_node *node; /* what fd is not, or not in the upper: the object there; NULL: none */
    struct ovl_ctx *ctx;
};

static int change_named(const struct change *c, int dirfd, const char *path, int flags)
{
    switch (c->what) {
    case MODE:
        return (int)shim_result(REAL(fchmodat)(dirfd, path, c->mode, flags));
    case OWNERS:
        return (int)shim_result(REAL(fchownat)(dirfd, path, c->uid, c->gid, flags));
    case TIMES:
        break;
    }
    return (int)shim_result(REAL(utimensat)(dirfd, path, c->times, flags));
}

static int change_open(const struct change *c)
{
    switch (c->what) {
    case MODE:
        return (int)shim_result(REAL(fchmod)(c->fd, c->mode));
    case OWNERS:
        return (int)shim_result(REAL(fchown)(c->fd, c->uid, c->gid));
    case TIMES:
        break;
    }
    return (int)shim_result(REAL(futimens)(c->fd, c->times));
}

/* libc has no function of that name for fchmodat2(2), and its fchmodat() takes no AT_EMPTY_PATH before 2.39. */
static int change_empty(const struct change *c, int dirfd, const char *path, int flags)
{
    return c->what == MODE
               ? (int)shim_result(REAL(syscall)(NR_fchmodat2, (long)dirfd, path, (long)c->mode, (long)flags))
               : change_named(c, dirfd, path, flags);
}

/* What an O_PATH descriptor is open as; by its path where the kernel is too old for the other, or a library behind us
 * wants to know what is changed. */
static int change_exactly(void *arg, int fd, const char *path)
{
    const struct change *c = arg;
    if (fd >= 0 && c->ctx->ops->is_kernel && change_empty(c, fd, "", AT_EMPTY_PATH) == 0)
        return 0;
    return change_named(c, AT_FDCWD, path, fd < 0 && c->what != MODE ? AT_SYMLINK_NOFOLLOW : 0);
}

static int make_change(void *arg)
{
    const struct change *c = arg;
    if (!c->node)
        return change_open(c);
    if (c->what == MODE && S_ISLNK(c->node->st.st_mode))
        return change_named(c, AT_FDCWD, c->node->real, AT_SYMLINK_NOFOLLOW); /* refused by most kernels */
    return ovl_change_exact(c->ctx, c->node, change_exactly, arg);
}

/* A directory's mode and owners say who may search it. */
static int change(const struct ovl_node *node, struct change *c)
{
    bool is_search = c->what != TIMES && S_ISDIR(node->st.st_mode) && !ovl_is_read_only(node->ovl);
    return is_search ? ovl_change_search(node, make_change, c) : make_change(c);
}

/* ---- changes by path -------------------------------------------------------------------------------- */

/* Find what a change is about, as the flags AT_EMPTY_PATH and AT_SYMLINK_NOFOLLOW ask, and copy it up. */
static int find_for_change(struct shim_call *call, int *dirfd, const char **path, int flags, struct ovl_node **node)
{
    const bool by_fd = *path && shim_is_descriptor(*dirfd, *path, flags); /* O_PATH descriptors too */
    const unsigned follow = by_fd ? 0 : shim_follow_unless(flags & AT_SYMLINK_NOFOLLOW);
    *path = by_fd ? *path : shim_name_cwd(*path, flags);
    int r = by_fd ? shim_find_fd(call, *dirfd, node) : shim_find(call, dirfd, path, OVL_CHANGE | follow, node);
    if (r != SHIM_INSIDE)
        return r;
    r = shim_copy_up(call, *node, follow);
    return r < 0 ? r : SHIM_INSIDE;
}

static int find_and_change(struct shim_call *call, int dirfd, const char *path, int flags, struct change *c)
{
    int r = find_for_change(call, &dirfd, &path, flags, &c->node);
    if (r < 0)
        return r;
    if (r == SHIM_OUTSIDE)
        return flags & AT_EMPTY_PATH ? change_empty(c, dirfd, path, flags) : change_named(c, dirfd, path, flags);
    if (c->what == MODE && flags & AT_EMPTY_PATH && S_ISLNK(c->node->st.st_mode))
        return -EOPNOTSUPP;
    return change(c->node, c);
}

static int change_at(struct shim_call *call, int dirfd, const char *path, int flags, struct change *c)
{
    int r;
    struct shim_try tried = shim_try(call);
    c->ctx = &call->ctx;
    do
        r = flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) ? -EINVAL : find_and_change(call, dirfd, path, flags, c);
    while (shim_again(call, &tried, r));
    return (int)shim_leave(call, r);
}

int wrap_fchmodat2(int dirfd, const char *path, mode_t mode, int flags)
{
    struct shim_call call;
    if (!shim_begin(&call, "fchmodat"))
        return (int)REAL(syscall)(NR_fchmodat2, (long)dirfd, path, (long)mode, (long)flags);
    return change_at(&call, dirfd, path, flags, &(struct change){.what = MODE, .mode = mode});
}

/* libc's function takes AT_EMPTY_PATH since 2.39: before, it fails with EINVAL whatever the descriptor. */
int wrap_fchmodat(int dirfd, const char *path, mode_t mode, int flags)
{
    if (!shim_is_active())
        return REAL(fchmodat)(dirfd, path, mode, flags);
    int saved = errno;
    if ((flags & AT_EMPTY_PATH) && REAL(fchmodat)(-1, "", mode, flags) == -1 && errno != EBADF)
        return -1;
    errno = saved;
    return wrap_fchmodat2(dirfd, path, mode, flags);
}

int wrap_chmod(const char *path, mode_t mode)
{
    return wrap_fchmodat(AT_FDCWD, path, mode, 0);
}

int wrap_lchmod(const char *path, mode_t mode)
{
    return wrap_fchmodat(AT_FDCWD, path, mode, AT_SYMLINK_NOFOLLOW);
}

int wrap_fchownat(int dirfd, const char *path, uid_t uid, gid_t gid, int flags)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(fchownat)(dirfd, path, uid, gid, flags);
    return change_at(&call, dirfd, path, flags, &(struct change){.what = OWNERS, .uid = uid, .gid = gid});
}

int wrap_chown(const char *path, uid_t uid, gid_t gid)
{
    return wrap_fchownat(AT_FDCWD, path, uid, gid, 0);
}

int wrap_lchown(const char *path, uid_t uid, gid_t gid)
{
    return wrap_fchownat(AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW);
}

int wrap_utimensat(int dirfd, const char *path, const struct timespec times[2], int flags)
{
    struct shim_call call;
    if (!path || !shim_enter(&call))
        return REAL(utimensat)(dirfd, path, times, flags); /* EINVAL for NULL */
    if (times && times[0].tv_nsec == UTIME_OMIT && times[1].tv_nsec == UTIME_OMIT)
        return (int)shim_leave(&call, 0); /* as the kernel, which does not even look (utimensat(2)) */
    return change_at(&call, dirfd, path, flags, &(struct change){.what = TIMES, .times = times});
}

/* Microseconds as nanoseconds; false where they are no microseconds (EINVAL). */
static bool to_timespec(const struct timeval from[2], struct timespec to[2])
{
    for (int i = 0; i < 2; i++) {
        if (from[i].tv_usec < 0 || from[i].tv_usec >= 1000000)
            return false;
        to[i].tv_sec = from[i].tv_sec;
        to[i].tv_nsec = from[i].tv_usec * 1000;
    }
    return true;
}

static int utimes_at(int dirfd, const char *path, const struct timeval times[2], int flags)
{
    struct timespec ts[2];
    if (times && !to_timespec(times, ts)) {
        errno = EINVAL;
        return -1;
    }
    const struct timespec *given = times ? ts : NULL;
    return path ? wrap_utimensat(dirfd, path, given, flags) : wrap_futimens(dirfd, given);
}

int wrap_utimes(const char *path, const struct timeval times[2])
{
    return utimes_at(AT_FDCWD, path, times, 0);
}

int wrap_lutimes(const char *path, const struct timeval times[2])
{
    return utimes_at(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
}

int wrap_futimesat(int dirfd, const char *path, const struct timeval times[2])
{
    return utimes_at(dirfd, path, times, 0);
}

int wrap_futimes(int fd, const struct timeval times[2])
{
    return utimes_at(fd, NULL, times, 0);
}

int wrap_utime(const char *path, const struct utimbuf *times)
{
    if (!times)
        return wrap_utimensat(AT_FDCWD, path, NULL, 0);
    const struct timespec ts[2] = {{times->actime, 0}, {times->modtime, 0}};
    return wrap_utimensat(AT_FDCWD, path, ts, 0);
}

/* A file that is to be emptied. */
struct emptying {
    struct ovl_ctx *ctx;
    struct ovl_node *node;
};

static int empty(void *arg)
{
    const struct emptying *e = arg;
    int fd = ovl_open(e->ctx, e->node, O_WRONLY | O_TRUNC | O_CLOEXEC, 0);
    return fd == -ELOOP ? -ESTALE : fd < 0 ? fd : ovl_sys_close(fd);
}

static int set_length(void *arg, int fd, const char *path)
{
    (void)fd;
    return (int)shim_result(REAL(truncate)(path, *(const off_t *)arg));
}

static int truncate_node(struct shim_call *call, struct ovl_node *node, off_t length)
{
    if (!node->exists)
        return -ENOENT;
    if (S_ISDIR(node->st.st_mode))
        return -EISDIR;
    if (!S_ISREG(node->st.st_mode) || length < 0)
        return -EINVAL;
    int r = ovl_access(&call->ctx, node, W_OK, true);
    if (r == 0 && length == 0 && node->top != 0 && node->st.st_size > 0) {
        /* As by open: an empty copy that is cut to nothing would keep the time of the last change. */
        struct emptying emptying = {&call->ctx, node};
        return ovl_with_descriptors(&call->ctx, -1, empty, &emptying);
    }
    if (r == 0)
        r = shim_copy_up(call, node, OVL_FOLLOW);
    return r < 0 ? r : ovl_change_exact(&call->ctx, node, set_length, &length);
}

static int find_and_truncate(struct shim_call *call, const char *path, off_t length)
{
    int dirfd = AT_FDCWD;
    struct ovl_node *node;
    int r = shim_find(call, &dirfd, &path, OVL_FOLLOW | OVL_CHANGE, &node);
    if (r == SHIM_OUTSIDE)
        return (int)shim_result(REAL(truncate)(path, length));
    return r == SHIM_INSIDE ? truncate_node(call, node, length) : r;
}

int wrap_truncate(const char *path, off_t length)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(truncate)(path, length);
    int r;
    struct shim_try tried = shim_try(&call);
    do
        r = find_and_truncate(&call, path, length);
    while (shim_again(&call, &tried, r));
    return (int)shim_leave(&call, r);
}

/* ---- changes by descriptor ---------------------------------------------------------------------------- */

/* Where a change through fd must go: 1 the copy, the node, 0 the descriptor itself, or an error.
 * A descriptor that is open for writing is never of a lower regular file; a FIFO or device is opened where it is. */
static int find_fd_for_change(struct shim_call *call, int fd, struct ovl_node **node)
{
    struct stat st;
    int flags = REAL(fcntl)(fd, F_GETFL);
    *node = NULL;
    if (flags < 0 || flags & O_PATH)
        return 0; /* an O_PATH descriptor changes nothing: EBADF */
    if ((flags & O_ACCMODE) != O_RDONLY && (ovl_sys_fstat(fd, &st) < 0 || S_ISREG(st.st_mode)))
        return 0;
    int r = shim_find_fd(call, fd, node);
    if (r == 1)
        r = ovl_copy_up(&call->ctx, *node, OVL_COPY_ALL);
    else if (r == 0)
        *node = NULL;
    return r < 0 ? r : *node != NULL;
}

/* A descriptor that the upper's object is open as, or of something outside. */
static int change_descriptor(struct shim_call *call, struct change *c)
{
    struct stat st;
    bool is_dir = call->ctx.size && ovl_sys_fstat(c->fd, &st) == 0 && S_ISDIR(st.st_mode);
    struct ovl_node *node = is_dir ? shim_directory_of(call, c->fd) : NULL;
    return node ? change(node, c) : make_change(c);
}

static int find_and_change_fd(struct shim_call *call, struct change *c)
{
    int r = find_fd_for_change(call, c->fd, &c->node);
    if (r < 0)
        return r;
    return r == 0 ? change_descriptor(call, c) : change(c->node, c);
}

static int change_by_fd(struct shim_call *call, struct change *c)
{
    int r;
    struct shim_try tried = shim_try(call);
    c->ctx = &call->ctx;
    do
        r = find_and_change_fd(call, c);
    while (shim_again(call, &tried, r));
    return (int)shim_leave(call, r);
}

int wrap_fchmod(int fd, mode_t mode)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(fchmod)(fd, mode);
    return change_by_fd(&call, &(struct change){.what = MODE, .fd = fd, .mode = mode});
}

int wrap_fchown(int fd, uid_t uid, gid_t gid)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(fchown)(fd, uid, gid);
    return change_by_fd(&call, &(struct change){.what = OWNERS, .fd = fd, .uid = uid, .gid = gid});
}

int wrap_futimens(int fd, const struct timespec times[2])
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(futimens)(fd, times);
    return change_by_fd(&call, &(struct change){.what = TIMES, .fd = fd, .times = times});
}

#define SHIM_FILE_meta
#include "export.h"
