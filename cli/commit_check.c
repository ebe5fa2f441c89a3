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
    struct stat root; /* of the layer */
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

/* A directory that goes must not have anything in it that is newer. */
static int check_tree(const struct commit *c, const struct change *change)
{
    char *roots[] = {text("%s/%s", ovl_layer(c->ovl, c->target), change->relative), NULL};
    FTS *tree = need(fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL));
    int r = 0;
    for (FTSENT *entry; r == 0 && (entry = fts_read(tree));)
        if (entry->fts_info != FTS_DP && entry->fts_info != FTS_ERR && entry->fts_info != FTS_NS &&
            is_newer(c, entry->fts_statp))
            r = refuse_newer(c, change->path);
    fts_close(tree);
    free(roots[0]);
    return r;
}

/* A name that came or went changes a directory's times, so that those say nothing of a directory that stays. */
static int check_newer(const struct commit *c, const struct change *change)
{
    if (c->forced || !change->lower.exists || change->lower.layer != c->target)
        return 0;
    bool stays = change->upper.exists && is_dir(&change->upper.st) && is_dir(&change->lower.st);
    if (stays)
        return 0;
    if (is_dir(&change->lower.st))
        return check_tree(c, change);
    return is_newer(c, &change->lower.st) ? refuse_newer(c, change->path) : 0;
}

/* ---- the layer ------------------------------------------------------------------------------------------- */

static int check_directory(const struct checking *ch, const struct change *change, const char *dir)
{
    struct stat st;
    if (lstat(dir, &st) < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : refuse(dir, strerror(errno));
    if (!is_dir(&st))
        return 0;
    if (st.st_dev != ch->root.st_dev)
        return refuse(dir, "is another file system than its layer; commit what is in there by other means");
    if (faccessat(AT_FDCWD, dir, W_OK, AT_EACCESS) == 0 || st.st_uid == geteuid())
        return 0;
    complain("%s: %s; nothing was changed, %s could not be", dir, strerror(errno), change->path);
    return 1;
}

/* The directory that the name is in, as far as the layer has it. */
static int check_place(const struct checking *ch, const struct change *change)
{
    const char *slash = strrchr(change->relative, '/');
    int n = slash ? (int)(slash - change->relative) : 0;
    char *dir = text("%s/%.*s", ovl_layer(ch->c->ovl, ch->c->target), n, change->relative);
    int r = check_directory(ch, change, dir);
    free(dir);
    return r;
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
        r = check_newer(c, change);
    c->count[change->kind]++;
    c->files++;
    if (change->upper.exists && S_ISREG(change->upper.st.st_mode))
        c->bytes += (uint64_t)change->upper.st.st_size;
    if (r == 0 && ch->each)
        ch->each(change);
    return r;
}

int commit_check(struct commit *c, void (*each)(const struct change *change))
{
    size_t mark = c->space->ctx.used;
    struct checking ch = {.c = c, .each = each, .said = need(ovl_ctx_alloc(&c->space->ctx, sizeof(struct ovl_said)))};
    const struct changes_visitor visitor = {.each = check, .arg = &ch, .flags = CHANGES_ALL | CHANGES_LINKS};
    const char *layer = ovl_layer(c->ovl, c->target);
    if (lstat(layer, &ch.root) < 0) {
        complain("%s: %s", layer, strerror(errno));
        return -1;
    }
    int r = changes_walk(&c->space->ctx, c->ovl, &visitor);
    ovl_ctx_reset(&c->space->ctx, mark);
    return r == 0 ? 0 : -1;
}
