/* SPDX-License-Identifier: MIT
 *
 * Joining layer paths, and making any of them short enough for the kernel.
 *
 * A merged path that the kernel would take can have a layer path that it would not (the layer's
 * root is longer than the mount).  Such a path is entered through a directory descriptor that
 * lives as long as the call: /proc/self/fd/N/rest.
 */
#include "types.h"

/* Open the directory that `path` (longer than the kernel takes) leads to, up to `end`. */
static int open_directory(char *path, char *end, uint64_t resolve)
{
    const struct ovl_open_how how = {.flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, .resolve = resolve};
    int fd = AT_FDCWD;
    for (char *at = path; at < end;) {
        char *cut = end;
        if (cut - at >= OVL_REAL_MAX)
            for (cut = at + OVL_REAL_MAX - 1; *cut != '/'; cut--)
                if (cut == at)
                    return -ENAMETOOLONG;
        char kept = *cut;
        *cut = '\0';
        int next = resolve ? ovl_sys_openat2(fd, at, &how) : ovl_sys_open(fd, at, (int)how.flags, 0);
        *cut = kept;
        if (fd != AT_FDCWD)
            ovl_sys_close(fd);
        if (next < 0)
            return next;
        fd = next;
        at = *cut == '/' ? cut + 1 : cut;
    }
    return fd;
}

ssize_t ovl_fd_path(int fd, const char *behind, char *out, size_t n)
{
    char number[24];
    ssize_t at = ovl_append(out, n, 0, OVL_FD_PREFIX);
    if (at >= 0)
        at = ovl_append(out, n, (size_t)at, ovl_decimal(number, (uint64_t)fd));
    return at < 0 ? at : ovl_append(out, n, (size_t)at, behind);
}

static int shorten(struct ovl_ctx *ctx, char *path, size_t length, char *out)
{
    if (ctx->fds == (int)(sizeof ctx->fd / sizeof *ctx->fd))
        return -ENAMETOOLONG;
    char *cut = path + length - (OVL_REAL_MAX - OVL_FD_PATH_MAX);
    while (*cut && *cut != '/')
        cut++;
    if (!*cut)
        return -ENAMETOOLONG;
    int fd = open_directory(path, cut, 0);
    if (fd < 0)
        return fd;
    ctx->fd[ctx->fds++] = fd;
    ssize_t n = ovl_fd_path(fd, cut, out, OVL_REAL_MAX);
    return n < 0 ? (int)n : 0;
}

/* out = root + dir[0..dir_length) + "/" + prefix + name, or without the slash if name is NULL. */
static int join(struct ovl_ctx *ctx, const char *root, const char *dir, size_t dir_length, const char *prefix,
                const char *name, char *out)
{
    char anchor[OVL_ANCHOR_PREFIX_MAX];
    if (ctx->anchors) {
        size_t skipped = ovl_anchor_root(ctx, root, dir, dir_length, !name, anchor);
        root = *anchor ? anchor : root;
        dir += skipped;
        dir_length -= skipped;
    }
    size_t root_length = ovl_strlen(root);
    size_t prefix_length = ovl_strlen(prefix);
    size_t name_length = name ? ovl_strlen(name) + 1 : 0;
    size_t length = root_length + dir_length + prefix_length + name_length;
    size_t mark = ctx->used;
    char *to = out;
    if (length >= OVL_REAL_MAX && !(to = ovl_ctx_alloc(ctx, length + 1)))
        return -ENAMETOOLONG;
    char *p = to;
    memcpy(p, root, root_length);
    p += root_length;
    memcpy(p, dir, dir_length);
    p += dir_length;
    if (name) {
        *p++ = '/';
        memcpy(p, prefix, prefix_length);
        p += prefix_length;
        memcpy(p, name, name_length - 1);
        p += name_length - 1;
    }
    if (p == to)
        *p++ = '/';
    *p = '\0';
    if (to == out)
        return 0;
    int r = shorten(ctx, to, length, out);
    ovl_ctx_reset(ctx, mark);
    return r;
}

bool ovl_is_plain_directory(struct ovl_ctx *ctx, const char *root, const char *rel, size_t rel_length)
{
    size_t mark = ctx->used;
    size_t length = ovl_strlen(root);
    char *path = ovl_ctx_alloc(ctx, length + rel_length + 1);
    int fd = -1;
    if (path) {
        memcpy(path, root, length);
        memcpy(path + length, rel, rel_length);
        path[length + rel_length] = '\0';
        fd = open_directory(path, path + length + rel_length, OVL_RESOLVE_NO_SYMLINKS);
    }
    ovl_ctx_reset(ctx, mark);
    if (fd < 0)
        return false;
    ovl_sys_close(fd);
    return true;
}

int ovl_real_start(const char **real)
{
    if (!ovl_has_prefix(*real, OVL_FD_PREFIX))
        return AT_FDCWD;
    *real += sizeof OVL_FD_PREFIX - 1;
    int fd = (int)ovl_parse_decimal(real);
    while (**real == '/')
        ++*real;
    return fd;
}

int ovl_real_path(struct ovl_ctx *ctx, const char *root, const char *rel, char *out)
{
    return join(ctx, root, rel, ovl_strlen(rel), "", NULL, out);
}

int ovl_real_of_top(struct ovl_ctx *ctx, struct ovl_node *node)
{
    const struct ovl_layer *layer = &node->ovl->layer[node->top];
    const char *rel = ovl_relative(node->ovl, node->path);
    const size_t length = node->length - (size_t)(rel - node->path);
    if (ctx->anchors || layer->length + length >= OVL_REAL_MAX || layer->length + length == 0)
        return ovl_real_path(ctx, layer->path, rel, node->real);
    memcpy(node->real, layer->path, layer->length);
    memcpy(node->real + layer->length, rel, length + 1);
    return 0;
}

int ovl_real_parent(struct ovl_ctx *ctx, const struct ovl_node *node, unsigned layer, char *out)
{
    const struct ovl *o = node->ovl;
    const char *rel = ovl_relative(o, node->path);
    const size_t length = ovl_parent_length(node);
    return join(ctx, o->layer[layer].path, rel, length > o->mount_length + 1 ? length - o->mount_length : 0, "", NULL,
                out);
}

int ovl_real_sibling(struct ovl_ctx *ctx, const char *root, const char *rel, const char *prefix, char *out)
{
    const char *slash = ovl_strrchr(rel, '/');
    return join(ctx, root, rel, (size_t)(slash - rel), prefix, slash + 1, out);
}

int ovl_real_child(struct ovl_ctx *ctx, const char *root, const char *rel, const char *name, char *out)
{
    return join(ctx, root, rel, ovl_strlen(rel), "", name, out);
}

const struct ovl_region *ovl_region_at(const struct ovl_space *space, const char *path, size_t length)
{
    for (unsigned i = 0; i < space->regions; i++)
        if (space->region[i].length == length && memcmp(space->region[i].path, path, length) == 0)
            return &space->region[i];
    return NULL;
}
