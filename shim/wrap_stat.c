/* SPDX-License-Identifier: MIT
 *
 * Reading what an inode says: stat, access, readlink.
 *
 * Most look-ups of most programs end here: what a glance tells (spot.h) is told without a walk.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "init.h"
#include "real.h"
#include "spot.h"
#include "sys.h"
#include "text.h"
#include "wrap.h"

#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

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

struct ovl_node *shim_directory_of(struct shim_call *call, int fd)
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
        node = shim_directory_of(call, fd);
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

static unsigned walk_flags(int flags)
{
    return OVL_TYPE | shim_follow_unless(flags & AT_SYMLINK_NOFOLLOW);
}

static bool has_known_flags(int flags)
{
    return !(flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH));
}

static int open_outside(const char *path, unsigned walk)
{
    return shim_open_outside(path, O_PATH | O_CLOEXEC | (walk & OVL_FOLLOW ? 0 : O_NOFOLLOW));
}

/* 1, the kernel's error, or 0: it must be looked up. */
static int stat_outside(const char *path, unsigned walk, struct stat *st)
{
    int fd = open_outside(path, walk);
    if (fd < 0)
        return fd == -EAGAIN ? 0 : fd;
    int r = ovl_sys_fstat(fd, st);
    ovl_sys_close(fd);
    return r == 0;
}

/* 1, an error, or 0: it must be looked up. */
__attribute__((noinline)) static int stat_at_a_glance(const struct shim_stat_way *way, int dirfd, const char *path,
                                                      unsigned walk, struct stat *st, struct ovl_glance *glance)
{
    struct shim_spot spot;
    int r = shim_look(dirfd, path, walk, glance, &spot);
    if (r <= 0)
        return r < 0 ? r : stat_outside(path, walk, st);
    const int saved_errno = errno;
    r = way->fstatat(spot.dirfd, spot.path, st, AT_SYMLINK_NOFOLLOW) == 0 &&
        ovl_spot_stat(shim_space(), &spot.is, spot.dirfd, spot.path, st) && shim_glance_holds(glance);
    errno = saved_errno;
    return r;
}

static int find_and_stat(struct shim_call *call, const struct shim_stat_way *way, int dirfd, const char *path,
                         struct stat *st, int flags)
{
    struct ovl_node *node;
    int r = shim_find(call, &dirfd, &path, walk_flags(flags), &node);
    if (r == SHIM_OUTSIDE)
        return (int)shim_result(way->fstatat(dirfd, path, st, flags));
    if (r < 0)
        return r;
    return has_known_flags(flags) ? ovl_stat(&call->ctx, node, st) : -EINVAL;
}

int shim_fstatat(const struct shim_stat_way *way, int dirfd, const char *path, struct stat *st, int flags)
{
    if (shim_is_descriptor(dirfd, path, flags))
        return shim_fstat(way, dirfd, st);
    const bool is_valid = has_known_flags(flags);
    const unsigned walk = walk_flags(flags);
    struct ovl_glance glance;
    int r = is_valid ? stat_at_a_glance(way, dirfd, path, walk, st, &glance) : 0;
    if (r != 0)
        return shim_return(r > 0 ? 0 : r);
    path = shim_name_cwd(path, flags);
    struct shim_call call;
    if (!shim_begin(&call, "fstatat"))
        return way->fstatat(dirfd, path, st, flags);
    call.glance = is_valid ? &glance : NULL;
    struct shim_try tried = shim_try(&call);
    do
        r = find_and_stat(&call, way, dirfd, path, st, flags);
    while (shim_look_again(&call, &tried, r));
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

/* What identifies an object. */
static struct stat identity_of(const struct statx *stx)
{
    return (struct stat){.st_mode = stx->stx_mode,
                         .st_dev = makedev(stx->stx_dev_major, stx->stx_dev_minor),
                         .st_ino = stx->stx_ino,
                         .st_nlink = stx->stx_nlink};
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

static int statx_found(struct shim_call *call, struct ovl_node *node, int flags, unsigned mask, struct statx *stx)
{
    struct stat st;
    int r = ovl_stat(&call->ctx, node, &st);
    if (r == 0)
        r = (int)shim_result(REAL(statx)(AT_FDCWD, node->real, flags | AT_SYMLINK_NOFOLLOW, mask, stx));
    if (r == 0 && S_ISLNK(stx->stx_mode) != S_ISLNK(st.st_mode))
        return -ESTALE;
    if (r == 0)
        set_statx_identity(stx, &st);
    return r;
}

/* As stat_outside(). */
static int statx_outside(const char *path, int flags, unsigned mask, struct statx *stx)
{
    int fd = open_outside(path, walk_flags(flags));
    if (fd < 0)
        return fd == -EAGAIN ? 0 : fd;
    int r = (int)shim_result(REAL(statx)(fd, "", flags | AT_EMPTY_PATH, mask, stx));
    ovl_sys_close(fd);
    return r < 0 ? r : 1;
}

/* As stat_at_a_glance(). */
__attribute__((noinline)) static int statx_at_a_glance(int dirfd, const char *path, int flags, unsigned mask,
                                                       struct statx *stx, struct ovl_glance *glance)
{
    struct shim_spot spot;
    int r = shim_look(dirfd, path, walk_flags(flags), glance, &spot);
    if (r <= 0)
        return r < 0 ? r : statx_outside(path, flags, mask, stx);
    const int saved_errno = errno;
    mask |= STATX_TYPE | STATX_INO | STATX_NLINK;
    r = REAL(statx)(spot.dirfd, spot.path, flags | AT_SYMLINK_NOFOLLOW, mask, stx) == 0;
    errno = saved_errno;
    if (r == 0)
        return 0;
    struct stat st = identity_of(stx);
    r = ovl_spot_stat(shim_space(), &spot.is, spot.dirfd, spot.path, &st) && shim_glance_holds(glance);
    set_statx_identity(stx, &st);
    return r;
}

static int find_and_statx(struct shim_call *call, int dirfd, const char *path, int flags, unsigned mask,
                          struct statx *stx)
{
    struct ovl_node *node;
    int r = shim_find(call, &dirfd, &path, walk_flags(flags), &node);
    if (r == SHIM_OUTSIDE)
        return (int)shim_result(REAL(statx)(dirfd, path, flags, mask, stx));
    return r == SHIM_INSIDE ? statx_found(call, node, flags, mask, stx) : r;
}

int wrap_statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *stx)
{
    if (shim_is_descriptor(dirfd, path, flags))
        return statx_fd(dirfd, path, flags, mask, stx);
    const bool is_valid = has_known_flags(flags & ~AT_STATX_SYNC_TYPE) && !(mask & STATX__RESERVED) &&
                          (flags & AT_STATX_SYNC_TYPE) != AT_STATX_SYNC_TYPE;
    struct ovl_glance glance;
    int r = is_valid ? statx_at_a_glance(dirfd, path, flags, mask, stx, &glance) : 0;
    if (r != 0)
        return shim_return(r > 0 ? 0 : r);
    path = shim_name_cwd(path, flags);
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(statx)(dirfd, path, flags, mask, stx);
    call.glance = is_valid ? &glance : NULL;
    struct shim_try tried = shim_try(&call);
    do
        r = find_and_statx(&call, dirfd, path, flags, mask, stx);
    while (shim_look_again(&call, &tried, r));
    return (int)shim_leave(&call, r);
}

/* ---- access --------------------------------------------------------------------------------------- */

static int look_for_access(struct shim_call *call, int dirfd, const char *path, int mode, int flags)
{
    struct ovl_node *node;
    const unsigned walk = shim_follow_unless(flags & AT_SYMLINK_NOFOLLOW) | (mode & W_OK ? 0 : OVL_TYPE);
    int r = !shim_is_descriptor(dirfd, path, flags)           ? shim_find(call, &dirfd, &path, walk, &node)
            : shim_find_fd(call, dirfd, &node) == SHIM_INSIDE ? SHIM_INSIDE
                                                              : SHIM_OUTSIDE;
    if (r == SHIM_INSIDE)
        return ovl_access(&call->ctx, node, mode, flags & AT_EACCESS);
    return r == SHIM_OUTSIDE ? (int)shim_result(REAL(faccessat)(dirfd, path, mode, flags)) : r;
}

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
    path = shim_name_cwd(path, dirfd == AT_FDCWD ? flags : 0);
    int r;
    struct shim_try tried = shim_try(&call);
    do
        r = is_valid ? look_for_access(&call, dirfd, path, mode, flags) : -EINVAL;
    while (shim_look_again(&call, &tried, r));
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

static ssize_t look_for_link(struct shim_call *call, int dirfd, const char *path, char *buf, size_t size)
{
    struct ovl_node *node;
    const bool is_program = shim_program() && path && strcmp(path, "/proc/self/exe") == 0;
    ssize_t r = shim_find(call, &dirfd, &path, OVL_TYPE, &node);
    if (r == SHIM_INSIDE)
        return read_node(node, buf, size);
    if (r != SHIM_OUTSIDE)
        return r;
    if (is_program)
        return show_program(call, buf, size);
    r = shim_result(REAL(readlinkat)(dirfd, path, buf, size));
    return call->node || (path && *path == '/') ? show_merged(call, path, buf, size, r) : r;
}

ssize_t wrap_readlinkat(int dirfd, const char *path, char *buf, size_t size)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(readlinkat)(dirfd, path, buf, size);
    ssize_t r;
    struct shim_try tried = shim_try(&call);
    do
        r = look_for_link(&call, dirfd, path, buf, size);
    while (shim_look_again(&call, &tried, r));
    return shim_leave(&call, r);
}

ssize_t wrap_readlink(const char *path, char *buf, size_t size)
{
    return wrap_readlinkat(AT_FDCWD, path, buf, size);
}

#define SHIM_FILE_stat
#include "export.h"
