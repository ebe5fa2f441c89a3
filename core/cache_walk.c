/* SPDX-License-Identifier: MIT
 *
 * Whole paths at once: from the mount down, from word to word, by what the directory cache knows (cache.c has the
 * rules).
 *
 * Programs ask again and again in the same directories.  So each process remembers by its text what it met on the way
 * to one: the words, and the tables that they were in.  What must hold: a way is gone again by loading all that in the
 * same order, and where anything is not what it was, it is walked anew.  Going it is thus a walk like any other, which
 * says what is true now, and nothing of it is older than the call.
 */
#include "cache.h"

#include <sys/mman.h>

#define WAYS 64 /* what ovl_way_number() tells apart */
#define TEXT_MAX 160
#define STEPS_MAX 12

/* From a word to the directory that it leads to. */
struct step {
    const uint64_t *word;
    uint64_t seen;
    const struct directory *dir;
    uint32_t names;
};

struct way {
    uint32_t busy; /* some call has it; others do without */
    uint32_t length;
    uint32_t steps; /* 0: it leads nowhere yet */
    bool is_owners; /* some directory may be searched by its owner for certain, by others not */
    uid_t owner;
    struct ovl *ovl;
    struct ovl_cache *cache;
    char text[TEXT_MAX];
    struct step step[STEPS_MAX];
};

struct ovl_ways {
    struct way way[WAYS];
};

/* A directory, and all its names. */
struct place {
    struct ovl *ovl;
    struct ovl_cache *cache;
    uint32_t record;
    const struct names *names;
};

/* ---- ways ---------------------------------------------------------------------------------------------------- */

unsigned ovl_way_number(const char *text, size_t n)
{
    const uint64_t factor = UINT64_C(0x9e3779b97f4a7c15); /* takes every bit up into the highest ones */
    uint64_t hash = n, part;
    for (; n >= sizeof part; n -= sizeof part, text += sizeof part) {
        memcpy(&part, text, sizeof part);
        hash = (hash ^ part) * factor;
    }
    for (part = 0; n > 0; n--)
        part = part << 8 | (unsigned char)*text++;
    return (unsigned)((hash ^ part) * factor >> 58);
}

static bool take(struct way *way)
{
    return !__atomic_exchange_n(&way->busy, 1, __ATOMIC_ACQUIRE);
}

static void give(struct way *way)
{
    __atomic_store_n(&way->busy, 0, __ATOMIC_RELEASE);
}

static bool is_still_so(const struct way *way)
{
    if (way->is_owners && ovl_sys_fsuid() != way->owner)
        return false;
    if (__atomic_load_n(&way->ovl->cache, __ATOMIC_ACQUIRE) != way->cache || !ovl_cache_is_current(way->cache))
        return false;
    for (uint32_t i = 0; i < way->steps; i++) {
        const struct step *step = &way->step[i];
        if (load(step->word) != step->seen || __atomic_load_n(&step->dir->names, __ATOMIC_ACQUIRE) != step->names)
            return false;
    }
    return true;
}

static bool end_of(const struct way *way, struct place *place)
{
    const struct step *last = &way->step[way->steps - 1];
    *place = (struct place){.ovl = way->ovl, .cache = way->cache, .record = child_of(last->seen)};
    place->names = ovl_cache_at(way->cache, last->names);
    return place->names != NULL;
}

/* Go the way to the directory of that name, if this process knows one and nothing on it has changed. */
static bool go(const struct ovl_space *space, const char *text, size_t n, struct place *place)
{
    struct ovl_ways *ways = __atomic_load_n(&space->ways, __ATOMIC_ACQUIRE);
    struct way *way = ways && n <= TEXT_MAX ? &ways->way[ovl_way_number(text, n)] : NULL;
    if (!way || !take(way))
        return false;
    bool found =
        way->steps && way->length == n && is_same_text(way->text, text, n) && is_still_so(way) && end_of(way, place);
    give(way);
    return found;
}

static struct ovl_ways *ways_of(struct ovl_space *space)
{
    struct ovl_ways *none = NULL, *ways = __atomic_load_n(&space->ways, __ATOMIC_ACQUIRE);
    if (ways)
        return ways;
    ways = ovl_sys_mmap(sizeof *ways, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (!ways || __atomic_compare_exchange_n(&space->ways, &none, ways, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return ways;
    ovl_sys_munmap(ways, sizeof *ways);
    return none;
}

/* A name right below the directory may belong to another overlay, or to none. */
static bool is_one_region(const struct ovl_space *space, const char *text, size_t n)
{
    for (unsigned i = 0; i < space->regions; i++)
        if (space->region[i].length > n && ovl_is_below(space->region[i].path, text, n))
            return false;
    return true;
}

static void remember(struct ovl_space *space, struct way *walked)
{
    walked->text[walked->length] = '\0';
    if (!is_one_region(space, walked->text, walked->length))
        return;
    struct ovl_ways *ways = ways_of(space);
    struct way *way = ways ? &ways->way[ovl_way_number(walked->text, walked->length)] : NULL;
    if (!way || !take(way))
        return;
    walked->busy = 1;
    memcpy(way, walked, offsetof(struct way, step) + walked->steps * sizeof walked->step[0]);
    give(way);
}

void ovl_ways_free(struct ovl_space *space)
{
    if (space->ways)
        ovl_sys_munmap(space->ways, sizeof *space->ways);
}

/* ---- walking ------------------------------------------------------------------------------------------------- */

/* Names that the walk gives a meaning of its own, and those that no directory has. */
static bool is_special(const char *name, size_t n)
{
    return n == 0 || n > OVL_NAME_MAX ||
           (name[0] == '.' && (n == 1 || (n == 2 && name[1] == '.') || ovl_has_prefix(name, OVL_WH_PREFIX)));
}

/* What a word says of a name that is not the last one. */
static int way_through(uint64_t word)
{
    if (state_of(word) == ABSENT)
        return -ENOENT;
    if (!is_found(word))
        return 0;
    const uint8_t type = type_of(word);
    return type == DT_DIR ? child_of(word) != 0 : type == DT_LNK ? 0 : -ENOTDIR;
}

/* Go on to the directory that the word leads to: 1, 0 when its names are not all known, or why it leads nowhere. */
static int step_into(struct way *way, const uint64_t *word, struct searcher *who, struct place *place)
{
    const uint64_t seen = load(word);
    int r = way_through(seen);
    if (r <= 0)
        return r;
    const struct directory *dir = ovl_cache_at(way->cache, child_of(seen));
    const uint32_t names = dir && may_pass(dir, who) ? __atomic_load_n(&dir->names, __ATOMIC_ACQUIRE) : 0;
    place->names = names ? ovl_cache_at(way->cache, names) : NULL;
    if (!place->names)
        return 0;
    place->record = child_of(seen);
    if (dir->search == SEARCH_OWNER) {
        way->is_owners = true;
        way->owner = who->uid;
    }
    if (way->steps < STEPS_MAX)
        way->step[way->steps] = (struct step){word, seen, dir, names};
    way->steps++;
    return 1;
}

/* Walk to the directory whose path are the first n bytes. */
static int walk(struct way *way, const char *path, size_t n, struct place *place)
{
    const uint64_t *word = ovl_cache_root(way->cache);
    struct searcher who = {0};
    for (size_t at = way->ovl->mount_length;;) {
        int r = step_into(way, word, &who, place);
        if (r <= 0 || at == n)
            return r;
        const size_t begin = ++at;
        const uint64_t hash = hash_next(path, n, &at);
        bool lost = false;
        if (is_special(path + begin, at - begin))
            return 0;
        const struct name *name = find_hashed(way->cache, place->names, path + begin, at - begin, hash, &lost);
        if (!name)
            return lost ? 0 : -ENOENT;
        word = &name->word;
    }
}

static int find_place(struct ovl_space *space, struct ovl *o, struct ovl_cache *cache, const char *path, size_t n,
                      struct place *place)
{
    if (go(space, path, n, place))
        return 1;
    struct way way;
    way.steps = 0;
    way.is_owners = false;
    way.length = (uint32_t)n;
    place->ovl = way.ovl = o;
    place->cache = way.cache = cache;
    int r = walk(&way, path, n, place);
    if (r > 0 && n < TEXT_MAX && way.steps <= STEPS_MAX) {
        memcpy(way.text, path, n);
        remember(space, &way);
    }
    return r;
}

/* Look for the last name: its word; false when that can't be told. */
static bool word_in(const struct place *place, const char *text, size_t n, uint64_t *word)
{
    bool lost = false;
    const struct name *name = find(place->cache, place->names, text, n, &lost);
    *word = name ? load(&name->word) : make_word(ABSENT, 0, 0, 0, 0);
    return !lost;
}

/* Let the last name's word speak, if it can. */
static bool stand_in(struct ovl *o, struct ovl_cache *cache, uint32_t record, uint64_t word, struct ovl_node *node)
{
    ovl_cache_enter(&node->in, cache, record);
    return ovl_cache_answer(o, cache, word, node);
}

static size_t begin_of_last(const char *path, size_t length)
{
    while (length > 0 && path[length - 1] != '/')
        length--;
    return length;
}

int ovl_cache_walk(struct ovl_ctx *ctx, struct ovl_node *node)
{
    struct ovl *o = node->ovl;
    struct ovl_cache *cache = ctx->anchors || o->impure ? NULL : ovl_cache_for_reading(o);
    struct place place;
    uint64_t word;
    if (!cache || node->length <= o->mount_length)
        return 0;
    const size_t name = begin_of_last(node->path, node->length), n = node->length - name;
    if (is_special(node->path + name, n))
        return 0;
    int r = find_place(ctx->space, o, cache, node->path, name - 1, &place);
    if (r <= 0)
        return r;
    node->name = name;
    return word_in(&place, node->path + name, n, &word) && stand_in(o, cache, place.record, word, node);
}

/* ---- glances ------------------------------------------------------------------------------------------------- */

int ovl_glance(const struct ovl_space *space, const char *path, size_t length, struct ovl_glance *glance)
{
    struct place place;
    const size_t name = begin_of_last(path, length), n = length - name;
    glance->path = NULL;
    if (length >= OVL_REAL_MAX || is_special(path + name, n) || !go(space, path, name - 1, &place) ||
        !word_in(&place, path + name, n, &glance->word))
        return 0;
    glance->path = path;
    glance->length = length;
    glance->name = name;
    glance->ovl = place.ovl;
    glance->cache = place.cache;
    glance->record = place.record;
    return state_of(glance->word) == ABSENT ? -ENOENT : 1;
}

bool ovl_cache_recall(const struct ovl_ctx *ctx, const struct ovl_glance *glance, struct ovl_node *node)
{
    if (ctx->anchors)
        return false;
    node->ovl = glance->ovl;
    memcpy(node->path, glance->path, glance->length + 1);
    node->length = glance->length;
    node->name = glance->name;
    return stand_in(glance->ovl, glance->cache, glance->record, glance->word, node);
}

bool ovl_glance_spot(const struct ovl_glance *glance, unsigned flags, char *real, size_t n, struct ovl_spot *spot)
{
    const uint64_t word = glance->path ? glance->word : 0;
    const uint8_t type = type_of(word);
    const unsigned layer = layer_of(word);
    struct ovl *o = glance->ovl;
    if (!is_found(word) || (type != DT_REG && (type != DT_LNK || flags & OVL_FOLLOW)) || layer >= o->layers ||
        !ovl_cache_believes(o, word))
        return false;
    const struct ovl_layer *in = &o->layer[layer];
    const size_t rest = glance->length - o->mount_length;
    if (in->length + rest >= n)
        return false;
    memcpy(real, in->path, in->length);
    memcpy(real + in->length, glance->path + o->mount_length, rest + 1);
    *spot = (struct ovl_spot){.ovl = o, .type = (mode_t)type << 12, .layer = layer, .real = real};
    return true;
}
