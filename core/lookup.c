/* SPDX-License-Identifier: MIT
 *
 * Looking up one name in the layers that merge to a directory, and finding a directory again.
 *
 * This is the plain walk: it asks the kernel every time.  What must hold: a name is decided by the
 * first layer that has it or whites it out, a directory merges down to the first opaque one or the
 * first layer in which the name is something else (overlayfs.rst, "Merging of directories").
 */
#include "types.h"

#define TRIES 16
#define DEEP 16 /* names that are worth skip_plain() */

int ovl_node_append(struct ovl_node *node, const char *name, size_t n)
{
    size_t at = node->length;
    if (at == 1 && node->path[0] == '/')
        at = 0;
    if (n > OVL_NAME_MAX || at + 1 + n >= OVL_PATH_MAX)
        return -ENAMETOOLONG;
    node->path[at] = '/';
    memcpy(node->path + at + 1, name, n);
    node->length = at + 1 + n;
    node->path[node->length] = '\0';
    node->name = at + 1;
    return 0;
}

static void set_name(struct ovl_node *node)
{
    node->name = node->length;
    while (node->path[node->name - 1] != '/')
        node->name--;
}

void ovl_node_parent(struct ovl_node *node)
{
    set_name(node);
    node->length = node->name > 1 ? node->name - 1 : 1;
    node->path[node->length] = '\0';
    set_name(node);
}

void ovl_root_stack(const struct ovl *o, struct ovl_stack *s)
{
    memset(s, 0, sizeof *s);
    s->impure = o->impure;
    for (unsigned i = 0; i < o->roots; i++)
        ovl_stack_add(s, i);
}

/* Whether lower directories don't merge with the one that layer k has.  A directory that is made over a whiteout gets
 * its mark before that goes, and one that is removed gets a whiteout before its mark goes: so whoever looks without the
 * lock sees neither only if there was neither, when it looks for the whiteout before and after. */
static int is_alone(struct ovl_ctx *ctx, const struct ovl_node *node, unsigned k, const char *real)
{
    const char *root = node->ovl->layer[k].path, *rel = ovl_relative(node->ovl, node->path);
    int r = ovl_has_whiteout(ctx, root, rel);
    if (r == 0)
        r = ovl_has_opaque_marker(ctx, real);
    return r == 0 && k == 0 && node->ovl->has_upper ? ovl_has_whiteout(ctx, root, rel) : r;
}

/* Take the directory that layer k has of the name: 1 go on to the next layers, or 0 when nothing below it merges. */
static int take_directory(struct ovl_ctx *ctx, struct ovl_node *node, unsigned k, const char *real)
{
    const struct ovl *o = node->ovl;
    struct ovl_marks marks;
    ovl_stack_add(&node->dirs, k);
    if (k + 1 == o->layers)
        return 0;
    int r = ovl_read_marks(real, &marks);
    if (r == 0 && marks.redirect && node->in.impure)
        r = ovl_refuse_redirect(real);
    node->dirs.impure |= marks.impure != 0;
    if (r < 0 || marks.opaque == 'y' || ovl_stack_next(&node->in, k + 1, o->layers) == o->layers)
        return r;
    r = is_alone(ctx, node, k, real);
    return r < 0 ? r : !r;
}

static int take_file(struct ovl_node *node, unsigned k, const char *real, const struct stat *st)
{
    int r = node->in.impure && S_ISREG(st->st_mode) ? ovl_check_content(real) : 0;
    return r == 0 && node->ovl->has_upper && k > 0 ? ovl_group_look(node) : r;
}

/* Look for the object that layer k has of the name: 0, 1 when a whiteout hides the name, -ENOENT when it has neither.
 */
static int find_object(struct ovl_ctx *ctx, const struct ovl_node *node, unsigned k, char *real, struct stat *st)
{
    const struct ovl *o = node->ovl;
    const char *rel = ovl_relative(o, node->path);
    int r = ovl_real_sibling(ctx, o->layer[k].path, rel, "", real); /* by its name, also where it is an anchor */
    if (r == 0)
        r = ovl_sys_lstat(real, st);
    if (r != -ENOENT && r != -ENOTDIR)
        return r;
    if (ovl_stack_next(&node->in, k + 1, o->layers) == o->layers)
        return -ENOENT;
    const int hidden = ovl_has_whiteout(ctx, o->layer[k].path, rel);
    if (hidden < 0)
        return hidden;
    /* Made since we looked: if its whiteout is gone, what lies below must not be seen for it, and if it has one, which
     * was made to remove or rename it, it is there until that happens. */
    r = k == 0 && o->has_upper && o->whiteout == OVL_WHITEOUT_OCI ? ovl_sys_lstat(real, st) : -ENOENT;
    return r != -ENOENT && r != -ENOTDIR ? r : hidden ? 1 : -ENOENT;
}

/* What layer k says of the name: 1 go on to the next layer, 0 decided, or an error. */
static int ask_layer(struct ovl_ctx *ctx, struct ovl_node *node, unsigned k, char *real, struct stat *st)
{
    int r = find_object(ctx, node, k, real, st);
    if (r != 0)
        return r == -ENOENT ? 1 : r < 0 ? r : 0;
    r = ovl_is_whiteout(ctx, real, st);
    if (r != 0)
        return r < 0 ? r : 0;
    if (node->exists && !S_ISDIR(st->st_mode))
        return 0;
    if (!node->exists) {
        node->exists = true;
        node->top = k;
        node->st = *st;
        if (real != node->real)
            memcpy(node->real, real, ovl_strlen(real) + 1);
    }
    return S_ISDIR(st->st_mode) ? take_directory(ctx, node, k, real) : take_file(node, k, real, st);
}

static void begin_look(struct ovl_node *node)
{
    node->exists = node->partly = node->linked = false;
    memset(&node->dirs, 0, sizeof node->dirs);
}

/* Fill what the cache does not say of an object: false when it is not there any more, or another one. */
static bool complete(struct ovl_ctx *ctx, struct ovl_node *node, bool type_only)
{
    const mode_t type = node->st.st_mode;
    if (ovl_real_of_top(ctx, node) < 0)
        return false;
    /* What waits for somebody when it is opened is looked at in any case. */
    if (type_only && (S_ISREG(type) || S_ISDIR(type) || S_ISLNK(type)))
        return true;
    if (ovl_sys_lstat(node->real, &node->st) < 0 || (node->st.st_mode & S_IFMT) != type ||
        ovl_is_whiteout_device(&node->st))
        return false;
    node->partly = false;
    return true;
}

static bool is_first_lower(const struct ovl *o, const struct ovl_stack *in, unsigned k)
{
    return o->has_upper && k > 0 && ovl_stack_next(in, 1, o->layers) == k;
}

/* The upper has nothing to say of the name: what the lower layers say is the same whenever it is asked, so it need not
 * be asked layer by layer. */
static bool find_lower(struct ovl_ctx *ctx, struct ovl_node *node)
{
    begin_look(node);
    if (ovl_cache_ask_lower(ctx, node) && (!node->exists || complete(ctx, node, false)))
        return true;
    begin_look(node);
    return false;
}

/* The plain walk. */
static int ask_layers(struct ovl_ctx *ctx, struct ovl_node *node)
{
    const struct ovl *o = node->ovl;
    struct stat st;
    size_t mark = ctx->used;
    char *probe = node->real;
    int r = 1;
    for (unsigned k = ovl_stack_next(&node->in, 0, o->layers); r == 1 && k < o->layers;
         k = ovl_stack_next(&node->in, k + 1, o->layers)) {
        int fds = ctx->fds;
        if (is_first_lower(o, &node->in, k) && !node->exists && find_lower(ctx, node))
            break;
        r = ask_layer(ctx, node, k, probe, &st);
        if (!node->exists || node->top != k)
            ovl_ctx_close(ctx, fds);
        if (node->exists && probe == node->real && !(probe = ovl_ctx_alloc(ctx, OVL_REAL_MAX)))
            r = -ENOMEM;
    }
    ovl_ctx_reset(ctx, mark);
    return r < 0 ? r : 0;
}

/* Nobody has a reserved name; but only who may search the directory is told so. */
static int look_for_reserved(struct ovl_ctx *ctx, struct ovl_node *node)
{
    const struct ovl *o = node->ovl;
    struct stat st;
    int r = 0;
    for (unsigned k = ovl_stack_next(&node->in, 0, o->layers); r != -EACCES && k < o->layers;
         k = ovl_stack_next(&node->in, k + 1, o->layers)) {
        const int fds = ctx->fds;
        r = ovl_real_sibling(ctx, o->layer[k].path, ovl_relative(o, node->path), "", node->real);
        if (r == 0)
            r = ovl_sys_lstat(node->real, &st);
        ovl_ctx_close(ctx, fds);
    }
    return r == -EACCES ? r : 0;
}

static int look(struct ovl_ctx *ctx, struct ovl_node *node, bool type_only)
{
    struct ovl_cached cached;
    begin_look(node);
    node->reserved = ovl_has_prefix(node->path + node->name, OVL_WH_PREFIX);
    if (node->reserved)
        return look_for_reserved(ctx, node);
    if (ovl_cache_ask(ctx, node, &cached) && (!node->exists || complete(ctx, node, type_only)))
        return 0;
    for (int i = 0;; i++) {
        begin_look(node);
        int r = ask_layers(ctx, node);
        if (r < 0 || i == TRIES || ovl_cache_tell(node, &cached))
            return r;
        /* Made or removed, or both, while we looked from layer to layer. */
        ovl_cache_ask_again(&cached);
    }
}

static void begin_whole_path(struct ovl_node *node)
{
    node->exists = node->partly = node->linked = node->reserved = false;
    node->dirs.record = 0;
}

int ovl_lookup_path(struct ovl_ctx *ctx, struct ovl_node *node, bool type_only)
{
    begin_whole_path(node);
    int r = ovl_cache_walk(ctx, node);
    return r <= 0 ? r : !node->exists || complete(ctx, node, type_only);
}

int ovl_lookup_known(struct ovl_ctx *ctx, const struct ovl_glance *glance, struct ovl_node *node, bool type_only)
{
    begin_whole_path(node);
    return ovl_cache_recall(ctx, glance, node) && (!node->exists || complete(ctx, node, type_only));
}

int ovl_lookup(struct ovl_ctx *ctx, struct ovl_node *node)
{
    return look(ctx, node, false);
}

int ovl_lookup_type(struct ovl_ctx *ctx, struct ovl_node *node)
{
    return look(ctx, node, true);
}

int ovl_lower_has(struct ovl_ctx *ctx, const struct ovl_node *node)
{
    size_t mark = ctx->used;
    struct ovl_node *below = ovl_node_new(ctx);
    if (!below)
        return -ENOMEM;
    below->ovl = node->ovl;
    below->length = node->length;
    below->name = node->name;
    memcpy(below->path, node->path, node->length + 1);
    below->in = node->in;
    int fds = ctx->fds;
    bool known = ovl_cache_ask_lower(ctx, below);
    if (node->ovl->has_upper)
        below->in.bits[0] &= ~(uint64_t)1;
    below->in.record = 0;
    int r = known ? 0 : ovl_lookup(ctx, below);
    if (r == 0)
        r = below->exists;
    ovl_ctx_close(ctx, fds);
    ovl_ctx_reset(ctx, mark);
    return r;
}

/* The plain walk's part of it. */
static int ask_roots(struct ovl_ctx *ctx, struct ovl_node *node)
{
    const struct ovl *o = node->ovl;
    ovl_root_stack(o, &node->dirs);
    for (node->top = 0; node->top < o->roots; node->top++) {
        int r = ovl_real_path(ctx, o->layer[node->top].path, "", node->real);
        if (r == 0)
            r = ovl_sys_lstat(node->real, &node->st);
        if (r == 0) {
            node->exists = true;
            return 0;
        }
        if (r != -ENOENT)
            return r;
    }
    return -ENOENT;
}

/* The mount directory of an overlay as an object. */
static int locate_mount(struct ovl_ctx *ctx, struct ovl_node *node, struct ovl *o, bool type_only)
{
    struct ovl_cached cached;
    memset(&node->in, 0, sizeof node->in);
    node->ovl = o;
    node->length = o->mount_length ? o->mount_length : 1;
    node->path[0] = '/';
    node->path[node->length] = '\0';
    set_name(node);
    node->reserved = false;
    begin_look(node);
    if (ovl_cache_ask_mount(ctx, node, &cached) && complete(ctx, node, type_only))
        return 0;
    begin_look(node);
    int r = ask_roots(ctx, node);
    if (r == 0)
        ovl_cache_tell(node, &cached);
    return r;
}

static int locate_anchor(struct ovl_ctx *ctx, struct ovl_node *node, const struct ovl_anchor *a)
{
    memset(&node->in, 0, sizeof node->in);
    ovl_stack_add(&node->in, 0);
    node->dirs = node->in;
    node->dirs.impure = a->impure;
    node->ovl = a->ovl;
    node->length = a->length;
    node->path[node->length] = '\0';
    set_name(node);
    node->top = 0;
    node->exists = true;
    node->reserved = node->partly = node->linked = false;
    return ovl_anchor_stat(ctx, a, node->real, &node->st);
}

/* Where the last `names` names of a path begin: at the slash before them, or 0. */
static size_t before_last(const char *path, size_t length, unsigned names)
{
    while (length > 0 && names > 0)
        if (path[--length] == '/')
            names--;
    return length;
}

static bool has_reserved(const char *path, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (path[i] == '/' && ovl_has_prefix(path + i + 1, OVL_WH_PREFIX))
            return true;
    return false;
}

/* Each name is asked for by its whole path, so a walk costs the square of its depth, and a program that makes a tree as
 * deep as it can (configure scripts do, to try getcwd) the cube.  In a directory of one layer nothing is hidden or
 * merged: there the walk goes on far below at once, if the kernel knows all names between for directories.  The last
 * names are looked up as always.  The slash before the next name; `at` if there is any doubt. */
static size_t skip_plain(struct ovl_ctx *ctx, const struct ovl_node *node, size_t at, size_t length)
{
    const struct ovl *o = node->ovl;
    unsigned k = ovl_stack_next(&node->dirs, 0, o->layers);
    if (k == o->layers || ovl_stack_next(&node->dirs, k + 1, o->layers) < o->layers || node->dirs.impure)
        return at;
    size_t to = before_last(node->path, length, 2);
    if (to <= at || before_last(node->path, to, DEEP) < at || has_reserved(node->path, at, to))
        return at;
    const char *rel = node->path + o->mount_length;
    return ovl_is_plain_directory(ctx, o->layer[k].path, rel, to - o->mount_length) ? to : at;
}

/* Without looking at each name on the way: 1 when the directory was found, 0 when it must be looked for, or why not. */
static int locate_at_once(struct ovl_ctx *ctx, struct ovl_node *node, struct ovl *o, bool type_only)
{
    node->ovl = o;
    set_name(node);
    int r = ovl_lookup_path(ctx, node, type_only);
    if (r <= 0)
        return r;
    return !node->exists ? -ENOENT : S_ISDIR(node->st.st_mode) ? 1 : -ENOTDIR;
}

static int locate(struct ovl_ctx *ctx, struct ovl_node *node, const char *path, bool type_only)
{
    if (node->path != path) {
        node->length = ovl_strlen(path);
        if (node->length >= OVL_PATH_MAX)
            return -ENAMETOOLONG;
        memcpy(node->path, path, node->length + 1);
    }
    const struct ovl_region *region = ovl_region_of(ctx->space, node->path);
    if (!region || !region->ovl) {
        node->ovl = NULL;
        set_name(node);
        return 0;
    }
    int r = locate_at_once(ctx, node, region->ovl, type_only);
    if (r != 0)
        return r < 0 ? r : 0;
    size_t length = node->length;
    const struct ovl_anchor *anchor = ovl_anchor_of(ctx, region->ovl, node->path, length);
    size_t at = anchor && anchor->length > 1 ? anchor->length : region->ovl->mount_length;
    char after = node->path[at ? at : 1];
    int fds = ctx->fds;
    r = anchor ? locate_anchor(ctx, node, anchor) : locate_mount(ctx, node, region->ovl, type_only || at < length);
    node->path[at ? at : 1] = after;
    /* The rest of the path is still there behind what was cut off: take it name by name. */
    while (r == 0 && at < length && node->path[at] == '/' && node->path[at + 1]) {
        size_t begin = skip_plain(ctx, node, at, length) + 1;
        if (begin > at + 1)
            node->dirs.record = 0; /* that was another directory's */
        for (at = begin; at < length && node->path[at] != '/'; at++)
            ;
        if (!S_ISDIR(node->st.st_mode))
            return -ENOTDIR;
        char kept = node->path[at];
        node->path[at] = '\0';
        node->length = at;
        node->name = begin;
        node->in = node->dirs;
        ovl_ctx_close(ctx, fds);
        r = look(ctx, node, type_only || at < length);
        node->path[at] = kept;
        if (r == 0 && !node->exists)
            r = -ENOENT;
    }
    node->length = length;
    node->path[length] = '\0';
    if (r == 0 && !S_ISDIR(node->st.st_mode))
        r = -ENOTDIR;
    return r;
}

int ovl_locate(struct ovl_ctx *ctx, struct ovl_node *node, const char *path)
{
    return locate(ctx, node, path, false);
}

int ovl_locate_type(struct ovl_ctx *ctx, struct ovl_node *node, const char *path)
{
    return locate(ctx, node, path, true);
}

static int refresh(struct ovl_ctx *ctx, struct ovl_node *node, bool type_only)
{
    if (ovl_is_mount(node))
        return locate(ctx, node, node->path, type_only);
    char name[OVL_NAME_MAX + 1];
    size_t n = node->length - node->name;
    struct ovl *o = node->ovl;
    memcpy(name, node->path + node->name, n);
    ovl_node_parent(node);
    int r = ovl_locate_type(ctx, node, node->path);
    if (r == 0 && node->ovl != o)
        r = -ENOENT;
    node->in = node->dirs;
    int a = ovl_node_append(node, name, n);
    node->ovl = o;
    if (r == 0)
        r = a;
    return r < 0 ? r : look(ctx, node, type_only);
}

int ovl_refresh(struct ovl_ctx *ctx, struct ovl_node *node)
{
    return refresh(ctx, node, false);
}

int ovl_refresh_type(struct ovl_ctx *ctx, struct ovl_node *node)
{
    return refresh(ctx, node, true);
}

struct ovl_node *ovl_node_new(struct ovl_ctx *ctx)
{
    struct ovl_node *node = ovl_ctx_alloc(ctx, sizeof *node);
    if (!node)
        return NULL;
    /* What comes from `st` on is set before it is read: clearing 12 KiB would cost more than a call. */
    memset(node, 0, offsetof(struct ovl_node, st));
    node->in.record = node->dirs.record = 0;
    node->path[0] = '\0';
    node->real[0] = '\0';
    return node;
}
