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
#include "trace.h"

#include <string.h>

#define DELETED " (deleted)"
#define TRIES 16 /* while directories are being renamed, or a name becomes something else time and again */
#define CHANGE_TRIES 256

bool shim_is_watched;

bool shim_begin(struct shim_call *call, const char *function)
{
    if (!shim_space() && !shim_start())
        return false;
    call->saved_errno = errno;
    call->function = function;
    call->asked = NULL;
    call->glance = NULL;
    call->node = NULL;
    call->deep = false;
    call->removed = NULL;
    call->flags = SHIM_NO_FLAGS;
    call->from = NULL;
    call->moves = ovl_moves(shim_space());
    if (shim_is_watched)
        call->began = shim_trace_clock();
    if (ovl_ctx_begin(&call->ctx, shim_space(), &shim_next) == 0)
        return true;
    /* No memory at all: the call can't be answered, and must not go to the real file system. */
    call->ctx.size = 0;
    return true;
}

bool shim_sees_missing(const char *path, struct ovl_glance *glance)
{
    const struct ovl_space *space = shim_space();
    glance->path = NULL;
    if (!space || !path || *path != '/')
        return false;
    glance->moves = ovl_moves(space);
    return ovl_glance(space, path, strlen(path), glance) == -ENOENT && !shim_is_watched;
}

/* What was just made lies in the upper. */
bool shim_layer_of(const struct ovl_node *node, long r, const char **layer, const char **below)
{
    *below = "";
    if (node->exists) {
        *layer = node->real;
        return true;
    }
    if (r < 0 || ovl_is_read_only(node->ovl))
        return false;
    *layer = ovl_layer(node->ovl, 0);
    *below = node->path + (strcmp(ovl_mount(node->ovl), "/") == 0 ? 0 : strlen(ovl_mount(node->ovl)));
    return true;
}

/* FUNCTION MERGED-PATH LAYER-PATH RESULT (CONTRACT 5.1).  Outside there is no layer, and a path that needed no walk is
 * shown as it was given. */
static void log_call(const struct shim_call *call, long r)
{
    const struct ovl_node *node = call->node;
    const char *path = node ? node->path : call->asked ? call->asked : "-", *layer = "-", *below = "";
    char number[24];
    if (!node || !node->ovl || !shim_layer_of(node, r, &layer, &below))
        layer = "-";
    ovl_log_line(OVL_LOG_DEBUG, call->function, " ", *path ? path : "-", " ", layer, below, " ", r < 0 ? "-" : "",
                 ovl_decimal(number, r < 0 ? (uint64_t)-r : (uint64_t)r), NULL);
}

long shim_leave(struct shim_call *call, long r)
{
    if (shim_is_watched) {
        log_call(call, r);
        shim_trace(call, call->function, r);
    }
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

/* A directory on its way out (core/remove.c) is moved to the work directory first. */
static bool is_written(const struct ovl_space *space, const char *text)
{
    for (unsigned i = 0; i < ovl_space_count(space); i++)
        if (ovl_is_written(ovl_space_at(space, i), text))
            return true;
    return false;
}

void shim_removed_parent(struct shim_call *call, int dirfd, char *buf)
{
    size_t mark = call->ctx.used;
    char *text = ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX);
    int fd = text ? ovl_sys_open(dirfd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC, 0) : -ENOMEM;
    ssize_t n = fd < 0 ? fd : shim_fd_text(fd, text);
    struct stat st;
    bool there = n > 0 && text[0] == '/' && ovl_sys_fstat(fd, &st) == 0 && (!is_deleted(text) || st.st_nlink);
    if (fd >= 0)
        ovl_sys_close(fd);
    n = there ? ovl_place_of(&call->ctx, text, buf, OVL_PATH_MAX) : 0;
    if (n < 0)
        memcpy(buf, text, strlen(text) + 1);
    else if (n == 0)
        buf[0] = '\0';
    ovl_ctx_reset(&call->ctx, mark);
}

int shim_dir_place(struct shim_call *call, int dirfd, char *buf)
{
    call->layer = SHIM_NO_LAYER;
    if (dirfd == AT_FDCWD)
        return shim_cwd(call, buf);
    enum shim_fd_kind kind = dirfd < 0 ? SHIM_FD_UNKNOWN : shim_fds_get(call, dirfd, buf);
    if (kind != SHIM_FD_UNKNOWN)
        return kind == SHIM_FD_REMOVED ? SHIM_REMOVED : kind == SHIM_FD_INSIDE;
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
        n = ovl_place_of(&call->ctx, text, buf, OVL_PATH_MAX);
        r = n == 0 ? SHIM_REMOVED : n > 0 || ovl_space_holds(call->ctx.space, text);
        if (n < 0)
            memcpy(buf, text, strlen(text) + 1);
    }
    if (r == 1 && is_deleted(text) && st.st_nlink == 0) {
        shim_removed_parent(call, dirfd, buf);
        r = SHIM_REMOVED;
    } else if (r == 0 && is_deleted(text) && st.st_nlink == 0 && is_written(call->ctx.space, text)) {
        buf[0] = '\0'; /* where it was, nobody knows any more */
        r = SHIM_REMOVED;
    }
    ovl_ctx_reset(&call->ctx, mark);
    return r;
}

int shim_dir_path(struct shim_call *call, int dirfd, char *buf)
{
    int r = shim_dir_place(call, dirfd, buf);
    return r == SHIM_REMOVED ? -ENOENT : r;
}

/* ---- once more ------------------------------------------------------------------------------------- */

bool shim_is_settled(const struct shim_call *call)
{
    return ovl_moves_settled(call->ctx.space, call->moves);
}

static void begin_anew(struct shim_call *call, struct shim_try *tried)
{
    ovl_moves_wait(&call->ctx);
    ovl_ctx_close(&call->ctx, tried->fds);
    ovl_ctx_reset(&call->ctx, tried->used);
    call->node = NULL;
    call->deep = false;
    call->removed = NULL;
    tried->n++;
}

static bool try_again(struct shim_call *call, struct shim_try *tried, bool is_doubtful, unsigned tries)
{
    if (tried->n >= tries || !is_doubtful)
        return false;
    begin_anew(call, tried);
    return true;
}

/* Whether what was found in an overlay may have been elsewhere by the time that something was done with it. */
static bool is_unsettled(const struct shim_call *call)
{
    return call->node && call->node->ovl && !shim_is_settled(call);
}

/* Who waits for the tree has always just let a directory move. */
bool shim_again(struct shim_call *call, struct shim_try *tried, long r)
{
    if (r == -ESTALE)
        return try_again(call, tried, true, TRIES);
    return try_again(call, tried, r < 0 && r != -EINTR && is_unsettled(call), CHANGE_TRIES);
}

bool shim_look_again(struct shim_call *call, struct shim_try *tried, long r)
{
    return try_again(call, tried, r == -ESTALE || is_unsettled(call), TRIES);
}

/* A walk from a directory inside was refused, perhaps only because one above it may not be searched.  Whether it is
 * worth another try. */
static bool anchor(struct shim_call *call, int dirfd, const char *merged)
{
    int fd = ovl_sys_open(dirfd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    return fd >= 0 && ovl_anchor(&call->ctx, fd, merged) == 0;
}

static int find_directory(struct shim_call *call, int dirfd, const char *merged, struct ovl_node *node)
{
    int r = ovl_resolve(&call->ctx, NULL, merged, 0, node);
    return r == -EACCES && anchor(call, dirfd, merged) ? ovl_resolve(&call->ctx, merged, ".", 0, node) : r;
}

int shim_dir_node(struct shim_call *call, int dirfd, char *buf, struct ovl_node *node)
{
    int place, r;
    struct shim_try tried = shim_try(call);
    do {
        call->moves = ovl_moves(call->ctx.space);
        place = shim_dir_place(call, dirfd, buf);
        r = place == SHIM_INSIDE ? find_directory(call, dirfd, buf, node) : 0;
    } while (try_again(call, &tried, !shim_is_settled(call), TRIES));
    return r < 0 ? r : place;
}

/* ---- finding ------------------------------------------------------------------------------------ */

bool shim_has_dotdot(const char *path)
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
    if (shim_has_dotdot(path) && !(base && call->deep && strcmp(path, "..") == 0))
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

/* A path below a removed directory: nothing is there, but itself (which the kernel shows) and the way up, as in
 * fs/namei.c.  1: go on at `base` (its parent) with *path; else the answer. */
static int leave_removed(struct shim_call *call, const char *base, const char **path, unsigned flags)
{
    const char *p = *path;
    while (*p == '/' || (*p == '.' && (p[1] == '/' || !p[1])))
        p++;
    if (!*p && (!(flags & OVL_CHANGE) || flags & OVL_NAME)) { /* the kernel makes or removes no "." */
        call->removed = base;
        return SHIM_OUTSIDE;
    }
    if (flags & OVL_LONG)
        return -ENOENT; /* realpath(3) begins with getcwd(3) */
    if (!*base || p[0] != '.' || p[1] != '.' || (p[2] != '/' && p[2]))
        return -ENOENT;
    p += 2;
    while (*p == '/')
        p++;
    *path = *p ? p : ".";
    return SHIM_INSIDE;
}

/* What is remembered of a directory outside is as old as its opening: before a walk begins there, its place now. */
static int refresh_outside(struct shim_call *call, int dirfd, char *base)
{
    size_t mark = call->ctx.used;
    char *now = ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX);
    struct stat st;
    ssize_t n = !now ? -ENOMEM : dirfd == AT_FDCWD ? ovl_sys_getcwd(now, OVL_PATH_MAX) : shim_fd_text(dirfd, now);
    bool removed = n == -ENOENT || (n > 0 && is_deleted(now) && ovl_sys_fstat(dirfd, &st) == 0 && st.st_nlink == 0);
    if (removed)
        shim_removed_parent(call, dirfd, base);
    else if (n > 0 && now[0] == '/')
        memcpy(base, now, strlen(now) + 1);
    ovl_ctx_reset(&call->ctx, mark);
    return removed ? SHIM_REMOVED : SHIM_OUTSIDE;
}

/* Where a relative path begins: SHIM_OUTSIDE when the kernel may have it as it is; SHIM_INSIDE to walk from base;
 * *left when that is the parent of a removed directory. */
static int find_base(struct shim_call *call, int dirfd, const char **path, unsigned flags, char *base, bool *left)
{
    int place = shim_dir_place(call, dirfd, base);
    if (place == SHIM_OUTSIDE) {
        if (base[0] != '/' || is_plain(call, base, dirfd, *path, flags))
            return SHIM_OUTSIDE;
        place = call->deep ? SHIM_OUTSIDE : refresh_outside(call, dirfd, base);
    }
    *left = place == SHIM_REMOVED;
    if (*left)
        return leave_removed(call, base, path, flags);
    return place < 0 ? place : SHIM_INSIDE;
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

/* SHIM_INSIDE, at this place. */
static int stand_on(struct shim_call *call, struct ovl_node *found, struct ovl_node **node)
{
    call->node = *node = found;
    return SHIM_INSIDE;
}

static int find_once(struct shim_call *call, int *dirfd, const char **path, unsigned flags, struct ovl_node **node)
{
    struct ovl_ctx *ctx = &call->ctx;
    char *base = NULL;
    bool left = false;
    if (**path != '/') {
        base = ovl_ctx_alloc(ctx, OVL_PATH_MAX);
        int r = base ? find_base(call, *dirfd, path, flags, base, &left) : -ENOMEM;
        if (r != SHIM_INSIDE)
            return r == SHIM_OUTSIDE ? settle(call, path) : r;
    } else if (!ovl_space_holds(ctx->space, *path) && is_plain(call, NULL, AT_FDCWD, *path, flags)) {
        return settle(call, path);
    }
    if (base && call->deep)
        return -ENAMETOOLONG;
    struct ovl_node *found = ovl_node_new(ctx);
    if (!found)
        return -ENOMEM;
    int r = ovl_resolve(ctx, base, *path, flags, found);
    if (r == -EACCES && base && !left && anchor(call, *dirfd, base))
        r = ovl_resolve(ctx, base, *path, flags, found);
    /* /proc/self is shorter than what it stands for: the kernel may have room where the walk has none. */
    if (r == -ENAMETOOLONG && !(flags & OVL_CHANGE) && ovl_has_prefix(*path, "/proc/self/"))
        return settle(call, path);
    if (r < 0)
        return r;
    if (left && strcmp(*path, ".") == 0)
        found->last = OVL_LAST_DOTDOT;
    if (found->ovl)
        return stand_on(call, found, node);
    call->node = found;
    *dirfd = AT_FDCWD;
    *path = found->path;
    return SHIM_OUTSIDE;
}

static int find_known(struct shim_call *call, const char *path, unsigned flags, struct ovl_node **node)
{
    struct ovl_ctx *ctx = &call->ctx;
    struct ovl_glance own;
    const struct ovl_glance *glance = call->glance;
    call->glance = NULL; /* a later look is a new one */
    if (!glance) {
        own.moves = ovl_moves(ctx->space);
        ovl_glance(ctx->space, path, strlen(path), &own);
        glance = &own;
    }
    if (glance->path != path)
        return SHIM_OUTSIDE;
    call->moves = glance->moves;
    const size_t mark = ctx->used;
    struct ovl_node *found = ovl_node_new(ctx);
    if (found && ovl_resolve_known(ctx, glance, flags, found) > 0)
        return stand_on(call, found, node);
    ovl_ctx_reset(ctx, mark);
    return SHIM_OUTSIDE;
}

static int find_anew(struct shim_call *call, int *dirfd, const char **path, unsigned flags, struct ovl_node **node)
{
    const char *given = *path;
    const int at = *dirfd;
    int r;
    struct shim_try tried = shim_try(call);
    do {
        *dirfd = at;
        *path = given;
        *node = NULL;
        call->moves = ovl_moves(call->ctx.space);
        r = find_once(call, dirfd, path, flags, node);
        /* Nothing is missing, or looked for elsewhere, because its directory is just being renamed. */
    } while (try_again(call, &tried, !shim_is_settled(call), TRIES));
    return r;
}

int shim_find(struct shim_call *call, int *dirfd, const char **path, unsigned flags, struct ovl_node **node)
{
    *node = NULL;
    if (call->ctx.size == 0)
        return -ENOMEM;
    call->asked = *path;
    call->at = *dirfd;
    if (!*path || !**path)
        return SHIM_OUTSIDE;
    if (**path == '/' && find_known(call, *path, flags, node) == SHIM_INSIDE)
        return SHIM_INSIDE;
    return find_anew(call, dirfd, path, flags, node);
}

int shim_copy_up(struct shim_call *call, struct ovl_node *node, unsigned flags)
{
    int r = ovl_copy_up(&call->ctx, node, OVL_COPY_ALL);
    return r == 0 && flags & OVL_FOLLOW && S_ISLNK(node->st.st_mode) ? -ESTALE : r;
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
    if (fd < 0 || ovl_sys_fstat(fd, &here) < 0 || shim_fd_text(fd, text) <= 0 || text[0] != '/')
        return 0;
    ssize_t n = ovl_linked_path(ctx->space, text, merged, OVL_PATH_MAX);
    if (n < 0)
        n = ovl_place_of(ctx, text, merged, OVL_PATH_MAX);
    if (n == -ENOENT)
        return 0;
    if (n > 0 && ovl_resolve(ctx, NULL, merged, 0, found) == 0 && found->ovl && found->exists) {
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
