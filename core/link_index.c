/* SPDX-License-Identifier: MIT
 *
 * Names that are hard links of one lower object stay links of one object after it was copied up.
 *
 * The names of one lower object are a group, known by the object's device, inode and birth time.  Its copy gets one
 * name more, the index state/link/DEV-INO-BIRTH in the work directory, before it gets the first visible one: look-up
 * shows the index in the place of each name that only a lower layer has, and copying up such a name is linking
 * the index to it.  How many names only lower layers have is kept beside it (a symbolic link, DEV-INO-BIRTH.n), and
 * also for a group of which names were removed before it was copied up; so is one path to show for a descriptor
 * that was opened by the index (.p).
 *
 * What must hold: a name comes out of the group only with the group locked, and nothing is written by the index, so
 * that an index whose name could not be made is taken back; the count is changed after the name, so that a kill
 * leaves it too high and the index there; an index that no name needs goes, at the next run at the latest.
 */
#include "types.h"

#define LINK_DIR "/state/link/"
#define COUNT ".n"
#define SHOWN ".p"

/* ---- paths ------------------------------------------------------------------------------------------------- */

bool ovl_group_path(const struct ovl *o, const struct stat *origin, uint64_t birth, struct ovl_group *group)
{
    const uint64_t part[] = {origin->st_dev, origin->st_ino, birth};
    char number[24];
    const size_t size = sizeof group->path - sizeof COUNT;
    ssize_t n = ovl_append(group->path, size, 0, o->work);
    if (n >= 0)
        n = ovl_append(group->path, size, (size_t)n, LINK_DIR);
    for (size_t i = 0; n >= 0 && i < sizeof part / sizeof *part; i++) {
        if (i)
            n = ovl_append(group->path, size, (size_t)n, "-");
        if (n >= 0)
            n = ovl_append(group->path, size, (size_t)n, ovl_decimal(number, part[i]));
    }
    if (n < 0)
        group->path[0] = '\0';
    return n >= 0; /* a work directory with so long a path has no index: links are broken then */
}

static struct ovl_group beside(const struct ovl_group *group, const char *suffix)
{
    struct ovl_group path = {""};
    ssize_t n = ovl_append(path.path, sizeof path.path, 0, group->path);
    ovl_append(path.path, sizeof path.path, (size_t)n, suffix);
    return path;
}

/* The group of a lower object: 1, 0 when it can have none, or an error. */
static int group_at(const struct ovl *o, int dirfd, const char *real, int flags, const struct stat *st,
                    struct ovl_group *group)
{
    uint64_t birth;
    int r = ovl_birth(dirfd, real, flags, &birth);
    return r < 0 ? r : ovl_group_path(o, st, birth, group);
}

int ovl_group_of(const struct ovl_node *node, struct ovl_group *group)
{
    group->path[0] = '\0';
    if (node->linked)
        return ovl_append(group->path, sizeof group->path, 0, node->real) >= 0;
    if (node->top == 0 || S_ISDIR(node->st.st_mode) || node->st.st_nlink < 2)
        return 0;
    return group_at(node->ovl, AT_FDCWD, node->real, AT_SYMLINK_NOFOLLOW, &node->st, group);
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

/* How many of the lower object's names are not taken out of the group: 1, 0 when nothing is recorded, or an error. */
static int read_count(const struct ovl_group *group, uint64_t *count)
{
    char target[24];
    const struct ovl_group path = beside(group, COUNT);
    ssize_t n = ovl_sys_readlink(path.path, target, sizeof target - 1);
    if (n < 0)
        return n == -ENOENT ? 0 : (int)n;
    target[n] = '\0';
    const char *p = target;
    *count = ovl_parse_decimal(&p);
    return 1;
}

int ovl_group_look(struct ovl_node *node)
{
    struct ovl_group group;
    struct stat st;
    const struct ovl_shared *shared = node->st.st_nlink > 1 ? ovl_shared(node->ovl) : NULL;
    if (!shared || !ovl_shared_may_have(shared, node->st.st_ino))
        return 0;
    int r = ovl_group_of(node, &group);
    if (r <= 0)
        return r;
    r = ovl_sys_lstat(group.path, &st);
    if (r == -ENOENT || r == -ENOTDIR || r == -EACCES) /* not our work directory: without it (CONTRACT 1.14) */
        return 0;
    if (r < 0 || (st.st_mode & S_IFMT) != (node->st.st_mode & S_IFMT))
        return r;
    node->linked = true;
    node->st = st;
    memcpy(node->real, group.path, ovl_strlen(group.path) + 1);
    return 0;
}

void ovl_group_count(const struct ovl_group *group, nlink_t visible, struct stat *st)
{
    uint64_t count;
    if (read_count(group, &count) == 1)
        st->st_nlink = visible + (nlink_t)count;
}

bool ovl_group_count_lower(struct ovl *o, int dirfd, const char *path, int flags, struct stat *st)
{
    struct ovl_group group;
    struct stat index;
    const struct ovl_shared *shared = ovl_shared(o);
    if (!shared || !ovl_shared_may_have(shared, st->st_ino) || group_at(o, dirfd, path, flags, st, &group) != 1)
        return false;
    nlink_t visible = ovl_sys_lstat(group.path, &index) == 0 ? index.st_nlink - 1 : 0;
    ovl_group_count(&group, visible, st);
    return true;
}

ssize_t ovl_linked_path(const struct ovl_space *space, const char *real, char *buf, size_t n)
{
    struct ovl_group group;
    for (unsigned i = 0; i < space->ovls; i++) {
        const struct ovl *o = &space->ovl[i];
        if (!o->work || !ovl_is_below(real, o->work, o->work_length) ||
            !ovl_has_prefix(real + o->work_length, LINK_DIR) || ovl_strlen(real) + sizeof SHOWN > sizeof group.path)
            continue;
        ovl_append(group.path, sizeof group.path, 0, real);
        const struct ovl_group path = beside(&group, SHOWN);
        ssize_t length = ovl_sys_readlink(path.path, buf, n - 1);
        if (length < 0)
            return -ENOENT;
        buf[length] = '\0';
        return length;
    }
    return -ENOENT;
}

/* ---- changing, with the group locked -------------------------------------------------------------------------- */

/* The new count takes the old one's place in one step. */
static int write_count(struct ovl_ctx *ctx, const struct ovl *o, const struct ovl_group *group, uint64_t count)
{
    size_t mark = ctx->used;
    char number[24];
    char *aside = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    const struct ovl_group path = beside(group, COUNT);
    int r = aside ? ovl_work_name(o, aside) : -ENOMEM;
    if (r == 0)
        r = ovl_sys_symlink(ovl_decimal(number, count), aside);
    if (r == 0) {
        r = ovl_sys_rename(aside, path.path, 0);
        if (r < 0)
            ovl_sys_unlink(aside);
    }
    ovl_ctx_reset(ctx, mark);
    return r;
}

/* Remove what no name needs any more: all of the group's names were removed, or are in the upper and gone there. */
static void settle(struct ovl_ctx *ctx, struct ovl *o, const struct ovl_group *group)
{
    struct stat st;
    uint64_t count;
    int r = ovl_sys_lstat(group->path, &st);
    if ((r < 0 && r != -ENOENT) || read_count(group, &count) != 1 || count > 0 || (r == 0 && st.st_nlink > 1))
        return;
    if (r == 0) {
        ovl_identity_forget(o, &st);
        r = ctx->ops->unlink(group->path);
        ovl_identity_forgotten(o, &st, r);
        if (r < 0)
            return;
    }
    const struct ovl_group shown = beside(group, SHOWN), number = beside(group, COUNT);
    ovl_sys_unlink(shown.path);
    ovl_sys_unlink(number.path);
}

/* Errors that mean that a file system has no hard links, or no room for one more. */
static bool is_no_link(int error)
{
    return error == -EPERM || error == -EOPNOTSUPP || error == -EMLINK || error == -ENOSYS;
}

/* Without an index, all names of a lower object being left is nothing to record. */
static void forget_whole(const struct ovl_node *node, const struct ovl_group *group)
{
    const struct ovl_group shown = beside(group, SHOWN), number = beside(group, COUNT);
    uint64_t count;
    ovl_sys_unlink(shown.path);
    if (read_count(group, &count) == 1 && count == node->st.st_nlink)
        ovl_sys_unlink(number.path);
}

/* The path to show; what is done to a descriptor that was opened by the index is done to it. */
static int write_shown(const struct ovl_node *node, const struct ovl_group *group)
{
    const struct ovl_group shown = beside(group, SHOWN);
    ovl_sys_unlink(shown.path);
    int r = ovl_sys_symlink(node->path, shown.path);
    return r == -ENAMETOOLONG ? 0 : r;
}

int ovl_group_begin(struct ovl_ctx *ctx, const struct ovl_node *node, struct ovl_group *group, const char *aside)
{
    struct ovl *o = node->ovl;
    struct stat st;
    uint64_t count;
    ovl_shared_note_group(ovl_shared(o), node->st.st_ino);
    if (ovl_sys_lstat(group->path, &st) == 0)
        return -ESTALE;
    int known = read_count(group, &count);
    int r = known ? known : write_count(ctx, o, group, node->st.st_nlink);
    if (r == 0 || known == 1)
        r = write_shown(node, group);
    if (r == 0)
        r = ovl_sys_linkat(AT_FDCWD, aside, AT_FDCWD, group->path, 0);
    if (r == 0)
        return 0;
    forget_whole(node, group);
    if (!is_no_link(r))
        return r;
    ovl_log_line(OVL_LOG_WARN, node->path, ": its other names in the lower layer keep what was", NULL);
    group->path[0] = '\0';
    return 0;
}

void ovl_group_undo(struct ovl_ctx *ctx, const struct ovl_node *node, const struct ovl_group *group)
{
    if (ctx->ops->unlink(group->path) == 0)
        forget_whole(node, group);
}

int ovl_group_share(struct ovl_ctx *ctx, const struct ovl_node *node, const char *aside)
{
    struct ovl_group group;
    struct ovl_held held;
    int r = ovl_group_of(node, &group);
    if (r <= 0)
        return r;
    r = ovl_lock_dirs(node->ovl, group.path, NULL, &held);
    if (r < 0)
        return r;
    r = ovl_group_begin(ctx, node, &group, aside);
    ovl_unlock(&held);
    if (r != -ESTALE)
        return r;
    ovl_work_discard(ctx, node->ovl, aside);
    return ovl_sys_linkat(AT_FDCWD, group.path, AT_FDCWD, aside, 0);
}

void ovl_group_cover(struct ovl_ctx *ctx, const struct ovl_node *node, const struct ovl_group *group)
{
    uint64_t count = node->st.st_nlink;
    int r = read_count(group, &count);
    count -= count > 0;
    if (r >= 0)
        r = write_count(ctx, node->ovl, group, count);
    if (r < 0)
        ovl_log_line(OVL_LOG_WARN, node->path, ": one link too many is counted", NULL);
    else if (count == 0)
        settle(ctx, node->ovl, group);
}

/* ---- names that went ------------------------------------------------------------------------------------------- */

/* The group of an object in the upper, by its record of identity. */
static bool group_of_copy(struct ovl *o, const struct stat *copy, struct ovl_group *group)
{
    struct stat st;
    return ovl_identity_group(o, copy, group) && ovl_sys_lstat(group->path, &st) == 0 && st.st_dev == copy->st_dev &&
           st.st_ino == copy->st_ino;
}

static int cover_below(struct ovl_ctx *ctx, struct ovl_node *node, void *arg)
{
    struct ovl_group group;
    (void)arg;
    if (S_ISDIR(node->st.st_mode))
        return OVL_VISIT_BELOW;
    if (node->top == 0 && node->st.st_nlink > 1 && group_of_copy(node->ovl, &node->st, &group))
        ovl_group_cover(ctx, node, &group);
    return 0;
}

void ovl_group_cover_tree(struct ovl_ctx *ctx, const struct ovl_node *dir)
{
    static const struct ovl_visitor covering = {.enter = cover_below};
    if (ovl_tree_walk(ctx, dir, &covering) < 0)
        ovl_log_line(OVL_LOG_WARN, dir->path, ": links too many are counted of what is in it", NULL);
}

void ovl_group_name_gone(struct ovl_ctx *ctx, const struct ovl_node *node)
{
    struct ovl *o = node->ovl;
    struct ovl_group group;
    struct ovl_held held;
    bool lower = node->top != 0;
    if (!node->exists || S_ISDIR(node->st.st_mode) || (node->st.st_nlink < 2 && !node->linked))
        return;
    if (lower ? ovl_group_of(node, &group) != 1 : !group_of_copy(o, &node->st, &group))
        return;
    if (ovl_lock_dirs(o, group.path, NULL, &held) < 0)
        return;
    if (lower && !node->linked)
        ovl_shared_note_group(held.shared, node->st.st_ino);
    if (lower)
        ovl_group_cover(ctx, node, &group);
    else
        settle(ctx, o, &group);
    ovl_unlock(&held);
}

/* ---- clearing at the start of a run --------------------------------------------------------------------------- */

static void clean_one(struct ovl_ctx *ctx, struct ovl *o, const char *path)
{
    struct ovl_group group;
    struct ovl_held held;
    if (ovl_strchr(ovl_strrchr(path, '/'), '.') || /* what stands beside one */
        ovl_append(group.path, sizeof group.path - sizeof COUNT, 0, path) < 0 ||
        ovl_lock_dirs(o, group.path, NULL, &held) < 0)
        return;
    settle(ctx, o, &group);
    ovl_unlock(&held);
}

void ovl_group_clean(struct ovl_ctx *ctx, struct ovl *o)
{
    ovl_work_each(ctx, o, LINK_DIR, clean_one);
}
