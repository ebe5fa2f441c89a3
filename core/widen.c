/* SPDX-License-Identifier: MIT
 *
 * Giving an upper directory's owner all permissions for the length of one change.
 *
 * An ordinary user's copy of a 0555 directory must still take names (CONTRACT 3.9), moving a directory needs write
 * permission on itself, and marks are no names of the program's.  What must hold: a kill in between is undone by the
 * next run.  For that a note stands in the work directory meanwhile: a symbolic link whose target is "MODE:PATH",
 * told from the copy of a link by its name.
 */
#include "types.h"

#define NOTE_SUFFIX ".mode"

int ovl_widen(struct ovl_ctx *ctx, const struct ovl *o, const char *dir, const char *later, struct ovl_widened *widened)
{
    struct stat st;
    widened->note = NULL;
    int r = ovl_sys_lstat(dir, &st);
    if (r < 0 || !S_ISDIR(st.st_mode) || (st.st_mode & S_IRWXU) == S_IRWXU)
        return r;
    widened->mode = st.st_mode & 07777;
    char number[24];
    char *note = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    char *target = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    if (!note || !target)
        return -ENOMEM;
    ssize_t n = ovl_append(target, OVL_REAL_MAX, 0, ovl_decimal(number, widened->mode));
    n = ovl_append(target, OVL_REAL_MAX, (size_t)n, ":");
    n = ovl_append(target, OVL_REAL_MAX, (size_t)n, later);
    r = n < 0 ? (int)n : ovl_work_name(o, note);
    if (r == 0)
        r = (int)ovl_append(note, OVL_REAL_MAX, ovl_strlen(note), NOTE_SUFFIX);
    if (r > 0)
        r = ovl_sys_symlink(target, note);
    if (r < 0)
        return r;
    r = ovl_sys_chmod(dir, widened->mode | S_IRWXU);
    if (r < 0)
        ovl_sys_unlink(note);
    else
        widened->note = note;
    return r;
}

void ovl_narrow(const char *dir, const struct ovl_widened *widened)
{
    enum { TRIES = 2 }; /* it has just been changed, so that a failure is a passing one */
    int r = -EAGAIN;
    if (!widened->note)
        return;
    for (int i = 0; r < 0 && i < TRIES; i++)
        r = ovl_sys_chmod(dir, widened->mode);
    if (r < 0)
        ovl_log_line(OVL_LOG_ERROR, dir, ": its mode could not be put back before the next run", NULL);
    else
        ovl_sys_unlink(widened->note);
}

int ovl_with_access(struct ovl_ctx *ctx, const struct ovl *o, const char *real,
                    int (*act)(struct ovl_ctx *ctx, void *arg), void *arg)
{
    int r = act(ctx, arg);
    if (r != -EACCES)
        return r;
    size_t mark = ctx->used;
    struct ovl_widened widened;
    if (ovl_widen(ctx, o, real, real, &widened) == 0 && widened.note) {
        r = act(ctx, arg);
        ovl_narrow(real, &widened);
    }
    ovl_ctx_reset(ctx, mark);
    return r;
}

void ovl_narrow_left_over(struct ovl_ctx *ctx, const struct ovl *o, const char *note)
{
    const char *dot = ovl_strrchr(note, '.');
    if (!dot || !ovl_streq(dot, NOTE_SUFFIX))
        return;
    size_t mark = ctx->used;
    struct stat st;
    char *target = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    ssize_t n = target ? ovl_sys_readlink(note, target, OVL_REAL_MAX - 1) : -ENOMEM;
    if (n > 0) {
        target[n] = '\0';
        const char *p = target;
        uint64_t mode = ovl_parse_decimal(&p);
        bool ours = *p++ == ':' && mode <= 07777 && ovl_is_below(p, o->layer[0].path, o->layer[0].length);
        if (ours && ovl_sys_lstat(p, &st) == 0 && S_ISDIR(st.st_mode))
            ovl_sys_chmod(p, (mode_t)mode);
    }
    ovl_ctx_reset(ctx, mark);
}
