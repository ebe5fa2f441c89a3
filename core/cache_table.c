/* SPDX-License-Identifier: MIT
 *
 * The tables of the directory cache: making one of a listing, publishing it, and listings out of one (cache.c has the
 * rules).
 */
#include "cache.h"

/* ---- names ------------------------------------------------------------------------------------------------------ */

struct directory *ovl_cache_reach(struct ovl_cache *cache, const struct ovl *o, const char *path, size_t length,
                                  bool *lost)
{
    uint64_t word = load(ovl_cache_root(cache));
    for (size_t at = o->mount_length;;) {
        struct directory *dir = is_found(word) && child_of(word) ? ovl_cache_at(cache, child_of(word)) : NULL;
        *lost |= is_found(word) && child_of(word) && !dir;
        if (!dir || at >= length || (at == 0 && length == 1))
            return dir;
        const size_t begin = ++at;
        const uint64_t hash = hash_next(path, length, &at);
        const struct names *names = names_of(cache, dir);
        struct name *name = names ? find_hashed(cache, names, path + begin, at - begin, hash, lost) : NULL;
        if (!name)
            return NULL;
        word = load(&name->word);
    }
}

uint64_t *ovl_cache_add(struct ovl_cache *cache, struct names *names, const char *text, size_t n, uint64_t word)
{
    uint32_t ref = ovl_cache_alloc(cache, size_of_name(n));
    struct name *name = ref ? ovl_cache_at(cache, ref) : NULL;
    if (!name)
        return NULL;
    fill_name(name, word, 0, text, n);
    __atomic_fetch_add(&names->added, 1, __ATOMIC_RELAXED);
    link_name(names, name, ref);
    return &name->word;
}

/* ---- tables --------------------------------------------------------------------------------------------------- */

static uint32_t round_up(uint32_t n)
{
    uint32_t power = 4;
    while (power < n)
        power *= 2;
    return power;
}

/* A table of what was listed: its reference, 0 without room. */
static uint32_t make_names(struct ovl_cache *cache, const struct ovl_listing *listing)
{
    const uint32_t count = (uint32_t)(listing->count - OVL_DOTS), heads = round_up(count);
    const struct ovl_entry *entry = count ? listing->entry + OVL_DOTS : NULL;
    size_t texts = 0;
    for (uint32_t i = 0; i < count; i++)
        texts += size_of_name(entry[i].length);
    const size_t head = (sizeof(struct names) + heads * sizeof(uint32_t) + 7) & ~(size_t)7;
    uint32_t ref = ovl_cache_alloc(cache, head + texts);
    struct names *names = ref ? ovl_cache_at(cache, ref) : NULL;
    if (!names)
        return 0;
    memset(names, 0, head);
    names->count = count;
    names->mask = heads - 1;
    names->whiteouts = listing->whiteouts;
    names->first = ref + (uint32_t)(head / sizeof(uint64_t));
    char *at = (char *)names + head;
    for (uint32_t i = 0; i < count; i++) {
        const struct ovl_entry *e = &entry[i];
        struct name *name = (struct name *)(void *)at;
        fill_name(name, make_word(KNOWN, e->type, e->layer, 0, 0), e->ino, e->name, e->length);
        link_name(names, name, ref + (uint32_t)((size_t)(at - (char *)names) / sizeof(uint64_t)));
        at += size_of_name(e->length);
    }
    return ref;
}

uint32_t ovl_cache_make_table(struct ovl_cache *cache)
{
    const struct ovl_listing none = {.count = OVL_DOTS};
    return make_names(cache, &none);
}

/* List the directory and publish its table. */
static bool publish(struct ovl_ctx *ctx, struct ovl_cache *cache, const struct ovl_node *dir, struct directory *record)
{
    struct ovl_listing listing;
    if (ovl_list_names(ctx, dir, &listing) < 0)
        return false;
    uint32_t names = listing.count < UINT32_MAX / 2 ? make_names(cache, &listing) : 0;
    ovl_listing_free(&listing);
    if (names)
        __atomic_store_n(&record->names, names, __ATOMIC_SEQ_CST);
    return names != 0;
}

/* With the directory's lock, and only while look-ups still come to this record and the cache is told of all changes:
 * else the record may be of another directory, and there are readers that came to it before. */
static bool publish_locked(struct ovl_ctx *ctx, struct ovl_cache *cache, const struct ovl_node *dir,
                           struct directory *record)
{
    struct ovl_held held;
    bool lost = false, made = false;
    if (ovl_lock_listing(dir, &held) < 0)
        return false;
    if (ovl_cache_for_reading(dir->ovl) == cache &&
        ovl_cache_reach(cache, dir->ovl, dir->path, dir->length, &lost) == record)
        made = publish(ctx, cache, dir, record);
    ovl_unlock(&held);
    return made;
}

static bool build(struct ovl_ctx *ctx, struct ovl_cache *cache, const struct ovl_node *dir)
{
    struct directory *record = ovl_cache_at(cache, dir->dirs.record);
    if (!record)
        return false;
    /* A directory that the upper does not take part in can't change before it does, and then it has another record. */
    return dir->ovl->has_upper && ovl_stack_has(&dir->dirs, 0) ? publish_locked(ctx, cache, dir, record)
                                                               : publish(ctx, cache, dir, record);
}

bool ovl_cache_build(struct ovl_ctx *ctx, const struct ovl_node *node)
{
    if (ovl_sys_is_on_signal_stack())
        return false; /* it is small */
    size_t mark = ctx->used;
    struct ovl_cache *cache = cache_of(ctx, node->ovl, &node->in);
    struct ovl_node *dir = cache ? ovl_node_new(ctx) : NULL;
    bool built = false;
    if (dir) {
        dir->ovl = node->ovl;
        dir->exists = true;
        dir->st.st_mode = S_IFDIR;
        dir->dirs = node->in;
        dir->top = ovl_stack_next(&node->in, 0, node->ovl->layers);
        dir->length = ovl_parent_length(node);
        memcpy(dir->path, node->path, dir->length);
        dir->path[dir->length] = '\0';
        built = build(ctx, cache, dir);
    }
    ovl_ctx_reset(ctx, mark);
    return built;
}

/* ---- listings --------------------------------------------------------------------------------------------------- */

/* Fill the entries, whose names stay where they are; false when one has changed since the table was made. */
static bool read_names(struct ovl_cache *cache, const struct names *names, struct ovl_entry *entry)
{
    const char *at = names->count ? ovl_cache_at(cache, names->first) : NULL;
    if (names->count && !at)
        return false;
    for (uint32_t i = 0; i < names->count; i++) {
        const struct name *name = (const struct name *)(const void *)at;
        const uint64_t word = load(&name->word);
        if (!is_found(word) || version_of(word) != 0)
            return false;
        entry[i] = (struct ovl_entry){.ino = name->ino,
                                      .type = type_of(word),
                                      .length = name->length,
                                      .layer = layer_of(word),
                                      .name = name->text};
        at += size_of_name(name->length);
    }
    return __atomic_load_n(&names->added, __ATOMIC_ACQUIRE) == 0;
}

static bool list_names(struct ovl_cache *cache, const struct directory *record, struct ovl_listing *listing)
{
    const struct names *names = names_of(cache, record);
    if (!names || __atomic_load_n(&names->added, __ATOMIC_ACQUIRE))
        return false;
    if (ovl_listing_begin(listing, names->count, 0) < 0)
        return false;
    listing->whiteouts = __atomic_load_n(&names->whiteouts, __ATOMIC_ACQUIRE);
    if (read_names(cache, names, listing->entry + OVL_DOTS))
        return true;
    ovl_listing_free(listing);
    return false;
}

bool ovl_cache_list(struct ovl_ctx *ctx, const struct ovl_node *dir, struct ovl_listing *listing)
{
    struct ovl_cache *cache = cache_of(ctx, dir->ovl, &dir->dirs);
    const struct directory *record = cache ? ovl_cache_at(cache, dir->dirs.record) : NULL;
    if (!record)
        return false;
    if (list_names(cache, record, listing))
        return true;
    /* Memory is not given back: who changes and lists a large directory in turn must not fill the disk. */
    bool is_new = !__atomic_load_n(&record->names, __ATOMIC_ACQUIRE);
    return (is_new || ovl_cache_has_room(cache)) && build(ctx, cache, dir) && list_names(cache, record, listing);
}
