/* SPDX-License-Identifier: MIT
 *
 * Which directories were renamed and removed in this overlay, so that a process follows its cwd and its descriptors
 * through what any other one does.
 *
 * state/moves is a log of such changes; a word in shared memory, the position, says how much of it is
 * committed.  Whoever remembers a merged path keeps the position at which it was true, and applies what came after:
 * one atomic load tells that there is nothing.  Positions only grow, in later runs too.  What must
 * hold: the writer has the tree locked; an entry is written before its change, which the lowest bit of the position
 * announces, and committed after it by one store, so that a kill between leaves a doubt that the next one to
 * look can settle; the change itself never fails because the log can't be written: a gap of zeros, which
 * nobody has to write, then says that something is not known.
 *
 *   KIND, lengths of two paths, inode of the first; FROM; TO; zeros up to a multiple of 8
 */
#include "types.h"

#define LOG_FILE "/state/moves"
#define PENDING 1u
#define GAP 8u /* bytes, all 0 */
#define READ_SIZE 20480
#define SPINS 10

#define NUMBER_SHIFT 48 /* a mark: the overlay's number and a position */
#define POSITION_MASK (((uint64_t)1 << NUMBER_SHIFT) - 1)
#define ANY_PENDING ((uint64_t)1 << 63)

struct entry {
    uint16_t kind;
    uint16_t from, to; /* lengths */
    uint16_t zero;
    uint64_t ino; /* of the first path's object in its layer before the change */
};
#define ENTRY_MAX (sizeof(struct entry) + (size_t)2 * OVL_PATH_MAX)
_Static_assert(ENTRY_MAX <= READ_SIZE, "an entry must fit");

static uint64_t load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void store(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* The words of an overlay whose shared memory is mapped here, or NULL. */
static struct ovl_moves *moves_of(const struct ovl *o)
{
    struct ovl_shared *shared = __atomic_load_n(&o->shared, __ATOMIC_ACQUIRE);
    return shared ? ovl_shared_moves(shared) : NULL;
}

static int open_log(struct ovl_ctx *ctx, const struct ovl *o, int flags)
{
    size_t mark = ctx->used;
    char *path = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    int r = path ? ovl_work_path(o, LOG_FILE, path) : -ENOMEM;
    int fd = r < 0 ? r : ovl_sys_open(AT_FDCWD, path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    ovl_ctx_reset(ctx, mark);
    return fd;
}

/* ---- positions -------------------------------------------------------------------------------------- */

uint64_t ovl_moves(const struct ovl_space *space)
{
    uint64_t sum = 0, pending = 0;
    for (unsigned i = 0; i < space->ovls; i++) {
        const struct ovl_moves *moves = moves_of(&space->ovl[i]);
        uint64_t position = moves ? load(&moves->position) : 0;
        sum += position;
        pending |= position & PENDING;
    }
    return pending ? sum | ANY_PENDING : sum;
}

bool ovl_moves_settled(const struct ovl_space *space, uint64_t seen)
{
    return !(seen & ANY_PENDING) && ovl_moves(space) == seen;
}

uint64_t ovl_moves_mark(const struct ovl_space *space, const char *path)
{
    const struct ovl_region *region = ovl_region_of(space, path);
    const struct ovl_moves *moves = region && region->ovl ? moves_of(region->ovl) : NULL;
    if (!moves)
        return OVL_MOVES_NONE;
    return (uint64_t)region->ovl->number << NUMBER_SHIFT |
           (load(&moves->position) & POSITION_MASK & ~(uint64_t)PENDING);
}

static const struct ovl *marked(const struct ovl_space *space, uint64_t mark)
{
    uint64_t number = mark >> NUMBER_SHIFT;
    return number < space->ovls ? &space->ovl[number] : NULL;
}

bool ovl_moved_since(const struct ovl_space *space, uint64_t mark)
{
    const struct ovl *o = marked(space, mark);
    const struct ovl_moves *moves = o ? moves_of(o) : NULL;
    return moves && load(&moves->position) != (mark & POSITION_MASK);
}

/* ---- applying --------------------------------------------------------------------------------------- */

/* A directory that is looked for. When it is removed, `path` becomes its parent's, and "" when that is removed too. */
struct followed {
    char *path; /* OVL_PATH_MAX bytes */
    size_t length;
    bool removed;
};

static bool is_at_or_below(const struct followed *f, const char *dir, size_t n)
{
    return f->length >= n && ovl_is_below(f->path, dir, n);
}

static void set_removed(struct followed *f, size_t dir_length)
{
    if (f->removed || f->length != dir_length) {
        f->length = 0;
    } else {
        size_t slash = (size_t)(ovl_strrchr(f->path, '/') - f->path);
        f->length = slash ? slash : 1;
    }
    f->path[f->length] = '\0';
    f->removed = true;
}

static int replace_head(struct followed *f, size_t head, const char *to, size_t n)
{
    size_t rest = f->length - head;
    if (to[0] != '/')
        return -ESTALE;
    if (n + rest >= OVL_PATH_MAX)
        return -ENAMETOOLONG;
    for (size_t i = 0; i < n; i++)
        if (!to[i])
            return -ESTALE;
    memmove(f->path + n, f->path + head, rest + 1);
    memcpy(f->path, to, n);
    f->length = n + rest;
    return 0;
}

static int apply(struct followed *f, const struct entry *e, const char *from, const char *to)
{
    if (is_at_or_below(f, from, e->from)) {
        if (e->kind != OVL_MOVE_REMOVED)
            return replace_head(f, e->from, to, e->to);
        set_removed(f, e->from);
    } else if (e->to && is_at_or_below(f, to, e->to)) {
        if (e->kind == OVL_MOVE_EXCHANGED)
            return replace_head(f, e->to, from, e->from);
        set_removed(f, e->to); /* an empty directory gave way to another */
    }
    return 0;
}

/* ---- reading ---------------------------------------------------------------------------------------- */

static size_t size_of(const struct entry *e)
{
    return (sizeof *e + e->from + e->to + 7u) & ~(size_t)7;
}

static bool is_sound(const struct entry *e)
{
    return e->kind >= OVL_MOVE_TO && e->kind <= OVL_MOVE_REMOVED && !e->zero && e->from && e->from < OVL_PATH_MAX &&
           e->to < OVL_PATH_MAX && (e->to == 0) == (e->kind == OVL_MOVE_REMOVED);
}

/* Take one entry from n bytes: its size, 0 when more bytes are needed, -ESTALE. */
static ssize_t take(const char *bytes, size_t n, struct entry *e, bool *gap)
{
    *gap = false;
    if (n < GAP)
        return 0;
    uint64_t first;
    memcpy(&first, bytes, sizeof first);
    *gap = first == 0;
    if (*gap)
        return GAP;
    if (n < sizeof *e)
        return 0;
    memcpy(e, bytes, sizeof *e);
    if (!is_sound(e))
        return -ESTALE;
    return size_of(e) <= n ? (ssize_t)size_of(e) : 0;
}

/* Apply what stands in n bytes: how many of them were whole entries, or an error. */
static ssize_t apply_bytes(struct followed *f, const char *bytes, size_t n, bool strict)
{
    size_t at = 0;
    for (;;) {
        struct entry e;
        bool gap;
        ssize_t size = take(bytes + at, n - at, &e, &gap);
        if (size < 0 || (gap && strict))
            return -ESTALE;
        if (size == 0)
            return (ssize_t)at;
        const char *from = bytes + at + sizeof e;
        int r = gap ? 0 : apply(f, &e, from, from + e.from);
        if (r < 0)
            return r;
        at += (size_t)size;
    }
}

/* What stands in the log between two positions, and the path to apply it to. */
struct reading {
    struct ovl_ctx *ctx;
    const struct ovl *ovl;
    struct followed *followed;
    uint64_t at, end;
    bool strict; /* a gap is -ESTALE; else it is passed over */
};

static int read_log(void *arg)
{
    const struct reading *r = arg;
    struct ovl_ctx *ctx = r->ctx;
    uint64_t at = r->at, end = r->end;
    size_t mark = ctx->used;
    char *buf = ovl_ctx_alloc(ctx, READ_SIZE);
    int fd = buf ? open_log(ctx, r->ovl, O_RDONLY) : -ENOMEM;
    ssize_t n = fd;
    while (n >= 0 && at < end) {
        n = ovl_sys_pread(fd, buf, end - at < READ_SIZE ? (size_t)(end - at) : READ_SIZE, (off_t)at);
        if (n == -EINTR)
            n = 0;
        else if (n >= 0)
            n = n ? apply_bytes(r->followed, buf, (size_t)n, r->strict) : -ESTALE;
        if (n == 0)
            n = -ESTALE;
        at += n > 0 ? (size_t)n : 0;
    }
    if (fd >= 0)
        ovl_sys_close(fd);
    ovl_ctx_reset(ctx, mark);
    return n >= 0 ? 0 : n == -ENAMETOOLONG || n == -EMFILE ? (int)n : -ESTALE;
}

static int apply_log(const struct reading *reading)
{
    int r = ovl_with_descriptors(reading->ctx, -1, read_log, (void *)(uintptr_t)reading);
    return r == -EMFILE ? -ESTALE : r;
}

int ovl_follow(struct ovl_ctx *ctx, char *path, bool removed, uint64_t *mark)
{
    const struct ovl *o = marked(ctx->space, *mark);
    const struct ovl_moves *moves = o ? moves_of(o) : NULL;
    if (!moves)
        return removed;
    uint64_t now = load(&moves->position) & ~(uint64_t)PENDING, at = *mark & POSITION_MASK;
    struct followed f = {path, ovl_strlen(path), removed};
    if (at > now)
        return -ESTALE;
    const struct reading news = {ctx, o, &f, at, now, true};
    int r = at == now ? 0 : apply_log(&news);
    if (r < 0)
        return r;
    *mark = (uint64_t)o->number << NUMBER_SHIFT | (now & POSITION_MASK);
    return f.removed;
}

ssize_t ovl_place_of(struct ovl_ctx *ctx, const char *real, char *buf, size_t n)
{
    unsigned i;
    const struct ovl *o = ovl_space_layer_of(ctx->space, real, &i);
    ssize_t length = ovl_merged_path(ctx->space, real, buf, n);
    const struct ovl_moves *moves = o && length > 0 ? moves_of(o) : NULL;
    if (!moves || (i == 0 && o->has_upper) || n < OVL_PATH_MAX)
        return length;
    uint64_t start = load(&moves->start), now = load(&moves->position) & ~(uint64_t)PENDING;
    struct followed f = {buf, (size_t)length, false};
    if (start >= now)
        return length;
    const struct reading all = {ctx, o, &f, start, now, false};
    int r = apply_log(&all);
    if (r == -ENAMETOOLONG)
        return r;
    return f.removed ? 0 : (ssize_t)f.length;
}

/* ---- writing ---------------------------------------------------------------------------------------- */

/* An entry for the log, and where it belongs. */
struct writing {
    struct ovl_ctx *ctx;
    const struct ovl *ovl;
    const char *bytes;
    size_t n;
    uint64_t at;
};

static int write_entry(void *arg)
{
    const struct writing *w = arg;
    if (!ovl_sys_may_write(w->at + w->n))
        return -EFBIG;
    int fd = open_log(w->ctx, w->ovl, O_WRONLY | O_CREAT);
    if (fd < 0)
        return fd;
    ssize_t r = ovl_sys_pwrite(fd, w->bytes, w->n, (off_t)w->at);
    ovl_sys_close(fd);
    return r == (ssize_t)w->n ? 0 : -EIO;
}

/* Whether the directory that an announced change was about is no more where or what it was before: 1, 0, or an error
 * where the caller can't see that. */
static int has_changed(struct ovl_ctx *ctx, const struct entry *e, const char *from)
{
    struct ovl_node *node = ovl_node_new(ctx);
    char *path = ovl_ctx_alloc(ctx, OVL_PATH_MAX);
    if (!node || !path)
        return -ENOMEM;
    memcpy(path, from, e->from);
    path[e->from] = '\0';
    int r = ovl_locate(ctx, node, path);
    if (r == -ENOENT || r == -ENOTDIR)
        return 1;
    return r < 0 ? r : !node->ovl || node->st.st_ino != e->ino;
}

/* Make a gap of an entry of which nobody knows whether it is true: its first bytes must not be read as one. */
static size_t make_gap(struct ovl_ctx *ctx, const struct ovl *o, uint64_t at)
{
    static const char zeros[GAP];
    struct writing writing = {ctx, o, zeros, sizeof zeros, at};
    ovl_with_descriptors(ctx, -1, write_entry, &writing);
    return GAP;
}

/* With the tree locked: whoever announced a change was killed. Find out whether it was before or after it. */
static void settle(struct ovl_ctx *ctx, const struct ovl *o, struct ovl_moves *moves)
{
    uint64_t at = load(&moves->position);
    if (!(at & PENDING))
        return;
    at -= PENDING;
    size_t mark = ctx->used;
    char *buf = ovl_ctx_alloc(ctx, ENTRY_MAX);
    int fd = buf ? open_log(ctx, o, O_RDONLY) : -ENOMEM;
    ssize_t n = fd < 0 ? fd : ovl_sys_pread(fd, buf, ENTRY_MAX, (off_t)at);
    struct entry e;
    bool gap = true;
    ssize_t size = n > 0 ? take(buf, (size_t)n, &e, &gap) : -ESTALE;
    if (fd >= 0)
        ovl_sys_close(fd);
    int changed = size <= 0 || gap ? -ESTALE : has_changed(ctx, &e, buf + sizeof e);
    if (changed <= 0)
        size = changed < 0 ? (ssize_t)make_gap(ctx, o, at) : 0;
    store(&moves->position, at + (uint64_t)size);
    ovl_ctx_reset(ctx, mark);
}

uint64_t ovl_moves_begin(struct ovl_ctx *ctx, const struct ovl_node *from, const char *to, enum ovl_move kind)
{
    const struct ovl *o = from->ovl;
    struct ovl_moves *moves = moves_of(o);
    if (!moves)
        return 0;
    settle(ctx, o, moves);
    struct entry e = {.kind = (uint16_t)kind, .from = (uint16_t)from->length, .ino = from->st.st_ino};
    e.to = (uint16_t)(to ? ovl_strlen(to) : 0);
    size_t mark = ctx->used, n = size_of(&e);
    uint64_t at = load(&moves->position);
    char *buf = ovl_ctx_alloc(ctx, n);
    bool written = false;
    if (buf) {
        memset(buf + n - 8, 0, 8);
        memcpy(buf, &e, sizeof e);
        memcpy(buf + sizeof e, from->path, e.from);
        if (to)
            memcpy(buf + sizeof e + e.from, to, e.to);
        struct writing writing = {ctx, o, buf, n, at};
        written = ovl_with_descriptors(ctx, -1, write_entry, &writing) == 0;
    }
    ovl_ctx_reset(ctx, mark);
    if (!written) {
        ovl_log_line(OVL_LOG_WARN, from->path, ": that it moves can't be recorded in ", o->work, LOG_FILE, NULL);
        return at + GAP;
    }
    store(&moves->position, at | PENDING);
    return at + n;
}

void ovl_moves_end(const struct ovl *o, uint64_t end, int result)
{
    struct ovl_moves *moves = moves_of(o);
    if (!moves || !end)
        return;
    if (result == 0)
        store(&moves->position, end);
    else
        store(&moves->position, load(&moves->position) & ~(uint64_t)PENDING);
}

/* ---- waiting, and the start of a run ------------------------------------------------------------------- */

static void wait_for(struct ovl_ctx *ctx, struct ovl *o)
{
    struct ovl_moves *moves = moves_of(o);
    for (int i = 0; moves && load(&moves->position) & PENDING && i < SPINS; i++)
        ovl_sys_raw(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
    struct ovl_held held;
    if (!moves || !(load(&moves->position) & PENDING) || ovl_lock_tree(o, NULL, NULL, &held) < 0)
        return;
    settle(ctx, o, moves);
    ovl_unlock(&held);
}

void ovl_moves_wait(struct ovl_ctx *ctx)
{
    for (unsigned i = 0; i < ctx->space->ovls; i++)
        wait_for(ctx, &ctx->space->ovl[i]);
}

void ovl_moves_start(struct ovl *o)
{
    struct ovl_ctx ctx;
    struct ovl_shared *shared = ovl_shared(o);
    struct ovl_moves *moves = shared ? ovl_shared_moves(shared) : NULL;
    if (!moves || ovl_ctx_begin(&ctx, NULL, NULL) < 0)
        return;
    uint64_t position = load(&moves->position);
    if (position & PENDING)
        store(&moves->position, position += GAP - PENDING);
    int fd = position == load(&moves->start) ? -ENOENT : open_log(&ctx, o, O_WRONLY | O_TRUNC);
    if (fd >= 0)
        ovl_sys_close(fd);
    store(&moves->start, position);
    ovl_ctx_end(&ctx);
}
