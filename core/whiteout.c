/* SPDX-License-Identifier: MIT
 *
 * Whiteouts and opaque directories: reading every form, writing the one that is configured.
 *
 * Read are .wh.NAME files (OCI image specification, layer.md), 0/0 character devices and xattr
 * whiteouts (overlayfs.rst), and both kinds of opaque mark.  What must hold: a mark never
 * shows, and one that we can't read for lack of CAP_SYS_ADMIN (trusted.) is as if it were not there.
 */
#include "types.h"

#define XATTR_OPAQUE "overlay.opaque"
#define XATTR_WHITEOUT "overlay.whiteout"
#define XATTR_REDIRECT "overlay.redirect"
#define XATTR_METACOPY "overlay.metacopy"
#define XATTR_IMPURE "overlay.impure"

static const char *const name_space[] = {"user.", "trusted."};

/* Errors that mean that this caller sees no such mark; any other must not make a hidden name appear. */
static bool is_no_mark(ssize_t r)
{
    return r == -ENODATA || r == -EOPNOTSUPP || r == -EACCES || r == -EPERM || r == -ENOENT || r == -ENOTDIR;
}

/* Whether a list of names, as listxattr(2) gives it, has one of the two name spaces' attribute of this name. */
static bool lists(const char *names, size_t n, const char *name)
{
    for (size_t at = 0; at < n; at += ovl_strlen(names + at) + 1)
        for (size_t i = 0; i < sizeof name_space / sizeof *name_space; i++)
            if (ovl_has_prefix(names + at, name_space[i]) && ovl_streq(names + at + ovl_strlen(name_space[i]), name))
                return true;
    return false;
}

/* Whether one of the two name spaces has the attribute, in *value its first byte or, where it is empty or long, '?':
 * 1, 0, or an error. */
static int read_mark(const char *real, const char *name, char *value)
{
    char full[64];
    char got[2];
    for (size_t i = 0; i < sizeof name_space / sizeof *name_space; i++) {
        ssize_t n = ovl_append(full, sizeof full, 0, name_space[i]);
        ovl_append(full, sizeof full, (size_t)n, name);
        n = ovl_sys_lgetxattr(real, full, got, sizeof got);
        if (n <= 0)
            got[0] = '?';
        *value = got[0];
        if (n >= 0 || n == -ERANGE)
            return 1;
        if (!is_no_mark(n))
            return (int)n;
    }
    return 0;
}

/* The same where the list of the object's attributes has the name, or could not be had (n < 0). */
static int read_listed(const char *real, const char *names, ssize_t n, const char *name, char *value)
{
    *value = 0;
    return n < 0 || lists(names, (size_t)n, name) ? read_mark(real, name, value) : 0;
}

int ovl_read_marks(const char *real, struct ovl_marks *marks)
{
    char names[256];
    *marks = (struct ovl_marks){0};
    ssize_t n = ovl_sys_llistxattr(real, names, sizeof names); /* most have none at all, which one call tells */
    if (n == 0 || is_no_mark(n))
        return 0;
    if (n < 0 && n != -ERANGE) /* too many to list: each is asked for */
        return (int)n;
    int r = read_listed(real, names, n, XATTR_OPAQUE, &marks->opaque);
    if (r >= 0)
        r = read_listed(real, names, n, XATTR_REDIRECT, &marks->redirect);
    if (r >= 0)
        r = read_listed(real, names, n, XATTR_IMPURE, &marks->impure);
    return r < 0 ? r : 0;
}

/* Whether a directory's opaque mark is this one: 1, 0, or an error. */
static int is_marked(const char *real, char mark)
{
    struct ovl_marks marks;
    int r = ovl_read_marks(real, &marks);
    return r < 0 ? r : marks.opaque == mark;
}

/* Half an answer is none. */
static int refuse(const char *real, const char *what)
{
    ovl_log_line(OVL_LOG_ERROR, real, what, "; copy the tree that overlayfs shows to a layer of its own", NULL);
    return -EIO;
}

int ovl_refuse_redirect(const char *real)
{
    return refuse(real, ": a directory that overlayfs has renamed (redirect_dir=on)");
}

int ovl_check_content(const char *real)
{
    char value;
    int r = read_mark(real, XATTR_METACOPY, &value);
    return r > 0 ? refuse(real, ": a file whose content overlayfs left below (metacopy=on)") : r;
}

int ovl_is_whiteout(struct ovl_ctx *ctx, const char *real, const struct stat *st)
{
    char value;
    if (ovl_is_whiteout_device(st))
        return 1;
    if (!S_ISREG(st->st_mode) || st->st_size != 0)
        return 0;
    int r = read_mark(real, XATTR_WHITEOUT, &value);
    if (r <= 0)
        return r;
    size_t mark = ctx->used;
    size_t dir_length = (size_t)(ovl_strrchr(real, '/') - real);
    char *dir = ovl_ctx_alloc(ctx, dir_length + 1);
    if (!dir)
        return -ENOMEM;
    memcpy(dir, real, dir_length);
    dir[dir_length] = '\0';
    r = is_marked(dir_length ? dir : "/", 'x');
    ovl_ctx_reset(ctx, mark);
    return r;
}

/* 1 if path is a regular file, 0 if it is not there or something else. */
static int is_marker_file(const char *path)
{
    struct stat st;
    int r = ovl_sys_lstat(path, &st);
    if (r == -ENOENT || r == -ENOTDIR || r == -ENAMETOOLONG)
        return 0;
    return r < 0 ? r : S_ISREG(st.st_mode);
}

int ovl_has_whiteout(struct ovl_ctx *ctx, const char *root, const char *rel)
{
    if (ovl_strlen(ovl_strrchr(rel, '/') + 1) + OVL_WH_PREFIX_LENGTH > OVL_NAME_MAX)
        return 0;
    size_t mark = ctx->used;
    int fds = ctx->fds;
    char *path = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    if (!path)
        return -ENOMEM;
    int r = ovl_real_sibling(ctx, root, rel, OVL_WH_PREFIX, path);
    if (r == 0)
        r = is_marker_file(path);
    ovl_ctx_close(ctx, fds);
    ovl_ctx_reset(ctx, mark);
    return r;
}

/* Whether a directory that may be read but not searched lists the marker: what it hides must not be listed. */
static int lists_marker(struct ovl_ctx *ctx, const char *real)
{
    enum { SIZE = 4096 };
    size_t mark = ctx->used;
    char *buf = ovl_ctx_alloc(ctx, SIZE);
    int fd = buf ? ovl_sys_open(AT_FDCWD, real, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0) : -ENOMEM;
    int r = fd < 0 && fd != -EACCES ? fd : 0;
    ssize_t n = 0;
    while (fd >= 0 && (n = ovl_sys_getdents(fd, buf, SIZE)) > 0) {
        for (ssize_t at = 0; at < n;) {
            const struct ovl_dirent *d = (const struct ovl_dirent *)(void *)(buf + at);
            if (ovl_streq(d->d_name, OVL_WH_OPAQUE))
                r = 1;
            at += d->d_reclen;
        }
    }
    if (fd >= 0)
        ovl_sys_close(fd);
    ovl_ctx_reset(ctx, mark);
    return n < 0 ? (int)n : r;
}

int ovl_has_opaque_marker(struct ovl_ctx *ctx, const char *real)
{
    size_t mark = ctx->used;
    char *path = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    if (!path)
        return -ENOMEM;
    ssize_t n = ovl_append(path, OVL_REAL_MAX, 0, real);
    if (n >= 0)
        n = ovl_append(path, OVL_REAL_MAX, (size_t)n, "/" OVL_WH_OPAQUE);
    int r = n < 0 ? 0 : is_marker_file(path);
    ovl_ctx_reset(ctx, mark);
    return r == -EACCES ? lists_marker(ctx, real) : r;
}

int ovl_is_opaque(struct ovl_ctx *ctx, const char *real)
{
    int r = is_marked(real, 'y');
    return r != 0 ? r : ovl_has_opaque_marker(ctx, real);
}

int ovl_may_hold_xattr_whiteouts(const char *real)
{
    return is_marked(real, 'x');
}

bool ovl_is_private_xattr(const char *name)
{
    return ovl_has_prefix(name, "user.overlay.") || ovl_has_prefix(name, "trusted.overlay.");
}

/* ---- writing -------------------------------------------------------------------------------- */

static bool is_too_long(const struct ovl_node *node)
{
    return node->length - node->name + OVL_WH_PREFIX_LENGTH > OVL_NAME_MAX;
}

bool ovl_whiteout_takes_name(const struct ovl_node *node)
{
    return node->ovl->whiteout == OVL_WHITEOUT_KERNEL || is_too_long(node);
}

/* Mark a directory as one that can hold the xattr form. */
static int mark_directory(const char *dir)
{
    int marked = is_marked(dir, 'x');
    if (marked != 0)
        return marked < 0 ? marked : 0;
    int r = ovl_sys_lsetxattr(dir, "user." XATTR_OPAQUE, "x", 1, 0);
    return r == -EOPNOTSUPP ? -ENAMETOOLONG : r;
}

/* The directory of a name in the upper. */
static int mark_parent(struct ovl_ctx *ctx, const struct ovl_node *node)
{
    char *dir = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    int r = dir ? ovl_upper_path(ctx, node, dir) : -ENOMEM;
    if (r < 0)
        return r;
    *(char *)(uintptr_t)ovl_strrchr(dir, '/') = '\0';
    return mark_directory(dir);
}

int ovl_whiteout_allow(struct ovl_ctx *ctx, const struct ovl_node *node)
{
    ovl_cache_expect_whiteout(node);
    if (node->ovl->whiteout == OVL_WHITEOUT_KERNEL)
        return 0;
    size_t mark = ctx->used;
    int r = mark_parent(ctx, node);
    ovl_ctx_reset(ctx, mark);
    return r;
}

/* The xattr form is made aside and moved to its place, so that it is never seen as an empty file. */
static int make_attribute_file(const char *aside)
{
    int r = ovl_sys_mknod(aside, S_IFREG | OVL_WHITEOUT_MODE, 0);
    return r < 0 ? r : ovl_sys_lsetxattr(aside, "user." XATTR_WHITEOUT, "y", 1, 0);
}

static int make_xattr_form(struct ovl_ctx *ctx, const struct ovl_node *node, const char *aside)
{
    int r = make_attribute_file(aside);
    if (r == 0)
        r = mark_parent(ctx, node);
    return r == -EOPNOTSUPP ? -ENAMETOOLONG : r;
}

int ovl_whiteout_attribute(const char *dir, const char *aside)
{
    int r = make_attribute_file(aside);
    return r < 0 ? r : mark_directory(dir);
}

static int make_at_name(struct ovl_ctx *ctx, const struct ovl_node *node, char *aside, char *place)
{
    int r = ovl_work_name(node->ovl, aside);
    if (r == 0)
        r = ovl_upper_path(ctx, node, place);
    if (r < 0)
        return r;
    r = is_too_long(node) && node->ovl->whiteout == OVL_WHITEOUT_OCI ? make_xattr_form(ctx, node, aside)
                                                                     : ovl_sys_mknod(aside, S_IFCHR, 0);
    if (r == 0) {
        struct stat st;
        bool replaces_dir = ovl_sys_lstat(place, &st) == 0 && S_ISDIR(st.st_mode);
        unsigned flags = replaces_dir ? 2u /* RENAME_EXCHANGE */ : 0;
        struct ovl_widened widened;
        r = ctx->ops->rename(aside, place, flags);
        /* A directory that its owner may not write can't be moved. */
        if (r == -EACCES && ovl_widen(ctx, node->ovl, place, place, &widened) == 0) {
            r = ctx->ops->rename(aside, place, flags);
            ovl_narrow(r < 0 ? place : aside, &widened);
        }
    }
    ovl_work_discard(ctx, node->ovl, aside);
    return r;
}

int ovl_whiteout_make(struct ovl_ctx *ctx, const struct ovl_node *node)
{
    size_t mark = ctx->used;
    char *a = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    char *b = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    int r = a && b ? 0 : -ENOMEM;
    ovl_cache_expect_whiteout(node);
    if (r == 0 && ovl_whiteout_takes_name(node)) {
        r = make_at_name(ctx, node, a, b);
    } else if (r == 0) {
        r = ovl_real_sibling(ctx, node->ovl->layer[0].path, ovl_relative(node->ovl, node->path), OVL_WH_PREFIX, a);
        if (r == 0)
            r = ovl_sys_mknod(a, S_IFREG | OVL_WHITEOUT_MODE, 0);
        if (r == -EEXIST)
            r = is_marker_file(a) == 1 ? 0 : -EEXIST;
    }
    ovl_ctx_reset(ctx, mark);
    return r;
}

int ovl_whiteout_remove(struct ovl_ctx *ctx, const struct ovl_node *node)
{
    if (is_too_long(node) || ovl_cache_has_no_whiteout(ctx, node))
        return 0;
    size_t mark = ctx->used;
    char *path = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    if (!path)
        return -ENOMEM;
    int r = ovl_real_sibling(ctx, node->ovl->layer[0].path, ovl_relative(node->ovl, node->path), OVL_WH_PREFIX, path);
    if (r == 0 && is_marker_file(path) == 1)
        r = ovl_sys_unlink(path);
    ovl_ctx_reset(ctx, mark);
    return r;
}

int ovl_whiteout_at_name(struct ovl_ctx *ctx, const struct ovl_node *node)
{
    struct stat st;
    if (ovl_cache_has_no_whiteout(ctx, node))
        return 0;
    size_t mark = ctx->used;
    char *path = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    if (!path)
        return -ENOMEM;
    int r = ovl_upper_path(ctx, node, path);
    if (r == 0)
        r = ovl_sys_lstat(path, &st);
    if (r == 0)
        r = ovl_is_whiteout(ctx, path, &st);
    ovl_ctx_reset(ctx, mark);
    return r == -ENOENT ? 0 : r;
}

struct marking {
    const struct ovl *ovl;
    const char *real;
    bool keep_opaque; /* of a sweep */
};

int ovl_opaque_write(struct ovl_ctx *ctx, const char *real, bool by_attribute)
{
    if (by_attribute) {
        /* Mounted by root, overlayfs reads trusted.; mounted with userxattr, user. */
        int trusted = ovl_sys_lsetxattr(real, "trusted." XATTR_OPAQUE, "y", 1, 0);
        int user = ovl_sys_lsetxattr(real, "user." XATTR_OPAQUE, "y", 1, 0);
        return trusted < 0 ? user : 0;
    }
    size_t mark = ctx->used;
    char *path = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    if (!path)
        return -ENOMEM;
    ssize_t n = ovl_append(path, OVL_REAL_MAX, 0, real);
    if (n >= 0)
        n = ovl_append(path, OVL_REAL_MAX, (size_t)n, "/" OVL_WH_OPAQUE);
    int r = n < 0 ? (int)n : ovl_sys_mknod(path, S_IFREG | OVL_WHITEOUT_MODE, 0);
    ovl_ctx_reset(ctx, mark);
    return r == -EEXIST ? 0 : r;
}

static int set_opaque(struct ovl_ctx *ctx, void *arg)
{
    const struct marking *marking = arg;
    return ovl_opaque_write(ctx, marking->real, marking->ovl->whiteout == OVL_WHITEOUT_KERNEL);
}

int ovl_opaque_set(struct ovl_ctx *ctx, const struct ovl *o, const char *real)
{
    struct marking marking = {.ovl = o, .real = real};
    return ovl_with_access(ctx, o, real, set_opaque, &marking);
}

/* Remove one name of a directory that shows nothing: a whiteout in some form. */
static int clear_name(struct ovl_ctx *ctx, const char *real, const char *name)
{
    size_t mark = ctx->used;
    char *path = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    if (!path)
        return -ENOMEM;
    ssize_t n = ovl_append(path, OVL_REAL_MAX, 0, real);
    if (n >= 0)
        n = ovl_append(path, OVL_REAL_MAX, (size_t)n, "/");
    if (n >= 0)
        n = ovl_append(path, OVL_REAL_MAX, (size_t)n, name);
    const bool is_mark = ovl_has_prefix(name, OVL_WH_PREFIX);
    int r = n < 0 ? (int)n : 0;
    struct stat st;
    if (r == 0 && !is_mark && (r = ovl_sys_lstat(path, &st)) == 0) {
        r = ovl_is_whiteout(ctx, path, &st);
        if (r >= 0)
            r = r ? 0 : -ENOTEMPTY;
    }
    if (r == 0)
        r = ovl_sys_unlink(path);
    if (r == -EISDIR && ovl_has_prefix(name, OVL_WH_ASIDE)) {
        ovl_work_discard(ctx, NULL, path); /* of a killed process */
        r = 0;
    }
    ovl_ctx_reset(ctx, mark);
    return r == -EISDIR ? -ENOTEMPTY : r;
}

/* A directory, and what is to be done with every name in it but ".", ".." and the opaque mark. */
struct visiting {
    struct ovl_ctx *ctx;
    const char *real;
    int (*each)(struct ovl_ctx *ctx, const char *real, const char *name);
};

static int visit(void *arg)
{
    enum { SIZE = 4096 };
    const struct visiting *visiting = arg;
    struct ovl_ctx *ctx = visiting->ctx;
    const char *real = visiting->real;
    size_t mark = ctx->used;
    char *buf = ovl_ctx_alloc(ctx, SIZE);
    if (!buf)
        return -ENOMEM;
    int fd = ovl_sys_open(AT_FDCWD, real, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    int r = fd < 0 ? fd : 0;
    ssize_t n = 0;
    while (r == 0 && (n = ovl_sys_getdents(fd, buf, SIZE)) > 0) {
        for (ssize_t at = 0; at < n && r == 0;) {
            const struct ovl_dirent *d = (const struct ovl_dirent *)(void *)(buf + at);
            if (!ovl_streq(d->d_name, ".") && !ovl_streq(d->d_name, "..") && !ovl_streq(d->d_name, OVL_WH_OPAQUE))
                r = visiting->each(ctx, real, d->d_name);
            at += d->d_reclen;
        }
    }
    if (r == 0 && n < 0)
        r = (int)n;
    if (fd >= 0)
        ovl_sys_close(fd);
    ovl_ctx_reset(ctx, mark);
    return r;
}

static int for_each_name(struct ovl_ctx *ctx, const char *real,
                         int (*each)(struct ovl_ctx *ctx, const char *real, const char *name))
{
    struct visiting visiting = {ctx, real, each};
    return ovl_with_descriptors(ctx, -1, visit, &visiting);
}

static int clear_markers(struct ovl_ctx *ctx, void *arg)
{
    const struct marking *marking = arg;
    int r = for_each_name(ctx, marking->real, clear_name);
    /* Last, so that at no moment more shows than before. */
    if (r == 0)
        r = clear_name(ctx, marking->real, OVL_WH_OPAQUE);
    return r == -ENOENT ? 0 : r;
}

int ovl_markers_clear(struct ovl_ctx *ctx, const struct ovl *o, const char *real)
{
    struct marking marking = {.ovl = o, .real = real};
    return ovl_with_access(ctx, o, real, clear_markers, &marking);
}

static int sweep_name(struct ovl_ctx *ctx, const char *real, const char *name)
{
    int r = clear_name(ctx, real, name);
    return r == -ENOTEMPTY || r == -ENOENT ? 0 : r;
}

int ovl_opaque_remove_attributes(const char *real)
{
    char full[64];
    int r = 0;
    for (size_t i = 0; i < sizeof name_space / sizeof *name_space; i++) {
        ssize_t n = ovl_append(full, sizeof full, 0, name_space[i]);
        ovl_append(full, sizeof full, (size_t)n, XATTR_OPAQUE);
        int removed = ovl_sys_lremovexattr(real, full);
        if (removed < 0 && !is_no_mark(removed))
            r = removed;
    }
    return r;
}

static int remove_opaque_marks(struct ovl_ctx *ctx, const char *real)
{
    ovl_opaque_remove_attributes(real);
    int r = clear_name(ctx, real, OVL_WH_OPAQUE);
    return r == -ENOENT ? 0 : r;
}

static int sweep_markers(struct ovl_ctx *ctx, void *arg)
{
    const struct marking *marking = arg;
    struct stat st;
    int r = ovl_sys_lstat(marking->real, &st);
    if (r == 0)
        r = for_each_name(ctx, marking->real, sweep_name);
    if (r == 0 && !marking->keep_opaque)
        r = remove_opaque_marks(ctx, marking->real);
    if (r < 0)
        return r;
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    return ovl_sys_utimensat(AT_FDCWD, marking->real, times, AT_SYMLINK_NOFOLLOW);
}

int ovl_markers_sweep(struct ovl_ctx *ctx, const struct ovl *o, const char *real, bool keep_opaque)
{
    struct marking marking = {.ovl = o, .real = real, .keep_opaque = keep_opaque};
    return ovl_with_access(ctx, o, real, sweep_markers, &marking);
}
