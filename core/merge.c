/* SPDX-License-Identifier: MIT
 *
 * Merged listings.
 *
 * All names of all layers that take part are collected, whiteouts too, and sorted by name and layer;
 * then each run of one name is decided by the rules of lookup.c without asking the kernel again,
 * except where only it can tell (opaque directories, devices, unknown types).  The memory is mapped,
 * because opendir may be called by an allocator.  What must hold: a listing agrees with lookup.
 */
#include "types.h"

#include <dirent.h>
#include <sys/mman.h>

#define CHUNK 16384
#define DOTS_SIZE 8

/* One name as one layer has it. */
struct raw {
    uint64_t ino;
    uint32_t name; /* offset in the text */
    uint32_t order;
    uint16_t layer;
    uint8_t type;
    uint8_t length;
    bool whiteout; /* a .wh. file for this name */
};

struct area {
    char *at;
    size_t used, size;
    bool mapped; /* else memory of the call */
};

struct merge {
    struct ovl_ctx *ctx;
    const struct ovl_node *dir;
    struct area raw; /* of struct raw */
    struct area text;
    struct area sorted; /* of uint32_t */
    bool xattr_whiteouts;
    bool upper_whiteouts; /* the upper's directory may hold some, of any form */
};

/* ---- memory ------------------------------------------------------------------------------------- */

/* An area begins in the memory of the call, so that a small directory can be looked into where none is to be had. */
static void begin_area(struct ovl_ctx *ctx, struct area *a)
{
    enum { SIZE = 8192, KEPT = 65536 };
    a->at = ctx->size - ctx->used > KEPT ? ovl_ctx_alloc(ctx, SIZE) : NULL;
    a->size = a->at ? SIZE : 0;
    a->mapped = false;
}

static int reserve(struct area *a, size_t n)
{
    if (a->used + n <= a->size)
        return 0;
    size_t size = a->size ? a->size * 2 : 65536;
    while (size < a->used + n)
        size *= 2;
    char *p = a->mapped ? ovl_sys_mremap(a->at, a->size, size)
                        : ovl_sys_mmap(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (!p)
        return -ENOMEM;
    if (!a->mapped && a->used)
        memcpy(p, a->at, a->used);
    a->mapped = true;
    a->at = p;
    a->size = size;
    return 0;
}

static void free_area(struct area *a)
{
    if (a->mapped)
        ovl_sys_munmap(a->at, a->size);
    a->mapped = false;
}

static struct raw *raw_at(const struct merge *m, uint32_t i)
{
    return (struct raw *)(void *)m->raw.at + i;
}

static const char *name_of(const struct merge *m, const struct raw *r)
{
    return m->text.at + r->name;
}

/* ---- collecting ----------------------------------------------------------------------------------- */

static int add(struct merge *m, unsigned layer, const char *name, uint64_t ino, uint8_t type, bool whiteout)
{
    size_t length = ovl_strlen(name);
    if (reserve(&m->raw, sizeof(struct raw)) < 0 || reserve(&m->text, length + 1) < 0)
        return -ENOMEM;
    uint32_t index = (uint32_t)(m->raw.used / sizeof(struct raw));
    struct raw *r = raw_at(m, index);
    *r = (struct raw){.ino = ino,
                      .name = (uint32_t)m->text.used,
                      .order = index,
                      .layer = (uint16_t)layer,
                      .type = type,
                      .length = (uint8_t)length,
                      .whiteout = whiteout};
    memcpy(m->text.at + m->text.used, name, length + 1);
    m->raw.used += sizeof *r;
    m->text.used += length + 1;
    return 0;
}

static int add_dirent(struct merge *m, unsigned layer, const struct ovl_dirent *d)
{
    const char *name = d->d_name;
    if (ovl_streq(name, ".") || ovl_streq(name, ".."))
        return 0;
    if (layer == 0 && (ovl_has_prefix(name, OVL_WH_PREFIX) || d->d_type == DT_CHR || d->d_type == DT_UNKNOWN))
        m->upper_whiteouts = true;
    if (!ovl_has_prefix(name, OVL_WH_PREFIX))
        return add(m, layer, name, d->d_ino, d->d_type, false);
    const char *hidden = name + OVL_WH_PREFIX_LENGTH;
    if (!*hidden || ovl_has_prefix(hidden, OVL_WH_PREFIX) || (d->d_type != DT_REG && d->d_type != DT_UNKNOWN))
        return 0;
    return add(m, layer, hidden, 0, DT_REG, true);
}

/* A layer's directory that is to be read. */
struct collecting {
    struct merge *merge;
    unsigned layer;
    char *path, *buf;
};

static int collect_layer(void *arg)
{
    const struct collecting *c = arg;
    struct merge *m = c->merge;
    struct ovl_ctx *ctx = m->ctx;
    unsigned layer = c->layer;
    char *path = c->path, *buf = c->buf;
    const struct ovl *o = m->dir->ovl;
    int fds = ctx->fds;
    int r = ovl_real_path(ctx, o->layer[layer].path, ovl_relative(o, m->dir->path), path);
    int fd = r < 0 ? r : ovl_sys_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    ovl_ctx_close(ctx, fds);
    if (fd < 0)
        return fd == -ENOENT && layer != m->dir->top ? 0 : fd;
    ssize_t n;
    r = 0;
    while (r == 0 && (n = ovl_sys_getdents(fd, buf, CHUNK)) != 0) {
        if (n < 0)
            r = (int)n;
        for (ssize_t at = 0; r == 0 && at < n;) {
            const struct ovl_dirent *d = (const struct ovl_dirent *)(void *)(buf + at);
            r = add_dirent(m, layer, d);
            at += d->d_reclen;
        }
    }
    ovl_sys_close(fd);
    return r;
}

/* Overlays mounted below, and parts that pass through, show in their parent's listing. */
static int collect_regions(struct merge *m)
{
    const struct ovl_space *space = m->ctx->space;
    const struct ovl_node *dir = m->dir;
    size_t prefix = dir->length == 1 ? 0 : dir->length;
    for (unsigned i = 0; i < space->regions; i++) {
        const struct ovl_region *g = &space->region[i];
        if (g->length <= prefix + 1 || !ovl_is_below(g->path, dir->path, prefix))
            continue;
        const char *name = g->path + prefix + 1;
        struct stat st;
        if (ovl_strchr(name, '/'))
            continue;
        const char *real = g->ovl ? g->ovl->layer[0].path : g->path;
        if (ovl_sys_lstat(*real ? real : "/", &st) < 0)
            continue;
        uint8_t type = (uint8_t)((st.st_mode & S_IFMT) >> 12);
        uint64_t ino = g->ovl ? ovl_identity_dir_ino(g->ovl, st.st_dev, st.st_ino) : st.st_ino;
        int r = add(m, 0, name, ino, type, false);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- sorting -------------------------------------------------------------------------------------- */

static int compare(const struct merge *m, uint32_t ai, uint32_t bi)
{
    const struct raw *a = raw_at(m, ai);
    const struct raw *b = raw_at(m, bi);
    size_t n = a->length < b->length ? a->length : b->length;
    int r = memcmp(name_of(m, a), name_of(m, b), n);
    if (r != 0 || a->length != b->length)
        return r ? r : (int)a->length - (int)b->length;
    if (a->layer != b->layer)
        return (int)a->layer - (int)b->layer;
    return (int)b->whiteout - (int)a->whiteout; /* beside its name, a whiteout is met first */
}

/* Bottom-up merge sort of indices between two halves of one area. */
static int sort(struct merge *m)
{
    uint32_t count = (uint32_t)(m->raw.used / sizeof(struct raw));
    int r = reserve(&m->sorted, 2 * sizeof(uint32_t) * (count + 1));
    if (r < 0)
        return r;
    uint32_t *from = (uint32_t *)(void *)m->sorted.at;
    uint32_t *to = from + count;
    for (uint32_t i = 0; i < count; i++)
        from[i] = i;
    for (uint32_t width = 1; width < count; width *= 2) {
        for (uint32_t low = 0; low < count; low += 2 * width) {
            uint32_t mid = low + width < count ? low + width : count;
            uint32_t end = mid + width < count ? mid + width : count;
            for (uint32_t a = low, b = mid, k = low; k < end; k++)
                to[k] = a < mid && (b >= end || compare(m, from[a], from[b]) <= 0) ? from[a++] : from[b++];
        }
        uint32_t *other = from;
        from = to;
        to = other;
    }
    if ((void *)from != (void *)m->sorted.at)
        memcpy(m->sorted.at, from, count * sizeof *from);
    return 0;
}

/* ---- deciding ------------------------------------------------------------------------------------- */

/* What a layer's own entry really is: its type where the listing didn't say, and whether it is a
 * whiteout. DT_UNKNOWN comes back for something that has vanished. */
static int look(struct merge *m, struct raw *r, char *path, struct stat *st, bool *whiteout)
{
    const struct ovl *o = m->dir->ovl;
    int fds = m->ctx->fds;
    *whiteout = false;
    int result = ovl_real_path(m->ctx, o->layer[r->layer].path, ovl_relative(o, m->dir->path), path);
    ssize_t n = result < 0 ? result : (ssize_t)ovl_strlen(path);
    n = n < 0 ? n : ovl_append(path, OVL_REAL_MAX, (size_t)n, "/");
    n = n < 0 ? n : ovl_append(path, OVL_REAL_MAX, (size_t)n, name_of(m, r));
    result = n < 0 ? (int)n : ovl_sys_lstat(path, st);
    if (result == 0) {
        r->type = (uint8_t)((st->st_mode & S_IFMT) >> 12);
        result = ovl_is_whiteout(m->ctx, path, st);
        *whiteout = result > 0;
    }
    ovl_ctx_close(m->ctx, fds);
    return result < 0 ? result : 0;
}

/* Whether a directory of this name in layer r hides the layers below it. */
static int hides_below(struct merge *m, const struct raw *r, char *path)
{
    const struct ovl *o = m->dir->ovl;
    int fds = m->ctx->fds;
    int result = ovl_real_child(m->ctx, o->layer[r->layer].path, ovl_relative(o, m->dir->path), name_of(m, r), path);
    if (result == 0)
        result = ovl_is_opaque(m->ctx, path);
    ovl_ctx_close(m->ctx, fds);
    return result;
}

static bool may_be_whiteout(const struct merge *m, const struct raw *r)
{
    return r->type == DT_UNKNOWN || r->type == DT_CHR || (r->type == DT_REG && m->xattr_whiteouts);
}

static void set_identity(struct merge *m, struct raw *shown, const struct raw *lowest, char *path)
{
    const struct ovl *o = m->dir->ovl;
    bool is_dir = shown->type == DT_DIR;
    struct ovl_shared *shared = o->has_upper && lowest->layer == 0 ? ovl_shared(&m->ctx->space->ovl[o->number]) : NULL;
    struct stat st;
    bool whiteout;
    if (shared && ovl_shared_may_have(shared, shown->ino) && look(m, shown, path, &st, &whiteout) == 0) {
        uint64_t own = st.st_ino;
        ovl_identity(m->ctx->space, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &st);
        shown->ino = st.st_ino;
        if (!is_dir || st.st_ino != own)
            return;
    }
    if (is_dir)
        shown->ino = ovl_identity_dir_ino(o, o->layer[lowest->layer].dev, lowest->ino);
}

/* Decide one run of equal names, [begin, end) of the sorted indices: the raw entry that shows, or NULL. */
static int decide(struct merge *m, uint32_t begin, uint32_t end, char *path, struct raw **result)
{
    const uint32_t *order = (const uint32_t *)(const void *)m->sorted.at;
    struct raw *shown = NULL;
    struct raw *lowest = NULL;
    *result = NULL;
    for (uint32_t i = begin; i < end; i++) {
        struct raw *r = raw_at(m, order[i]);
        bool beside = r->whiteout;
        if (beside && i + 1 < end && raw_at(m, order[i + 1])->layer == r->layer)
            r = raw_at(m, order[++i]);
        else if (beside)
            break;
        bool whiteout = false;
        struct stat st;
        int looked = may_be_whiteout(m, r) ? look(m, r, path, &st, &whiteout) : 0;
        if (looked == -ENOENT)
            continue;
        if (looked == -EACCES && r->type == DT_CHR) {
            /* Of a directory that may be read and not searched. Devices that are no whiteouts are rare in layers. */
            whiteout = true;
            looked = 0;
        }
        if (looked < 0)
            return looked;
        if (whiteout || (shown && r->type != DT_DIR))
            break;
        if (!shown)
            shown = r;
        lowest = r;
        if (r->type != DT_DIR || beside)
            break;
        int hides = i + 1 < end ? hides_below(m, r, path) : 0;
        if (hides < 0)
            return hides;
        if (hides)
            break;
    }
    if (shown)
        set_identity(m, shown, lowest, path);
    *result = shown;
    return 0;
}

/* ---- the result ------------------------------------------------------------------------------------ */

static uint64_t parent_ino(struct ovl_ctx *ctx, const struct ovl_node *dir, uint64_t own)
{
    size_t mark = ctx->used;
    struct ovl_node *up = ovl_node_new(ctx);
    uint64_t ino = own;
    struct stat st;
    if (up && dir->length > 1) {
        memcpy(up->path, dir->path, dir->length + 1);
        up->length = dir->length;
        ovl_node_parent(up);
        int fds = ctx->fds;
        if (ovl_locate(ctx, up, up->path) == 0) {
            if (up->ovl) {
                ovl_identity_dir(ctx, up, &st);
                ino = st.st_ino;
            } else if (ovl_sys_lstat(up->path, &st) == 0) {
                ino = st.st_ino;
            }
        }
        ovl_ctx_close(ctx, fds);
    }
    ovl_ctx_reset(ctx, mark);
    return ino;
}

int ovl_listing_begin(struct ovl_listing *listing, size_t count, size_t text)
{
    /* One mapping: the entries, then the text that they point into. */
    const size_t entries = (count + OVL_DOTS) * sizeof *listing->entry;
    const size_t size = entries + DOTS_SIZE + text;
    char *memory = ovl_sys_mmap(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (!memory)
        return -ENOMEM;
    char *dots = memory + entries;
    memcpy(dots, ".\0..", 5);
    *listing = (struct ovl_listing){
        .entry = (struct ovl_entry *)(void *)memory, .count = count + OVL_DOTS, .memory = memory, .size = size};
    listing->entry[0] = (struct ovl_entry){.type = DT_DIR, .length = 1, .name = dots};
    listing->entry[1] = (struct ovl_entry){.type = DT_DIR, .length = 2, .name = dots + 2};
    return 0;
}

static void number_dots(struct ovl_ctx *ctx, const struct ovl_node *dir, struct ovl_listing *listing)
{
    struct stat st;
    ovl_identity_dir(ctx, dir, &st);
    listing->entry[0].ino = st.st_ino;
    listing->entry[1].ino = parent_ino(ctx, dir, st.st_ino);
}

/* For readdir=native: back to the order in which the layers gave the names. */
static void sort_natively(struct merge *m, uint32_t *index, uint32_t count)
{
    for (uint32_t gap = count / 2; gap > 0; gap /= 2)
        for (uint32_t i = gap; i < count; i++)
            for (uint32_t k = i; k >= gap && raw_at(m, index[k - gap])->order > raw_at(m, index[k])->order; k -= gap) {
                uint32_t t = index[k];
                index[k] = index[k - gap];
                index[k - gap] = t;
            }
}

/* What is shown comes first in the sorted indices: so many. */
static int decide_all(struct merge *m, char *path, uint32_t *shown)
{
    uint32_t *order = (uint32_t *)(void *)m->sorted.at;
    uint32_t count = (uint32_t)(m->raw.used / sizeof(struct raw));
    *shown = 0;
    for (uint32_t begin = 0, end; begin < count; begin = end) {
        const struct raw *first = raw_at(m, order[begin]);
        for (end = begin + 1; end < count; end++) {
            const struct raw *r = raw_at(m, order[end]);
            if (r->length != first->length || memcmp(name_of(m, r), name_of(m, first), r->length) != 0)
                break;
        }
        struct raw *result;
        int r = decide(m, begin, end, path, &result);
        if (r < 0)
            return r;
        if (result)
            order[(*shown)++] = (uint32_t)(result - raw_at(m, 0));
    }
    return 0;
}

static int merge_layers(struct merge *m, uint32_t *shown)
{
    struct ovl_ctx *ctx = m->ctx;
    const struct ovl_node *dir = m->dir;
    const struct ovl *o = dir->ovl;
    char *path = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    char *buf = ovl_ctx_alloc(ctx, CHUNK);
    begin_area(ctx, &m->raw);
    begin_area(ctx, &m->text);
    begin_area(ctx, &m->sorted);
    int r = path && buf ? collect_regions(m) : -ENOMEM;
    for (unsigned k = ovl_stack_next(&dir->dirs, 0, o->layers); r == 0 && k < o->layers;
         k = ovl_stack_next(&dir->dirs, k + 1, o->layers)) {
        struct collecting collecting = {m, k, path, buf};
        r = ovl_with_descriptors(ctx, -1, collect_layer, &collecting);
        if (r == 0)
            r = ovl_real_path(ctx, o->layer[k].path, ovl_relative(o, dir->path), path);
        int marked = r < 0 ? r : ovl_may_hold_xattr_whiteouts(path);
        m->xattr_whiteouts |= marked > 0;
        r = marked < 0 ? marked : 0;
    }
    if (r == 0)
        r = sort(m);
    return r < 0 ? r : decide_all(m, path, shown);
}

static int make_listing(struct merge *m, uint32_t shown, struct ovl_listing *listing)
{
    uint32_t *order = (uint32_t *)(void *)m->sorted.at;
    if (!m->dir->ovl->sorted && !m->dir->ovl->looks)
        sort_natively(m, order, shown);
    int r = ovl_listing_begin(listing, shown, m->text.used);
    if (r < 0)
        return r;
    listing->whiteouts = m->upper_whiteouts || m->xattr_whiteouts;
    char *text = (char *)(uintptr_t)listing->entry[0].name + DOTS_SIZE;
    memcpy(text, m->text.at ? m->text.at : "", m->text.used);
    for (uint32_t i = 0; i < shown; i++) {
        const struct raw *s = raw_at(m, order[i]);
        listing->entry[OVL_DOTS + i] = (struct ovl_entry){
            .ino = s->ino, .type = s->type, .length = s->length, .layer = s->layer, .name = text + s->name};
    }
    return 0;
}

/* Fill listing, or only count (NULL): the number of names but "." and "..". */
static int list(struct ovl_ctx *ctx, const struct ovl_node *dir, struct ovl_listing *listing)
{
    if (!dir->exists)
        return -ENOENT;
    if (!S_ISDIR(dir->st.st_mode))
        return -ENOTDIR;
    size_t mark = ctx->used;
    struct merge m = {.ctx = ctx, .dir = dir};
    uint32_t shown;
    int r = merge_layers(&m, &shown);
    if (r == 0)
        r = listing ? make_listing(&m, shown, listing) : (int)(shown & INT32_MAX);
    free_area(&m.raw);
    free_area(&m.text);
    free_area(&m.sorted);
    ovl_ctx_reset(ctx, mark);
    return r;
}

int ovl_list_names(struct ovl_ctx *ctx, const struct ovl_node *dir, struct ovl_listing *listing)
{
    return list(ctx, dir, listing);
}

int ovl_list(struct ovl_ctx *ctx, const struct ovl_node *dir, struct ovl_listing *listing)
{
    int r = ovl_cache_list(ctx, dir, listing) ? 0 : list(ctx, dir, listing);
    if (r == 0)
        number_dots(ctx, dir, listing);
    return r;
}

int ovl_count(struct ovl_ctx *ctx, const struct ovl_node *dir)
{
    return list(ctx, dir, NULL);
}

void ovl_listing_free(struct ovl_listing *listing)
{
    if (listing->memory)
        ovl_sys_munmap(listing->memory, listing->size);
    listing->memory = NULL;
    listing->entry = NULL;
    listing->count = 0;
}
