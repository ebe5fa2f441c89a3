/* SPDX-License-Identifier: MIT
 *
 * The file of the directory cache: memory that all processes of a run share, and which only grows.
 *
 * It lies in cache/ of the work directory, one file a run, and consists of segments, each as large as all before it.  A
 * segment gets its space on the disk before anybody looks at it, is mapped when it is first used, and stays mapped.  A
 * place in it is a reference: eight bytes are one unit, 0 is none.  What must hold: nothing is moved or freed, so that
 * a reference read anywhere is good for as long as the process lives.
 */
#include "types.h"

#include <sys/mman.h>

#define CACHE_MAGIC 0x3265686361636c6fu
#define CACHE_DIR "/cache/names-"
#define UNIT sizeof(uint64_t)
#define MADE_AGAIN_UNTIL ((uint64_t)4 << 20) /* units: 32 MiB */
#define MAP_AFTER 16                         /* layers that one process would have asked, name by name */
#define FIRST ((uint64_t)OVL_CACHE_FIRST)
#define SEGMENTS OVL_CACHE_SEGMENTS

struct header {
    uint64_t magic;
    uint64_t used;      /* units */
    uint64_t allocated; /* units that have their space */
    uint64_t root;      /* the word of the mount's directory */
};

static enum ovl_cache_use in_use; /* by this process's own look-ups: in any case it tells the others what it changes */

void ovl_cache_use(enum ovl_cache_use use)
{
    in_use = use;
}

bool ovl_cache_is_eager(void)
{
    return in_use == OVL_CACHE_EAGER;
}

/* ---- segments ------------------------------------------------------------------------------------ */

#define segment_of ovl_cache_segment
#define segment_begin ovl_cache_segment_begin

static uint64_t segment_units(unsigned i)
{
    return i ? FIRST << (i - 1) : FIRST;
}

static int file_path(const struct ovl *o, uint64_t run, char *out)
{
    char number[24];
    ssize_t n = ovl_work_path(o, CACHE_DIR, out);
    if (n >= 0)
        n = ovl_append(out, OVL_REAL_MAX, (size_t)n, ovl_decimal(number, run));
    return n < 0 ? (int)n : 0;
}

/* What is done with the file while it is open. */
struct filing {
    const struct ovl_cache *cache;
    unsigned segment;
    char *mapped;
};

static int map_segment(void *arg)
{
    struct filing *f = arg;
    const off_t begin = (off_t)(segment_begin(f->segment) * UNIT), size = (off_t)(segment_units(f->segment) * UNIT);
    int fd = ovl_sys_open(AT_FDCWD, f->cache->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
    if (fd < 0)
        return fd;
    struct stat st;
    int r = ovl_sys_fstat(fd, &st);
    if (r == 0 && (!S_ISREG(st.st_mode) || st.st_size < begin + size))
        r = -EIO;
    if (r == 0) {
        f->mapped = ovl_sys_mmap_at((size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, begin);
        r = f->mapped ? 0 : -ENOMEM;
    }
    ovl_sys_close(fd);
    return r;
}

static int allocate_segment(void *arg)
{
    const struct filing *f = arg;
    int fd = ovl_sys_open(AT_FDCWD, f->cache->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
    if (fd < 0)
        return fd;
    int r = ovl_allocate(fd, (off_t)((segment_begin(f->segment) + segment_units(f->segment)) * UNIT));
    ovl_sys_close(fd);
    return r;
}

void *ovl_cache_map(struct ovl_cache *cache, unsigned segment)
{
    if (segment >= SEGMENTS)
        return NULL;
    struct filing f = {.cache = cache, .segment = segment};
    if (ovl_with_descriptors(NULL, -1, map_segment, &f) < 0)
        return NULL;
    char *other = NULL;
    if (__atomic_compare_exchange_n(&cache->segment[segment], &other, f.mapped, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return f.mapped;
    ovl_sys_munmap(f.mapped, segment_units(segment) * UNIT);
    return other;
}

/* ---- memory ---------------------------------------------------------------------------------------- */

static bool grow(struct ovl_cache *cache, struct header *header, unsigned segment)
{
    struct filing f = {.cache = cache, .segment = segment};
    if (ovl_with_descriptors(NULL, -1, allocate_segment, &f) < 0)
        return false;
    uint64_t seen = __atomic_load_n(&header->allocated, __ATOMIC_ACQUIRE);
    const uint64_t now = segment_begin(segment) + segment_units(segment);
    while (seen < now &&
           !__atomic_compare_exchange_n(&header->allocated, &seen, now, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        ;
    return true;
}

uint32_t ovl_cache_alloc(struct ovl_cache *cache, size_t size)
{
    struct header *header = (struct header *)(void *)cache->segment[0];
    const uint64_t units = (size + OVL_CACHE_ALIGN - 1) / OVL_CACHE_ALIGN * (OVL_CACHE_ALIGN / UNIT);
    uint64_t used = __atomic_load_n(&header->used, __ATOMIC_ACQUIRE);
    for (;;) {
        uint64_t begin = used;
        unsigned segment = segment_of(begin);
        while (segment < SEGMENTS && begin + units > segment_begin(segment) + segment_units(segment))
            begin = segment_begin(++segment); /* nothing lies in two */
        if (segment >= SEGMENTS)
            return 0;
        if (begin + units > __atomic_load_n(&header->allocated, __ATOMIC_ACQUIRE) && !grow(cache, header, segment))
            return 0;
        if (__atomic_compare_exchange_n(&header->used, &used, begin + units, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            return (uint32_t)begin;
    }
}

bool ovl_cache_has_room(struct ovl_cache *cache)
{
    const struct header *header = (const struct header *)(void *)cache->segment[0];
    return __atomic_load_n(&header->used, __ATOMIC_RELAXED) < MADE_AGAIN_UNTIL;
}

uint64_t *ovl_cache_root(struct ovl_cache *cache)
{
    struct header *header = (struct header *)(void *)cache->segment[0];
    return &header->root;
}

/* ---- attaching --------------------------------------------------------------------------------------- */

static int make_file(void *arg)
{
    struct ovl_cache *cache = arg;
    const struct header header = {
        .magic = CACHE_MAGIC, .used = OVL_CACHE_ALIGN / UNIT, .allocated = FIRST, .root = OVL_CACHE_UNKNOWN};
    int r = ovl_work_name(cache->ovl, cache->aside);
    return r < 0 ? r : ovl_work_make_file(cache->aside, cache->path, &header, sizeof header, (off_t)(FIRST * UNIT));
}

static int attach_first(struct ovl_cache *cache, bool make)
{
    struct filing f = {.cache = cache};
    int r = ovl_with_descriptors(NULL, -1, map_segment, &f);
    if (r == -ENOENT && make) {
        r = ovl_with_descriptors(NULL, -1, make_file, cache);
        if (r == 0)
            r = ovl_with_descriptors(NULL, -1, map_segment, &f);
    }
    cache->segment[0] = f.mapped;
    const struct header *header = (const struct header *)(const void *)f.mapped;
    return r < 0 ? r : header->magic == CACHE_MAGIC ? 0 : -EIO;
}

static void release(struct ovl_cache *cache)
{
    for (unsigned i = 0; i < SEGMENTS; i++)
        if (cache->segment[i])
            ovl_sys_munmap(cache->segment[i], segment_units(i) * UNIT);
    ovl_sys_munmap(cache, sizeof *cache);
}

/* Before anything is kept in it: whoever makes a change from now on looks for it.  A process that outlives its run may
 * come here when the next one has begun, whose cache must not be forgotten for that. */
static void tell_made(struct ovl_cache_state *state, uint64_t run)
{
    uint64_t seen = __atomic_load_n(&state->made, __ATOMIC_SEQ_CST);
    while (seen < run &&
           !__atomic_compare_exchange_n(&state->made, &seen, run, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        ;
}

static struct ovl_cache *attach(struct ovl *o, struct ovl_cache_state *state, uint64_t run, bool make)
{
    struct ovl_cache *cache = ovl_sys_mmap(sizeof *cache, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (!cache)
        return NULL;
    cache->run = run;
    cache->ovl = o;
    cache->state = state;
    int r = file_path(o, run, cache->path);
    if (r == 0)
        r = attach_first(cache, make);
    if (r < 0) {
        release(cache);
        return NULL;
    }
    tell_made(state, run);
    return cache;
}

/* The cache of this run.  One of a run before stays mapped: another thread may be reading in it.  A file that was made
 * and is gone is not made again: those who have mapped the first one would not be told what changes. */
static struct ovl_cache *find(struct ovl *o, struct ovl_cache_state *state, bool make)
{
    const uint64_t run = __atomic_load_n(&state->run, __ATOMIC_ACQUIRE);
    struct ovl_cache *cache = __atomic_load_n(&o->cache, __ATOMIC_ACQUIRE);
    if (cache && cache->run == run)
        return cache;
    make &= __atomic_load_n(&state->made, __ATOMIC_SEQ_CST) != run;
    struct ovl_cache *mine = attach(o, state, run, make);
    if (!mine || __atomic_compare_exchange_n(&o->cache, &cache, mine, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return mine;
    release(mine);
    return cache && cache->run == run ? cache : NULL;
}

/* To map it takes as long as some look-ups without it: most small programs have no more. */
static bool is_worth_it(struct ovl *o)
{
    return __atomic_load_n(&o->cache, __ATOMIC_RELAXED) || ovl_cache_is_eager() ||
           __atomic_add_fetch(&o->cache_asked, o->layers, __ATOMIC_RELAXED) > MAP_AFTER;
}

struct ovl_cache *ovl_cache_for_reading(struct ovl *o)
{
    if (in_use == OVL_CACHE_OFF || o->looks || __atomic_load_n(&o->cache_failed, __ATOMIC_RELAXED))
        return NULL;
    struct ovl_shared *shared = ovl_shared(o);
    struct ovl_cache_state *state = shared ? ovl_shared_cache(shared) : NULL;
    if (!state || !__atomic_load_n(&state->run, __ATOMIC_ACQUIRE) || __atomic_load_n(&state->off, __ATOMIC_ACQUIRE))
        return NULL;
    if (!is_worth_it(o))
        return NULL;
    struct ovl_cache *cache = find(o, state, true);
    if (!cache)
        __atomic_store_n(&o->cache_failed, true, __ATOMIC_RELAXED); /* one try is enough */
    return cache;
}

bool ovl_cache_is_current(const struct ovl_cache *cache)
{
    return in_use != OVL_CACHE_OFF && __atomic_load_n(&cache->state->run, __ATOMIC_ACQUIRE) == cache->run &&
           !__atomic_load_n(&cache->state->off, __ATOMIC_ACQUIRE);
}

struct ovl_cache *ovl_cache_for_changing(struct ovl *o)
{
    struct ovl_shared *shared = ovl_shared(o);
    struct ovl_cache_state *state = shared ? ovl_shared_cache(shared) : NULL;
    if (!state || __atomic_load_n(&state->off, __ATOMIC_ACQUIRE) ||
        __atomic_load_n(&state->made, __ATOMIC_SEQ_CST) != __atomic_load_n(&state->run, __ATOMIC_SEQ_CST))
        return NULL;
    struct ovl_cache *cache = find(o, state, false);
    if (!cache)
        ovl_cache_give_up(o);
    return cache;
}

void ovl_cache_give_up(struct ovl *o)
{
    struct ovl_shared *shared = ovl_shared(o);
    if (shared)
        __atomic_store_n(&ovl_shared_cache(shared)->off, 1, __ATOMIC_SEQ_CST);
}

/* Under the lock, so that no process that outlives its run is in the middle of a change. */
void ovl_cache_start(struct ovl *o)
{
    struct ovl_ctx ctx;
    struct ovl_held held;
    if (ovl_lock_tree(o, NULL, NULL, &held) < 0)
        return;
    struct ovl_cache_state *state = ovl_shared_cache(held.shared);
    const uint64_t run = __atomic_fetch_add(&state->run, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&state->off, 0, __ATOMIC_SEQ_CST);
    ovl_unlock(&held);
    if (ovl_ctx_begin(&ctx, NULL, NULL) < 0)
        return;
    char *path = ovl_ctx_alloc(&ctx, OVL_REAL_MAX);
    if (path && file_path(o, run, path) == 0)
        ovl_sys_unlink(path);
    ovl_ctx_end(&ctx);
}

void ovl_cache_detach(struct ovl *o)
{
    struct ovl_cache *cache = __atomic_exchange_n(&o->cache, NULL, __ATOMIC_ACQ_REL);
    if (cache)
        release(cache);
}

/* ---- for tools --------------------------------------------------------------------------------------- */

int ovl_cache_check(const char *path)
{
    struct header header;
    struct stat st;
    int fd = ovl_sys_open(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd < 0)
        return fd;
    int r = ovl_sys_fstat(fd, &st);
    ssize_t n = r < 0 ? r : ovl_sys_read(fd, &header, sizeof header);
    ovl_sys_close(fd);
    if (n < 0)
        return (int)n;
    bool whole = n == sizeof header && S_ISREG(st.st_mode) && header.magic == CACHE_MAGIC &&
                 header.used <= header.allocated && header.allocated <= (uint64_t)st.st_size / UNIT &&
                 header.allocated >= FIRST;
    return whole ? 0 : -EIO;
}
