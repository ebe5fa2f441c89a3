/* SPDX-License-Identifier: MIT
 *
 * Marks of layers that no run uses, for tools that write layers as directories.
 *
 * What a mark is, is decided by whiteout.c.  What must hold: at no moment does a name appear that was hidden, whatever
 * is killed; so a mark that takes the name is made aside.
 */
#include "types.h"

#define ASIDE OVL_WH_ASIDE "mark"

static int join(char *out, const char *dir, const char *prefix, const char *name)
{
    ssize_t n = ovl_append(out, OVL_REAL_MAX, 0, dir);
    if (n >= 0)
        n = ovl_append(out, OVL_REAL_MAX, (size_t)n, "/");
    if (n >= 0)
        n = ovl_append(out, OVL_REAL_MAX, (size_t)n, prefix);
    return n < 0 ? (int)n : (int)ovl_append(out, OVL_REAL_MAX, (size_t)n, name);
}

static int mark_of(struct ovl_ctx *ctx, const char *path, const char *name, const struct stat *st)
{
    if (ovl_streq(name, OVL_WH_OPAQUE))
        return S_ISREG(st->st_mode) ? OVL_MARK_OPAQUE : OVL_MARK_STRAY;
    if (ovl_has_prefix(name, OVL_WH_ASIDE))
        return OVL_MARK_STRAY;
    if (ovl_has_prefix(name, OVL_WH_PREFIX)) {
        const char *hidden = name + OVL_WH_PREFIX_LENGTH;
        bool is_name =
            *hidden && !ovl_streq(hidden, ".") && !ovl_streq(hidden, "..") && !ovl_has_prefix(hidden, OVL_WH_PREFIX);
        return S_ISREG(st->st_mode) && is_name ? OVL_MARK_FILE : OVL_MARK_STRAY;
    }
    if (ovl_is_whiteout_device(st))
        return OVL_MARK_DEVICE;
    int r = ovl_is_whiteout(ctx, path, st);
    return r > 0 ? OVL_MARK_ATTRIBUTE : r;
}

int ovl_mark_of(struct ovl_ctx *ctx, const char *dir, const char *name)
{
    struct stat st;
    size_t mark = ctx->used;
    char *path = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    int r = path ? join(path, dir, "", name) : -ENOMEM;
    if (r >= 0)
        r = ovl_sys_lstat(path, &st);
    if (r == 0)
        r = mark_of(ctx, path, name, &st);
    ovl_ctx_reset(ctx, mark);
    return r;
}

static bool is_at_name(int mark)
{
    return mark == OVL_MARK_DEVICE || mark == OVL_MARK_ATTRIBUTE;
}

/* Put what is made aside under the name, which it may take from a whiteout alone. */
static int place(struct ovl_ctx *ctx, const char *dir, const char *name, const char *aside, const char *path)
{
    int r = ovl_sys_rename(aside, path, 1u /* RENAME_NOREPLACE */);
    if (r == -EEXIST && is_at_name(ovl_mark_of(ctx, dir, name)))
        r = ovl_sys_rename(aside, path, 0);
    return r;
}

static int hide(struct ovl_ctx *ctx, const char *dir, const char *name, enum ovl_mark form, char *path, char *aside)
{
    bool is_file = form == OVL_MARK_FILE && ovl_strlen(name) + OVL_WH_PREFIX_LENGTH <= OVL_NAME_MAX;
    int r = join(path, dir, is_file ? OVL_WH_PREFIX : "", name);
    if (r >= 0 && is_file)
        return ovl_sys_mknod(path, S_IFREG | OVL_WHITEOUT_MODE, 0);
    if (r >= 0)
        r = join(aside, dir, ASIDE, "");
    if (r < 0)
        return r;
    ovl_sys_unlink(aside); /* of a call that was killed */
    r = form == OVL_MARK_DEVICE ? ovl_sys_mknod(aside, S_IFCHR, 0) : ovl_whiteout_attribute(dir, aside);
    if (r >= 0)
        r = place(ctx, dir, name, aside, path);
    if (r < 0)
        ovl_sys_unlink(aside);
    return r;
}

int ovl_mark_hide(struct ovl_ctx *ctx, const char *dir, const char *name, enum ovl_mark form)
{
    size_t mark = ctx->used;
    char *path = ovl_ctx_alloc(ctx, OVL_REAL_MAX), *aside = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    int r = path && aside ? hide(ctx, dir, name, form, path, aside) : -ENOMEM;
    ovl_ctx_reset(ctx, mark);
    return r;
}

int ovl_mark_opacity(struct ovl_ctx *ctx, const char *dir)
{
    struct ovl_marks marks;
    int r = ovl_read_marks(dir, &marks), by_file = r < 0 ? r : ovl_has_opaque_marker(ctx, dir);
    if (by_file < 0)
        return by_file;
    return (by_file ? (int)OVL_OPAQUE_FILE : 0) | (marks.opaque == 'y' ? (int)OVL_OPAQUE_ATTRIBUTE : 0) |
           (marks.opaque == 'x' ? (int)OVL_OPAQUE_FOR_WHITEOUTS : 0);
}

int ovl_mark_set_opaque(struct ovl_ctx *ctx, const char *dir, enum ovl_mark form)
{
    return ovl_opaque_write(ctx, dir, form == OVL_MARK_DEVICE);
}

int ovl_mark_drop_opaque(struct ovl_ctx *ctx, const char *dir, unsigned which)
{
    size_t mark = ctx->used;
    char *path = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    int r = path ? join(path, dir, "", OVL_WH_OPAQUE) : -ENOMEM;
    if (r >= 0 && (which & OVL_OPAQUE_FILE))
        r = ovl_sys_unlink(path);
    if (r == -ENOENT)
        r = 0;
    if (r >= 0 && (which & (OVL_OPAQUE_ATTRIBUTE | OVL_OPAQUE_FOR_WHITEOUTS)))
        r = ovl_opaque_remove_attributes(dir);
    ovl_ctx_reset(ctx, mark);
    return r < 0 ? r : 0;
}
