/* SPDX-License-Identifier: MIT
 *
 * renameat2(2) inside one overlay.
 *
 * Everything is copied up and then moved by one rename of the upper, with a whiteout for the old name made
 * before it; of a directory with lower content, all that is below it (copy_up_tree.c), because an OCI layer has no
 * redirects.  What must hold: the new name is at no moment missing or partial; a directory that moves over a lower one
 * is opaque before it arrives; wherever it is killed, the view is the one before or the one after.
 */
#include "types.h"

#include <unistd.h>

#define TRIES 16
#define NOREPLACE 1u
#define EXCHANGE 2u
#define WHITEOUT 4u

/* One of the two names. */
struct end {
    struct ovl_node *node;
    bool lower;  /* lower layers have the name */
    char *aside; /* a directory with lower content: what lower layers have of it, in the work directory */
};

struct move {
    struct end from, to;
    unsigned flags;
    char *place;   /* of `to` in the upper */
    bool moved;    /* `from` has gone to `to` */
    bool replaced; /* what `to` was is gone */
};

static bool is_dir(const struct ovl_node *node)
{
    return node->exists && S_ISDIR(node->st.st_mode);
}

/* Whether b lies below a. */
static bool is_ancestor(const struct ovl_node *a, const struct ovl_node *b)
{
    return b->length > a->length && ovl_is_below(b->path, a->path, a->length);
}

static bool is_of_upper(const struct ovl_node *node)
{
    return node->ovl->has_upper && ovl_layer_of(node) == 0;
}

static bool is_same(const struct ovl_node *a, const struct ovl_node *b)
{
    if (a->length == b->length && memcmp(a->path, b->path, a->length) == 0)
        return true;
    return a->exists && b->exists && !is_dir(a) && is_of_upper(a) == is_of_upper(b) && a->st.st_dev == b->st.st_dev &&
           a->st.st_ino == b->st.st_ino;
}

/* ---- refusals, in the kernel's order (fs/namei.c, do_renameat2() and vfs_rename()) ------------------- */

/* The overlay in whose directory a name stands; a mount's own name stands in what lies around it. */
static const struct ovl *home_of(struct ovl_ctx *ctx, const struct ovl_node *node)
{
    if (!ovl_is_mount(node) || node->last == OVL_LAST_DOT || node->last == OVL_LAST_DOTDOT)
        return node->ovl;
    const char *parent = ovl_parent_path(ctx, node);
    const struct ovl_region *region = parent && node->length > 1 ? ovl_region_of(ctx->space, parent) : NULL;
    return region ? region->ovl : NULL;
}

int ovl_check_rename_flags(unsigned flags)
{
    return flags & ~(NOREPLACE | EXCHANGE | WHITEOUT) || (flags & EXCHANGE && flags != EXCHANGE) ? -EINVAL : 0;
}

/* 1 when there is nothing to do. */
static int check_names(struct ovl_ctx *ctx, const struct ovl_node *from, const struct ovl_node *to, unsigned flags)
{
    int r = ovl_check_rename_flags(flags);
    if (r < 0)
        return r;
    if (home_of(ctx, from) != home_of(ctx, to))
        return -EXDEV;
    if (from->last == OVL_LAST_DOT || from->last == OVL_LAST_DOTDOT)
        return -EBUSY;
    if (to->last == OVL_LAST_DOT || to->last == OVL_LAST_DOTDOT)
        return flags & NOREPLACE ? -EEXIST : -EBUSY;
    if (ovl_is_mount(from) || ovl_is_mount(to))
        return is_same(from, to) && from->length > 1 && !flags ? 1 : -EBUSY;
    return from->ovl->has_upper ? 0 : -EROFS;
}

static int check_objects(const struct ovl_node *from, const struct ovl_node *to, unsigned flags)
{
    if (!from->exists)
        return -ENOENT;
    if ((flags & NOREPLACE) && to->exists)
        return -EEXIST;
    if ((flags & EXCHANGE) && !to->exists)
        return -ENOENT;
    if (flags & EXCHANGE && !is_dir(to) && to->slash)
        return -ENOTDIR;
    if (!is_dir(from) && (from->slash || (to->slash && !(flags & EXCHANGE))))
        return -ENOTDIR;
    if (is_ancestor(from, to))
        return -EINVAL;
    if (is_ancestor(to, from))
        return flags & EXCHANGE ? -EINVAL : -ENOTEMPTY;
    return to->reserved ? -EINVAL : 0;
}

static bool have_one_parent(const struct ovl_node *a, const struct ovl_node *b)
{
    return a->name == b->name && memcmp(a->path, b->path, a->name) == 0;
}

/* What is refused only to those who may change both directories. */
static int refuse(struct ovl_ctx *ctx, const struct ovl_node *from, const struct ovl_node *to, int error)
{
    int r = ovl_refused_first(ctx, from, error);
    return r == error && !have_one_parent(from, to) ? ovl_refused_first(ctx, to, error) : r;
}

/* An object takes the place of one of its kind only. */
static int check_kinds(struct ovl_ctx *ctx, const struct ovl_node *from, const struct ovl_node *to, unsigned flags)
{
    if (flags & EXCHANGE || !to->exists || is_same(from, to) || is_dir(from) == is_dir(to))
        return 0;
    return refuse(ctx, from, to, is_dir(from) ? -ENOTDIR : -EISDIR);
}

static int may_write(struct ovl_ctx *ctx, const struct ovl_node *dir)
{
    struct stat now;
    int r = ovl_may(ctx, dir->ovl, dir->top, dir->real, &dir->st, W_OK, true);
    if (r < 0 && (ovl_sys_lstat(dir->real, &now) < 0 || !S_ISDIR(now.st_mode)))
        return -ESTALE; /* it was replaced since we looked, perhaps by a whiteout of that very name */
    return r;
}

/* A directory that gets another parent is itself changed: its "..". */
static int check_moves(struct ovl_ctx *ctx, const struct ovl_node *from, const struct ovl_node *to, unsigned flags)
{
    if (have_one_parent(from, to))
        return 0;
    int r = is_dir(from) ? may_write(ctx, from) : 0;
    if (r == 0 && flags & EXCHANGE && is_dir(to))
        r = may_write(ctx, to);
    return r < 0 && r != -ESTALE ? refuse(ctx, from, to, r) : r;
}

static int check_directories(struct ovl_ctx *ctx, const struct ovl_node *from, struct ovl_node *to, unsigned flags)
{
    int r = check_kinds(ctx, from, to, flags);
    if (r == 0)
        r = check_moves(ctx, from, to, flags);
    if (r < 0)
        return r;
    if (flags & WHITEOUT)
        return refuse(ctx, from, to, -EINVAL); /* as overlayfs, which leaves whiteouts by itself */
    /* A mount, or what passes through to the real file system, can't move along. */
    if ((is_dir(from) && ovl_space_below(ctx->space, from->path)) ||
        (is_dir(to) && ovl_space_below(ctx->space, to->path)))
        return -EBUSY;
    if (!is_dir(to) || flags & EXCHANGE)
        return 0;
    r = ovl_check_empty(ctx, to);
    return r < 0 ? refuse(ctx, from, to, r) : 0;
}

/* ---- the move ---------------------------------------------------------------------------------------- */

/* Make a directory that arrives over a lower one hide it, with its own times kept. */
static int make_opaque(struct ovl_ctx *ctx, const struct ovl_node *node)
{
    const struct timespec times[2] = {node->st.st_atim, node->st.st_mtim};
    int r = ovl_opaque_set(ctx, node->ovl, node->real);
    ovl_sys_utimensat(AT_FDCWD, node->real, times, AT_SYMLINK_NOFOLLOW);
    return r;
}

static int prepare_directory(struct ovl_ctx *ctx, const struct ovl_node *dir, bool over_lower)
{
    return is_dir(dir) && over_lower ? make_opaque(ctx, dir) : 0;
}

/* An empty upper directory in the way may hold markers, which would stop the kernel's rename; the
 * whiteout beside it, or its opaque mark, stands in for them meanwhile. */
static int clear_target(struct ovl_ctx *ctx, const struct end *to)
{
    const struct ovl_node *node = to->node;
    if (!is_dir(node) || node->top != 0)
        return 0;
    int r = 0;
    if (to->lower)
        r = ovl_whiteout_takes_name(node) ? ovl_opaque_set(ctx, node->ovl, node->real) : ovl_whiteout_make(ctx, node);
    return r < 0 ? r : ovl_markers_clear(ctx, node->ovl, node->real);
}

/* A directory goes where a whiteout has the name: the two change places.  What comes to the old name need not be a
 * whiteout there: an attribute counts in a marked directory only. */
static int swap_with_whiteout(struct ovl_ctx *ctx, const struct move *m)
{
    const struct ovl_node *from = m->from.node;
    bool takes_name = ovl_whiteout_takes_name(from);
    bool beside = m->from.lower && !takes_name;
    int r = beside ? ovl_whiteout_make(ctx, from) : m->from.lower ? ovl_whiteout_allow(ctx, from) : 0;
    if (r < 0)
        return r;
    ovl_cache_expect_whiteout(from);
    bool stays = m->from.lower && !beside;
    char *note = stays ? NULL : ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    bool noted = note && ovl_work_note(from->ovl, from->real, note) == 0 && *note;
    r = ctx->ops->rename(from->real, m->place, EXCHANGE);
    if (r < 0 && beside)
        ovl_whiteout_remove(ctx, from);
    if (r == 0 && !stays)
        ovl_sys_unlink(from->real);
    if (noted)
        ovl_sys_unlink(note);
    if (r < 0)
        return r;
    if (stays && ovl_whiteout_make(ctx, from) < 0)
        ovl_log_line(OVL_LOG_WARN, from->path, ": hidden by another form of whiteout", NULL);
    return 0;
}

static int move_over(struct ovl_ctx *ctx, const struct move *m)
{
    const struct ovl_node *from = m->from.node;
    int at_name = ovl_whiteout_at_name(ctx, m->to.node);
    if (at_name < 0)
        return at_name;
    if (at_name && is_dir(from))
        return swap_with_whiteout(ctx, m);
    bool takes_name = ovl_whiteout_takes_name(from);
    bool beside = m->from.lower && !takes_name;
    int r = beside ? ovl_whiteout_make(ctx, from) : 0;
    if (r < 0)
        return r;
    /* RENAME_WHITEOUT leaves a 0/0 device under the old name in the same step (rename(2)). */
    bool device = m->from.lower && takes_name;
    if (device)
        ovl_cache_expect_whiteout(from);
    r = ctx->ops->rename(from->real, m->place, device ? WHITEOUT : 0);
    if (r < 0 && beside)
        ovl_whiteout_remove(ctx, from);
    if (r == 0 && device && from->ovl->whiteout != OVL_WHITEOUT_KERNEL && ovl_whiteout_make(ctx, from) < 0)
        ovl_log_line(OVL_LOG_WARN, from->path, ": hidden by a device instead of an attribute", NULL);
    return r;
}

static int replace(struct ovl_ctx *ctx, const struct move *m)
{
    struct ovl_node *to = m->to.node;
    const bool replaces = to->exists && to->top == 0;
    int r = prepare_directory(ctx, m->from.node, m->to.lower);
    if (r == 0)
        r = clear_target(ctx, &m->to);
    if (r < 0)
        return r;
    if (replaces)
        ovl_identity_forget(to->ovl, &to->st);
    r = move_over(ctx, m);
    if (replaces)
        ovl_identity_forgotten(to->ovl, &to->st, r);
    if (r < 0)
        return r;
    /* Beside the object that has moved over it, a whiteout that stays hides nothing more. */
    if (ovl_whiteout_remove(ctx, to) < 0)
        ovl_log_line(OVL_LOG_WARN, to->path, ": its whiteout could not be removed", NULL);
    return 0;
}

static int exchange(struct ovl_ctx *ctx, const struct move *m)
{
    int r = prepare_directory(ctx, m->from.node, m->to.lower);
    if (r == 0)
        r = prepare_directory(ctx, m->to.node, m->from.lower);
    return r < 0 ? r : ctx->ops->rename(m->from.node->real, m->place, EXCHANGE);
}

/* ---- directories with lower content --------------------------------------------------------------------- */

static bool has_lower_content(const struct ovl_node *node)
{
    return is_dir(node) && ovl_has_lower(node->ovl, &node->dirs);
}

static int copy_aside(struct ovl_ctx *ctx, struct end *end)
{
    if (!has_lower_content(end->node))
        return 0;
    end->aside = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    return end->aside ? ovl_copy_up_tree_aside(ctx, end->node, end->aside) : -ENOMEM;
}

static int place_copies(struct ovl_ctx *ctx, const struct end *end)
{
    if (!has_lower_content(end->node))
        return 0;
    return end->aside ? ovl_copy_up_tree_place(ctx, end->node, end->aside) : -ESTALE;
}

static void discard_copies(struct ovl_ctx *ctx, const struct end *end)
{
    if (end->aside && *end->aside)
        ovl_work_discard(ctx, end->node->ovl, end->aside);
}

static int sweep_below(struct ovl_ctx *ctx, struct ovl_node *node, void *arg)
{
    (void)arg;
    if (!S_ISDIR(node->st.st_mode) || node->top != 0) /* never in a layer, whatever has gone wrong */
        return 0;
    int r = ovl_markers_sweep(ctx, node->ovl, node->real, false);
    return r < 0 ? r : OVL_VISIT_BELOW;
}

/* What hid lower names below a directory hides nothing where it is now. */
static void sweep(struct ovl_ctx *ctx, const struct end *moved, const struct end *to)
{
    static const struct ovl_visitor sweeping = {.enter = sweep_below, .passes_closed = true};
    if (!is_dir(moved->node))
        return;
    struct ovl_node *now = ovl_node_new(ctx);
    int r = now ? ovl_locate(ctx, now, to->node->path) : -ENOMEM;
    if (r == 0 && now->top != 0)
        r = -ESTALE;
    if (r == 0)
        r = ovl_markers_sweep(ctx, now->ovl, now->real, to->lower);
    /* Without lower content nothing below had anything to hide. */
    if (r == 0 && moved->aside)
        r = ovl_tree_walk(ctx, now, &sweeping);
    if (r < 0)
        ovl_log_line(OVL_LOG_WARN, to->node->path, ": whiteouts that hide nothing could not be removed", NULL);
}

/* ---- steps ------------------------------------------------------------------------------------------------ */

/* Whether a file of the upper goes where nothing is: then it counts that it is there, and no more. */
static bool is_simple(const struct move *m)
{
    const struct ovl_node *from = m->from.node;
    return from->exists && !is_dir(from) && from->top == 0 && !from->linked && !m->to.node->exists;
}

static int refresh(struct ovl_ctx *ctx, const struct move *m)
{
    int r = ovl_refresh(ctx, m->from.node);
    return r < 0 ? r : ovl_refresh(ctx, m->to.node);
}

/* With the lock. */
static int look_again(struct ovl_ctx *ctx, const struct move *m)
{
    if (!is_simple(m))
        return refresh(ctx, m);
    int r = ovl_refresh_type(ctx, m->from.node);
    if (r == 0)
        r = ovl_refresh_type(ctx, m->to.node);
    return r == 0 && !is_simple(m) ? -ESTALE : r;
}

/* Tell those that have a directory as their cwd, or open. */
static uint64_t announce(struct ovl_ctx *ctx, const struct move *m)
{
    const struct ovl_node *from = m->from.node, *to = m->to.node;
    if (m->flags & EXCHANGE && !is_dir(from))
        return is_dir(to) ? ovl_moves_begin(ctx, to, from->path, OVL_MOVE_EXCHANGED) : 0;
    return is_dir(from) ? ovl_moves_begin(ctx, from, to->path, m->flags & EXCHANGE ? OVL_MOVE_EXCHANGED : OVL_MOVE_TO)
                        : 0;
}

static int move_locked(struct ovl_ctx *ctx, struct move *m)
{
    struct ovl_node *from = m->from.node, *to = m->to.node;
    bool exchanges = m->flags & EXCHANGE;
    int r = look_again(ctx, m);
    if (r == 0)
        r = check_objects(from, to, m->flags);
    if (r == 0)
        r = check_directories(ctx, from, to, m->flags);
    if (r < 0)
        return r;
    if (is_same(from, to))
        return 0;
    r = place_copies(ctx, &m->from);
    if (r == 0 && exchanges)
        r = place_copies(ctx, &m->to);
    if (r < 0)
        return r;
    if (from->top != 0 || !ovl_stack_has(&to->in, 0) || (exchanges && to->top != 0))
        return -ESTALE;
    r = ovl_upper_path(ctx, to, m->place);
    if (r < 0)
        return r;
    m->replaced = to->exists && !exchanges;
    uint64_t log = announce(ctx, m);
    r = exchanges ? exchange(ctx, m) : replace(ctx, m);
    ovl_moves_end(from->ovl, log, r);
    if (r < 0)
        return r;
    m->moved = !exchanges;
    sweep(ctx, &m->from, &m->to);
    if (exchanges)
        sweep(ctx, &m->to, &m->from);
    return 0;
}

static int copy_up_end(struct ovl_ctx *ctx, struct end *end)
{
    if (!is_dir(end->node))
        return ovl_copy_up(ctx, end->node, OVL_COPY_ALL);
    int r = ovl_copy_up_parents(ctx, end->node);
    return r < 0 ? r : copy_aside(ctx, end);
}

static int ask_lower(struct ovl_ctx *ctx, struct end *end)
{
    int r = ovl_lower_has(ctx, end->node);
    end->lower = r > 0;
    return r < 0 ? r : 0;
}

/* Whether there is nothing to do but what the kernel does by one call, or refuses. */
static bool is_one_step(const struct move *m)
{
    return is_simple(m) && !m->from.lower && !m->to.lower && ovl_stack_has(&m->from.node->in, 0) &&
           ovl_stack_has(&m->to.node->in, 0);
}

static int prepare(struct ovl_ctx *ctx, struct move *m)
{
    int r = ask_lower(ctx, &m->from);
    if (r == 0)
        r = ask_lower(ctx, &m->to);
    /* Asked for also where both directories are in the upper: what is refused leaves no trace. */
    if (r == 0 && !is_one_step(m))
        r = refuse(ctx, m->from.node, m->to.node, 0);
    if (r == 0 && !is_simple(m))
        r = copy_up_end(ctx, &m->from);
    if (r == 0 && m->flags & EXCHANGE)
        r = copy_up_end(ctx, &m->to);
    if (r == 0)
        r = ovl_copy_up_parents(ctx, m->to.node);
    return r;
}

/* What has become of the two names. */
static void tell(struct ovl_held *held, const struct ovl_node *moved)
{
    ovl_held_gone(held, 0);
    if (!is_dir(moved))
        ovl_held_there(held, 1, moved->st.st_mode);
}

static int move_prepared(struct ovl_ctx *ctx, struct move *m)
{
    struct ovl_node *from = m->from.node, *to = m->to.node;
    m->place = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    if (!m->place)
        return -ENOMEM;
    struct ovl_held held;
    int r =
        is_dir(from) || is_dir(to) ? ovl_lock_tree(from->ovl, from, to, &held) : ovl_lock_names(from, to, NULL, &held);
    if (r == 0) {
        r = move_locked(ctx, m);
        if (r == 0 && m->moved)
            tell(&held, from);
        ovl_unlock(&held);
    }
    if (r == 0 && m->replaced)
        ovl_group_name_gone(ctx, to);
    return r;
}

static int move_once(struct ovl_ctx *ctx, struct move *m)
{
    struct ovl_node *from = m->from.node, *to = m->to.node;
    int r = check_objects(from, to, m->flags);
    if (r < 0 || is_same(from, to))
        return r;
    r = check_directories(ctx, from, to, m->flags);
    if (r < 0)
        return r;
    r = prepare(ctx, m);
    if (r == -ENOTDIR)
        r = -ESTALE; /* a directory that we have looked at has gone, and a whiteout has its name */
    if (r == 0)
        r = move_prepared(ctx, m);
    discard_copies(ctx, &m->from);
    discard_copies(ctx, &m->to);
    return r;
}

int ovl_rename(struct ovl_ctx *ctx, struct ovl_node *from, struct ovl_node *to, unsigned flags)
{
    int r = check_names(ctx, from, to, flags);
    if (r != 0)
        return r < 0 ? r : 0;
    size_t mark = ctx->used;
    r = -ESTALE;
    for (int i = 0; r == -ESTALE && i < TRIES; i++) {
        struct move m = {.from = {.node = from}, .to = {.node = to}, .flags = flags};
        r = i || ((from->partly || to->partly) && !is_simple(&m)) ? refresh(ctx, &m) : 0;
        if (r == 0)
            r = move_once(ctx, &m);
        ovl_ctx_reset(ctx, mark);
    }
    return r;
}
