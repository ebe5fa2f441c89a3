/* SPDX-License-Identifier: MIT
 *
 * Whether an upper can be applied to a layer, before anything is changed there.
 */
#include "commit.h"

#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct checking {
    struct commit *c;
    void (*each)(const struct change *change);
    struct ovl_said *said;
    struct tree layer;
    struct stat root; /* of that */
};

static int refuse(const char *path, const char *why)
{
    complain("%s: %s", path, why);
    return 1;
}

static bool is_dir(const struct stat *st)
{
    return S_ISDIR(st->st_mode);
}

/* ---- what was changed since ---------------------------------------------------------------------------- */

static bool is_newer(const struct commit *c, const struct stat *st)
{
    const struct timespec *t = &st->st_ctim;
    return t->tv_sec > c->began.tv_sec || (t->tv_sec == c->began.tv_sec && t->tv_nsec > c->began.tv_nsec);
}

static int refuse_newer(const struct commit *c, const char *path)
{
    complain(
        "%s in %s was changed after the overlay was first used; look at it, and commit with --force to overwrite it",
        path, ovl_layer(c->ovl, c->target));
    return 1;
}

/* ---- what goes --------------------------------------------------------------------------------------------- */

static int refuse_change(const struct change *change, const char *where, int error)
{
    complain("%s: %s; nothing was changed, %s could not be", where, strerror(error), change->path);
    return 1;
}

static int refuse_mount(const char *where)
{
    return refuse(where, "is another file system than its layer; commit what is in there by other means");
}

/* Whether its mode keeps the caller from changing names in a directory, with errno; tree.c opens what is the caller's.
 */
static bool is_barred(const char *dir, const struct stat *st)
{
    return st->st_uid != geteuid() && faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) < 0;
}

/* Whether somebody else's name can't be taken out of somebody else's directory, such as /tmp. */
static bool is_stuck(const struct stat *dir, const struct stat *st)
{
    return (dir->st_mode & S_ISVTX) && !object_is_ours(dir) && !object_is_ours(st);
}

/* Whether nothing of the layer is overwritten or removed. */
static bool stays(const struct commit *c, const struct change *change)
{
    if (!change->lower.exists || change->lower.layer != c->target)
        return true;
    return change->upper.exists && is_dir(&change->upper.st) && is_dir(&change->lower.st);
}

/* Of a directory fts_number tells that names in it can't be removed. */
static int check_entry(const struct checking *ch, const struct change *change, FTSENT *entry)
{
    const struct stat *st = entry->fts_statp;
    const FTSENT *above = entry->fts_level > 0 ? entry->fts_parent : NULL;
    switch (entry->fts_info) {
    case FTS_DP:
        return 0;
    case FTS_DNR: /* what is the caller's will be opened */
        return entry->fts_errno == EACCES && object_is_ours(st)
                   ? 0
                   : refuse_change(change, entry->fts_path, entry->fts_errno);
    case FTS_NS:
    case FTS_ERR:
        return entry->fts_errno == ENOENT ? 0 : refuse_change(change, entry->fts_path, entry->fts_errno);
    default:
        break;
    }
    if (st->st_dev != ch->root.st_dev)
        return refuse_mount(entry->fts_path);
    if (above && above->fts_number)
        return refuse_change(change, entry->fts_path, EACCES);
    if (above && is_stuck(above->fts_statp, st))
        return refuse_change(change, entry->fts_path, EPERM);
    entry->fts_number = is_dir(st) && is_barred(entry->fts_accpath, st);
    return !ch->c->forced && is_newer(ch->c, st) ? refuse_newer(ch->c, change->path) : 0;
}

/* A directory that goes must not have anything in it that is newer, or can't be removed. */
static int check_tree(const struct checking *ch, const struct change *change)
{
    char *roots[] = {need(strdup(change->lower.real)), NULL};
    FTS *tree = need(fts_open(roots, FTS_PHYSICAL, NULL));
    int r = 0;
    for (FTSENT *entry; r == 0 && (entry = fts_read(tree));)
        r = check_entry(ch, change, entry);
    fts_close(tree);
    free(roots[0]);
    return r;
}

/* A name that came or went changes a directory's times, so that those say nothing of a directory that stays. */
static int check_old(const struct checking *ch, const struct change *change)
{
    if (stays(ch->c, change))
        return 0;
    if (is_dir(&change->lower.st))
        return check_tree(ch, change);
    return !ch->c->forced && is_newer(ch->c, &change->lower.st) ? refuse_newer(ch->c, change->path) : 0;
}

/* ---- the layer ------------------------------------------------------------------------------------------- */

static int check_directory(const struct checking *ch, const struct change *change, int fd, const char *path)
{
    struct stat st;
    char self[40];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd); /* a path can be longer than the kernel takes */
    if (fstat(fd, &st) < 0)
        return refuse(path, strerror(errno));
    if (st.st_dev != ch->root.st_dev)
        return refuse_mount(path);
    if (is_barred(self, &st))
        return refuse_change(change, path, errno);
    return !stays(ch->c, change) && is_stuck(&st, &change->lower.st) ? refuse_change(change, path, EPERM) : 0;
}

/* The directory that the name is in, as far as the layer has it. */
static int check_place(struct checking *ch, const struct change *change)
{
    const char *slash = strrchr(change->relative, '/');
    char *dir = text("%.*s", slash ? (int)(slash - change->relative) : 0, change->relative);
    char *path = text("%s/%s", ovl_layer(ch->c->ovl, ch->c->target), dir);
    int fd = tree_go(&ch->layer, dir, false), r = 0;
    if (fd >= 0)
        r = check_directory(ch, change, fd, path);
    else if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
        r = refuse(path, strerror(errno));
    free(dir);
    free(path);
    return r;
}

/* Of somebody else's directory names can be changed, but nothing else. */
static int check_metadata(const struct commit *c, const struct change *change)
{
    bool is_there = *change->relative && change->lower.exists && change->lower.layer == c->target;
    if (!is_there || !stays(c, change) || object_is_ours(&change->lower.st) ||
        !(change->differs & (DIFFERS_MODE | DIFFERS_XATTRS)))
        return 0;
    return refuse_change(change, change->lower.real, EPERM);
}

/* ---- the upper ------------------------------------------------------------------------------------------- */

static int check_readable(const struct change *change)
{
    if (!change->upper.exists || !S_ISREG(change->upper.st.st_mode) ||
        faccessat(AT_FDCWD, change->upper.real, R_OK, AT_EACCESS | AT_SYMLINK_NOFOLLOW) == 0)
        return 0;
    complain("%s: %s; what can't be read can't be applied, and nothing was changed", change->path, strerror(errno));
    return 1;
}

/* ---- layers between ---------------------------------------------------------------------------------------- */

static int refuse_between(const struct commit *c, const struct change *change, unsigned layer)
{
    complain("%s: %s, which lies between, has something to say of it, too; commit to that instead", change->path,
             ovl_layer(c->ovl, layer));
    return 1;
}

/* Layers that are higher than the one that is committed to must not hide what is put there. */
static int check_between(const struct checking *ch, const struct change *change)
{
    const struct commit *c = ch->c;
    const struct ovl_node *node = change->lower.node;
    for (unsigned i = 1; i < c->target; i++) {
        if (!ovl_stack_has(&node->in, i))
            continue;
        int r = ovl_layer_says(&c->space->ctx, node, i, ch->said);
        if (r < 0)
            return refuse(change->path, strerror(-r));
        bool passes =
            ch->said->says == OVL_SAYS_NOTHING || (change->kind == CHANGE_NONE && ch->said->says == OVL_SAYS_OBJECT);
        if (!passes)
            return refuse_between(c, change, i);
    }
    return 0;
}

/* ---- the walk ---------------------------------------------------------------------------------------------- */

static int check(const struct change *change, void *arg)
{
    struct checking *ch = arg;
    struct commit *c = ch->c;
    int r = c->target > 1 && *change->relative ? check_between(ch, change) : 0;
    if (r || (change->kind == CHANGE_NONE && !change->linked))
        return r;
    if (!*change->relative && change->opaque && c->target > 1)
        return refuse_between(c, change, 1);
    r = check_place(ch, change);
    if (r == 0)
        r = check_readable(change);
    if (r == 0)
        r = check_old(ch, change);
    if (r == 0)
        r = check_metadata(c, change);
    c->count[change->kind]++;
    c->files++;
    if (change->upper.exists && S_ISREG(change->upper.st.st_mode))
        c->bytes += (uint64_t)change->upper.st.st_size;
    if (r == 0 && ch->each)
        ch->each(change);
    return r;
}

static int open_layer(struct checking *ch)
{
    const char *layer = ovl_layer(ch->c->ovl, ch->c->target);
    int fd = open(layer, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &ch->root) == 0 && tree_look(&ch->layer, fd) == 0)
        return 0;
    return refuse(layer, strerror(errno));
}

int commit_check(struct commit *c, void (*each)(const struct change *change))
{
    size_t mark = c->space->ctx.used;
    struct checking ch = {.c = c, .each = each, .said = need(ovl_ctx_alloc(&c->space->ctx, sizeof(struct ovl_said)))};
    const struct changes_visitor visitor = {.each = check, .arg = &ch, .flags = CHANGES_ALL | CHANGES_LINKS};
    int r = open_layer(&ch);
    if (r == 0)
        r = changes_walk(&c->space->ctx, c->ovl, &visitor);
    tree_close(&ch.layer);
    ovl_ctx_reset(&c->space->ctx, mark);
    return r == 0 ? 0 : -1;
}
