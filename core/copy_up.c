/* SPDX-License-Identifier: MIT
 *
 * Copy-up: bringing a lower object into the upper so that it can be changed there.
 *
 * The copy is made whole in the work directory, data first, then owner, attributes, mode and times,
 * and appears under its name by one rename.  What must hold: no lock is held while data are
 * copied; whoever comes second throws its copy away and uses the first one; a kill leaves
 * something in the work directory only; a failure at any step leaves the upper as it was.
 */
#include "types.h"

#include <linux/fs.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1u
#endif
#define CHUNK ((size_t)1 << 30)
#define SMALL 16384

int ovl_upper_path(struct ovl_ctx *ctx, const struct ovl_node *node, char *out)
{
    const char *root = node->ovl->layer[0].path, *rel = ovl_relative(node->ovl, node->path);
    return *rel ? ovl_real_sibling(ctx, root, rel, "", out) : ovl_real_path(ctx, root, rel, out);
}

/* ---- times of the parent ----------------------------------------------------------------------- */

static int parent_path(struct ovl_ctx *ctx, const struct ovl_node *node, char *out)
{
    int r = ovl_upper_path(ctx, node, out);
    if (r < 0)
        return r;
    char *slash = (char *)(uintptr_t)ovl_strrchr(out, '/');
    slash[slash == out] = '\0';
    return 0;
}

void ovl_times_save(struct ovl_ctx *ctx, const struct ovl_node *node, struct ovl_times *times)
{
    struct stat st;
    size_t mark = ctx->used;
    char *path = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    times->known = path && parent_path(ctx, node, path) == 0 && ovl_sys_lstat(path, &st) == 0;
    if (times->known) {
        times->ts[0] = st.st_atim;
        times->ts[1] = st.st_mtim;
    }
    ovl_ctx_reset(ctx, mark);
}

void ovl_times_restore(struct ovl_ctx *ctx, const struct ovl_node *node, const struct ovl_times *times)
{
    if (!times->known)
        return;
    size_t mark = ctx->used;
    char *path = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    if (path && parent_path(ctx, node, path) == 0)
        ovl_sys_utimensat(AT_FDCWD, path, times->ts, AT_SYMLINK_NOFOLLOW);
    ovl_ctx_reset(ctx, mark);
}

/* ---- data ---------------------------------------------------------------------------------------- */

static int copy_by_hand(struct ovl_ctx *ctx, int in, int out, off_t end)
{
    size_t mark = ctx->used;
    char *buf = ovl_ctx_alloc(ctx, SMALL);
    ssize_t n = buf ? 1 : -ENOMEM;
    while (n > 0) {
        off_t at = ovl_sys_lseek(in, 0, SEEK_CUR);
        if (at < 0 || at >= end)
            break;
        size_t want = end - at < SMALL ? (size_t)(end - at) : SMALL;
        n = ovl_sys_read(in, buf, want);
        for (ssize_t done = 0; n > 0 && done < n;) {
            ssize_t w = ovl_sys_write(out, buf + done, (size_t)(n - done));
            if (w == -EINTR)
                continue;
            if (w < 0)
                n = w;
            else
                done += w;
        }
        if (n == -EINTR)
            n = 1;
    }
    ovl_ctx_reset(ctx, mark);
    return n < 0 ? (int)n : 0;
}

/* Copy [at, end) at equal offsets; both files stand there. */
static int copy_extent(struct ovl_ctx *ctx, int in, int out, off_t at, off_t end)
{
    while (at < end) {
        size_t want = (size_t)(end - at) < CHUNK ? (size_t)(end - at) : CHUNK;
        ssize_t n = ovl_sys_copy_file_range(in, out, want);
        if (n == -EINTR)
            continue;
        if (n == -ENOSPC || n == -EDQUOT || n == -EIO || n == -EFBIG)
            return (int)n;
        if (n <= 0)
            return copy_by_hand(ctx, in, out, end); /* not for this pair of file systems */
        at += n;
    }
    return 0;
}

static int copy_data(struct ovl_ctx *ctx, int in, int out, off_t size)
{
    if (size == 0)
        return 0;
    if (ovl_sys_ioctl(out, FICLONE, in) == 0)
        return 0;
    int r = 0;
    for (off_t at = 0; r == 0 && at < size;) {
        off_t data = ovl_sys_lseek(in, at, SEEK_DATA);
        if (data == -ENXIO)
            break; /* a hole to the end */
        off_t hole = data < 0 ? size : ovl_sys_lseek(in, data, SEEK_HOLE);
        if (data < 0)
            data = at; /* a file system that can't tell */
        if (hole < 0 || hole > size)
            hole = size;
        off_t pos = ovl_sys_lseek(in, data, SEEK_SET);
        if (pos >= 0)
            pos = ovl_sys_lseek(out, data, SEEK_SET);
        r = pos < 0 ? (int)pos : copy_extent(ctx, in, out, data, hole);
        at = hole;
    }
    /* Holes at the end, and a file that has become shorter meanwhile, which must not go unnoticed. */
    return r < 0 ? r : ovl_sys_ftruncate(out, size);
}

/* ---- metadata ------------------------------------------------------------------------------------ */

/* Owner and group as far as the caller may; true when both were kept. */
static bool copy_owner(struct ovl_ctx *ctx, const char *to, const struct stat *st)
{
    if (ctx->ops->lchown(to, st->st_uid, st->st_gid) == 0)
        return true;
    ctx->ops->lchown(to, (uid_t)-1, st->st_gid);
    struct stat now;
    return ctx->ops->lstat(to, &now) == 0 && now.st_uid == st->st_uid && now.st_gid == st->st_gid;
}

/* One step of making a copy, which opens what is copied. */
struct copying {
    struct ovl_ctx *ctx;
    const struct ovl_node *node;
    const char *aside;
    enum ovl_copy how;
    bool keep_caps;
    int (*step)(const struct copying *copying, const struct ovl_source *from);
};

static int copy_step(void *arg)
{
    const struct copying *copying = arg;
    struct ovl_source from;
    int r = ovl_source_open(copying->node, &from);
    if (r < 0)
        return r;
    r = copying->step(copying, &from);
    ovl_sys_close(from.fd);
    return r;
}

static int copy_attributes(const struct copying *copying, const struct ovl_source *from)
{
    return ovl_copy_xattrs(from, copying->aside, copying->keep_caps);
}

static int copy_metadata(struct ovl_ctx *ctx, const struct ovl_node *node, const char *to, const struct stat *st)
{
    bool kept = copy_owner(ctx, to, st);
    struct copying attributes = {.ctx = ctx, .node = node, .aside = to, .keep_caps = kept, .step = copy_attributes};
    int r = ovl_with_descriptors(ctx, -1, copy_step, &attributes);
    if (r < 0)
        return r;
    mode_t mode = st->st_mode & 07777;
    if (!kept)
        mode &= ~(mode_t)(S_ISUID | S_ISGID);
    if (!S_ISLNK(st->st_mode)) {
        r = ctx->ops->chmod(to, mode);
        if (r < 0)
            return r;
    }
    const struct timespec times[2] = {st->st_atim, st->st_mtim};
    return ovl_sys_utimensat(AT_FDCWD, to, times, AT_SYMLINK_NOFOLLOW);
}

/* ---- making the copy ------------------------------------------------------------------------------- */

static int copy_file(const struct copying *copying, const struct ovl_source *from, int out)
{
    const struct ovl_node *node = copying->node;
    if (copying->how != OVL_COPY_ALL || !from->readable)
        return 0;
    int r = copy_data(copying->ctx, from->fd, out, node->st.st_size);
    return r == 0 && !node->ovl->is_volatile && node->st.st_size > 0 ? ovl_sys_fdatasync(out) : r;
}

static int make_file(const struct copying *copying, const struct ovl_source *from)
{
    const struct ovl_node *node = copying->node;
    if (copying->how == OVL_COPY_ALL && !from->readable && node->st.st_size > 0) /* an empty one has nothing to read */
        return -EACCES;
    if (copying->how == OVL_COPY_ALL && !ovl_sys_may_write((uint64_t)node->st.st_size))
        return -EFBIG;
    int out = ovl_sys_open(AT_FDCWD, copying->aside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (out < 0)
        return out;
    int r = copy_file(copying, from, out);
    int closed = ovl_sys_close(out);
    return r == 0 && closed < 0 && closed != -EINTR ? closed : r;
}

static int make_symlink(const struct copying *copying, const struct ovl_source *from)
{
    struct ovl_ctx *ctx = copying->ctx;
    size_t mark = ctx->used;
    char *target = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    ssize_t n = target ? ovl_sys_readlinkat(from->fd, "", target, OVL_REAL_MAX - 1) : -ENOMEM;
    if (n >= 0) {
        target[n] = '\0';
        n = ovl_sys_symlink(target, copying->aside);
    }
    ovl_ctx_reset(ctx, mark);
    return (int)n;
}

static int record_origin(const struct ovl_node *node, const char *aside)
{
    struct stat copy;
    uint64_t birth;
    bool linked = node->st.st_nlink > 1;
    int r = ovl_sys_lstat(aside, &copy);
    if (r == 0 && linked)
        r = ovl_birth(AT_FDCWD, node->real, AT_SYMLINK_NOFOLLOW, &birth);
    return r < 0 ? r : ovl_identity_record(node->ovl, AT_FDCWD, aside, &copy, &node->st, linked ? &birth : NULL);
}

int ovl_copy_make(struct ovl_ctx *ctx, const struct ovl_node *node, const char *aside, enum ovl_copy how)
{
    struct stat st;
    struct copying copying = {.ctx = ctx, .node = node, .aside = aside, .how = how};
    int r = ovl_source_stat(ctx, node, &st); /* the owner as fakeroot tells it */
    if (r < 0)
        return r;
    switch (st.st_mode & S_IFMT) {
    case S_IFREG:
        copying.step = make_file;
        r = ovl_with_descriptors(ctx, -1, copy_step, &copying);
        break;
    case S_IFLNK:
        copying.step = make_symlink;
        r = ovl_with_descriptors(ctx, -1, copy_step, &copying);
        break;
    case S_IFDIR:
        r = ctx->ops->mkdir(aside, 0700);
        break;
    default:
        r = ctx->ops->mknod(aside, (st.st_mode & S_IFMT) | 0600, st.st_rdev);
    }
    if (r < 0)
        return r;
    r = copy_metadata(ctx, node, aside, &st);
    return r == 0 && !S_ISDIR(st.st_mode) ? record_origin(node, aside) : r;
}

int ovl_copy_link(const struct ovl_node *node, const char *aside)
{
    int r = ovl_sys_linkat(AT_FDCWD, node->real, AT_FDCWD, aside, 0);
    return r == -ENOENT ? -ESTALE : r;
}

int ovl_copy_finish_dir(struct ovl_ctx *ctx, const struct ovl_node *node, const char *aside)
{
    struct stat st;
    int r = ovl_source_stat(ctx, node, &st);
    return r < 0 ? r : copy_metadata(ctx, node, aside, &st);
}

/* ---- publishing ------------------------------------------------------------------------------------ */

/* Where a directory of an ordinary user keeps its owner from writing: the parent, or the copy itself. */
static int rename_widened(struct ovl_ctx *ctx, const struct ovl_node *node, const char *aside, const char *place)
{
    struct ovl_widened parent = {0, NULL}, own = {0, NULL};
    char *dir = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    int r = dir ? parent_path(ctx, node, dir) : -ENOMEM;
    if (r == 0)
        r = ovl_widen(ctx, node->ovl, dir, dir, &parent);
    if (r == 0)
        r = ovl_widen(ctx, node->ovl, aside, place, &own);
    if (r == 0)
        r = ovl_sys_rename(aside, place, 0);
    ovl_narrow(r < 0 ? aside : place, &own);
    ovl_narrow(dir, &parent);
    return r == -EPERM ? -EACCES : r; /* somebody else's directory: what rename said first */
}

static int rename_into(struct ovl_ctx *ctx, const struct ovl_node *node, const char *aside, const char *place)
{
    int r = ovl_sys_rename(aside, place, RENAME_NOREPLACE);
    /* Not on this file system, or no such call (CONTRACT 4.6): the lock is held and the place was found free. */
    if (r == -EINVAL || r == -ENOSYS || r == -EPERM)
        r = ovl_sys_rename(aside, place, 0);
    if (r != -EACCES)
        return r;
    size_t mark = ctx->used;
    r = rename_widened(ctx, node, aside, place);
    ovl_ctx_reset(ctx, mark);
    return r;
}

/* The node as it is after its copy has taken its place: known without asking, because nothing may fail any more. */
static void stand_in_upper(struct ovl_node *node, const char *place, const struct stat *copy)
{
    node->top = 0;
    node->linked = false;
    node->st = *copy;
    if (S_ISDIR(copy->st_mode))
        ovl_stack_add(&node->dirs, 0);
    memcpy(node->real, place, ovl_strlen(place) + 1);
}

/* A copy that is to take its place. */
struct publishing {
    const char *aside;
    char *place;            /* OVL_REAL_MAX bytes, filled on the way */
    struct ovl_group group; /* that the name is taken out of */
};

/* The one step that is seen.  The first copy of a group of links gets its index before. */
static int take_place(struct ovl_ctx *ctx, const struct ovl_node *node, struct publishing *p)
{
    bool first = p->group.path[0] && !node->linked;
    int r = first ? ovl_group_begin(ctx, node, &p->group, p->aside) : 0;
    if (r < 0)
        return r;
    struct ovl_times times;
    ovl_times_save(ctx, node, &times);
    r = rename_into(ctx, node, p->aside, p->place);
    ovl_times_restore(ctx, node, &times);
    if (!p->group.path[0])
        return r;
    if (r == 0)
        ovl_group_cover(ctx, node, &p->group);
    else if (first)
        ovl_group_undo(ctx, node, &p->group);
    return r;
}

/* With the parent directory locked: put the copy in place unless somebody was faster. 1 when it is there. */
static int publish_locked(struct ovl_ctx *ctx, struct ovl_node *node, struct publishing *p)
{
    struct stat was = node->st;
    bool linked = node->linked;
    int r = ovl_refresh(ctx, node);
    if (r < 0)
        return r;
    if (!node->exists || (node->st.st_mode & S_IFMT) != (was.st_mode & S_IFMT))
        return -ESTALE;
    if (node->top == 0)
        return 0;
    if (node->linked != linked || node->st.st_ino != was.st_ino || node->st.st_dev != was.st_dev)
        return -ESTALE;
    struct stat copy;
    r = ovl_upper_path(ctx, node, p->place);
    if (r == 0)
        r = ovl_sys_lstat(p->aside, &copy);
    if (r == 0)
        r = take_place(ctx, node, p);
    if (r < 0)
        return r;
    stand_in_upper(node, p->place, &copy);
    return 1;
}

/* Another name of its group was copied up since the copy was made: that one counts. */
static int use_index(struct ovl_ctx *ctx, const struct ovl_node *node, const char *aside)
{
    struct stat st;
    int r = node->linked ? ovl_sys_lstat(aside, &st) : 0;
    if (r < 0 || !node->linked || (st.st_ino == node->st.st_ino && st.st_dev == node->st.st_dev))
        return r;
    ovl_work_discard(ctx, node->ovl, aside);
    return ovl_copy_link(node, aside);
}

int ovl_copy_move_in(struct ovl_ctx *ctx, struct ovl_node *node, const char *aside)
{
    size_t mark = ctx->used;
    struct publishing p = {.aside = aside, .place = ovl_ctx_alloc(ctx, OVL_REAL_MAX)};
    int r = p.place ? use_index(ctx, node, aside) : -ENOMEM;
    if (r == 0)
        r = ovl_group_of(node, &p.group);
    if (r >= 0)
        r = publish_locked(ctx, node, &p);
    ovl_ctx_reset(ctx, mark);
    return r < 0 ? r : 0;
}

static int publish(struct ovl_ctx *ctx, struct ovl_node *node, struct publishing *p)
{
    struct ovl_held held;
    int r = ovl_lock_names(node, NULL, p->group.path[0] ? p->group.path : NULL, &held);
    if (r == 0) {
        r = publish_locked(ctx, node, p);
        ovl_unlock(&held);
    }
    return r;
}

/* What to open of a copy before it has its name. */
struct opening {
    int flags;
    int fd; /* -1: the copy of somebody else is there */
};

/* Copy up one object whose parent directory is in the upper. */
static int copy_up_one(struct ovl_ctx *ctx, struct ovl_node *node, enum ovl_copy how, struct opening *opening)
{
    size_t mark = ctx->used;
    char *aside = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    struct publishing p = {.aside = aside, .place = ovl_ctx_alloc(ctx, OVL_REAL_MAX)};
    int r = aside && p.place ? ovl_work_name(node->ovl, aside) : -ENOMEM;
    if (r == 0)
        r = ovl_group_of(node, &p.group);
    if (r >= 0) {
        r = node->linked ? ovl_copy_link(node, aside) : ovl_copy_make(ctx, node, aside, how);
        if (r == 0 && opening) {
            opening->fd = ovl_open_exact(aside, opening->flags, 0);
            r = opening->fd < 0 ? opening->fd : 0;
        }
        if (r == 0)
            r = publish(ctx, node, &p);
        if (r != 1) {
            if (opening && opening->fd >= 0)
                ovl_sys_close(opening->fd);
            if (opening)
                opening->fd = -1;
            ovl_work_discard(ctx, node->ovl, aside);
        }
    }
    ovl_ctx_reset(ctx, mark);
    return r < 0 ? r : 0;
}

int ovl_copy_up_parents(struct ovl_ctx *ctx, struct ovl_node *node)
{
    const struct ovl *o = node->ovl;
    if (!o->has_upper)
        return -EROFS;
    if (ovl_is_mount(node) || ovl_stack_has(&node->in, 0))
        return 0;
    size_t mark = ctx->used;
    struct ovl_node *dir = ovl_node_new(ctx);
    if (!dir)
        return -ENOMEM;
    int r = ovl_locate(ctx, dir, o->mount_length ? o->mount : "/");
    for (size_t at = o->mount_length; r == 0 && at + 1 < node->name;) {
        size_t begin = at + 1;
        for (at = begin; node->path[at] != '/'; at++)
            ;
        dir->in = dir->dirs;
        r = ovl_node_append(dir, node->path + begin, at - begin);
        if (r == 0)
            r = ovl_lookup(ctx, dir);
        if (r == 0 && !(dir->exists && S_ISDIR(dir->st.st_mode)))
            r = -ENOENT;
        if (r == 0 && dir->top != 0)
            r = copy_up_one(ctx, dir, OVL_COPY_ALL, NULL);
    }
    if (r == 0)
        node->in = dir->dirs;
    ovl_ctx_reset(ctx, mark);
    return r;
}

int ovl_copy_up(struct ovl_ctx *ctx, struct ovl_node *node, enum ovl_copy how)
{
    enum { TRIES = 16 };
    if (!node->exists)
        return -ENOENT;
    if (!node->ovl->has_upper)
        return -EROFS;
    int r = -ESTALE;
    for (int i = 0; r == -ESTALE && i < TRIES; i++) {
        if ((i > 0 || node->partly) && (r = ovl_refresh(ctx, node)) < 0)
            return r;
        if (!node->exists)
            return -ENOENT;
        if (node->top == 0)
            return 0;
        r = ovl_copy_up_parents(ctx, node);
        if (r == 0)
            r = copy_up_one(ctx, node, how, NULL);
    }
    return r;
}

int ovl_copy_up_emptied(struct ovl_ctx *ctx, struct ovl_node *node, int flags)
{
    struct opening opening = {.flags = flags, .fd = -1};
    int r = ovl_copy_up_parents(ctx, node);
    if (r == 0)
        r = copy_up_one(ctx, node, OVL_COPY_NO_DATA, &opening);
    if (r < 0)
        return r;
    return opening.fd >= 0 ? opening.fd : -ESTALE;
}
