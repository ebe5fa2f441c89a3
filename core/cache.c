/* SPDX-License-Identifier: MIT
 *
 * The directory cache: what look-ups and listings found out, for all processes of a run (docs/cache.md; tests/model).
 *
 * A directory has a record (the layers that merge to it) and, once it has been listed, a table of all its names.  A
 * name has one word, which says in which layer it shows, and its version.  What must hold:
 *   - Whoever changes a name holds the change lock of its directory.  Before the first step the word says BUSY, with
 *     the next version; after the last one what the name has become, or UNKNOWN.  So one that is killed leaves BUSY,
 *     which is slow and never wrong.
 *   - A reader keeps what the plain walk found only by a compare-and-swap from the very word that it had loaded before.
 *   - A table is complete from its publication on: what it does not have is not there.  Where the upper takes part, it
 *     is listed and published under the directory's lock.
 *   - What is replaced (a word's record, a record's table) is out of reach then and changes no more: it was true until
 *     that moment, which lies in the call of whoever still reads it, as none believes a reference beyond its call.
 */
#include "cache.h"

#include <unistd.h>

#define BUILD_AFTER 4 /* look-ups in a directory that has no table */

/* ---- reading ------------------------------------------------------------------------------------------ */

/* What the kernel would ask for of the directory's uppermost layer when it walks through. */
static bool may_search(struct ovl_ctx *ctx, const struct ovl_node *node)
{
    size_t mark = ctx->used;
    int fds = ctx->fds;
    char *real = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    const unsigned top = ovl_stack_next(&node->in, 0, node->ovl->layers);
    bool may = real && ovl_real_parent(ctx, node, top, real) == 0 && ovl_may_search(real) == 0;
    ovl_ctx_close(ctx, fds);
    ovl_ctx_reset(ctx, mark);
    return may;
}

void ovl_cache_enter(struct ovl_stack *stack, struct ovl_cache *cache, uint32_t ref)
{
    const struct directory *dir = ovl_cache_at(cache, ref);
    if (!dir)
        return;
    memcpy(stack->bits, dir->bits, sizeof stack->bits);
    stack->impure = false;
    stack->record = ref;
    stack->run = ovl_cache_run(cache);
}

bool ovl_cache_believes(const struct ovl *o, uint64_t word)
{
    if (state_of(word) != KNOWN || (o->has_upper && layer_of(word) == 0))
        return true;
    /* Another name of it may have been copied up. */
    return !ovl_shared_has_groups(__atomic_load_n(&o->shared, __ATOMIC_ACQUIRE));
}

bool ovl_cache_answer(struct ovl *o, struct ovl_cache *cache, uint64_t word, struct ovl_node *node)
{
    const uint8_t type = type_of(word);
    const unsigned layer = layer_of(word);
    if (state_of(word) == ABSENT)
        return true;
    if (!is_found(word) || layer >= o->layers)
        return false;
    if (type == DT_DIR) {
        if (!child_of(word))
            return false;
        ovl_cache_enter(&node->dirs, cache, child_of(word));
        if (!node->dirs.record)
            return false;
    } else if (!ovl_cache_believes(o, word)) {
        return false;
    }
    node->exists = true;
    node->partly = true;
    node->top = layer;
    node->st.st_mode = (mode_t)type << 12;
    return true;
}

/* Whether it is we who are changing the name, and nothing has been changed since the lock was taken. */
static bool is_ours(const struct ovl_node *node, uint64_t word)
{
    return node->before && state_of(word) == BUSY && version_of(word) == next_version(node->before);
}

static uint64_t take_before(struct ovl_node *node)
{
    const uint64_t before = node->before;
    node->before = 0;
    return before;
}

/* Who has come through a directory so often has come to those below as often, which nobody has counted. */
static bool is_worth_a_table(const struct ovl_ctx *ctx, struct directory *dir)
{
    return __atomic_add_fetch(&dir->asked, 1, __ATOMIC_RELAXED) >= BUILD_AFTER || ctx->builds || ovl_cache_is_eager();
}

bool ovl_cache_ask(struct ovl_ctx *ctx, struct ovl_node *node, struct ovl_cached *cached)
{
    *cached = (struct ovl_cached){0};
    struct ovl_cache *cache = cache_of(ctx, node->ovl, &node->in);
    struct directory *dir = cache ? ovl_cache_at(cache, node->in.record) : NULL;
    struct searcher who = {0};
    if (!dir || (!may_pass(dir, &who) && !may_search(ctx, node)))
        return false; /* the plain walk says how it is refused */
    const struct names *names = names_of(cache, dir);
    if (!names && is_worth_a_table(ctx, dir) && ovl_cache_build(ctx, node)) {
        names = names_of(cache, dir);
        ctx->builds = true;
    }
    if (!names)
        return false;
    bool lost = false;
    struct name *name = find(cache, names, node->path + node->name, node->length - node->name, &lost);
    if (!name)
        return !lost;
    cached->cache = cache;
    cached->word = &name->word;
    cached->seen = load(&name->word);
    return ovl_cache_answer(node->ovl, cache, is_ours(node, cached->seen) ? take_before(node) : cached->seen, node);
}

/* A record of which nothing is known; NULL where there is no room. */
static struct directory *add_directory(struct ovl_cache *cache, uint32_t *ref)
{
    *ref = ovl_cache_alloc(cache, sizeof(struct directory));
    struct directory *dir = *ref ? ovl_cache_at(cache, *ref) : NULL;
    if (dir)
        memset(dir, 0, sizeof *dir);
    return dir;
}

/* The record without the upper, made if need be; 0 where there is none. */
static uint32_t lower_of(struct ovl_cache *cache, struct directory *dir)
{
    uint32_t ref = __atomic_load_n(&dir->lower, __ATOMIC_ACQUIRE), none = 0;
    if (ref)
        return ref;
    struct directory *lower = add_directory(cache, &ref);
    if (!lower)
        return 0;
    memcpy(lower->bits, dir->bits, sizeof lower->bits);
    lower->bits[0] &= ~(uint64_t)1;
    lower->search = dir->search;
    lower->owner = dir->owner;
    return __atomic_compare_exchange_n(&dir->lower, &none, ref, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) ? ref : none;
}

bool ovl_cache_ask_lower(struct ovl_ctx *ctx, struct ovl_node *node)
{
    const struct ovl *o = node->ovl;
    const struct ovl_stack in = node->in;
    struct ovl_cache *cache = cache_of(ctx, node->ovl, &in);
    struct directory *dir = cache ? ovl_cache_at(cache, in.record) : NULL;
    uint32_t lower = dir && o->has_upper && ovl_has_lower(o, &in) ? lower_of(cache, dir) : 0;
    if (!lower)
        return false;
    struct ovl_cached cached;
    ovl_cache_enter(&node->in, cache, lower);
    bool known = ovl_cache_ask(ctx, node, &cached);
    node->in = in;
    return known;
}

bool ovl_cache_ask_mount(struct ovl_ctx *ctx, struct ovl_node *node, struct ovl_cached *cached)
{
    *cached = (struct ovl_cached){0};
    struct ovl_cache *cache = ctx->anchors || node->ovl->impure ? NULL : ovl_cache_for_reading(node->ovl);
    if (!cache)
        return false;
    cached->cache = cache;
    cached->word = ovl_cache_root(cache);
    cached->seen = load(cached->word);
    return ovl_cache_answer(node->ovl, cache, cached->seen, node);
}

/* ---- keeping what the plain walk found ------------------------------------------------------------------ */

/* Who may search a directory.  An ACL says nothing else of the owner than the mode does (acl(5)). */
static void set_search(struct directory *dir, const char *real, const struct stat *st)
{
    const uid_t overflow = 65534; /* any user that has no number in this name space */
    char value[8];
    dir->owner = st->st_uid;
    dir->search = st->st_mode & S_IXUSR && st->st_uid != overflow ? SEARCH_OWNER : SEARCH_ASK;
    if ((st->st_mode & 0111) != 0111)
        return;
    int r = (int)ovl_sys_lgetxattr(real, OVL_ACL_ACCESS, value, sizeof value);
    if (r == -ENODATA || r == -EOPNOTSUPP)
        dir->search = SEARCH_ALL;
}

/* A record for the directory that was found; 0 where it can't be kept. */
static uint32_t make_record(struct ovl_cache *cache, const struct ovl_node *node)
{
    const struct ovl *o = node->ovl;
    if (node->dirs.impure || node->in.impure)
        return 0;
    /* Where it may not be read or searched, whether lower directories merge with it is only known as far as marks can
     * be seen. */
    if (o->has_upper && node->top == 0 && ovl_may(NULL, o, 0, node->real, &node->st, R_OK | X_OK, true) < 0)
        return 0;
    uint32_t ref;
    struct directory *dir = add_directory(cache, &ref);
    if (!dir)
        return 0;
    memcpy(dir->bits, node->dirs.bits, sizeof dir->bits);
    set_search(dir, node->real, &node->st);
    return ref;
}

/* The word for what was found, with the old one's version; 0 where it can't be kept. */
static uint64_t describe(struct ovl_cache *cache, const struct ovl_node *node, uint64_t seen)
{
    const struct ovl *o = node->ovl;
    const mode_t mode = node->st.st_mode;
    const uint8_t type = (uint8_t)((mode & S_IFMT) >> 12);
    const uint64_t version = version_of(seen);
    if (!node->exists)
        return make_word(ABSENT, 0, 0, version, 0);
    if (node->linked || node->in.impure)
        return 0;
    if (S_ISDIR(mode)) {
        uint32_t record = make_record(cache, node);
        return record ? make_word(KNOWN, type, node->top, version, record) : 0;
    }
    bool is_single = node->st.st_nlink == 1;
    if (!is_single && !(o->has_upper && node->top == 0))
        return 0;
    return make_word(is_single ? SINGLE : KNOWN, type, node->top, version, 0);
}

void ovl_cache_ask_again(struct ovl_cached *cached)
{
    cached->seen = load(cached->word);
}

bool ovl_cache_tell(struct ovl_node *node, const struct ovl_cached *cached)
{
    if (!cached->word)
        return true;
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* what was looked at, before this */
    if (version_of(load(cached->word)) != version_of(cached->seen))
        return false;
    /* Who could not tell the cache of a change that we met has put it off before. */
    bool keeps = state_of(cached->seen) != BUSY && ovl_cache_for_reading(node->ovl) == cached->cache;
    uint64_t word = keeps ? describe(cached->cache, node, cached->seen) : 0;
    uint64_t seen = cached->seen;
    if (word && __atomic_compare_exchange_n(cached->word, &seen, word, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) &&
        child_of(word)) {
        node->dirs.record = child_of(word);
        node->dirs.run = ovl_cache_run(cached->cache);
    }
    return true;
}

/* ---- changing -------------------------------------------------------------------------------------------- */

/* The word that look-ups of the node's name come to, made if need be; NULL when there is none. */
static uint64_t *find_word(struct ovl_cache *cache, struct ovl *o, const struct ovl_node *node)
{
    bool lost = false;
    if (ovl_is_mount(node))
        return ovl_cache_root(cache);
    struct directory *dir = ovl_cache_reach(cache, o, node->path, ovl_parent_length(node), &lost);
    struct names *names = dir ? names_of(cache, dir) : NULL;
    const char *text = node->path + node->name;
    const size_t n = node->length - node->name;
    struct name *name = names ? find(cache, names, text, n, &lost) : NULL;
    uint64_t *word = name ? &name->word : NULL;
    if (!name && names && !lost) {
        word = ovl_cache_add(cache, names, text, n, make_word(BUSY, 0, 0, 0, 0));
        if (!word)
            __atomic_store_n(&dir->names, 0, __ATOMIC_SEQ_CST); /* no room: the table is not complete any more */
    }
    if (lost)
        ovl_cache_give_up(o);
    return word;
}

uint64_t *ovl_cache_begin(struct ovl *o, const struct ovl_node *node, bool alone, uint64_t *before)
{
    struct ovl_cache *cache = ovl_cache_for_changing(o);
    uint64_t *word = cache ? find_word(cache, o, node) : NULL;
    if (!word)
        return NULL;
    uint64_t now = load(word);
    /* Busy by a killed process, or by the outer call of this thread, which is still at it. */
    if (state_of(now) == BUSY && version_of(now) && !alone)
        return NULL;
    __atomic_store_n(word, make_word(BUSY, 0, 0, next_version(now), 0), __ATOMIC_SEQ_CST);
    if (is_settled(now))
        *before = now;
    else if (state_of(now) == BUSY && !version_of(now)) /* just made, as its table does not have it */
        *before = make_word(ABSENT, 0, 0, 0, 0);
    return word;
}

void ovl_cache_end(uint64_t *word, uint64_t after)
{
    if (!word)
        return;
    const uint64_t version = (load(word) >> VERSION_SHIFT & VERSION_MASK) << VERSION_SHIFT;
    __atomic_store_n(word, version | (after ? after : UNKNOWN), __ATOMIC_SEQ_CST);
}

void ovl_held_gone(struct ovl_held *held, int which)
{
    held->after[which] = make_word(ABSENT, 0, 0, 0, 0);
}

void ovl_held_there(struct ovl_held *held, int which, mode_t type)
{
    held->after[which] = make_word(KNOWN, (uint8_t)((type & S_IFMT) >> 12), 0, 0, 0);
}

void ovl_held_made(struct ovl_held *held, int which, struct ovl *o, const char *real)
{
    struct ovl_cache *cache = held->word[which] ? ovl_cache_for_reading(o) : NULL;
    struct stat st;
    if (!cache || ovl_sys_lstat(real, &st) < 0)
        return;
    uint32_t ref;
    struct directory *dir = add_directory(cache, &ref);
    const uint32_t names = dir ? ovl_cache_make_table(cache) : 0;
    if (!names)
        return;
    dir->bits[0] = 1;
    dir->names = names;
    set_search(dir, real, &st);
    held->after[which] = make_word(KNOWN, DT_DIR, 0, 0, ref);
}

/* ---- whiteouts ------------------------------------------------------------------------------------------- */

bool ovl_cache_has_no_whiteout(struct ovl_ctx *ctx, const struct ovl_node *node)
{
    struct ovl_cache *cache = cache_of(ctx, node->ovl, &node->in);
    const struct directory *dir = cache ? ovl_cache_at(cache, node->in.record) : NULL;
    const struct names *names = dir ? names_of(cache, dir) : NULL;
    return names && !__atomic_load_n(&names->whiteouts, __ATOMIC_ACQUIRE);
}

void ovl_cache_expect_whiteout(const struct ovl_node *node)
{
    struct ovl *o = node->ovl;
    struct ovl_cache *cache = ovl_cache_for_changing(o);
    bool lost = false;
    struct directory *dir = cache ? ovl_cache_reach(cache, o, node->path, ovl_parent_length(node), &lost) : NULL;
    struct names *names = dir ? names_of(cache, dir) : NULL;
    if (names)
        __atomic_store_n(&names->whiteouts, 1, __ATOMIC_SEQ_CST);
    if (lost)
        ovl_cache_give_up(o);
}

int ovl_change_search(const struct ovl_node *dir, int (*change)(void *arg), void *arg)
{
    struct ovl_held held;
    int r = ovl_lock_search(dir, &held);
    if (r < 0)
        return r;
    r = change(arg);
    ovl_unlock(&held);
    return r;
}
