/* SPDX-License-Identifier: MIT
 *
 * What the directory cache consists of: words, names, tables and records, which lie in shared memory (cache.c has the
 * rules, cache_file.c the memory).  For cache.c, cache_walk.c and cache_table.c alone.
 */
#ifndef OVL_CACHE_H
#define OVL_CACHE_H

#include "types.h"

#include <dirent.h>

/* ---- words --------------------------------------------------------------------------------------- */

enum state {
    UNKNOWN = OVL_CACHE_UNKNOWN, /* the plain walk must say */
    BUSY,                        /* so it must, and nothing is kept of that */
    ABSENT,
    KNOWN,
    SINGLE, /* KNOWN, and no other hard link of it can have been copied up: it has none */
};

#define STATE_BITS 3
#define TYPE_SHIFT 3
#define TYPE_MASK 15u
#define LAYER_SHIFT 7
#define LAYER_MASK 1023u
#define VERSION_SHIFT 17
#define VERSION_BITS 21
#define VERSION_MASK ((UINT64_C(1) << VERSION_BITS) - 1)
#define CHILD_SHIFT 38 /* a directory's record, in units of OVL_CACHE_ALIGN; 0: not made */
#define CHILD_UNIT (OVL_CACHE_ALIGN / sizeof(uint64_t))

_Static_assert(OVL_LAYERS_MAX <= LAYER_MASK + 1, "a word names the layer");

static inline enum state state_of(uint64_t word)
{
    return (enum state)(word & ((1u << STATE_BITS) - 1));
}

/* DT_* of dirent.h. */
static inline uint8_t type_of(uint64_t word)
{
    return (uint8_t)(word >> TYPE_SHIFT & TYPE_MASK);
}

static inline uint16_t layer_of(uint64_t word)
{
    return (uint16_t)(word >> LAYER_SHIFT & LAYER_MASK);
}

static inline uint64_t version_of(uint64_t word)
{
    return word >> VERSION_SHIFT & VERSION_MASK;
}

static inline uint32_t child_of(uint64_t word)
{
    return (uint32_t)(word >> CHILD_SHIFT) * (uint32_t)CHILD_UNIT;
}

static inline uint64_t make_word(enum state state, uint8_t type, unsigned layer, uint64_t version, uint32_t child)
{
    return (uint64_t)state | (uint64_t)type << TYPE_SHIFT | (uint64_t)layer << LAYER_SHIFT |
           (version & VERSION_MASK) << VERSION_SHIFT | (uint64_t)(child / CHILD_UNIT) << CHILD_SHIFT;
}

static inline bool is_found(uint64_t word)
{
    return state_of(word) == KNOWN || state_of(word) == SINGLE;
}

static inline bool is_settled(uint64_t word)
{
    return is_found(word) || state_of(word) == ABSENT;
}

/* Never 0, which is that of a name that has not changed. */
static inline uint64_t next_version(uint64_t word)
{
    const uint64_t version = (version_of(word) + 1) & VERSION_MASK;
    return version ? version : 1;
}

static inline uint64_t load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* ---- records and tables ---------------------------------------------------------------------------- */

struct directory {
    uint64_t bits[OVL_LAYERS_MAX / 64]; /* the layers that merge to it */
    uint32_t names;                     /* its table; 0: none */
    uint32_t asked;                     /* how often, without one; about */
    uint32_t lower;                     /* the record of its lower layers alone, which never changes; 0: not made */
    uint8_t search;                     /* who may search it for certain */
    uint32_t owner;
};

enum { SEARCH_ASK, SEARCH_OWNER, SEARCH_ALL }; /* SEARCH_ASK: the kernel must say */

/* The user that this thread looks for files as, asked for once: begin with {0}. */
struct searcher {
    bool known;
    uid_t uid;
};

struct name {
    uint64_t word;
    uint64_t ino; /* as a listing shows it; of version 0 only */
    uint32_t next;
    uint32_t hash;
    uint8_t length;
    char text[];
};

/* The first `count` names stand one after the other, in the order of the listing. */
struct names {
    uint32_t first, count;
    uint32_t added;     /* how many came later */
    uint32_t whiteouts; /* the upper may hold some in the directory; it did then, or they came later */
    uint32_t mask;
    uint32_t head[];
};

/* ovl_hash() of the name that begins at path[*at], in a path of n bytes; *at is then where it ends. */
static inline uint64_t hash_next(const char *path, size_t n, size_t *at)
{
    uint64_t hash = OVL_HASH_BEGIN;
    for (; *at < n && path[*at] != '/'; ++*at)
        hash = ovl_hash_add(hash, path[*at]);
    return hash;
}

static inline size_t size_of_name(size_t length)
{
    return (sizeof(struct name) + length + 1 + 7) & ~(size_t)7;
}

static inline struct names *names_of(struct ovl_cache *cache, const struct directory *dir)
{
    uint32_t ref = __atomic_load_n(&dir->names, __ATOMIC_ACQUIRE);
    return ref ? ovl_cache_at(cache, ref) : NULL;
}

static inline bool are_same_eight(const char *a, const char *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x == y;
}

/* Names are short, and memcmp is a call.  The last eight may be compared with some of those before once more. */
static inline bool is_same_text(const char *a, const char *b, size_t n)
{
    size_t i = 0;
    if (n < sizeof(uint64_t)) {
        while (i < n && a[i] == b[i])
            i++;
        return i == n;
    }
    for (; i + sizeof(uint64_t) < n; i += sizeof(uint64_t))
        if (!are_same_eight(a + i, b + i))
            return false;
    return are_same_eight(a + n - sizeof(uint64_t), b + n - sizeof(uint64_t));
}

/* The name, NULL when the table has none; *lost when that can't be told. */
static inline struct name *find_hashed(struct ovl_cache *cache, const struct names *names, const char *text, size_t n,
                                       uint64_t whole, bool *lost)
{
    const uint32_t hash = ovl_hash_fold(whole);
    uint32_t ref = __atomic_load_n(&names->head[hash & names->mask], __ATOMIC_ACQUIRE);
    while (ref) {
        struct name *name = ovl_cache_at(cache, ref);
        if (!name)
            break;
        if (name->hash == hash && name->length == n && is_same_text(name->text, text, n))
            return name;
        ref = name->next;
    }
    *lost = ref != 0;
    return NULL;
}

static inline struct name *find(struct ovl_cache *cache, const struct names *names, const char *text, size_t n,
                                bool *lost)
{
    return find_hashed(cache, names, text, n, ovl_hash(text, n), lost);
}

static inline void fill_name(struct name *name, uint64_t word, uint64_t ino, const char *text, size_t n)
{
    *name = (struct name){.word = word, .ino = ino, .hash = ovl_hash_fold(ovl_hash(text, n)), .length = (uint8_t)n};
    memcpy(name->text, text, n);
    name->text[n] = '\0';
}

static inline void link_name(struct names *names, struct name *name, uint32_t ref)
{
    uint32_t *head = &names->head[name->hash & names->mask];
    name->next = *head;
    __atomic_store_n(head, ref, __ATOMIC_RELEASE);
}

/* Whether the directory may be searched for certain. */
static inline bool may_pass(const struct directory *dir, struct searcher *who)
{
    if (dir->search != SEARCH_OWNER)
        return dir->search == SEARCH_ALL;
    if (!who->known)
        *who = (struct searcher){true, ovl_sys_fsuid()};
    return who->uid == dir->owner;
}

/* ---- where a call is ---------------------------------------------------------------------------------- */

static inline struct ovl_cache *cache_of(const struct ovl_ctx *ctx, struct ovl *o, const struct ovl_stack *dir)
{
    if (!dir->record || ctx->anchors)
        return NULL;
    struct ovl_cache *cache = ovl_cache_for_reading(o);
    return cache && ovl_cache_run(cache) == dir->run ? cache : NULL;
}

/* ---- cache.c ------------------------------------------------------------------------------------------------- */

/* Let a word say of the node's name what it can; false when it can't. */
bool ovl_cache_answer(struct ovl *o, struct ovl_cache *cache, uint64_t word, struct ovl_node *node);
/* Whether a word that says KNOWN of this layer's object can be believed. */
bool ovl_cache_believes(const struct ovl *o, uint64_t word);
/* The layers that merge to the directory of this record; none when it can't be reached. */
void ovl_cache_enter(struct ovl_stack *stack, struct ovl_cache *cache, uint32_t ref);

/* ---- cache_table.c --------------------------------------------------------------------------------------- */

/* The record that look-ups come to for the first bytes of a merged path; NULL when none has one for it.  *lost when
 * that can't be told. */
struct directory *ovl_cache_reach(struct ovl_cache *cache, const struct ovl *o, const char *path, size_t length,
                                  bool *lost);
/* The table of a directory that is empty: its reference; 0 without room. */
uint32_t ovl_cache_make_table(struct ovl_cache *cache);
/* A name that the table does not have yet, with this word: its place, or NULL without room. */
uint64_t *ovl_cache_add(struct ovl_cache *cache, struct names *names, const char *text, size_t n, uint64_t word);

#endif
