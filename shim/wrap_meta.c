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

/* ---- changes by path -------------------------------------------------------------------------------- */

/* Find what a change of an inode is about: the place to give to the next library, copied up. */
static int find_for_change(struct shim_call *call, int *dirfd, const char **path, bool nofollow)
{
    struct ovl_node *node;
    int r = shim_find(call, dirfd, path, OVL_CHANGE | shim_follow_unless(nofollow), &node);
    if (r != SHIM_INSIDE)
        return r;
    r = ovl_copy_up(&call->ctx, node, OVL_COPY_ALL);
    *dirfd = AT_FDCWD;
    *path = node->real;
    return r < 0 ? r : SHIM_INSIDE;
}

/* The same for a descriptor and an empty path: O_PATH descriptors too. */
static int find_fd_place(struct shim_call *call, int *fd, const char **path)
{
    struct ovl_node *node;
    int r = shim_find_fd(call, *fd, &node);
    if (r != 1)
        return r < 0 ? r : SHIM_OUTSIDE;
    r = ovl_copy_up(&call->ctx, node, OVL_COPY_ALL);
    *fd = AT_FDCWD;
    *path = node->real;
    return r < 0 ? r : SHIM_INSIDE;
}

/* What the flags AT_EMPTY_PATH and AT_SYMLINK_NOFOLLOW ask for. */
static int find_by_flags(struct shim_call *call, int *dirfd, const char **path, int flags)
{
    if (shim_is_descriptor(*dirfd, *path, flags) && *path)
        return find_fd_place(call, dirfd, path);
    *path = shim_name_cwd(*path, flags);
    return find_for_change(call, dirfd, path, flags & AT_SYMLINK_NOFOLLOW);
}

/* A new mode, or new owners: of a directory they say who may search it. */
struct change {
    const char *path; /* NULL: by the descriptor */
    int fd;
    int flags;
    bool of_owners;
    mode_t mode;
    uid_t uid;
    gid_t gid;
};

static int make_change(void *arg)
{
    const struct change *c = arg;
    if (c->of_owners)
        return (int)shim_result(c->path ? REAL(fchownat)(AT_FDCWD, c->path, c->uid, c->gid, AT_SYMLINK_NOFOLLOW)
                                        : REAL(fchown)(c->fd, c->uid, c->gid));
    return (int)shim_result(c->path ? REAL(fchmodat)(AT_FDCWD, c->path, c->mode, c->flags)
                                    : REAL(fchmod)(c->fd, c->mode));
}

static int change(const struct ovl_node *node, struct change *c)
{
    bool is_search = S_ISDIR(node->st.st_mode) && !ovl_is_read_only(node->ovl);
    return is_search ? ovl_change_search(node, make_change, c) : make_change(c);
}

/* fchmodat2(2), which libc has no function of that name for. */
int wrap_fchmodat2(int dirfd, const char *path, mode_t mode, int flags)
{
    struct shim_call call;
    if (!shim_begin(&call, "fchmodat"))
        return (int)REAL(syscall)(NR_fchmodat2, (long)dirfd, path, (long)mode, (long)flags);
    int r = flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) ? -EINVAL : find_by_flags(&call, &dirfd, &path, flags);
    if (r == SHIM_OUTSIDE && (flags & AT_EMPTY_PATH))
        r = (int)shim_result(REAL(syscall)(NR_fchmodat2, (long)dirfd, path, (long)mode, (long)flags));
    else if (r == SHIM_INSIDE && (flags & AT_EMPTY_PATH) && S_ISLNK(call.node->st.st_mode))
        r = -EOPNOTSUPP; /* the link itself, which by its path would be followed */
    else if (r == SHIM_INSIDE)
        r = change(call.node, &(struct change){.path = path, .mode = mode, .flags = flags & AT_SYMLINK_NOFOLLOW});
    else if (r >= 0)
        r = (int)shim_result(REAL(fchmodat)(dirfd, path, mode, flags & AT_SYMLINK_NOFOLLOW));
    return (int)shim_leave(&call, r);
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
    int r = flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) ? -EINVAL : find_by_flags(&call, &dirfd, &path, flags);
    if (r == SHIM_INSIDE)
        r = change(call.node, &(struct change){.path = path, .of_owners = true, .uid = uid, .gid = gid});
    else if (r >= 0)
        r = (int)shim_result(REAL(fchownat)(dirfd, path, uid, gid, flags));
    return (int)shim_leave(&call, r);
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
    int r = find_by_flags(&call, &dirfd, &path, flags);
    if (r == SHIM_INSIDE)
        flags = AT_SYMLINK_NOFOLLOW;
    if (r >= 0)
        r = (int)shim_result(REAL(utimensat)(dirfd, path, times, flags));
    return (int)shim_leave(&call, r);
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
    return fd < 0 ? fd : ovl_sys_close(fd);
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
        r = ovl_copy_up(&call->ctx, node, OVL_COPY_ALL);
    return r < 0 ? r : (int)shim_result(REAL(truncate)(node->real, length));
}

int wrap_truncate(const char *path, off_t length)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(truncate)(path, length);
    struct ovl_node *node;
    int dirfd = AT_FDCWD;
    int r = shim_find(&call, &dirfd, &path, OVL_FOLLOW | OVL_CHANGE, &node);
    if (r == SHIM_INSIDE)
        r = truncate_node(&call, node, length);
    else if (r == SHIM_OUTSIDE)
        r = (int)shim_result(REAL(truncate)(path, length));
    return (int)shim_leave(&call, r);
}

/* ---- changes by descriptor ---------------------------------------------------------------------------- */

/* Where a change through fd must go: 1 the copy at node->real, 0 the descriptor itself, or an error.
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

static int change_by_fd(struct shim_call *call, struct change *c)
{
    struct ovl_node *node;
    int r = find_fd_for_change(call, c->fd, &node);
    if (r == 0)
        return change_descriptor(call, c);
    if (r < 0)
        return r;
    c->path = node->real;
    return change(node, c);
}

int wrap_fchmod(int fd, mode_t mode)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(fchmod)(fd, mode);
    int r = change_by_fd(&call, &(struct change){.fd = fd, .mode = mode});
    return (int)shim_leave(&call, r);
}

int wrap_fchown(int fd, uid_t uid, gid_t gid)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(fchown)(fd, uid, gid);
    int r = change_by_fd(&call, &(struct change){.fd = fd, .of_owners = true, .uid = uid, .gid = gid});
    return (int)shim_leave(&call, r);
}

int wrap_futimens(int fd, const struct timespec times[2])
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(futimens)(fd, times);
    struct ovl_node *node;
    int r = find_fd_for_change(&call, fd, &node);
    if (r == 1)
        r = (int)shim_result(REAL(utimensat)(AT_FDCWD, node->real, times, AT_SYMLINK_NOFOLLOW));
    else if (r == 0)
        r = (int)shim_result(REAL(futimens)(fd, times));
    return (int)shim_leave(&call, r);
}

#define SHIM_FILE_meta
#include "export.h"
