/* SPDX-License-Identifier: MIT
 *
 * Entering, finding, leaving (boundary.h).
 *
 * A path that does not begin below a mount can still lead into an overlay, through a symbolic link or
 * "..".  One openat2(RESOLVE_NO_SYMLINKS) tells whether there is any link in it; only then is it
 * walked name by name.  What must hold: a change is never passed on before that is known.
 */
#define _GNU_SOURCE
#include "boundary.h"

#include "cwd.h"
#include "fds.h"
#include "hooks.h"
#include "init.h"
#include "next.h"
#include "sys.h"
#include "text.h"

#include <string.h>

#define DELETED " (deleted)"

bool shim_begin(struct shim_call *call, const char *function)
{
    if (!shim_space() && !shim_start())
        return false;
    call->saved_errno = errno;
    call->function = function;
    call->asked = NULL;
    call->node = NULL;
    call->deep = false;
    if (ovl_ctx_begin(&call->ctx, shim_space(), &shim_next) == 0)
        return true;
    /* No memory at all: the call can't be answered, and must not go to the real file system. */
    call->ctx.size = 0;
    return true;
}

/* FUNCTION MERGED-PATH LAYER-PATH RESULT (CONTRACT 5.1).  What was just made lies in the upper; outside there is no
 * layer, and a path that needed no walk is shown as it was given. */
static void trace(const struct shim_call *call, long r)
{
    const struct ovl_node *node = call->node;
    const char *path = node ? node->path : call->asked ? call->asked : "-", *layer = "-", *below = "";
    char number[24];
    if (node && node->ovl && node->exists) {
        layer = node->real;
    } else if (node && node->ovl && r >= 0 && !ovl_is_read_only(node->ovl)) {
        layer = ovl_layer(node->ovl, 0);
        below = node->path + (strcmp(ovl_mount(node->ovl), "/") == 0 ? 0 : strlen(ovl_mount(node->ovl)));
    }
    ovl_log_line(OVL_LOG_DEBUG, call->function, " ", *path ? path : "-", " ", layer, below, " ", r < 0 ? "-" : "",
                 ovl_decimal(number, r < 0 ? (uint64_t)-r : (uint64_t)r), NULL);
}

long shim_leave(struct shim_call *call, long r)
{
    if (ovl_log_wants(OVL_LOG_DEBUG))
        trace(call, r);
    if (call->ctx.memory)
        ovl_ctx_end(&call->ctx);
    errno = r < 0 ? (int)-r : call->saved_errno;
    return r < 0 ? -1 : r;
}

/* ---- directories ------------------------------------------------------------------------------- */

ssize_t shim_fd_text(int fd, char *buf)
{
    char link[48] = "/proc/self/fd/";
    char number[24];
    ovl_append(link, sizeof link, strlen(link), ovl_decimal(number, (uint64_t)fd));
    ssize_t n = ovl_sys_readlink(link, buf, OVL_PATH_MAX - 1);
    if (n >= 0)
        buf[n] = '\0';
    return n;
}

int shim_ancestor(struct shim_call *call, int dirfd, char *buf)
{
    enum { LEVELS = 4096 };
    int fd = ovl_sys_open(dirfd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    ssize_t n = fd < 0 ? fd : shim_fd_text(fd, buf);
    for (int i = 0; n == -ENAMETOOLONG && i < LEVELS; i++) {
        int up = ovl_sys_open(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
        ovl_sys_close(fd);
        fd = up;
        n = fd < 0 ? fd : shim_fd_text(fd, buf);
    }
    if (fd >= 0)
        ovl_sys_close(fd);
    if (n < 0 || buf[0] != '/' || ovl_space_holds(call->ctx.space, buf) || ovl_space_layers_near(call->ctx.space, buf))
        return -ENAMETOOLONG;
    call->deep = true;
    return 0;
}

static bool is_deleted(const char *text)
{
    size_t n = strlen(text);
    size_t suffix = sizeof DELETED - 1;
    return n > suffix && strcmp(text + n - suffix, DELETED) == 0;
}

int shim_dir_path(struct shim_call *call, int dirfd, char *buf)
{
    if (dirfd == AT_FDCWD)
        return shim_cwd(call, buf);
    enum shim_fd_kind kind = dirfd < 0 ? SHIM_FD_UNKNOWN : shim_fds_get(dirfd, buf);
    if (kind != SHIM_FD_UNKNOWN)
        return kind == SHIM_FD_INSIDE;
    size_t mark = call->ctx.used;
    char *text = ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX);
    if (!text)
        return -ENOMEM;
    ssize_t n = dirfd < 0 ? -EBADF : shim_fd_text(dirfd, text);
    if (n == -ENAMETOOLONG)
        return shim_ancestor(call, dirfd, buf);
    struct stat st;
    int r = n == -ENOENT ? -EBADF : n < 0 ? (int)n : ovl_sys_fstat(dirfd, &st);
    if (r == 0 && !S_ISDIR(st.st_mode))
        r = -ENOTDIR;
    if (r == 0) {
        n = ovl_merged_path(call->ctx.space, text, buf, OVL_PATH_MAX);
        r = n >= 0 || ovl_space_holds(call->ctx.space, text);
        if (n < 0)
            memcpy(buf, text, strlen(text) + 1);
    }
    if (r == 1 && is_deleted(text))
        r = -ENOENT;
    ovl_ctx_reset(&call->ctx, mark);
    return r;
}

/* ---- finding ------------------------------------------------------------------------------------ */

static bool has_dotdot(const char *path)
{
    for (const char *p = path; (p = strstr(p, "..")) != NULL; p += 2)
        if ((p == path || p[-1] == '/') && (p[2] == '/' || !p[2]))
            return true;
    return false;
}

/* Whether the kernel meets no symbolic link on this path (in the last component: only if it is to be
 * followed).  A missing name is none. */
static bool has_no_link(int dirfd, const char *path, unsigned flags)
{
    struct ovl_open_how how = {.flags = O_PATH | O_CLOEXEC | (flags & OVL_FOLLOW ? 0 : O_NOFOLLOW),
                               .resolve = OVL_RESOLVE_NO_SYMLINKS};
    int fd = ovl_sys_openat2(dirfd, path, &how);
    if (fd >= 0)
        ovl_sys_close(fd);
    return fd >= 0 || fd == -ENOENT || fd == -ENOTDIR || fd == -EACCES || fd == -ENAMETOOLONG;
}

/* Whether a path that is outside by its text is so in truth, and may be used as it stands. */
static bool is_plain(struct shim_call *call, const char *base, int dirfd, const char *path, unsigned flags)
{
    /* One step up from a directory too deep to be named stays below the ancestor that was asked about. */
    if (has_dotdot(path) && !(base && call->deep && strcmp(path, "..") == 0))
        return false;
    if (base && ovl_space_below(call->ctx.space, base))
        return false;
    if (!has_no_link(dirfd, path, flags))
        return false;
    if (!(flags & OVL_CHANGE))
        return true;
    /* Let the walk decide about everything that lies in a layer. */
    return base ? !ovl_space_layers_near(call->ctx.space, base) : !ovl_space_layers_near(call->ctx.space, path);
}

/* A directory outside may have been renamed since its path was learnt: ask the kernel before a walk begins there. */
static const char *refresh_outside(struct shim_call *call, int dirfd, const char *base)
{
    char *fresh = ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX);
    if (!fresh || call->deep)
        return base;
    ssize_t n = dirfd == AT_FDCWD ? ovl_sys_getcwd(fresh, OVL_PATH_MAX) : shim_fd_text(dirfd, fresh);
    return n > 0 && fresh[0] == '/' && !is_deleted(fresh) ? fresh : base;
}

/* A path on its way down is put into the call's memory, by which libc's patched functions know it (hooks.c). */
static int settle(struct shim_call *call, const char **path)
{
    size_t n = shim_hooks_active ? strlen(*path) + 1 : 0;
    char *copy = n && n <= OVL_PATH_MAX ? ovl_ctx_alloc(&call->ctx, n) : NULL;
    if (copy)
        *path = memcpy(copy, *path, n);
    return SHIM_OUTSIDE;
}

int shim_find(struct shim_call *call, int *dirfd, const char **path, unsigned flags, struct ovl_node **node)
{
    *node = NULL;
    if (call->ctx.size == 0)
        return -ENOMEM;
    call->asked = *path;
    if (!*path || !**path)
        return SHIM_OUTSIDE;
    struct ovl_ctx *ctx = &call->ctx;
    char *base = NULL;
    int inside = 0;
    if (**path != '/') {
        base = ovl_ctx_alloc(ctx, OVL_PATH_MAX);
        inside = base ? shim_dir_path(call, *dirfd, base) : -ENOMEM;
        if (inside < 0)
            return inside;
        if (inside == 0 && (base[0] != '/' || is_plain(call, base, *dirfd, *path, flags)))
            return settle(call, path);
    } else if (!ovl_space_holds(ctx->space, *path) && is_plain(call, NULL, AT_FDCWD, *path, flags)) {
        return settle(call, path);
    }
    if (base && call->deep)
        return -ENAMETOOLONG;
    const char *from = base && !inside ? refresh_outside(call, *dirfd, base) : base;
    struct ovl_node *found = ovl_node_new(ctx);
    if (!found)
        return -ENOMEM;
    int r = ovl_resolve(ctx, from, *path, flags, found);
    /* /proc/self is shorter than what it stands for: the kernel may have room where the walk has none. */
    if (r == -ENAMETOOLONG && !(flags & OVL_CHANGE) && ovl_has_prefix(*path, "/proc/self/"))
        return settle(call, path);
    if (r < 0)
        return r;
    call->node = found;
    if (found->ovl) {
        *node = found;
        return SHIM_INSIDE;
    }
    *dirfd = AT_FDCWD;
    *path = found->path;
    return SHIM_OUTSIDE;
}

/* ---- descriptors ---------------------------------------------------------------------------------- */

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

int shim_find_fd(struct shim_call *call, int fd, struct ovl_node **node)
{
    struct ovl_ctx *ctx = &call->ctx;
    *node = NULL;
    if (ctx->size == 0)
        return -ENOMEM;
    struct stat here;
    char *text = ovl_ctx_alloc(ctx, OVL_PATH_MAX);
    char *merged = ovl_ctx_alloc(ctx, OVL_PATH_MAX);
    struct ovl_node *found = ovl_node_new(ctx);
    if (!text || !merged || !found)
        return -ENOMEM;
    if (fd < 0 || ovl_sys_fstat(fd, &here) < 0 || shim_fd_text(fd, text) <= 0 || text[0] != '/' ||
        (ovl_linked_path(ctx->space, text, merged, OVL_PATH_MAX) < 0 &&
         ovl_merged_path(ctx->space, text, merged, OVL_PATH_MAX) < 0))
        return 0;
    if (ovl_resolve(ctx, NULL, merged, 0, found) == 0 && found->ovl && found->exists) {
        struct stat shown = found->st;
        if (!S_ISDIR(shown.st_mode))
            ovl_identity(ctx->space, AT_FDCWD, found->real, AT_SYMLINK_NOFOLLOW, &shown);
        if (is_same(&found->st, &here) || is_same(&shown, &here) || (S_ISDIR(shown.st_mode) && S_ISDIR(here.st_mode))) {
            call->node = *node = found;
            return 1;
        }
    }
    return ovl_is_protected(ctx->space, text) ? -EROFS : 0;
}
