/* SPDX-License-Identifier: MIT
 *
 * Reading and changing what an inode says: stat, access, chmod, chown, times, truncate, readlink.
 *
 * The change of a lower object copies it up and then goes through the next library to the copy; so
 * does one through a read-only descriptor (CONTRACT 3.2).
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "init.h"
#include "numbers.h"
#include "real.h"
#include "spot.h"
#include "sys.h"
#include "text.h"
#include "wrap.h"

#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static unsigned follow_unless(bool nofollow)
{
    return nofollow ? 0 : OVL_FOLLOW;
}

/* Whether it is the descriptor itself that is meant. Linux 6.11 and later take NULL for the empty path. */
static bool is_descriptor(int dirfd, const char *path, int flags)
{
    return (flags & AT_EMPTY_PATH) && (!path || !*path) && dirfd != AT_FDCWD;
}

/* An empty path with AT_FDCWD is the current directory: one that can be looked up. */
static const char *name_cwd(const char *path, int flags)
{
    return (flags & AT_EMPTY_PATH) && path && !*path ? "." : path;
}

/* ---- stat --------------------------------------------------------------------------------------- */

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Whether fd is the directory of one of the layers that merge to node, or one that was copied up and renamed since, by
 * its name. */
static bool takes_part(struct shim_call *call, int fd, const struct ovl_node *node)
{
    char *text = ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX);
    if (!text || shim_fd_text(fd, text) < 0)
        return false;
    const char *mount = ovl_mount(node->ovl);
    const char *below = node->path + (mount[1] ? strlen(mount) : 0);
    for (unsigned i = 0; i < ovl_layers(node->ovl); i++) {
        const char *layer = ovl_layer(node->ovl, i);
        size_t n = layer[1] ? strlen(layer) : 0;
        if ((node->dirs.bits[i / 64] >> (i % 64) & 1) && strncmp(text, layer, n) == 0 && strcmp(text + n, below) == 0)
            return true;
    }
    char *then = ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX), *now = ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX);
    return then && now && ovl_merged_path(call->ctx.space, text, then, OVL_PATH_MAX) > 0 &&
           ovl_place_of(&call->ctx, text, now, OVL_PATH_MAX) > 0 && strcmp(then, now) != 0 &&
           strcmp(now, node->path) == 0;
}

/* The merged directory that fd stands for, or NULL. */
static struct ovl_node *directory_of(struct shim_call *call, int fd)
{
    char *path = ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX);
    struct ovl_node *node = ovl_node_new(&call->ctx);
    bool found = path && node && shim_dir_node(call, fd, path, node) == SHIM_INSIDE && node->ovl && node->exists &&
                 S_ISDIR(node->st.st_mode);
    return found ? node : NULL;
}

/* Give *st, which the kernel answered for fd, what is seen: the identity, which a directory has from its place only,
 * and all of its copy where a lower object was copied up since.  Returns the copy, NULL where st is fd's own. */
static const struct ovl_node *show_merged_fd(struct shim_call *call, int fd, struct stat *st)
{
    struct ovl_node *node;
    struct stat copy;
    if (S_ISDIR(st->st_mode)) {
        node = directory_of(call, fd);
        if (node && !is_same(&node->st, st) && takes_part(call, fd, node) && ovl_stat(&call->ctx, node, &copy) == 0) {
            *st = copy;
            return node;
        }
        if (node)
            ovl_identity_dir(&call->ctx, node, st);
        return NULL;
    }
    if (ovl_may_be_copied(call->ctx.space, st) && shim_find_fd(call, fd, &node) == 1 &&
        ovl_stat(&call->ctx, node, &copy) == 0 && copy.st_ino == st->st_ino) {
        *st = copy;
        return node;
    }
    ovl_identity(call->ctx.space, fd, "", AT_EMPTY_PATH, st);
    return NULL;
}

int shim_fstat(const struct shim_stat_way *way, int fd, struct stat *st)
{
    struct shim_call call;
    if (!shim_begin(&call, "fstat"))
        return way->fstat(fd, st);
    int r = (int)shim_result(way->fstat(fd, st));
    if (r == 0 && call.ctx.size)
        show_merged_fd(&call, fd, st);
    return (int)shim_leave(&call, r);
}

/* 1, the kernel's error, or 0: it must be looked up. */
static int stat_outside(const struct shim_call *call, const char *path, unsigned walk, struct stat *st)
{
    int fd = shim_open_outside(call, path, O_PATH | O_CLOEXEC | (walk & OVL_FOLLOW ? 0 : O_NOFOLLOW));
    if (fd < 0)
        return fd == -EAGAIN ? 0 : fd;
    int r = ovl_sys_fstat(fd, st);
    ovl_sys_close(fd);
    return r == 0;
}

/* 1, -ENOENT, or 0: it must be looked up. */
static int stat_at_a_glance(struct shim_call *call, const struct shim_stat_way *way, int dirfd, const char *path,
                            unsigned walk, struct stat *st)
{
    struct shim_spot spot;
    int r = shim_look(call, dirfd, path, walk, &spot);
    if (r <= 0)
        return r < 0 ? r : stat_outside(call, path, walk, st);
    return way->fstatat(spot.dirfd, spot.path, st, AT_SYMLINK_NOFOLLOW) == 0 &&
           ovl_spot_stat(&call->ctx, &spot.is, spot.dirfd, spot.path, st);
}

int shim_fstatat(const struct shim_stat_way *way, int dirfd, const char *path, struct stat *st, int flags)
{
    if (is_descriptor(dirfd, path, flags))
        return shim_fstat(way, dirfd, st);
    const bool is_valid = !(flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH));
    struct ovl_glance glance;
    if (is_valid && shim_sees_missing(path, &glance)) {
        errno = ENOENT;
        return -1;
    }
    path = name_cwd(path, flags);
    struct shim_call call;
    if (!shim_begin(&call, "fstatat"))
        return way->fstatat(dirfd, path, st, flags);
    call.glance = is_valid ? &glance : NULL;
    const unsigned walk = OVL_TYPE | follow_unless(flags & AT_SYMLINK_NOFOLLOW);
    int r = is_valid ? stat_at_a_glance(&call, way, dirfd, path, walk, st) : 0;
    if (r != 0)
        return (int)shim_leave(&call, r < 0 ? r : 0);
    struct ovl_node *node;
    r = shim_find(&call, &dirfd, &path, walk, &node);
    if (r == SHIM_INSIDE)
        r = is_valid ? ovl_stat(&call.ctx, node, st) : -EINVAL;
    else if (r == SHIM_OUTSIDE)
        r = (int)shim_result(way->fstatat(dirfd, path, st, flags));
    return (int)shim_leave(&call, r);
}

int wrap_fstat(int fd, struct stat *st)
{
    const struct shim_stat_way way = {REAL(fstat), REAL(fstatat)};
    return shim_fstat(&way, fd, st);
}

int wrap_fstatat(int dirfd, const char *path, struct stat *st, int flags)
{
    const struct shim_stat_way way = {REAL(fstat), REAL(fstatat)};
    return shim_fstatat(&way, dirfd, path, st, flags);
}

int wrap_stat(const char *path, struct stat *st)
{
    return wrap_fstatat(AT_FDCWD, path, st, 0);
}

int wrap_lstat(const char *path, struct stat *st)
{
    return wrap_fstatat(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

static void set_statx_identity(struct statx *stx, const struct stat *st)
{
    stx->stx_ino = st->st_ino;
    stx->stx_dev_major = major(st->st_dev);
    stx->stx_dev_minor = minor(st->st_dev);
    stx->stx_nlink = (uint32_t)st->st_nlink;
}

static int statx_fd(int fd, const char *empty, int flags, unsigned mask, struct statx *stx)
{
    struct shim_call call;
    if (!shim_begin(&call, "statx"))
        return REAL(statx)(fd, empty, flags, mask, stx);
    struct stat st;
    int r = (int)shim_result(REAL(statx)(fd, empty, flags, mask, stx));
    if (r == 0 && call.ctx.size && REAL(fstat)(fd, &st) == 0) {
        const struct ovl_node *copy = show_merged_fd(&call, fd, &st);
        if (copy)
            r = (int)shim_result(REAL(statx)(AT_FDCWD, copy->real, flags | AT_SYMLINK_NOFOLLOW, mask, stx));
        set_statx_identity(stx, &st);
    }
    return (int)shim_leave(&call, r);
}

int wrap_statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *stx)
{
    if (is_descriptor(dirfd, path, flags))
        return statx_fd(dirfd, path, flags, mask, stx);
    path = name_cwd(path, flags);
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(statx)(dirfd, path, flags, mask, stx);
    struct ovl_node *node;
    struct stat st;
    int r = shim_find(&call, &dirfd, &path, OVL_TYPE | follow_unless(flags & AT_SYMLINK_NOFOLLOW), &node);
    if (r == SHIM_OUTSIDE) {
        r = (int)shim_result(REAL(statx)(dirfd, path, flags, mask, stx));
    } else if (r == SHIM_INSIDE) {
        r = ovl_stat(&call.ctx, node, &st);
        if (r == 0)
            r = (int)shim_result(REAL(statx)(AT_FDCWD, node->real, flags | AT_SYMLINK_NOFOLLOW, mask, stx));
        if (r == 0)
            set_statx_identity(stx, &st);
    }
    return (int)shim_leave(&call, r);
}

/* ---- access --------------------------------------------------------------------------------------- */

int wrap_faccessat(int dirfd, const char *path, int mode, int flags)
{
    const bool is_valid =
        !(mode & ~(R_OK | W_OK | X_OK)) && !(flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH));
    struct ovl_glance glance;
    if (is_valid && shim_sees_missing(path, &glance)) {
        errno = ENOENT;
        return -1;
    }
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(faccessat)(dirfd, path, mode, flags);
    call.glance = is_valid ? &glance : NULL;
    struct ovl_node *node;
    path = name_cwd(path, dirfd == AT_FDCWD ? flags : 0);
    int r = is_valid ? 0 : -EINVAL;
    if (r == 0 && is_descriptor(dirfd, path, flags))
        r = shim_find_fd(&call, dirfd, &node) == SHIM_INSIDE ? SHIM_INSIDE : SHIM_OUTSIDE;
    else if (r == 0)
        r = shim_find(&call, &dirfd, &path, follow_unless(flags & AT_SYMLINK_NOFOLLOW) | (mode & W_OK ? 0 : OVL_TYPE),
                      &node);
    if (r == SHIM_INSIDE)
        r = ovl_access(&call.ctx, node, mode, flags & AT_EACCESS);
    else if (r == SHIM_OUTSIDE)
        r = (int)shim_result(REAL(faccessat)(dirfd, path, mode, flags));
    return (int)shim_leave(&call, r);
}

int wrap_access(const char *path, int mode)
{
    return wrap_faccessat(AT_FDCWD, path, mode, 0);
}

int wrap_euidaccess(const char *path, int mode)
{
    return wrap_faccessat(AT_FDCWD, path, mode, AT_EACCESS);
}

/* ---- changes by path -------------------------------------------------------------------------------- */

/* Find what a change of an inode is about: the place to give to the next library, copied up. */
static int find_for_change(struct shim_call *call, int *dirfd, const char **path, bool nofollow)
{
    struct ovl_node *node;
    int r = shim_find(call, dirfd, path, OVL_CHANGE | follow_unless(nofollow), &node);
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
    if (is_descriptor(*dirfd, *path, flags) && *path)
        return find_fd_place(call, dirfd, path);
    *path = name_cwd(*path, flags);
    return find_for_change(call, dirfd, path, flags & AT_SYMLINK_NOFOLLOW);
}

struct mode_change {
    const char *path; /* NULL: by the descriptor */
    int fd;
    mode_t mode;
    int flags;
};

static int set_mode(void *arg)
{
    const struct mode_change *c = arg;
    return (int)shim_result(c->path ? REAL(fchmodat)(AT_FDCWD, c->path, c->mode, c->flags)
                                    : REAL(fchmod)(c->fd, c->mode));
}

/* Of a directory it says who may search it. */
static int change_mode(const struct ovl_node *node, struct mode_change *c)
{
    bool is_search = S_ISDIR(node->st.st_mode) && !ovl_is_read_only(node->ovl);
    return is_search ? ovl_change_search(node, set_mode, c) : set_mode(c);
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
        r = change_mode(call.node,
                        &(struct mode_change){.path = path, .mode = mode, .flags = flags & AT_SYMLINK_NOFOLLOW});
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
    int r = find_by_flags(&call, &dirfd, &path, flags);
    if (r == SHIM_INSIDE)
        flags |= AT_SYMLINK_NOFOLLOW; /* links were followed already */
    if (r >= 0)
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
static int change_mode_by_fd(struct shim_call *call, int fd, mode_t mode)
{
    struct mode_change change = {.fd = fd, .mode = mode};
    struct stat st;
    bool is_dir = call->ctx.size && ovl_sys_fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
    struct ovl_node *node = is_dir ? directory_of(call, fd) : NULL;
    return node ? change_mode(node, &change) : set_mode(&change);
}

int wrap_fchmod(int fd, mode_t mode)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(fchmod)(fd, mode);
    struct ovl_node *node;
    int r = find_fd_for_change(&call, fd, &node);
    if (r == 1)
        r = change_mode(node, &(struct mode_change){.path = node->real, .mode = mode});
    else if (r == 0)
        r = change_mode_by_fd(&call, fd, mode);
    return (int)shim_leave(&call, r);
}

int wrap_fchown(int fd, uid_t uid, gid_t gid)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(fchown)(fd, uid, gid);
    struct ovl_node *node;
    int r = find_fd_for_change(&call, fd, &node);
    if (r == 1)
        r = (int)shim_result(REAL(fchownat)(AT_FDCWD, node->real, uid, gid, AT_SYMLINK_NOFOLLOW));
    else if (r == 0)
        r = (int)shim_result(REAL(fchown)(fd, uid, gid));
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

/* ---- readlink --------------------------------------------------------------------------------------------- */

/* A link of /proc to an object in a layer shows its merged path (CONTRACT 2.9). */
static ssize_t show_merged(struct shim_call *call, const char *path, char *buf, size_t size, ssize_t n)
{
    if (strncmp(path, "/proc/", 6) != 0 || n <= 0 || buf[0] != '/')
        return n;
    char *full = ovl_ctx_alloc(&call->ctx, OVL_REAL_MAX);
    char *merged = ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX);
    if (!full || !merged)
        return n;
    ssize_t all = shim_result(REAL(readlinkat)(AT_FDCWD, path, full, OVL_REAL_MAX - 1));
    if (all <= 0)
        return n;
    full[all] = '\0';
    all = ovl_linked_path(call->ctx.space, full, merged, OVL_PATH_MAX);
    if (all < 0)
        all = ovl_place_of(&call->ctx, full, merged, OVL_PATH_MAX);
    if (all < 0)
        return n;
    if (all == 0) { /* a lower directory that was removed */
        all = ovl_merged_path(call->ctx.space, full, merged, OVL_PATH_MAX);
        all = ovl_append(merged, OVL_PATH_MAX, (size_t)all, " (deleted)");
    }
    if (all < 0)
        return n;
    if ((size_t)all > size)
        all = (ssize_t)size;
    memcpy(buf, merged, (size_t)all);
    return all;
}

/* /proc/self/exe of a program whose loader was called itself: the program, not the loader. */
static ssize_t show_program(struct shim_call *call, char *buf, size_t size)
{
    char *merged = ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX);
    if (!merged)
        return -ENOMEM;
    ssize_t n = ovl_merged_path(call->ctx.space, shim_program(), merged, OVL_PATH_MAX);
    const char *shown = n < 0 ? shim_program() : merged;
    size_t length = strlen(shown);
    if (length > size)
        length = size;
    memcpy(buf, shown, length);
    return (ssize_t)length;
}

static ssize_t read_node(const struct ovl_node *node, char *buf, size_t size)
{
    if (!node->exists)
        return -ENOENT;
    return shim_result(REAL(readlinkat)(AT_FDCWD, node->real, buf, size));
}

ssize_t wrap_readlinkat(int dirfd, const char *path, char *buf, size_t size)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(readlinkat)(dirfd, path, buf, size);
    struct ovl_node *node;
    bool is_program = shim_program() && path && strcmp(path, "/proc/self/exe") == 0;
    ssize_t r = shim_find(&call, &dirfd, &path, OVL_TYPE, &node);
    if (r == SHIM_INSIDE) {
        r = read_node(node, buf, size);
    } else if (r == SHIM_OUTSIDE && is_program) {
        r = show_program(&call, buf, size);
    } else if (r == SHIM_OUTSIDE) {
        r = shim_result(REAL(readlinkat)(dirfd, path, buf, size));
        if (call.node || (path && *path == '/'))
            r = show_merged(&call, path, buf, size, r);
    }
    return shim_leave(&call, r);
}

ssize_t wrap_readlink(const char *path, char *buf, size_t size)
{
    return wrap_readlinkat(AT_FDCWD, path, buf, size);
}

#define SHIM_FILE_meta
#include "export.h"
