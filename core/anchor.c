/* SPDX-License-Identifier: MIT
 *
 * Anchors: directories that a call begins at by a descriptor, because the way to them from above is barred.
 *
 * The kernel asks of a directory that is current or open only that it may be searched itself, whatever has become of
 * those above it since.  A walk by layer path is refused there.  The shim then hands the kernel's directory over, and
 * layer paths below it are written /proc/self/fd/N/./rest for the rest of the call.  What must hold: only the directory
 * of the upper can be an anchor, because above a lower one nobody can say what the upper has; and only where it is
 * certain that nothing of the lower layers merges to it, because what an upper directory further up hides can't be
 * looked at.  Everything else stays refused (EACCES).
 */
#include "types.h"

#define PREFIX_MAX OVL_ANCHOR_PREFIX_MAX

static int fd_of(const struct ovl_ctx *ctx, const struct ovl_anchor *a)
{
    return ctx->fd[a->slot];
}

/* The path of the directory itself: one that was reached by ".." need not be searchable. */
static void write_own(const struct ovl_ctx *ctx, const struct ovl_anchor *a, char *out)
{
    ovl_fd_path(ctx->fd[a->below < 0 ? a->slot : a->below], a->below < 0 ? "/." : "/..", out, PREFIX_MAX);
}

/* ---- what may be one --------------------------------------------------------------------------------- */

/* Whether the kernel's name of the directory is that of the merged one in the upper. */
static bool is_in_upper(struct ovl_ctx *ctx, const struct ovl *o, int fd, const char *rel)
{
    char link[PREFIX_MAX];
    size_t mark = ctx->used;
    size_t root = o->layer[0].length;
    char *text = ovl_ctx_alloc(ctx, OVL_PATH_MAX);
    ovl_fd_path(fd, "", link, PREFIX_MAX);
    ssize_t n = text ? ovl_sys_readlink(link, text, OVL_PATH_MAX - 1) : -ENOMEM;
    bool same = n > 0 && (size_t)n == root + ovl_strlen(rel) && memcmp(text, o->layer[0].path, root) == 0 &&
                memcmp(text + root, rel, (size_t)n - root) == 0;
    ovl_ctx_reset(ctx, mark);
    return same;
}

/* Whether some lower layer has a directory at rel, which may merge: 0, or -EACCES also where that can't be seen. */
static int check_lower(struct ovl_ctx *ctx, const struct ovl *o, const char *rel)
{
    size_t mark = ctx->used;
    int fds = ctx->fds;
    struct stat st;
    char *real = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    int r = real ? -ENOENT : -ENOMEM;
    for (unsigned k = 1; k < o->roots && (r == -ENOENT || r == -ENOTDIR); k++) {
        r = ovl_real_path(ctx, o->layer[k].path, rel, real);
        if (r == 0)
            r = ovl_sys_lstat(real, &st);
        if (r == 0 && S_ISDIR(st.st_mode))
            r = -EACCES;
        ovl_ctx_close(ctx, fds);
    }
    ovl_ctx_reset(ctx, mark);
    return r == -ENOENT || r == -ENOTDIR ? 0 : r;
}

/* Whether the directory is of the upper alone, and in *impure what overlayfs says of it. */
static int check(struct ovl_ctx *ctx, const struct ovl *o, int fd, const char *path, bool *impure)
{
    char real[PREFIX_MAX];
    struct ovl_marks marks;
    const char *rel = ovl_relative(o, path);
    ovl_fd_path(fd, "/.", real, PREFIX_MAX);
    int r = is_in_upper(ctx, o, fd, rel) ? ovl_read_marks(real, &marks) : -EACCES;
    if (r == 0 && marks.redirect)
        r = -EACCES;
    if (r < 0)
        return r;
    *impure = marks.impure != 0;
    r = marks.opaque == 'y' ? 1 : ovl_has_opaque_marker(ctx, real);
    return r < 0 ? r : r ? 0 : check_lower(ctx, o, rel);
}

static struct ovl *overlay_at(const struct ovl_ctx *ctx, const char *path)
{
    const struct ovl_region *region = ovl_region_of(ctx->space, path);
    return region && region->ovl && region->ovl->has_upper ? region->ovl : NULL;
}

/* ---- making them -------------------------------------------------------------------------------------- */

/* An anchor's path has memory of the other end, which is given back with the descriptor, not with what was allocated
 * since. */
static char *keep_path(struct ovl_ctx *ctx, const char *path, size_t length)
{
    if (ctx->size - ctx->used < length + 1)
        return NULL;
    ctx->size -= length + 1;
    char *kept = ctx->memory + ctx->size;
    memcpy(kept, path, length + 1);
    return kept;
}

/* The descriptor under a high number: what the program opens in this call gets the lowest free one (CONTRACT 4.6). */
static int move_up(int fd)
{
    enum { HIGHEST = 1024, ROOM = 16 };
    struct rlimit limit;
    if (ovl_sys_prlimit(RLIMIT_NOFILE, NULL, &limit) < 0 || limit.rlim_cur <= ROOM)
        return fd;
    rlim_t top = limit.rlim_cur < HIGHEST ? limit.rlim_cur : HIGHEST;
    int high = (int)ovl_sys_raw(SYS_fcntl, fd, F_DUPFD_CLOEXEC, (long)(top - ROOM), 0, 0, 0);
    if (high < 0)
        return fd;
    ovl_sys_close(fd);
    return high;
}

int ovl_anchor(struct ovl_ctx *ctx, int fd, const char *path)
{
    const int most = (int)(sizeof ctx->anchor / sizeof *ctx->anchor), room = (int)(sizeof ctx->fd / sizeof *ctx->fd);
    bool impure = false;
    struct ovl *o = overlay_at(ctx, path);
    size_t length = ovl_strlen(path);
    int r = !o || ctx->anchors == most || ctx->fds == room ? -EACCES : check(ctx, o, fd, path, &impure);
    char *kept = r == 0 ? keep_path(ctx, path, length) : NULL;
    if (r == 0 && !kept)
        r = -ENOMEM;
    if (r < 0) {
        ovl_sys_close(fd);
        return r;
    }
    ctx->anchor[ctx->anchors++] = (struct ovl_anchor){o, kept, length, ctx->fds, -1, impure};
    ctx->fd[ctx->fds++] = move_up(fd);
    return 0;
}

void ovl_anchors_drop(struct ovl_ctx *ctx)
{
    while (ctx->anchors > 0 && ctx->anchor[ctx->anchors - 1].slot >= ctx->fds)
        ctx->size += ctx->anchor[--ctx->anchors].length + 1;
}

static struct ovl_anchor *anchor_at(struct ovl_ctx *ctx, const char *path, size_t length)
{
    for (int i = ctx->anchors; i-- > 0;) {
        struct ovl_anchor *a = &ctx->anchor[i];
        if (a->length == length && memcmp(a->path, path, length) == 0)
            return a;
    }
    return NULL;
}

int ovl_anchor_above(struct ovl_ctx *ctx, const char *path, size_t length)
{
    struct ovl_anchor *a = anchor_at(ctx, path, length);
    size_t up = length;
    while (up > 0 && path[up - 1] != '/')
        up--;
    if (!a || up <= 1)
        return -EACCES;
    int fd = ovl_sys_open(fd_of(ctx, a), "..", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    size_t mark = ctx->used;
    char *parent = ovl_ctx_alloc(ctx, up);
    if (!parent) {
        ovl_sys_close(fd);
        return -ENOMEM;
    }
    memcpy(parent, path, up - 1);
    parent[up - 1] = '\0';
    int below = a->slot;
    int r = ovl_anchor(ctx, fd, parent);
    if (r == 0)
        ctx->anchor[ctx->anchors - 1].below = below;
    ovl_ctx_reset(ctx, mark);
    return r;
}

/* ---- using them --------------------------------------------------------------------------------------- */

const struct ovl_anchor *ovl_anchor_of(const struct ovl_ctx *ctx, const struct ovl *o, const char *path, size_t length)
{
    const struct ovl_anchor *best = NULL;
    for (int i = 0; i < ctx->anchors; i++) {
        const struct ovl_anchor *a = &ctx->anchor[i];
        if (a->ovl == o && length >= a->length && ovl_is_below(path, a->path, a->length) &&
            (!best || a->length >= best->length))
            best = a;
    }
    return best;
}

size_t ovl_anchor_root(const struct ovl_ctx *ctx, const char *root, const char *rel, size_t length, bool itself,
                       char *prefix)
{
    const struct ovl_anchor *best = NULL;
    size_t skipped = 0;
    for (int i = 0; i < ctx->anchors; i++) {
        const struct ovl_anchor *a = &ctx->anchor[i];
        const char *own = ovl_relative(a->ovl, a->path);
        size_t n = ovl_strlen(own);
        if (a->ovl->layer[0].path == root && length >= n && ovl_is_below(rel, own, n) && n >= skipped) {
            best = a;
            skipped = n;
        }
    }
    *prefix = '\0';
    if (best && itself && skipped == length)
        write_own(ctx, best, prefix);
    else if (best)
        ovl_fd_path(fd_of(ctx, best), "/.", prefix, PREFIX_MAX);
    return skipped;
}

int ovl_anchor_stat(const struct ovl_ctx *ctx, const struct ovl_anchor *a, char *real, struct stat *st)
{
    write_own(ctx, a, real);
    return ovl_sys_fstat(fd_of(ctx, a), st);
}
