/* SPDX-License-Identifier: MIT
 *
 * The walk: changes.h says what it does.  Two nodes go through the tree together, one in the merged view, one in that
 * of the lower layers; a frame for each directory on the way has the listings of both.
 */
#include "changes.h"

#include "output.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DOTS 2 /* the first entries of a listing */

/* A directory that is being walked. */
struct frame {
    struct ovl_listing merged, lower; /* lower.entry NULL: the lower layers have no such directory, or it is opaque */
    size_t at, lower_at;
    size_t length; /* of its path */
    struct ovl_stack merged_dirs, lower_dirs;
    char *from;      /* the path that it had, if it was renamed */
    bool both;       /* the lower layers have it too */
    bool opaque;     /* and the upper hides that */
    bool reported;   /* leave() is due */
    bool deleted_do; /* CHANGES_DELETED_FIRST: this is the turn of what was deleted */
    enum change_kind kind;
    unsigned differs;
};

struct walk {
    struct ovl_ctx *ctx;
    const struct changes_visitor *visitor;
    const struct renames *renames;
    struct ovl_view merged_view, lower_view;
    struct ovl_node *merged, *lower, *source;
    char *from; /* of the change that is reported */
    struct frame *frame;
    size_t frames, room;
    size_t below; /* length of visitor->below */
    bool links;   /* look at what only lower layers have */
    bool failed;
};

const char *change_name(enum change_kind kind)
{
    static const char *const names[] = {"unchanged", "added",    "modified", "metadata",
                                        "deleted",   "replaced", "opaque",   "renamed"};
    return names[kind];
}

static bool wants(const struct walk *w, unsigned flag)
{
    return w->visitor->flags & flag;
}

/* ---- what can't be looked at -------------------------------------------------------------------------- */

/* 0 to go on with what is behind, or the error that ends the walk. */
static int pass(struct walk *w, const char *path, int error)
{
    if (error == -ENOMEM)
        no_memory();
    if (!wants(w, CHANGES_SILENT))
        complain("%s: %s", path, strerror(-error));
    w->failed = true;
    return wants(w, CHANGES_GO_ON | CHANGES_SILENT) ? 0 : -1;
}

/* ---- which places ------------------------------------------------------------------------------------- */

static bool is_at_or_below(const char *path, const char *dir, size_t length)
{
    return strncmp(path, dir, length) == 0 && (!path[length] || path[length] == '/' || length == 1);
}

enum place { PLACE_ELSEWHERE, PLACE_ABOVE, PLACE_WANTED };

/* Where a path lies as seen from what the visitor asks for. */
static enum place place_of(const struct walk *w, const char *path)
{
    const char *below = w->visitor->below;
    if (!below || is_at_or_below(path, below, w->below))
        return PLACE_WANTED;
    return is_at_or_below(below, path, strlen(path)) ? PLACE_ABOVE : PLACE_ELSEWHERE;
}

/* ---- one name ------------------------------------------------------------------------------------------- */

static struct frame *innermost(const struct walk *w)
{
    return &w->frame[w->frames - 1];
}

static bool is_dir(const struct ovl_node *node)
{
    return node->exists && S_ISDIR(node->st.st_mode);
}

/* Whether the merged node's object is one of the upper, or stands for one. */
static bool is_upper(const struct ovl_node *merged)
{
    return merged->exists && (merged->top == 0 || merged->linked);
}

/* Whether a socket that the visitor wants nothing of hides something. */
static bool is_left_out(const struct walk *w)
{
    return wants(w, CHANGES_NO_SOCKETS) && is_upper(w->merged) && S_ISSOCK(w->merged->st.st_mode) && w->lower->exists;
}

static void fill(const struct walk *w, struct change *change)
{
    const struct ovl_node *merged = w->merged, *lower = w->lower;
    const char *mount = ovl_mount(w->merged_view.ovl), *rest = merged->path + (mount[1] ? strlen(mount) : 0);
    *change = (struct change){.ovl = w->merged_view.ovl, .path = merged->path};
    change->relative = *rest == '/' ? rest + 1 : rest;
    change->upper.node = merged;
    change->lower.node = lower;
    change->upper.exists = is_upper(merged) && !is_left_out(w);
    if (change->upper.exists) {
        change->upper.real = merged->real;
        change->upper.st = merged->st;
        change->linked = merged->linked;
    }
    change->lower.exists = lower->exists;
    if (lower->exists) {
        change->lower.real = lower->real;
        change->lower.st = lower->st;
        change->lower.layer = lower->top;
    }
    change->opaque = is_dir(merged) && merged->top == 0 && is_dir(lower) && !ovl_stack_has(&merged->dirs, lower->top);
}

static enum change_kind kind_of(struct walk *w, struct change *change)
{
    const mode_t after = change->upper.st.st_mode & S_IFMT, before = change->lower.st.st_mode & S_IFMT;
    if (!change->upper.exists) {
        change->to = renames_to(w->renames, change->path);
        return change->lower.exists ? CHANGE_DELETED : CHANGE_NONE;
    }
    if (!change->lower.exists || after != before) {
        change->from = renames_from(w->renames, change->path);
        return change->from ? CHANGE_RENAMED : change->lower.exists ? CHANGE_REPLACED : CHANGE_ADDED;
    }
    if (!wants(w, CHANGES_NAMES))
        change_compare(change);
    if (!*change->relative && !change->opaque)
        return CHANGE_NONE;
    if (change->differs & (DIFFERS_CONTENT | DIFFERS_UNKNOWN))
        return CHANGE_MODIFIED;
    if (change->opaque)
        return CHANGE_OPAQUE;
    return change->differs & ~(S_ISDIR(after) ? DIFFERS_TIME : 0u) ? CHANGE_METADATA : CHANGE_NONE;
}

/* Whether the visitor is told. */
static bool is_told(const struct walk *w, const struct change *change)
{
    switch (place_of(w, change->path)) {
    case PLACE_WANTED:
        return change->kind != CHANGE_NONE || wants(w, CHANGES_ALL);
    case PLACE_ABOVE:
        return change->kind == CHANGE_DELETED || (change->upper.exists && !S_ISDIR(change->upper.st.st_mode));
    default:
        return false;
    }
}

static int tell_visitor(const struct walk *w, const struct change *change)
{
    return is_told(w, change) ? w->visitor->each(change, w->visitor->arg) : 0;
}

/* ---- what was renamed -------------------------------------------------------------------------------------- */

/* Put the source node at a path, in the view of the lower layers. */
static int look_at_source(struct walk *w, const char *path)
{
    const char *mount = ovl_mount(w->lower_view.ovl);
    char *rest = need(strdup(path + (mount[1] ? strlen(mount) : 0))), *save = NULL;
    int r = ovl_view_mount(w->ctx, &w->lower_view, w->source);
    for (char *name = strtok_r(rest, "/", &save); r == 0 && name; name = strtok_r(NULL, "/", &save)) {
        struct ovl_stack dirs = w->source->dirs;
        r = is_dir(w->source) ? ovl_view_name(w->ctx, &w->lower_view, &dirs, name, w->source) : -ENOENT;
    }
    free(rest);
    return r < 0 ? r : w->source->exists ? 0 : -ENOENT;
}

/* Compare what was renamed with what it was. */
static void compare_source(struct walk *w, struct change *change)
{
    struct change as = *change;
    if (look_at_source(w, change->from) < 0)
        return;
    as.lower.real = w->source->real;
    as.lower.st = w->source->st;
    change_compare(&as);
    change->differs = as.differs & ~(S_ISDIR(as.upper.st.st_mode) ? DIFFERS_TIME : 0u);
}

/* Something new in a directory that was renamed: it was there already if that had the same kind of object. */
static void follow_directory(struct walk *w, struct change *change)
{
    const struct frame *parent = w->frames > 0 ? innermost(w) : NULL;
    if (!parent || !parent->from || change->kind != CHANGE_ADDED)
        return;
    free(w->from);
    w->from = text("%s%s", parent->from, change->path + parent->length);
    if (look_at_source(w, w->from) < 0 || (w->source->st.st_mode ^ change->upper.st.st_mode) & S_IFMT)
        return;
    change->kind = CHANGE_RENAMED;
    change->from = w->from;
    compare_source(w, change);
    change->moved = !change->differs;
}

/* ---- directories ------------------------------------------------------------------------------------------ */

static int list(struct walk *w, struct frame *frame)
{
    int r = ovl_list(w->ctx, w->merged, &frame->merged);
    if (r < 0 || !frame->both)
        return r;
    r = ovl_list(w->ctx, w->lower, &frame->lower);
    if (r < 0)
        ovl_listing_free(&frame->merged);
    return r;
}

/* Go into the directory that the nodes are at. */
static int push(struct walk *w, const struct change *change, bool reported)
{
    if (w->frames == w->room) {
        w->room = w->room ? w->room * 2 : 16;
        w->frame = need(realloc(w->frame, w->room * sizeof *w->frame));
    }
    struct frame *frame = &w->frame[w->frames];
    *frame = (struct frame){.at = DOTS, .lower_at = DOTS, .length = w->merged->length};
    frame->both = is_dir(w->lower);
    frame->opaque = change->opaque;
    frame->reported = reported;
    frame->kind = change->kind;
    frame->differs = change->differs;
    if (change->kind == CHANGE_RENAMED)
        frame->from = need(strdup(change->from));
    frame->deleted_do = wants(w, CHANGES_DELETED_FIRST);
    frame->merged_dirs = w->merged->dirs;
    if (frame->both)
        frame->lower_dirs = w->lower->dirs;
    int r = list(w, frame);
    if (r == 0) {
        w->frames++;
        return 0;
    }
    free(frame->from);
    return pass(w, w->merged->path, r);
}

/* Put both nodes at a name of the innermost directory; *r is an error if there is one. */
static int look(struct walk *w, const char *name)
{
    const struct frame *frame = innermost(w);
    ovl_view_up(w->merged, frame->length);
    ovl_view_up(w->lower, frame->length);
    int r = ovl_view_name(w->ctx, &w->merged_view, &frame->merged_dirs, name, w->merged);
    if (r == 0 && frame->both)
        return ovl_view_name(w->ctx, &w->lower_view, &frame->lower_dirs, name, w->lower);
    w->lower->exists = false;
    return r;
}

/* The same for the directory itself that is the innermost one. */
static int look_at_directory(struct walk *w, const struct frame *frame)
{
    if (w->frames == 0) {
        int r = ovl_view_mount(w->ctx, &w->merged_view, w->merged);
        return r < 0 ? r : ovl_view_mount(w->ctx, &w->lower_view, w->lower);
    }
    char *name = need(strndup(w->merged->path, frame->length));
    int r = look(w, strrchr(name, '/') + 1);
    free(name);
    return r;
}

static void pop(struct walk *w)
{
    struct frame *frame = innermost(w);
    ovl_listing_free(&frame->merged);
    ovl_listing_free(&frame->lower);
    free(frame->from);
    w->frames--;
}

static int leave(struct walk *w)
{
    const struct frame frame = *innermost(w);
    struct change change;
    innermost(w)->from = NULL;
    pop(w);
    int r = 0;
    if (w->visitor->leave && frame.reported) {
        r = look_at_directory(w, &frame);
        fill(w, &change);
        change.kind = frame.kind;
        change.differs = frame.differs;
        change.from = frame.from;
        r = r < 0 ? pass(w, w->merged->path, r) : w->visitor->leave(&change, w->visitor->arg);
    }
    free(frame.from);
    return r;
}

/* ---- the next name ------------------------------------------------------------------------------------------- */

static const char *name_at(const struct ovl_listing *listing, size_t at)
{
    return listing->entry && at < listing->count ? listing->entry[at].name : NULL;
}

static int order(const char *a, const char *b)
{
    return !a ? 1 : !b ? -1 : strcmp(a, b);
}

/* What the merged view shows and what the lower layers have, in one row: the name, or NULL when there is none left. */
static const char *next_name(struct walk *w, bool *is_deleted)
{
    struct frame *frame = innermost(w);
    for (;;) {
        const char *shown = name_at(&frame->merged, frame->at), *had = name_at(&frame->lower, frame->lower_at);
        if (!shown && !had && !frame->deleted_do)
            return NULL;
        if (!shown && !had) { /* once more, for what is there */
            frame->deleted_do = false;
            frame->at = frame->lower_at = DOTS;
            continue;
        }
        int way = order(shown, had);
        const struct ovl_entry *entry = way <= 0 ? &frame->merged.entry[frame->at] : NULL;
        bool by_upper = entry && (entry->layer == 0 || w->links);
        bool is_socket = wants(w, CHANGES_NO_SOCKETS) && entry && entry->layer == 0 && entry->type == DT_SOCK;
        frame->at += way <= 0;
        frame->lower_at += way >= 0;
        *is_deleted = way > 0 || (way == 0 && is_socket);
        bool deleted_turn = !wants(w, CHANGES_DELETED_FIRST) || frame->deleted_do;
        bool shown_turn = !wants(w, CHANGES_DELETED_FIRST) || !frame->deleted_do;
        if (*is_deleted ? deleted_turn : by_upper && shown_turn)
            return *is_deleted ? had : shown;
    }
}

static bool goes_below(const struct walk *w, const struct change *change)
{
    if (!is_dir(w->merged) || place_of(w, change->path) == PLACE_ELSEWHERE)
        return false;
    return w->merged->top == 0 || w->links;
}

/* Visit the place that the nodes are at. */
static int visit(struct walk *w)
{
    struct change change;
    fill(w, &change);
    const bool is_gone = !w->merged->exists || is_left_out(w);
    if (w->frames > 0 && is_gone && innermost(w)->opaque)
        change.hidden = true;
    bool changed = change.upper.exists || is_gone;
    change.kind = changed ? kind_of(w, &change) : CHANGE_NONE;
    if (!wants(w, CHANGES_NAMES)) {
        if (change.kind == CHANGE_RENAMED)
            compare_source(w, &change);
        follow_directory(w, &change);
    }
    int r = changed ? tell_visitor(w, &change) : 0;
    bool reported = changed && is_told(w, &change);
    return r == 0 && goes_below(w, &change) ? push(w, &change, reported) : r;
}

static int step(struct walk *w)
{
    bool is_deleted;
    const char *name = next_name(w, &is_deleted);
    if (!name)
        return leave(w);
    int r = look(w, name);
    if (r < 0)
        return pass(w, w->merged->path, r);
    /* Another overlay's, or passed through; or vanished since it was listed. */
    if (!w->merged->exists && !w->lower->exists)
        return 0;
    return visit(w);
}

static int begin(struct walk *w)
{
    int r = ovl_view_mount(w->ctx, &w->merged_view, w->merged);
    if (r == 0)
        r = ovl_view_mount(w->ctx, &w->lower_view, w->lower);
    if (r < 0)
        return pass(w, ovl_mount(w->merged_view.ovl), r);
    return visit(w);
}

static int walk(struct walk *w)
{
    const int fds = w->ctx->fds;
    int r = begin(w);
    while (r == 0 && w->frames > 0) {
        r = step(w);
        ovl_ctx_close(w->ctx, fds);
    }
    while (w->frames > 0)
        pop(w);
    free(w->frame);
    free(w->from);
    return r == 0 && w->failed ? -1 : r;
}

int changes_walk(struct ovl_ctx *ctx, struct ovl *o, const struct changes_visitor *visitor)
{
    if (ovl_is_read_only(o))
        return 0;
    size_t mark = ctx->used;
    int failed = 0;
    struct renames *renames =
        visitor->flags & CHANGES_RENAMES ? renames_find(ctx, o, visitor->flags & CHANGES_GO_ON, &failed) : NULL;
    struct walk w = {.ctx = ctx,
                     .visitor = visitor,
                     .renames = renames,
                     .merged_view = {o, 0, ovl_layers(o)},
                     .lower_view = {o, 1, ovl_layers(o)},
                     .merged = need(ovl_node_new(ctx)),
                     .lower = need(ovl_node_new(ctx)),
                     .source = need(ovl_node_new(ctx)),
                     .below = visitor->below ? strlen(visitor->below) : 0,
                     .links = (visitor->flags & CHANGES_LINKS) && ovl_has_links(o)};
    int r = failed && !(visitor->flags & CHANGES_GO_ON) ? -1 : walk(&w);
    renames_free(renames);
    ovl_ctx_reset(ctx, mark);
    return r;
}
