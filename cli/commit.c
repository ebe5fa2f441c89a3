/* SPDX-License-Identifier: MIT
 *
 * Applying an upper to a layer: one walk over the changes.  What the layers below the target still show is asked of
 * core, by a view that begins at the target.
 */
#include "commit.h"

#include "output.h"
#include "remove.h"
#include "shown.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ASIDE OVL_WH_ASIDE "commit" /* in the layer's root */
#define LINKS OVL_WH_ASIDE "links"
#define BUFFER (128 << 10)

static int refuse(const char *path, const char *why)
{
    complain("%s: %s", path, why);
    return -1;
}

static int refuse_errno(const char *path)
{
    return refuse(path, strerror(errno));
}

static const char *name_of(const char *relative)
{
    const char *slash = strrchr(relative, '/');
    return slash ? slash + 1 : relative;
}

/* The directory that a name is in, in the layer, or -1 with errno. */
static int go_above(struct commit *c, const char *relative)
{
    const char *name = name_of(relative);
    char *dir = text("%.*s", name > relative ? (int)(name - relative - 1) : 0, relative);
    int fd = tree_go(&c->tree, dir, false);
    free(dir);
    return fd;
}

/* What the layers from this one on show under a name; -1 after a message. */
static int shown(const struct commit *c, unsigned first, const char *relative)
{
    int r = shown_from(&c->space->ctx, c->ovl, first, relative);
    return r < 0 ? refuse(relative, strerror(-r)) : r;
}

/* ---- content ----------------------------------------------------------------------------------------------- */

struct copying {
    struct commit *c;
    const struct change *change;
};

static ssize_t copy_some(int from, int to, off_t at, size_t n)
{
    static char buffer[BUFFER];
    off_t in = at, out = at;
    ssize_t done = copy_file_range(from, &in, to, &out, n, 0);
    if (done > 0 || (done < 0 && errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP))
        return done;
    done = pread(from, buffer, n < BUFFER ? n : BUFFER, at);
    return done > 0 ? pwrite(to, buffer, (size_t)done, at) : done;
}

static int copy_extent(const struct copying *cp, int from, int to, off_t at, off_t end)
{
    while (at < end) {
        ssize_t n = copy_some(from, to, at, (size_t)(end - at));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -1 : 0;
        progress_add(&cp->c->progress, 0, (uint64_t)n);
        at += n;
    }
    return 0;
}

/* Holes stay holes. */
static int copy_all(const struct copying *cp, int from, int to)
{
    const off_t size = cp->change->upper.st.st_size;
    off_t at = 0;
    int r = 0;
    while (r == 0 && at < size) {
        off_t data = lseek(from, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            break;
        off_t hole = data < 0 ? size : lseek(from, data, SEEK_HOLE);
        if (hole < 0)
            hole = size;
        r = copy_extent(cp, from, to, data < 0 ? at : data, hole);
        at = hole;
    }
    return r < 0 ? r : ftruncate(to, size);
}

static int write_content(void *arg, int to)
{
    const struct copying *cp = arg;
    int from = open(cp->change->upper.real, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int r = from < 0 ? -1 : copy_all(cp, from, to);
    if (r < 0)
        refuse_errno(cp->change->path);
    if (from >= 0)
        close(from);
    return r;
}

/* ---- objects ----------------------------------------------------------------------------------------------- */

/* An ordinary user's copy could not keep the owner: that is no change. */
static bool keeps_owner(const struct change *change)
{
    return change->lower.exists && !((change->lower.st.st_mode ^ change->upper.st.st_mode) & S_IFMT) &&
           !(change->differs & DIFFERS_OWNER);
}

/* A label is the machine's, as the policy has it for the upper's place: what the layer has keeps its own. */
static int keep_labels(const struct commit *c, const struct change *change, struct xattrs *xattrs)
{
    const bool stays = change->lower.exists && change->lower.layer == c->target &&
                       !((change->lower.st.st_mode ^ change->upper.st.st_mode) & S_IFMT);
    struct xattrs has = {.at = NULL};
    xattrs_drop_local(xattrs);
    if (stays && xattrs_read(&has, change->lower.real) < 0)
        return -1;
    for (size_t i = 0; i < has.count; i++)
        if (xattr_is_label(has.at[i].name))
            xattrs_add(xattrs, has.at[i].name, has.at[i].value, has.at[i].size);
    xattrs_free(&has);
    return 0;
}

/* What the upper has; the target of a link is the caller's to free. */
static int describe(const struct commit *c, const struct change *change, struct object *o, char **target)
{
    char buf[OVL_REAL_MAX];
    *target = NULL;
    *o = (struct object){.st = change->upper.st};
    if (keeps_owner(change)) {
        o->st.st_uid = change->lower.st.st_uid;
        o->st.st_gid = change->lower.st.st_gid;
    }
    if (xattrs_read(&o->xattrs, change->upper.real) < 0 || keep_labels(c, change, &o->xattrs) < 0)
        return refuse_errno(change->path);
    ssize_t n = S_ISLNK(o->st.st_mode) ? readlink(change->upper.real, buf, sizeof buf - 1) : 0;
    if (n < 0)
        return refuse_errno(change->path);
    buf[n] = '\0';
    o->target = *target = need(strdup(buf));
    return 0;
}

/* Make the object aside. */
static int make_aside(struct commit *c, const struct change *change)
{
    struct copying copying = {c, change};
    struct object o;
    char *target;
    int r = describe(c, change, &o, &target);
    if (r == 0) {
        o.write = write_content;
        o.arg = &copying;
        r = object_make(c->root, ASIDE, &o);
        if (r == -1)
            refuse_errno(change->path);
    }
    c->lost_xattrs |= o.lost_xattrs;
    xattrs_free(&o.xattrs);
    free(target);
    return r < 0 ? -1 : 0;
}

/* ---- hard links -------------------------------------------------------------------------------------------- */

/* The name by which an object of several names is found again, also by a call that finishes this one; as it has the
 * time of its last change in it, that is the same object with the same content. */
static char *link_name(const struct stat *st)
{
    return text("%llx-%llx-%llx.%lx", (unsigned long long)st->st_dev, (unsigned long long)st->st_ino,
                (unsigned long long)st->st_ctim.tv_sec, (unsigned long)st->st_ctim.tv_nsec);
}

static bool has_names(const struct change *change)
{
    return change->upper.st.st_nlink > 1 && !S_ISDIR(change->upper.st.st_mode);
}

/* It could have been put there to have something else applied.  0; -1 with errno; -2 after a message. */
static int open_links(struct commit *c)
{
    if (c->links >= 0)
        return 0;
    if (mkdirat(c->root, LINKS, 0700) < 0 && errno != EEXIST)
        return -1;
    struct stat st;
    c->links = openat(c->root, LINKS, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (c->links < 0 || fstat(c->links, &st) < 0)
        return -1;
    if (st.st_uid == geteuid() && !(st.st_mode & 077))
        return 0;
    complain("%s/" LINKS " is somebody else's; look at it, and remove it", ovl_layer(c->ovl, c->target));
    return -2;
}

/* Another name of an object that was applied: 1 when it is aside, 0 when it must be copied. */
static int link_aside(struct commit *c, const struct change *change)
{
    if (!has_names(change))
        return 0;
    int r = open_links(c);
    if (r < 0)
        return r == -1 ? refuse_errno(change->path) : -1;
    char *name = link_name(&change->upper.st);
    int made = linkat(c->links, name, c->root, ASIDE, 0) == 0;
    free(name);
    return made;
}

static int keep_link(const struct commit *c, const struct change *change)
{
    if (!has_names(change))
        return 0;
    char *name = link_name(&change->upper.st), *dir = text("%.2s", name);
    int r = linkat(c->root, ASIDE, c->links, name, 0);
    if (r < 0 && errno == ENOENT && mkdirat(c->links, dir, 0700) == 0)
        r = linkat(c->root, ASIDE, c->links, name, 0);
    free(name);
    free(dir);
    return r < 0 && errno != EMLINK && errno != EEXIST ? refuse_errno(change->path) : 0;
}

/* ---- directories above ------------------------------------------------------------------------------------- */

/* Make one that only layers below the target have, as the overlay shows it. */
static int make_above(struct commit *c, const char *path, const char *relative)
{
    struct ovl_ctx *ctx = &c->space->ctx;
    const size_t mark = ctx->used;
    const int fds = ctx->fds;
    struct ovl_node *node = need(ovl_node_new(ctx));
    int r = ovl_resolve(ctx, "/", path, OVL_NAME | OVL_LONG | OVL_NOLINKS, node);
    struct change change = {.path = path, .relative = relative};
    change.upper.real = node->real;
    change.upper.st = node->st;
    if (r < 0 || !node->exists || !S_ISDIR(node->st.st_mode))
        r = refuse(path, r < 0 ? strerror(-r) : "is no directory any more");
    else
        r = make_aside(c, &change);
    ovl_ctx_close(ctx, fds);
    ovl_ctx_reset(ctx, mark);
    if (r < 0)
        return r;
    if (go_above(c, relative) < 0 || tree_move_in(&c->tree, c->root, ASIDE, name_of(relative)) < 0)
        return refuse_errno(path);
    return 0;
}

/* The directory that a change lies in, made if it is missing, for which nothing else may be aside; -1 after a message.
 */
static int reach(struct commit *c, const struct change *change)
{
    int fd = go_above(c, change->relative);
    if (fd >= 0 || errno != ENOENT)
        return fd < 0 ? refuse_errno(change->path) : fd;
    int r = 0;
    for (const char *slash = strchr(change->relative, '/'); r == 0 && slash; slash = strchr(slash + 1, '/')) {
        char *relative = text("%.*s", (int)(slash - change->relative), change->relative);
        char *path = text("%.*s", (int)(slash - change->path), change->path);
        if (tree_go(&c->tree, relative, false) < 0)
            r = errno == ENOENT ? make_above(c, path, relative) : refuse_errno(path);
        free(relative);
        free(path);
    }
    fd = r < 0 ? -1 : go_above(c, change->relative);
    return fd < 0 && r == 0 ? refuse_errno(change->path) : fd;
}

/* ---- marks in the layer -------------------------------------------------------------------------------------- */

static int refuse_mark(const char *path, int error)
{
    return refuse(path, strerror(-error));
}

/* A whiteout that stands beside the name. */
static char *mark_beside(const char *name)
{
    return strlen(name) + OVL_WH_PREFIX_LENGTH > OVL_NAME_MAX ? NULL : text("%s%s", OVL_WH_PREFIX, name);
}

static int remove_mark_beside(struct commit *c, int fd, const char *name)
{
    char *mark = mark_beside(name), *dir = path_in(fd, ".");
    int r = mark && ovl_mark_of(&c->space->ctx, dir, mark) == OVL_MARK_FILE ? unlinkat(fd, mark, 0) : 0;
    free(mark);
    free(dir);
    return r;
}

/* A directory of the layer; to go into it opens it, and keeps its time. */
static int make_opaque(struct commit *c, const char *relative, const char *path)
{
    int fd = tree_go(&c->tree, relative, false);
    if (fd < 0)
        return refuse_errno(path);
    char *dir = path_in(fd, ".");
    int r = ovl_mark_set_opaque(&c->space->ctx, dir, c->form);
    free(dir);
    return r < 0 ? refuse_mark(path, r) : 0;
}

/* ---- deleted ------------------------------------------------------------------------------------------------- */

static int hide(struct commit *c, const struct change *change)
{
    int fd = reach(c, change);
    if (fd < 0)
        return -1;
    char *dir = path_in(fd, ".");
    int r = ovl_mark_hide(&c->space->ctx, dir, name_of(change->relative), c->form);
    free(dir);
    return r < 0 && r != -EEXIST ? refuse_mark(change->path, r) : 0;
}

static int apply_deleted(struct commit *c, const struct change *change)
{
    int fd = go_above(c, change->relative);
    if (fd < 0 && errno != ENOENT)
        return refuse_errno(change->path);
    if (fd >= 0) {
        int r = tree_remove(&c->tree, name_of(change->relative));
        if (r < 0)
            return r == -1 ? refuse_errno(change->path) : -1;
    }
    if (change->hidden)
        return 0;
    int still = shown(c, c->target, change->relative);
    return still < 0 ? -1 : still == SHOWN_NOTHING ? 0 : hide(c, change);
}

/* ---- what is there ------------------------------------------------------------------------------------------- */

static bool is_below_opaque(const struct commit *c, const char *path)
{
    size_t n = c->opaque ? strlen(c->opaque) : 0;
    return c->opaque && (n == 1 || (strncmp(path, c->opaque, n) == 0 && path[n] == '/'));
}

static void remember_opaque(struct commit *c, const struct change *change)
{
    if (c->opaque && is_below_opaque(c, change->path))
        return;
    free(c->opaque);
    c->opaque = change->opaque ? need(strdup(change->path)) : NULL;
}

/* Whether the layer has to have it: the same may be in a layer below, but not where those are hidden, nor with a name
 * more that is new. */
static bool is_needed(const struct commit *c, const struct change *change)
{
    if (change->kind != CHANGE_NONE || change->linked || has_names(change))
        return true;
    return change->lower.layer != c->target && is_below_opaque(c, change->path);
}

/* Move what is aside to its place. */
static int place(struct commit *c, const struct change *change)
{
    struct stat st;
    const char *name = name_of(change->relative);
    int fd = reach(c, change);
    if (fd < 0)
        return -1;
    bool in_the_way =
        fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && (S_ISDIR(st.st_mode) || S_ISDIR(change->upper.st.st_mode));
    int r = in_the_way ? tree_remove(&c->tree, name) : 0;
    if (r < 0)
        return r == -1 ? refuse_errno(change->path) : -1;
    if (tree_move_in(&c->tree, c->root, ASIDE, name) < 0 || remove_mark_beside(c, fd, name) < 0)
        return refuse_errno(change->path);
    if (unlinkat(c->root, ASIDE, 0) < 0 && errno != ENOENT) /* rename(2) leaves a link to what was there already */
        return refuse_errno(change->path);
    return 0;
}

static int apply_object(struct commit *c, const struct change *change)
{
    if (!is_needed(c, change))
        return 0;
    if (reach(c, change) < 0)
        return -1;
    int linked = link_aside(c, change);
    if (linked < 0 || (!linked && (make_aside(c, change) < 0 || keep_link(c, change) < 0)))
        return -1;
    return place(c, change);
}

/* Whether a whiteout, or anything else that is no directory, hides what layers below have of the name. */
static bool has_obstacle(int fd, const char *name)
{
    struct stat st;
    if (fd < 0)
        return false;
    char *mark = mark_beside(name);
    bool has =
        fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 || (mark && fstatat(fd, mark, &st, AT_SYMLINK_NOFOLLOW) == 0);
    free(mark);
    return has;
}

/* Between what is in the way and the directory nothing would hide what layers below have of the name: a call that
 * finishes this one would not know that something did. */
static int hide_meanwhile(struct commit *c, const struct change *change)
{
    struct stat st;
    const char *name = name_of(change->relative);
    int fd = reach(c, change);
    if (fd < 0 || fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return fd < 0 ? -1 : 0;
    char *dir = path_in(fd, ".");
    int r = ovl_mark_hide(&c->space->ctx, dir, name, OVL_MARK_FILE); /* which place() takes away */
    free(dir);
    return r < 0 && r != -EEXIST ? refuse_mark(change->path, r) : 0;
}

static int make_directory(struct commit *c, const struct change *change)
{
    const char *name = name_of(change->relative);
    bool hides = change->opaque || has_obstacle(go_above(c, change->relative), name);
    int below = hides ? shown(c, c->target + 1, change->relative) : SHOWN_NOTHING;
    if (below < 0 || reach(c, change) < 0 || make_aside(c, change) < 0)
        return -1;
    if (below == SHOWN_DIRECTORY && (make_opaque(c, ASIDE, change->path) < 0 || hide_meanwhile(c, change) < 0))
        return -1;
    return place(c, change);
}

static int apply_directory(struct commit *c, const struct change *change)
{
    struct stat st;
    int fd = *change->relative ? go_above(c, change->relative) : c->root;
    const char *name = *change->relative ? name_of(change->relative) : ".";
    bool there = fd >= 0 && fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
    if (!there && fd < 0 && errno != ENOENT)
        return refuse_errno(change->path);
    if (!there)
        return is_needed(c, change) ? make_directory(c, change) : 0;
    int below = change->opaque ? shown(c, c->target + 1, change->relative) : SHOWN_NOTHING;
    if (below != SHOWN_DIRECTORY)
        return below < 0 ? -1 : 0;
    return make_opaque(c, change->relative, change->path);
}

static int apply(const struct change *change, void *arg)
{
    struct commit *c = arg;
    int r;
    remember_opaque(c, change);
    if (change->kind == CHANGE_DELETED)
        r = apply_deleted(c, change);
    else if (S_ISDIR(change->upper.st.st_mode))
        r = apply_directory(c, change);
    else
        r = apply_object(c, change);
    progress_add(&c->progress, change->kind != CHANGE_NONE, 0);
    return r < 0;
}

/* ---- metadata of directories --------------------------------------------------------------------------------- */

/* Those of the layer's directory that the upper's has not. */
static int remove_xattrs(int fd, const struct xattrs *wanted)
{
    struct xattrs has;
    char *path = path_in(fd, ".");
    int r = xattrs_read(&has, path);
    for (size_t i = 0; r == 0 && i < has.count; i++) {
        bool stays = xattr_is_local(has.at[i].name);
        for (size_t j = 0; j < wanted->count; j++)
            stays |= strcmp(has.at[i].name, wanted->at[j].name) == 0;
        if (!stays && lremovexattr(path, has.at[i].name) < 0 && errno != ENODATA && errno != EPERM)
            r = -1;
    }
    xattrs_free(&has);
    free(path);
    return r;
}

/* Somebody else's has the time of what was changed in it; commit_check() has seen that nothing else is wanted. */
static bool is_foreign(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && !object_is_ours(&st);
}

/* After what is in it was applied, which changed its time. */
static int leave(const struct change *change, void *arg)
{
    struct commit *c = arg;
    struct object o;
    char *target;
    if (change->kind == CHANGE_NONE && !change->differs)
        return 0;
    int fd = tree_go(&c->tree, change->relative, false);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : refuse_errno(change->path) < 0;
    if (is_foreign(fd))
        return 0;
    int r = describe(c, change, &o, &target);
    if (r == 0 && !*change->relative) /* the root is as whoever made the layer liked, but for its time */
        tree_set_time(&c->tree, &o.st.st_mtim);
    else if (r == 0 && (remove_xattrs(fd, &o.xattrs) < 0 || tree_dress(&c->tree, &o) < 0))
        r = refuse_errno(change->path);
    c->lost_xattrs |= o.lost_xattrs;
    xattrs_free(&o.xattrs);
    free(target);
    return r < 0;
}

/* ---- the whole ------------------------------------------------------------------------------------------------- */

static int remove_aside(const struct commit *c, const char *name)
{
    if (unlinkat(c->root, name, 0) == 0 || errno == ENOENT)
        return 0;
    char *path = path_in(c->root, name);
    int r = remove_tree(path);
    free(path);
    return r;
}

/* A file system that has no such locks has had no use for them either. */
int commit_lock(struct commit *c)
{
    const char *layer = ovl_layer(c->ovl, c->target);
    c->root = open(layer, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (c->root < 0)
        return refuse_errno(layer);
    if (flock(c->root, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
        return 0;
    tell("another upper is being committed to %s; this one waits", layer);
    while (flock(c->root, LOCK_EX) < 0 && errno == EINTR)
        ;
    return 0;
}

static int open_tree(struct commit *c)
{
    int fd = fcntl(c->root, F_DUPFD_CLOEXEC, 0);
    return fd < 0 || tree_open(&c->tree, fd) < 0 ? refuse_errno(ovl_layer(c->ovl, c->target)) : 0;
}

static int flush(const struct commit *c)
{
    return syncfs(c->root) < 0 ? refuse_errno(ovl_layer(c->ovl, c->target)) : 0;
}

static int walk(struct commit *c, int (*each)(const struct change *, void *),
                int (*leave_directory)(const struct change *, void *))
{
    const struct changes_visitor visitor = {
        .each = each, .leave = leave_directory, .arg = c, .flags = CHANGES_ALL | CHANGES_LINKS};
    return changes_walk(&c->space->ctx, c->ovl, &visitor) == 0 ? 0 : -1;
}

/* Names that only the layer has show the changed object as long as they are links of what that was: so they come before
 * the names that the upper has. */
static int apply_linked(const struct change *change, void *arg)
{
    return change->linked ? apply(change, arg) : 0;
}

static int apply_all(struct commit *c)
{
    int r = remove_aside(c, ASIDE); /* of a call that was killed */
    if (r == 0 && ovl_has_links(c->ovl))
        r = walk(c, apply_linked, NULL);
    return r < 0 ? r : walk(c, apply, leave);
}

int commit_apply(struct commit *c)
{
    c->links = -1;
    progress_begin(&c->progress, "committing", c->files, c->bytes);
    int r = open_tree(c);
    if (r == 0)
        r = apply_all(c);
    if (r < 0)
        remove_aside(c, ASIDE); /* perhaps it has filled the disk */
    progress_end(&c->progress);
    if (c->links >= 0)
        close(c->links);
    if (r == 0)
        r = remove_aside(c, LINKS);
    if (tree_close(&c->tree) < 0 && r == 0)
        r = refuse_errno(ovl_layer(c->ovl, c->target));
    if (r == 0)
        r = flush(c);
    free(c->opaque);
    return r;
}
