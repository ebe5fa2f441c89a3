/* SPDX-License-Identifier: MIT
 *
 * Making, moving and removing names.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "real.h"
#include "sys.h"
#include "text.h"
#include "wrap.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Find a name that is to be made, moved or removed. */
static int find_name(struct shim_call *call, int *dirfd, const char **path, struct ovl_node **node)
{
    return shim_find(call, dirfd, path, OVL_CHANGE | OVL_NAME | OVL_TYPE, node);
}

/* ---- making --------------------------------------------------------------------------------------- */

enum kind { DIRECTORY, NODE, LINK };

struct making {
    enum kind kind;
    mode_t mode;
    dev_t dev;
    const char *target;
    int (*mknodat)(int dirfd, const char *path, mode_t mode, dev_t dev); /* the next library's, which has two */
};

static int make_inside(struct shim_call *call, struct ovl_node *node, const struct making *m)
{
    switch (m->kind) {
    case DIRECTORY:
        return ovl_mkdir(&call->ctx, node, m->mode);
    case NODE:
        return ovl_mknod(&call->ctx, node, m->mode, m->dev);
    case LINK:
        break;
    }
    if (!m->target)
        return -EFAULT;
    return strlen(m->target) >= OVL_REAL_MAX ? -ENAMETOOLONG : ovl_symlink(&call->ctx, m->target, node);
}

static int make_outside(int dirfd, const char *path, const struct making *m)
{
    switch (m->kind) {
    case DIRECTORY:
        return (int)shim_result(REAL(mkdirat)(dirfd, path, m->mode));
    case NODE:
        return (int)shim_result(m->mknodat(dirfd, path, m->mode, m->dev));
    case LINK:
        break;
    }
    return (int)shim_result(REAL(symlinkat)(m->target, dirfd, path));
}

static int find_and_make(struct shim_call *call, int dirfd, const char *path, const struct making *m)
{
    struct ovl_node *node;
    int r = find_name(call, &dirfd, &path, &node);
    if (r < 0)
        return r;
    return r == SHIM_INSIDE ? make_inside(call, node, m) : make_outside(dirfd, path, m);
}

static int make_at(struct shim_call *call, int dirfd, const char *path, const struct making *m)
{
    int r;
    struct shim_try tried = shim_try(call);
    do
        r = find_and_make(call, dirfd, path, m);
    while (shim_again(call, &tried, r));
    return (int)shim_leave(call, r);
}

int wrap_mkdirat(int dirfd, const char *path, mode_t mode)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(mkdirat)(dirfd, path, mode);
    return make_at(&call, dirfd, path, &(struct making){.kind = DIRECTORY, .mode = mode});
}

int wrap_mkdir(const char *path, mode_t mode)
{
    return wrap_mkdirat(AT_FDCWD, path, mode);
}

int shim_mknodat(int (*next)(int, const char *, mode_t, dev_t), int dirfd, const char *path, mode_t mode, dev_t dev)
{
    struct shim_call call;
    if (!shim_begin(&call, "mknodat"))
        return next(dirfd, path, mode, dev);
    return make_at(&call, dirfd, path, &(struct making){.kind = NODE, .mode = mode, .dev = dev, .mknodat = next});
}

int wrap_mknodat(int dirfd, const char *path, mode_t mode, dev_t dev)
{
    return shim_mknodat(REAL(mknodat), dirfd, path, mode, dev);
}

int wrap_mknod(const char *path, mode_t mode, dev_t dev)
{
    return wrap_mknodat(AT_FDCWD, path, mode, dev);
}

int wrap_mkfifoat(int dirfd, const char *path, mode_t mode)
{
    return wrap_mknodat(dirfd, path, mode | S_IFIFO, 0);
}

int wrap_mkfifo(const char *path, mode_t mode)
{
    return wrap_mknodat(AT_FDCWD, path, mode | S_IFIFO, 0);
}

int wrap_symlinkat(const char *target, int dirfd, const char *path)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(symlinkat)(target, dirfd, path);
    return make_at(&call, dirfd, path, &(struct making){.kind = LINK, .target = target});
}

int wrap_symlink(const char *target, const char *path)
{
    return wrap_symlinkat(target, AT_FDCWD, path);
}

/* ---- two paths -------------------------------------------------------------------------------------- */

/* An argument pair and where it led. */
struct place {
    int dirfd;
    const char *path;
    struct ovl_node *node;
    int where;
    enum ovl_last last;
};

static int find_place(struct shim_call *call, struct place *p, unsigned flags)
{
    if (!p->path || !*p->path)
        return p->path ? -ENOENT : -EFAULT;
    call->node = NULL;
    p->where = shim_find(call, &p->dirfd, &p->path, flags, &p->node);
    p->last = call->node ? call->node->last : OVL_LAST_NAME;
    return p->where < 0 ? p->where : 0;
}

/* A new name, when the old one is found: neither is settled before both are. */
static int find_second(struct shim_call *call, struct place *to)
{
    const uint64_t moves = call->moves;
    int r = find_place(call, to, OVL_CHANGE | OVL_NAME | OVL_TYPE);
    call->moves = moves;
    return r;
}

/* The path of the directory that a path's last name stands in, or NULL. */
static const char *parent_of(struct shim_call *call, const char *path)
{
    size_t n = strlen(path);
    char *parent = ovl_ctx_alloc(&call->ctx, n + 2);
    if (!parent)
        return NULL;
    memcpy(parent, path, n + 1);
    while (n > 0 && parent[n - 1] == '/')
        n--;
    while (n > 0 && parent[n - 1] != '/')
        n--;
    memcpy(parent + n, ".", 2);
    return parent;
}

/* The directory that an outside name stands in, or the errno of looking for it. */
static int check_parent(struct shim_call *call, const struct place *p)
{
    struct stat st;
    const char *parent = parent_of(call, p->path);
    if (!parent)
        return -ENOMEM;
    return (int)shim_result(REAL(fstatat)(p->dirfd, parent, &st, 0));
}

/* One end inside, the other outside: EXDEV, once both parents are there.  A mount's own name stands
 * outside, and is busy. */
static int across(struct shim_call *call, const struct place *from, const struct place *to, unsigned flags)
{
    const struct place *inside = from->where == SHIM_INSIDE ? from : to;
    const struct place *outside = inside == from ? to : from;
    if (outside->last == OVL_LAST_DOTDOT)
        return outside == to && flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY;
    int r = check_parent(call, outside);
    if (r < 0)
        return r;
    struct stat st;
    if (strcmp(inside->node->path, ovl_mount(inside->node->ovl)) != 0)
        return -EXDEV;
    bool taken = to == inside || REAL(fstatat)(to->dirfd, to->path, &st, AT_SYMLINK_NOFOLLOW) == 0;
    return taken && flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY;
}

/* ---- link --------------------------------------------------------------------------------------------- */

/* The descriptor that a path /proc/self/fd/N (or /proc/PID/fd/N of this process) names, or -1. */
static int fd_of_magic(const char *path)
{
    const char *p = path + strlen("/proc/");
    if (ovl_parse_decimal(&p) != (uint64_t)(unsigned)ovl_sys_getpid() || strncmp(p, "/fd/", 4) != 0)
        return -1;
    p += 4;
    int fd = (int)ovl_parse_decimal(&p);
    return *p ? -1 : fd;
}

/* Whether what is to be linked is there: the kernel looks for it before it looks at the new name. */
static int check_source(struct shim_call *call, const struct place *from, int flags)
{
    struct stat st;
    if (from->where == SHIM_INSIDE)
        return from->node->exists ? 0 : -ENOENT;
    if (call->magic && !(flags & AT_SYMLINK_FOLLOW))
        return 0;
    return (int)shim_result(
        REAL(fstatat)(from->dirfd, from->path, &st, flags & AT_SYMLINK_FOLLOW ? 0 : AT_SYMLINK_NOFOLLOW));
}

static bool is_dot(const struct place *p)
{
    return p->last == OVL_LAST_DOT || p->last == OVL_LAST_DOTDOT;
}

/* What the kernel answers to a link from another file system: first what is wrong with the new name, then EXDEV. */
static int refuse_link(struct shim_call *call, const struct place *to)
{
    struct stat st;
    if (to->where == SHIM_INSIDE) {
        if (ovl_check_target(to->node) < 0)
            return ovl_check_target(to->node);
        return -EXDEV;
    }
    if (is_dot(to) || REAL(fstatat)(to->dirfd, to->path, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return -EEXIST;
    int r = check_parent(call, to);
    return r < 0 ? r : to->path[strlen(to->path) - 1] == '/' ? -ENOENT : -EXDEV;
}

/* Whether a path is that of a copy with several names, which was opened by one that only a lower layer has. */
static bool is_linked(struct shim_call *call, const char *text, const struct ovl *ovl)
{
    char *merged = ovl_is_written(ovl, text) ? ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX) : NULL;
    return merged && ovl_linked_path(call->ctx.space, text, merged, OVL_PATH_MAX) > 0;
}

/* Whether an open file that has names was opened in the overlay's upper by one that is gone: its others are there. */
static bool was_of_upper(struct shim_call *call, int fd, const struct ovl *ovl)
{
    static const char gone[] = " (deleted)";
    char *text = ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX);
    ssize_t n = text ? shim_fd_text(fd, text) : 0;
    if (n > 0 && is_linked(call, text, ovl))
        return true;
    ssize_t rest = n - (ssize_t)(sizeof gone - 1);
    return rest > 0 && memcmp(text + rest, gone, sizeof gone - 1) == 0 && ovl_is_written(ovl, text);
}

/* A file without a name (O_TMPFILE), or without the one by which it was opened, can get one in the overlay if it lies
 * on the upper's file system and is no lower file. */
static int link_nameless(struct shim_call *call, int fd, const struct place *to)
{
    struct stat st;
    int r = ovl_check_target(to->node);
    if (r < 0)
        return r;
    if (fd < 0 || ovl_sys_fstat(fd, &st) < 0 || (st.st_nlink != 0 && !was_of_upper(call, fd, to->node->ovl)))
        return -EXDEV; /* it has a name, and that is elsewhere */
    return ovl_link_fd(&call->ctx, fd, to->node);
}

/* Whether an open file without a name lies in an overlay: it can't get one outside. */
static bool is_nameless_inside(struct shim_call *call, int fd)
{
    for (unsigned i = 0; fd >= 0 && i < ovl_space_count(call->ctx.space); i++)
        if (was_of_upper(call, fd, ovl_space_at(call->ctx.space, i)))
            return true;
    return false;
}

static int link_fd(struct shim_call *call, int fd, struct place *to)
{
    struct ovl_node *from;
    int r = shim_find_fd(call, fd, &from);
    if (r == 1)
        return to->where == SHIM_INSIDE ? ovl_link(&call->ctx, from, to->node) : refuse_link(call, to);
    if (r < 0)
        return r;
    if (to->where == SHIM_INSIDE)
        return link_nameless(call, fd, to);
    if (is_nameless_inside(call, fd))
        return refuse_link(call, to);
    return (int)shim_result(REAL(linkat)(fd, "", to->dirfd, to->path, AT_EMPTY_PATH));
}

static int link_places(struct shim_call *call, struct place *from, struct place *to, int flags)
{
    if (from->where == SHIM_INSIDE && to->where == SHIM_INSIDE)
        return ovl_link(&call->ctx, from->node, to->node);
    bool follows = call->magic && flags & AT_SYMLINK_FOLLOW;
    if (follows && to->where == SHIM_OUTSIDE && is_nameless_inside(call, fd_of_magic(from->path)))
        return refuse_link(call, to);
    if (from->where == SHIM_OUTSIDE && to->where == SHIM_OUTSIDE)
        return (int)shim_result(REAL(linkat)(from->dirfd, from->path, to->dirfd, to->path, flags));
    if (follows && to->where == SHIM_INSIDE)
        return link_nameless(call, fd_of_magic(from->path), to);
    return refuse_link(call, to);
}

static int find_and_link(struct shim_call *call, struct place from, struct place to, int flags)
{
    const int fd = from.dirfd;
    const bool empty = flags & AT_EMPTY_PATH && from.path && !*from.path;
    const bool by_fd = empty && fd != AT_FDCWD;
    if (empty && !by_fd)
        from.path = "."; /* the current directory: EPERM */
    int r = by_fd ? (REAL(fcntl)(fd, F_GETFD) < 0 ? -EBADF : 0)
                  : find_place(call, &from, flags & AT_SYMLINK_FOLLOW ? OVL_CHANGE | OVL_FOLLOW : OVL_CHANGE);
    call->magic = call->node && call->node->magic;
    call->from = from.node;
    if (r < 0)
        return r;
    r = find_second(call, &to);
    int source = by_fd || (r == 0 && from.where == to.where) ? 0 : check_source(call, &from, flags);
    if (source < 0 || r < 0)
        return source < 0 ? source : r;
    return by_fd ? link_fd(call, fd, &to) : link_places(call, &from, &to, flags);
}

int wrap_linkat(int from_dirfd, const char *from_path, int to_dirfd, const char *to_path, int flags)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(linkat)(from_dirfd, from_path, to_dirfd, to_path, flags);
    const struct place from = {from_dirfd, from_path, NULL, 0, OVL_LAST_NAME};
    const struct place to = {to_dirfd, to_path, NULL, 0, OVL_LAST_NAME};
    int r;
    struct shim_try tried = shim_try(&call);
    do
        r = flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) ? -EINVAL : find_and_link(&call, from, to, flags);
    while (shim_again(&call, &tried, r));
    return (int)shim_leave(&call, r);
}

int wrap_link(const char *from, const char *to)
{
    return wrap_linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

static bool is_name_too_long(const char *path)
{
    const char *slash = strrchr(path, '/');
    return strlen(slash ? slash + 1 : path) > NAME_MAX && strlen(path) < PATH_MAX;
}

/* The node of the directory that a last name stands in, or NULL where that is outside. */
static const struct ovl_node *find_parent(struct shim_call *call, int dirfd, const char *path)
{
    const char *parent = parent_of(call, path);
    struct ovl_node *node;
    return parent && shim_find(call, &dirfd, &parent, OVL_CHANGE, &node) == SHIM_INSIDE ? node : NULL;
}

/* The error of a last name that is too long: the kernel looks for it when the directory is known to be writable. */
static int of_long_name(struct shim_call *call, int dirfd, const char *path, int error)
{
    if (error != -ENAMETOOLONG || !is_name_too_long(path))
        return error;
    const struct ovl_node *parent = find_parent(call, dirfd, path);
    return parent && ovl_is_read_only(parent->ovl) ? -EROFS : error;
}

/* ---- rename --------------------------------------------------------------------------------------------- */

static int rename_places(struct shim_call *call, struct place *from, struct place *to, unsigned flags)
{
    if (from->where == SHIM_INSIDE && to->where == SHIM_INSIDE)
        return ovl_rename(&call->ctx, from->node, to->node, flags);
    if (from->where != to->where)
        return across(call, from, to, flags);
    if (flags)
        return (int)shim_result(REAL(renameat2)(from->dirfd, from->path, to->dirfd, to->path, flags));
    return (int)shim_result(REAL(renameat)(from->dirfd, from->path, to->dirfd, to->path));
}

/* What the kernel says of a new name that is too long, when it has found both directories. */
static int refuse_long(const struct place *old)
{
    if (is_dot(old))
        return -EBUSY;
    if (ovl_is_read_only(old->node->ovl))
        return -EROFS;
    return old->node->exists ? -ENAMETOOLONG : -ENOENT;
}

/* The kernel finds both directories before it looks for the names, and the old one first. */
static int find_places(struct shim_call *call, struct place *from, struct place *to)
{
    const char *old = from->path, *new = to->path;
    int first = find_place(call, from, OVL_CHANGE | OVL_NAME | OVL_TYPE);
    bool removed = first == -ENOENT && *old && !strchr(old, '/'); /* it is the directory, which is found all the same */
    if (first < 0 && !removed && !(first == -ENAMETOOLONG && is_name_too_long(old)))
        return first;
    int second = find_second(call, to);
    int outside = second < 0 && first == 0 && from->where == SHIM_OUTSIDE ? check_parent(call, from) : 0;
    if (outside < 0)
        return outside;
    if (second == -ENAMETOOLONG && is_name_too_long(new) && from->where == SHIM_INSIDE)
        return find_parent(call, to->dirfd, new) ? refuse_long(from) : -EXDEV;
    if (first == 0 || second < 0)
        return second;
    if (first == -ENAMETOOLONG && to->where == SHIM_OUTSIDE && find_parent(call, from->dirfd, old))
        return -EXDEV;
    return is_dot(to) ? -EBUSY : of_long_name(call, from->dirfd, old, first);
}

int wrap_renameat2(int from_dirfd, const char *from_path, int to_dirfd, const char *to_path, unsigned flags)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return flags ? REAL(renameat2)(from_dirfd, from_path, to_dirfd, to_path, flags)
                     : REAL(renameat)(from_dirfd, from_path, to_dirfd, to_path);
    call.flags = (int)flags;
    const int refused = ovl_check_rename_flags(flags);
    int r;
    struct shim_try tried = shim_try(&call);
    do {
        struct place from = {from_dirfd, from_path, NULL, 0, OVL_LAST_NAME};
        struct place to = {to_dirfd, to_path, NULL, 0, OVL_LAST_NAME};
        r = refused < 0 ? refused : find_places(&call, &from, &to);
        call.from = from.node;
        if (r == 0)
            r = rename_places(&call, &from, &to, flags);
    } while (shim_again(&call, &tried, r));
    return (int)shim_leave(&call, r);
}

int wrap_renameat(int from_dirfd, const char *from, int to_dirfd, const char *to)
{
    return wrap_renameat2(from_dirfd, from, to_dirfd, to, 0);
}

int wrap_rename(const char *from, const char *to)
{
    return wrap_renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* ---- removing --------------------------------------------------------------------------------------------- */

static int find_and_remove(struct shim_call *call, int dirfd, const char *path, int flags)
{
    struct ovl_node *node;
    int r = find_name(call, &dirfd, &path, &node);
    if (r < 0)
        return of_long_name(call, dirfd, path, r);
    if (r == SHIM_INSIDE)
        return flags & AT_REMOVEDIR ? ovl_rmdir(&call->ctx, node) : ovl_unlink(&call->ctx, node);
    if (flags & AT_REMOVEDIR && call->node && call->node->last == OVL_LAST_DOTDOT)
        return -ENOTEMPTY;
    return (int)shim_result(REAL(unlinkat)(dirfd, path, flags));
}

int wrap_unlinkat(int dirfd, const char *path, int flags)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(unlinkat)(dirfd, path, flags);
    int r;
    struct shim_try tried = shim_try(&call);
    do
        r = flags & ~AT_REMOVEDIR ? -EINVAL : find_and_remove(&call, dirfd, path, flags);
    while (shim_again(&call, &tried, r));
    return (int)shim_leave(&call, r);
}

int wrap_unlink(const char *path)
{
    return wrap_unlinkat(AT_FDCWD, path, 0);
}

int wrap_rmdir(const char *path)
{
    return wrap_unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

/* remove(3): unlink, and rmdir where it is a directory. */
int wrap_remove(const char *path)
{
    int saved = errno;
    if (wrap_unlinkat(AT_FDCWD, path, 0) == 0)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -1;
    int why = errno;
    errno = saved;
    if (wrap_unlinkat(AT_FDCWD, path, AT_REMOVEDIR) == 0)
        return 0;
    if (errno == ENOTDIR)
        errno = why;
    return -1;
}

#define SHIM_FILE_change
#include "export.h"
