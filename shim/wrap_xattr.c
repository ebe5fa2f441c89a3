/* SPDX-License-Identifier: MIT
 *
 * Extended attributes, by path, by link and by descriptor; ACLs come this way too.
 *
 * What must hold: the overlay's own attributes (opaque and whiteout marks) are neither seen nor set
 * below a mount, and a change through whatever descriptor of a lower file lands in its copy.
 * What would fail is found out before the copy-up where it can be, so that a refused change leaves
 * nothing behind.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "real.h"
#include "wrap.h"

#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

/* ---- reading by descriptor ------------------------------------------------------------------------ */

/* Where a read-only descriptor's lower file was copied up since: the copy, which has what is seen now. */
static struct ovl_node *copy_of(struct shim_call *call, int fd)
{
    struct ovl_node *node;
    struct stat st;
    if (REAL(fstat)(fd, &st) < 0 || S_ISDIR(st.st_mode) || !ovl_may_be_copied(call->ctx.space, &st))
        return NULL;
    if (wrap_fcntl(fd, F_GETFL) & O_PATH)
        return NULL; /* which the kernel refuses */
    return shim_find_fd(call, fd, &node) == 1 && (node->top == 0 || node->linked) && !ovl_is_read_only(node->ovl)
               ? node
               : NULL;
}

ssize_t wrap_fgetxattr(int fd, const char *name, void *value, size_t size)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(fgetxattr)(fd, name, value, size);
    struct ovl_node *node = copy_of(&call, fd);
    /* Only a mark of ours is worth the question where the descriptor leads. */
    bool hidden = ovl_is_private_xattr(name) && (node || shim_find_fd(&call, fd, &node) != SHIM_OUTSIDE);
    long r = hidden ? -ENODATA
             : node ? shim_result(REAL(lgetxattr)(node->real, name, value, size))
                    : shim_result(REAL(fgetxattr)(fd, name, value, size));
    return shim_leave(&call, r);
}

/* ---- listing ------------------------------------------------------------------------------------- */

/* Take the overlay's own names out of a list: its new length. */
static ssize_t without_private(char *list, ssize_t length)
{
    char *out = list;
    for (const char *name = list, *next; name < list + length; name = next) {
        next = name + strlen(name) + 1;
        if (ovl_is_private_xattr(name))
            continue;
        memmove(out, name, (size_t)(next - name));
        out += next - name;
    }
    return out - list;
}

/* Where an object's attributes are listed. */
struct source {
    const char *path; /* NULL: the descriptor */
    int fd;
};

static ssize_t list_source(const struct source *source, char *list, size_t size)
{
    return shim_result(source->path ? REAL(llistxattr)(source->path, list, size)
                                    : REAL(flistxattr)(source->fd, list, size));
}

/* List what is not ours.  The caller's buffer can be too small, or absent, for names that it will not
 * see: the whole list then goes into one of the call's own. */
static ssize_t list_public(struct shim_call *call, const struct source *source, char *list, size_t size)
{
    ssize_t r = list_source(source, list, size);
    if (r >= 0 && size > 0)
        return without_private(list, r);
    if ((r <= 0 && r != -ERANGE) || (r == -ERANGE && size == 0))
        return r;
    ssize_t length = list_source(source, NULL, 0);
    if (length <= 0)
        return length;
    char *whole = ovl_ctx_alloc(&call->ctx, (size_t)length);
    if (!whole)
        return r == -ERANGE ? r : length;
    length = list_source(source, whole, (size_t)length);
    if (length > 0)
        length = without_private(whole, length);
    if (length < 0 || size == 0)
        return length;
    if ((size_t)length > size)
        return -ERANGE;
    memcpy(list, whole, (size_t)length);
    return length;
}

ssize_t wrap_flistxattr(int fd, char *list, size_t size)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(flistxattr)(fd, list, size);
    struct ovl_node *node;
    struct ovl_node *copy = copy_of(&call, fd);
    struct source source = {copy ? copy->real : NULL, fd};
    long r = !copy && shim_find_fd(&call, fd, &node) == SHIM_OUTSIDE ? list_source(&source, list, size)
                                                                     : list_public(&call, &source, list, size);
    return shim_leave(&call, r);
}

/* ---- reading by path ------------------------------------------------------------------------------- */

struct question {
    const char *function; /* for the log */
    bool lists;           /* which attributes there are; else what one of them is */
    const char *name;
    void *buf;
    size_t size;
};

static ssize_t ask_outside(const char *path, unsigned follow, const struct question *q)
{
    if (q->lists)
        return shim_result(follow ? REAL(listxattr)(path, q->buf, q->size) : REAL(llistxattr)(path, q->buf, q->size));
    return shim_result(follow ? REAL(getxattr)(path, q->name, q->buf, q->size)
                              : REAL(lgetxattr)(path, q->name, q->buf, q->size));
}

static ssize_t ask_inside(struct shim_call *call, const struct ovl_node *node, const struct question *q)
{
    if (!node->exists)
        return -ENOENT;
    if (q->lists)
        return list_public(call, &(struct source){node->real, -1}, q->buf, q->size);
    return ovl_is_private_xattr(q->name) ? -ENODATA
                                         : shim_result(REAL(lgetxattr)(node->real, q->name, q->buf, q->size));
}

static ssize_t find_and_ask(struct shim_call *call, const char *path, unsigned follow, const struct question *q)
{
    int dirfd = AT_FDCWD;
    struct ovl_node *node;
    int r = shim_find(call, &dirfd, &path, follow, &node);
    if (r < 0)
        return r;
    return r == SHIM_INSIDE ? ask_inside(call, node, q) : ask_outside(path, follow, q);
}

static ssize_t ask(const char *path, unsigned follow, const struct question *q)
{
    struct shim_call call;
    ssize_t r;
    if (!shim_begin(&call, q->function)) {
        r = ask_outside(path, follow, q);
        return r < 0 ? -1 : r;
    }
    struct shim_try tried = shim_try(&call);
    do
        r = find_and_ask(&call, path, follow, q);
    while (shim_look_again(&call, &tried, r));
    return shim_leave(&call, r);
}

ssize_t wrap_getxattr(const char *path, const char *name, void *value, size_t size)
{
    return ask(path, OVL_FOLLOW, &(struct question){"getxattr", false, name, value, size});
}

ssize_t wrap_lgetxattr(const char *path, const char *name, void *value, size_t size)
{
    return ask(path, 0, &(struct question){"lgetxattr", false, name, value, size});
}

ssize_t wrap_listxattr(const char *path, char *list, size_t size)
{
    return ask(path, OVL_FOLLOW, &(struct question){"listxattr", true, NULL, list, size});
}

ssize_t wrap_llistxattr(const char *path, char *list, size_t size)
{
    return ask(path, 0, &(struct question){"llistxattr", true, NULL, list, size});
}

/* ---- changing ------------------------------------------------------------------------------------- */

/* One change: an attribute set, or removed where value is NULL and remove is true. */
struct change {
    const char *name;
    const void *value;
    size_t size;
    int flags;
    bool remove;
};

static int change_path(void *arg, int fd, const char *path)
{
    (void)fd;
    const struct change *c = arg;
    return (int)shim_result(c->remove ? REAL(removexattr)(path, c->name)
                                      : REAL(setxattr)(path, c->name, c->value, c->size, c->flags));
}

static long change_fd(int fd, const struct change *c)
{
    return shim_result(c->remove ? REAL(fremovexattr)(fd, c->name)
                                 : REAL(fsetxattr)(fd, c->name, c->value, c->size, c->flags));
}

enum { TO_DO = 1 };

/* What the kernel answers however the copy looks: an error, or 0 where there is nothing to do; else TO_DO. */
static long answer_first(struct shim_call *call, const struct ovl_node *node, const struct change *c)
{
    if (!node->exists)
        return -ENOENT;
    if (ovl_is_private_xattr(c->name))
        return -EPERM;
    if (ovl_is_read_only(node->ovl))
        return -EROFS;
    if (node->top == 0)
        return TO_DO; /* the kernel says itself */
    if (strncmp(c->name, "user.", 5) == 0) {
        if (!S_ISREG(node->st.st_mode) && !S_ISDIR(node->st.st_mode))
            return -EPERM;
        int r = ovl_access(&call->ctx, node, W_OK, true);
        if (r < 0)
            return r;
    }
    bool no_default = strcmp(c->name, OVL_ACL_DEFAULT) == 0 && !S_ISDIR(node->st.st_mode);
    if (!c->remove && !(c->flags & (XATTR_CREATE | XATTR_REPLACE)) && !no_default)
        return TO_DO;
    long there = shim_result(REAL(lgetxattr)(node->real, c->name, NULL, 0));
    if (no_default && there == -ENODATA)
        return c->remove ? 0 : -EACCES;
    if (there >= 0)
        return c->flags & XATTR_CREATE ? -EEXIST : TO_DO;
    /* What may be written and not read is left to the kernel. */
    return there == -EACCES || ((c->flags & XATTR_CREATE) && there == -ENODATA) ? TO_DO : there;
}

struct changing {
    struct ovl_ctx *ctx;
    const struct ovl_node *node;
    struct change *change;
    int fd; /* -1: by its path */
};

static int change_place(void *arg)
{
    const struct changing *c = arg;
    return c->fd < 0 ? ovl_change_exact(c->ctx, c->node, change_path, c->change) : (int)change_fd(c->fd, c->change);
}

/* A directory's access list says who may search it. */
static long change_upper(struct shim_call *call, const struct ovl_node *node, int fd, struct change *c)
{
    struct changing changing = {&call->ctx, node, c, fd};
    bool is_search = S_ISDIR(node->st.st_mode) && strcmp(c->name, OVL_ACL_ACCESS) == 0;
    return is_search ? ovl_change_search(node, change_place, &changing) : change_place(&changing);
}

static long change_node(struct shim_call *call, struct ovl_node *node, unsigned follow, struct change *c)
{
    long r = answer_first(call, node, c);
    if (r != TO_DO)
        return r;
    r = shim_copy_up(call, node, follow);
    return r < 0 ? r : change_upper(call, node, -1, c);
}

static long change_outside(const char *path, unsigned follow, const struct change *c)
{
    if (c->remove)
        return shim_result(follow ? REAL(removexattr)(path, c->name) : REAL(lremovexattr)(path, c->name));
    return shim_result(follow ? REAL(setxattr)(path, c->name, c->value, c->size, c->flags)
                              : REAL(lsetxattr)(path, c->name, c->value, c->size, c->flags));
}

static long find_and_change(struct shim_call *call, const char *path, unsigned follow, struct change *c)
{
    int dirfd = AT_FDCWD;
    struct ovl_node *node;
    int r = shim_find(call, &dirfd, &path, follow | OVL_CHANGE, &node);
    if (r == SHIM_OUTSIDE)
        return change_outside(path, follow, c);
    return r == SHIM_INSIDE ? change_node(call, node, follow, c) : r;
}

static int change(const char *path, unsigned follow, struct change *c)
{
    struct shim_call call;
    if (!shim_begin(&call, c->remove ? "removexattr" : "setxattr"))
        return change_outside(path, follow, c) < 0 ? -1 : 0;
    long r;
    struct shim_try tried = shim_try(&call);
    do
        r = find_and_change(&call, path, follow, c);
    while (shim_again(&call, &tried, r));
    return (int)shim_leave(&call, r);
}

static bool is_same(int fd, const struct ovl_node *node)
{
    struct stat own, named;
    return ovl_ops_kernel.fstat(fd, &own) == 0 && ovl_ops_kernel.lstat(node->real, &named) == 0 &&
           own.st_dev == named.st_dev && own.st_ino == named.st_ino;
}

static long change_open_node(struct shim_call *call, int fd, struct ovl_node *node, struct change *c)
{
    long r = answer_first(call, node, c);
    if (r != TO_DO)
        return r;
    r = ovl_copy_up(&call->ctx, node, OVL_COPY_ALL);
    if (r < 0)
        return r;
    /* The descriptor may be of the lower file still. */
    return change_upper(call, node, is_same(fd, node) ? fd : -1, c);
}

static int change_open(int fd, struct change *c)
{
    struct shim_call call;
    if (!shim_begin(&call, c->remove ? "fremovexattr" : "fsetxattr"))
        return (int)(change_fd(fd, c) < 0 ? -1 : 0);
    struct ovl_node *node;
    int mode = wrap_fcntl(fd, F_GETFL);
    /* The kernel refuses what can't be changed through any descriptor: closed ones, O_PATH. */
    long r = mode == -1 || (mode & O_PATH) ? SHIM_OUTSIDE : shim_find_fd(&call, fd, &node);
    if (r == SHIM_OUTSIDE) {
        r = change_fd(fd, c);
    } else if (r == SHIM_INSIDE) {
        r = change_open_node(&call, fd, node, c);
    }
    return (int)shim_leave(&call, r);
}

int wrap_setxattr(const char *path, const char *name, const void *value, size_t size, int flags)
{
    return change(path, OVL_FOLLOW, &(struct change){name, value, size, flags, false});
}

int wrap_lsetxattr(const char *path, const char *name, const void *value, size_t size, int flags)
{
    return change(path, 0, &(struct change){name, value, size, flags, false});
}

int wrap_fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)
{
    return change_open(fd, &(struct change){name, value, size, flags, false});
}

int wrap_removexattr(const char *path, const char *name)
{
    return change(path, OVL_FOLLOW, &(struct change){name, NULL, 0, 0, true});
}

int wrap_lremovexattr(const char *path, const char *name)
{
    return change(path, 0, &(struct change){name, NULL, 0, 0, true});
}

int wrap_fremovexattr(int fd, const char *name)
{
    return change_open(fd, &(struct change){name, NULL, 0, 0, true});
}

#define SHIM_FILE_xattr
#include "export.h"
