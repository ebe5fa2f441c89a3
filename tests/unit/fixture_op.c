/* SPDX-License-Identifier: MIT
 *
 * Core's operations on merged paths, each from a fresh look: see fixture.h.
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

int try_resolve(struct fixture *f, const char *path, unsigned flags, struct ovl_node **node)
{
    *node = ovl_node_new(&f->ctx);
    assert_non_null(*node);
    return ovl_resolve(&f->ctx, "/", merged(f, path), flags, *node);
}

/* Begin an operation: the context is emptied. */
static struct ovl_node *begin(struct fixture *f)
{
    ovl_ctx_close(&f->ctx, 0);
    ovl_ctx_reset(&f->ctx, 0);
    struct ovl_node *node = ovl_node_new(&f->ctx);
    assert_non_null(node);
    return node;
}

static int begin_at(struct fixture *f, const char *path, unsigned flags, struct ovl_node **node)
{
    *node = begin(f);
    return ovl_resolve(&f->ctx, "/", merged(f, path), flags, *node);
}

/* For what is changed: it lies inside, unless somebody has changed a layer meanwhile. */
static int begin_inside(struct fixture *f, const char *path, unsigned flags, struct ovl_node **node)
{
    int r = begin_at(f, path, flags, node);
    return r == 0 && !(*node)->ovl ? -EXDEV : r;
}

struct ovl_node *find(struct fixture *f, const char *path)
{
    struct ovl_node *node;
    assert_int_equal(begin_at(f, path, 0, &node), 0);
    return node;
}

int op_open(struct fixture *f, const char *path, int flags, mode_t mode)
{
    struct ovl_node *node;
    bool follow = !(flags & O_NOFOLLOW) && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL);
    int r = begin_inside(f, path, follow ? OVL_FOLLOW : 0, &node);
    return r < 0 ? r : ovl_open(&f->ctx, node, flags | O_CLOEXEC, mode);
}

int op_write(struct fixture *f, const char *path, int flags, mode_t mode, const char *text)
{
    int fd = op_open(f, path, flags, mode);
    if (fd < 0)
        return fd;
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    return 0;
}

int op_mkdir(struct fixture *f, const char *path, mode_t mode)
{
    struct ovl_node *node;
    int r = begin_inside(f, path, OVL_CHANGE, &node);
    return r < 0 ? r : ovl_mkdir(&f->ctx, node, mode);
}

int op_mknod(struct fixture *f, const char *path, mode_t mode, dev_t dev)
{
    struct ovl_node *node;
    int r = begin_inside(f, path, OVL_CHANGE, &node);
    return r < 0 ? r : ovl_mknod(&f->ctx, node, mode, dev);
}

int op_symlink(struct fixture *f, const char *target, const char *path)
{
    struct ovl_node *node;
    int r = begin_inside(f, path, OVL_CHANGE, &node);
    return r < 0 ? r : ovl_symlink(&f->ctx, target, node);
}

int op_unlink(struct fixture *f, const char *path)
{
    struct ovl_node *node;
    int r = begin_inside(f, path, OVL_CHANGE, &node);
    return r < 0 ? r : ovl_unlink(&f->ctx, node);
}

int op_rmdir(struct fixture *f, const char *path)
{
    struct ovl_node *node;
    int r = begin_inside(f, path, OVL_CHANGE, &node);
    return r < 0 ? r : ovl_rmdir(&f->ctx, node);
}

int op_link(struct fixture *f, const char *from, const char *to)
{
    struct ovl_node *a, *b = NULL;
    int r = begin_inside(f, from, OVL_CHANGE, &a);
    if (r == 0)
        r = try_resolve(f, to, OVL_CHANGE, &b);
    return r < 0 ? r : ovl_link(&f->ctx, a, b);
}

int op_rename(struct fixture *f, const char *from, const char *to, unsigned flags)
{
    struct ovl_node *a, *b = NULL;
    int r = begin_inside(f, from, OVL_CHANGE, &a);
    if (r == 0)
        r = try_resolve(f, to, OVL_CHANGE, &b);
    return r < 0 ? r : ovl_rename(&f->ctx, a, b, flags);
}

int op_copy_up(struct fixture *f, const char *path, enum ovl_copy how)
{
    struct ovl_node *node;
    int r = begin_inside(f, path, OVL_CHANGE, &node);
    return r < 0 ? r : ovl_copy_up(&f->ctx, node, how);
}

int op_stat(struct fixture *f, const char *path, struct stat *st)
{
    struct ovl_node *node;
    int r = begin_at(f, path, 0, &node);
    return r < 0 ? r : ovl_stat(&f->ctx, node, st);
}

int op_access(struct fixture *f, const char *path, int mode)
{
    struct ovl_node *node;
    int r = begin_at(f, path, OVL_FOLLOW, &node);
    return r < 0 ? r : ovl_access(&f->ctx, node, mode, true);
}

const char *merged_text(struct fixture *f, const char *path)
{
    static char out[4][OVL_PATH_MAX];
    static unsigned next;
    char *text = out[next++ % 4];
    int fd = op_open(f, path, O_RDONLY, 0);
    ssize_t n = fd < 0 ? snprintf(text, OVL_PATH_MAX, "!%d", -fd) : read(fd, text, OVL_PATH_MAX - 1);
    if (fd >= 0)
        close(fd);
    assert_true(n >= 0);
    text[n] = '\0';
    return text;
}

const char *names(struct fixture *f, const char *path)
{
    static char out[65536];
    struct ovl_listing listing;
    const struct ovl_node *dir = find(f, path);
    int r = ovl_list(&f->ctx, dir, &listing);
    size_t n = 0;
    out[0] = '\0';
    assert_int_equal(r, 0);
    assert_true(listing.count >= 2);
    assert_string_equal(listing.entry[0].name, ".");
    assert_string_equal(listing.entry[1].name, "..");
    for (size_t i = 2; i < listing.count; i++) {
        assert_int_equal(listing.entry[i].length, strlen(listing.entry[i].name));
        n += (size_t)snprintf(out + n, sizeof out - n, "%s ", listing.entry[i].name);
    }
    ovl_listing_free(&listing);
    return out;
}
