/* SPDX-License-Identifier: MIT
 *
 * The change lock of an overlay and the memory that its processes share.
 *
 * Every step that makes, replaces or hides a name holds this lock; data are copied without it.
 * A change of names in a directory holds the tree shared and the directory's bucket alone; moving
 * or removing whole directories holds the tree alone.  The words live in a mapped file, name their
 * owner (thread id and a time at which it lived), and are taken over from a dead one: a killed process
 * leaves nothing locked.  What must hold: signals are blocked from first to last, so that no
 * handler can wait for what its own thread holds; no descriptor stays open.
 *
 * A thread meets its own lock all the same when a library behind us, called under the lock, calls libc again (to write
 * its log, say).  Such a nested call uses what the outer one holds; where that can't do, it fails with EDEADLK.
 */
#include "types.h"

#include <linux/futex.h>
#include <sys/mman.h>

#define SHARED_MAGIC 0x31766c6f73687264u
#define BUCKETS 256
#define READERS 128
#define FILTER_WORDS 8192
#define WAIT_NS 20000000 /* between looks at whether an owner is dead */
#define NESTED_WAITS 100 /* of a nested call, for a lock that may wait for the outer one's */
#define HELD_TREE (-1)   /* instead of a reader's slot */
#define HELD_BEFORE (-2)

struct ovl_shared {
    uint64_t magic;
    uint64_t size;
    struct ovl_moves moves;
    uint64_t pid_space; /* where the owners' thread ids mean something */
    uint64_t mixed;     /* a process of another pid name space takes part: nobody can be known to be dead */
    struct ovl_cache_state cache;
    uint64_t groups;  /* whether a lower file with several names was copied up */
    uint64_t waiters; /* how many may be asleep; a killed one counts for ever */
    uint64_t tree;
    uint64_t reader[READERS];
    uint64_t bucket[BUCKETS];
    uint64_t filter[FILTER_WORDS];
};

/* ---- attaching --------------------------------------------------------------------------------- */

_Static_assert(offsetof(struct ovl_shared, size) == sizeof(uint64_t), "magic and size are what is written first");

/* The whole struct is larger than a thread's stack may be: what follows its beginning is zero. */
static int create_shared(const char *aside, const char *path)
{
    const uint64_t header[] = {SHARED_MAGIC, sizeof(struct ovl_shared)};
    return ovl_work_make_file(aside, path, header, sizeof header, sizeof(struct ovl_shared));
}

static int map_shared(const char *path, struct ovl_shared **mapped)
{
    int fd = ovl_sys_open(AT_FDCWD, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
    if (fd < 0)
        return fd;
    struct stat st;
    struct ovl_shared *shared = NULL;
    bool sound = ovl_sys_fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == (off_t)sizeof *shared;
    if (sound)
        shared = ovl_sys_mmap(sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
    ovl_sys_close(fd);
    if (!shared)
        return sound ? -ENOMEM : -EACCES;
    if (shared->magic != SHARED_MAGIC || shared->size != sizeof *shared) {
        ovl_sys_munmap(shared, sizeof *shared);
        return -EACCES;
    }
    *mapped = shared;
    return 0;
}

bool ovl_shared_is_foreign(const char *path)
{
    struct ovl_shared *shared;
    int r = map_shared(path, &shared);
    if (r == 0)
        ovl_sys_munmap(shared, sizeof *shared);
    return r == -EACCES;
}

/* Thread ids of another pid name space say nothing here. */
static void check_pid_space(struct ovl_shared *shared)
{
    uint64_t own = ovl_pid_space();
    uint64_t seen = 0;
    if (!__atomic_compare_exchange_n(&shared->pid_space, &seen, own, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) &&
        seen != own)
        __atomic_store_n(&shared->mixed, 1, __ATOMIC_SEQ_CST);
}

struct attaching {
    const struct ovl *ovl;
    struct ovl_ctx *ctx;
    struct ovl_shared *shared;
};

/* Map the file, which the first process that comes here makes. */
static int attach(void *arg)
{
    struct attaching *a = arg;
    size_t mark = a->ctx->used;
    char *path = ovl_ctx_alloc(a->ctx, OVL_REAL_MAX);
    char *aside = ovl_ctx_alloc(a->ctx, OVL_REAL_MAX);
    int r = path && aside ? ovl_work_path(a->ovl, OVL_SHARED_FILE, path) : -ENOMEM;
    if (r >= 0)
        r = map_shared(path, &a->shared);
    if (r == -ENOENT && !a->ovl->looks) {
        r = ovl_work_name(a->ovl, aside);
        if (r == 0)
            r = create_shared(aside, path);
        if (r == 0)
            r = map_shared(path, &a->shared);
    }
    ovl_ctx_reset(a->ctx, mark);
    return r;
}

/* Whoever is first in this process has its mapping used by all threads. */
static struct ovl_shared *settle_on(struct ovl *o, struct ovl_shared *shared)
{
    struct ovl_shared *other = NULL;
    if (!o->looks)
        check_pid_space(shared);
    if (__atomic_compare_exchange_n(&o->shared, &other, shared, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return shared;
    ovl_sys_munmap(shared, sizeof *shared);
    return other;
}

static int find_shared(struct ovl *o, struct ovl_shared **shared)
{
    struct ovl_ctx ctx;
    *shared = __atomic_load_n(&o->shared, __ATOMIC_ACQUIRE);
    if (*shared || !o->work)
        return *shared ? 0 : -EACCES;
    int r = ovl_ctx_begin(&ctx, NULL, NULL);
    if (r < 0)
        return r;
    struct attaching a = {.ovl = o, .ctx = &ctx};
    r = ovl_with_descriptors(&ctx, -1, attach, &a);
    ovl_ctx_end(&ctx);
    if (r == 0)
        *shared = settle_on(o, a.shared);
    return r;
}

struct ovl_shared *ovl_shared(struct ovl *o)
{
    struct ovl_shared *shared;
    find_shared(o, &shared);
    return shared;
}

void ovl_shared_detach(struct ovl *o)
{
    struct ovl_shared *shared = __atomic_exchange_n(&o->shared, NULL, __ATOMIC_ACQ_REL);
    if (shared)
        ovl_sys_munmap(shared, sizeof *shared);
}

/* ---- owners ------------------------------------------------------------------------------------- */

/* This thread's word; after fork, and in a vfork child, it is still the parent's. */
static __thread uint64_t own_word __attribute__((tls_model("initial-exec")));

/* Thread id in the low half, in the high a time at which that thread lived (hundredths of a second since boot). */
static uint64_t own_owner(void)
{
    const uint32_t id = (uint32_t)ovl_sys_gettid();
    if ((uint32_t)own_word == id)
        return own_word;
    struct timespec now = {0, 0};
    ovl_sys_clock_gettime(CLOCK_BOOTTIME, &now);
    uint32_t time = (uint32_t)(now.tv_sec * 100 + now.tv_nsec / 10000000);
    own_word = (uint64_t)time << 32 | id;
    return own_word;
}

/* Field 22 of /proc/TID/stat is the start time in clock ticks, here hundredths of a second; field 3
 * the state (proc(5)). */
static int ask_proc(void *arg)
{
    uint64_t owner = *(const uint64_t *)arg;
    char path[48];
    char text[512];
    char number[24];
    ssize_t n = ovl_append(path, sizeof path, 0, "/proc/");
    n = ovl_append(path, sizeof path, (size_t)n, ovl_decimal(number, (uint32_t)owner));
    ovl_append(path, sizeof path, (size_t)n, "/stat");
    int fd = ovl_sys_open(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return fd == -ENOENT ? ovl_sys_kill((pid_t)(uint32_t)owner, 0) == -ESRCH : fd;
    n = ovl_sys_read(fd, text, sizeof text - 1);
    ovl_sys_close(fd);
    if (n <= 0)
        return n == -ESRCH;
    text[n] = '\0';
    const char *p = ovl_strrchr(text, ')');
    if (!p || p[1] != ' ')
        return false;
    char state = p[2];
    if (state == 'Z' || state == 'X')
        return true;
    for (int field = 2; field < 22 && *p; p++)
        field += *p == ' ';
    uint64_t started = ovl_parse_decimal(&p);
    /* The number was given to a new thread after this one took the lock, or made what it left. */
    return (uint32_t)started > (uint32_t)(owner >> 32) + 1 &&
           (uint32_t)started - (uint32_t)(owner >> 32) < UINT32_MAX / 2;
}

bool ovl_is_dead(uint64_t owner)
{
    return ovl_with_descriptors(NULL, -1, ask_proc, &owner) == 1;
}

/* Clear the word of an owner that has ended. */
static bool take_from_dead(const struct ovl_shared *shared, uint64_t *word, uint64_t seen)
{
    if (__atomic_load_n(&shared->mixed, __ATOMIC_SEQ_CST) || !ovl_is_dead(seen))
        return false;
    __atomic_compare_exchange_n(word, &seen, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return true;
}

/* A waiter counts itself, then the kernel looks whether the word is as seen; who releases it clears the word, then
 * looks for waiters: one of them sees the other. */
static void wait_for(struct ovl_shared *shared, uint64_t *word, uint64_t seen)
{
    struct timespec timeout = {0, WAIT_NS};
    const bool is_gone = ovl_sys_kill((pid_t)(uint32_t)seen, 0) == -ESRCH;
    if (is_gone && take_from_dead(shared, word, seen))
        return;
    __atomic_fetch_add(&shared->waiters, 1, __ATOMIC_SEQ_CST);
    int r = ovl_sys_futex((uint32_t *)(void *)word, FUTEX_WAIT, (uint32_t)seen, &timeout);
    __atomic_fetch_sub(&shared->waiters, 1, __ATOMIC_SEQ_CST);
    if (r == -ETIMEDOUT)
        take_from_dead(shared, word, seen);
}

/* Whether this very thread holds the word: we are in a nested call. */
static bool is_mine(const struct ovl_shared *shared, uint64_t seen, uint64_t owner)
{
    return (uint32_t)seen == (uint32_t)owner && !__atomic_load_n(&shared->mixed, __ATOMIC_SEQ_CST) &&
           !ovl_is_dead(seen);
}

static bool is_nested(const struct ovl_shared *shared, uint64_t owner, int own_slot)
{
    bool found = is_mine(shared, __atomic_load_n(&shared->tree, __ATOMIC_SEQ_CST), owner);
    for (int i = 0; i < READERS && !found; i++)
        found = i != own_slot && is_mine(shared, __atomic_load_n(&shared->reader[i], __ATOMIC_SEQ_CST), owner);
    return found;
}

/* 1: it is ours now; 0: it was, by the outer call; -EDEADLK. */
static int acquire(struct ovl_shared *shared, uint64_t *word, const struct ovl_held *held)
{
    for (unsigned waits = 0;; waits++) {
        uint64_t seen = 0;
        if (__atomic_compare_exchange_n(word, &seen, held->owner, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            return 1;
        if (is_mine(shared, seen, held->owner))
            return 0;
        if (waits >= NESTED_WAITS && is_nested(shared, held->owner, held->reader))
            return -EDEADLK;
        wait_for(shared, word, seen);
    }
}

static void release(const struct ovl_shared *shared, uint64_t *word)
{
    __atomic_store_n(word, 0, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&shared->waiters, __ATOMIC_SEQ_CST))
        ovl_sys_futex((uint32_t *)(void *)word, FUTEX_WAKE, INT32_MAX, NULL);
}

/* ---- the tree ----------------------------------------------------------------------------------- */

/* Register as a reader, then look for a writer; a writer sets its word, then looks for readers.  Both
 * orders are sequentially consistent, so one of them sees the other. */
static int enter_tree(struct ovl_shared *shared, uint64_t owner)
{
    for (unsigned i = (unsigned)owner % READERS;; i = (i + 1) % READERS) {
        uint64_t *slot = &shared->reader[i];
        uint64_t seen = 0;
        if (!__atomic_compare_exchange_n(slot, &seen, owner, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
            if (i == (unsigned)(owner + READERS - 1) % READERS)
                wait_for(shared, slot, seen); /* all are taken, perhaps by the dead */
            continue;
        }
        uint64_t writer = __atomic_load_n(&shared->tree, __ATOMIC_SEQ_CST);
        if (!writer)
            return (int)i;
        release(shared, slot);
        if (is_nested(shared, owner, -1)) /* the writer, or whom it waits for */
            return HELD_BEFORE;
        wait_for(shared, &shared->tree, writer);
    }
}

static int own_tree(struct ovl_shared *shared, const struct ovl_held *held)
{
    if (is_nested(shared, held->owner, -1))
        return -EDEADLK;
    acquire(shared, &shared->tree, held);
    for (unsigned i = 0; i < READERS; i++) {
        uint64_t seen;
        while ((seen = __atomic_load_n(&shared->reader[i], __ATOMIC_SEQ_CST)) != 0)
            wait_for(shared, &shared->reader[i], seen);
    }
    return 0;
}

/* ---- locks -------------------------------------------------------------------------------------- */

static int bucket_of(const char *path, size_t length)
{
    return (int)(ovl_hash_fold(ovl_hash(path, length)) % BUCKETS);
}

/* The bucket of the directory that the name is in. */
static int bucket_of_name(const struct ovl_node *node)
{
    return bucket_of(node->path, ovl_parent_length(node));
}

/* What is wrong with the work directory's file is no business of the program's; want of means or of room is. */
static int refusal(int error)
{
    switch (error) {
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM:
    case -ENOSPC:
    case -EDQUOT:
        return error;
    default:
        return -EACCES;
    }
}

static int begin(struct ovl *o, struct ovl_held *held)
{
    int r = find_shared(o, &held->shared);
    if (r == -ENOSPC || r == -EDQUOT)
        ovl_log_line(OVL_LOG_WARN, "workdir=", o->work, ": no room for the lock, so nothing can be changed", NULL);
    if (r < 0)
        return refusal(r);
    const uint64_t all = ~(uint64_t)0;
    ovl_sys_sigprocmask(SIG_BLOCK, &all, &held->signals);
    held->owner = own_owner();
    held->bucket[0] = held->bucket[1] = -1;
    held->word[0] = held->word[1] = NULL;
    held->before[0] = held->before[1] = held->after[0] = held->after[1] = 0;
    held->reader = HELD_BEFORE;
    return 0;
}

static int hold_bucket(struct ovl_held *held, int which, int bucket)
{
    int r = acquire(held->shared, &held->shared->bucket[bucket], held);
    if (r > 0)
        held->bucket[which] = bucket;
    return r < 0 ? r : 0;
}

static int hold_buckets(struct ovl *o, int first, int second, struct ovl_held *held)
{
    int r = begin(o, held);
    if (r < 0)
        return r;
    held->reader = enter_tree(held->shared, held->owner);
    r = hold_bucket(held, 0, first < second ? first : second);
    if (r == 0 && first != second)
        r = hold_bucket(held, 1, first < second ? second : first);
    if (r < 0)
        ovl_unlock(held);
    return r;
}

/* Whether no outer call of this thread holds what we hold. */
static bool is_alone(const struct ovl_held *held, int buckets)
{
    return held->reader != HELD_BEFORE && held->bucket[0] >= 0 && (buckets < 2 || held->bucket[1] >= 0);
}

static void begin_names(struct ovl *o, const struct ovl_node *a, const struct ovl_node *b, bool alone,
                        struct ovl_held *held)
{
    held->word[0] = a ? ovl_cache_begin(o, a, alone, &held->before[0]) : NULL;
    held->word[1] = b ? ovl_cache_begin(o, b, alone, &held->before[1]) : NULL;
}

static int lock_names(const struct ovl_node *a, const struct ovl_node *b, const char *group, struct ovl_held *held)
{
    const int first = bucket_of_name(a);
    const int second = b ? bucket_of_name(b) : group ? bucket_of(group, ovl_strlen(group)) : first;
    int r = hold_buckets(a->ovl, first, second, held);
    if (r == 0)
        begin_names(a->ovl, a, b, is_alone(held, first == second ? 1 : 2), held);
    return r;
}

/* What was known of the names when they were locked is true until we change them. */
static void remember(struct ovl_node *a, struct ovl_node *b, const struct ovl_held *held)
{
    if (a)
        a->before = held->before[0];
    if (b)
        b->before = held->before[1];
}

int ovl_lock_names(struct ovl_node *a, struct ovl_node *b, const char *group, struct ovl_held *held)
{
    int r = lock_names(a, b, group, held);
    if (r == 0)
        remember(a, b, held);
    return r;
}

int ovl_lock_search(const struct ovl_node *dir, struct ovl_held *held)
{
    return lock_names(dir, NULL, NULL, held);
}

int ovl_lock_dirs(struct ovl *o, const char *a, const char *b, struct ovl_held *held)
{
    const int first = bucket_of(a, ovl_strlen(a));
    return hold_buckets(o, first, b ? bucket_of(b, ovl_strlen(b)) : first, held);
}

int ovl_lock_listing(const struct ovl_node *dir, struct ovl_held *held)
{
    int r = begin(dir->ovl, held);
    if (r < 0)
        return r;
    bool nested = is_nested(held->shared, held->owner, -1);
    ovl_sys_sigprocmask(SIG_SETMASK, &held->signals, NULL);
    return nested ? -EDEADLK : ovl_lock_dirs(dir->ovl, dir->path, NULL, held);
}

int ovl_lock_tree(struct ovl *o, struct ovl_node *a, struct ovl_node *b, struct ovl_held *held)
{
    int r = begin(o, held);
    if (r < 0)
        return r;
    r = own_tree(held->shared, held);
    if (r < 0) {
        ovl_unlock(held);
        return r;
    }
    held->reader = HELD_TREE;
    begin_names(o, a, b, true, held);
    remember(a, b, held);
    return 0;
}

void ovl_unlock(struct ovl_held *held)
{
    ovl_cache_end(held->word[0], held->after[0]);
    ovl_cache_end(held->word[1], held->after[1]);
    for (int i = 0; i < 2; i++)
        if (held->bucket[i] >= 0)
            release(held->shared, &held->shared->bucket[held->bucket[i]]);
    if (held->reader != HELD_BEFORE)
        release(held->shared, held->reader == HELD_TREE ? &held->shared->tree : &held->shared->reader[held->reader]);
    ovl_sys_sigprocmask(SIG_SETMASK, &held->signals, NULL);
}

/* ---- the filter before the identity map ------------------------------------------------------------ */

static uint64_t filter_bit(uint64_t ino, unsigned *word)
{
    uint64_t hash = ino * 0x9e3779b97f4a7c15u;
    *word = (unsigned)(hash >> 51) % FILTER_WORDS;
    return (uint64_t)1 << ((hash >> 40) % 64);
}

bool ovl_shared_may_have(const struct ovl_shared *shared, uint64_t ino)
{
    unsigned word;
    uint64_t bit = filter_bit(ino, &word);
    return __atomic_load_n(&shared->filter[word], __ATOMIC_RELAXED) & bit;
}

void ovl_shared_note(struct ovl_shared *shared, uint64_t ino)
{
    unsigned word;
    uint64_t bit = filter_bit(ino, &word);
    __atomic_fetch_or(&shared->filter[word], bit, __ATOMIC_RELEASE);
}

bool ovl_shared_has_groups(const struct ovl_shared *shared)
{
    return !shared || __atomic_load_n(&shared->groups, __ATOMIC_SEQ_CST);
}

void ovl_shared_note_group(struct ovl_shared *shared, uint64_t ino)
{
    ovl_shared_note(shared, ino);
    __atomic_store_n(&shared->groups, 1, __ATOMIC_SEQ_CST);
}

/* ---- cache_file.c ------------------------------------------------------------------------------------ */

struct ovl_cache_state *ovl_shared_cache(struct ovl_shared *shared)
{
    return &shared->cache;
}

/* ---- moves.c ---------------------------------------------------------------------------------------- */

struct ovl_moves *ovl_shared_moves(struct ovl_shared *shared)
{
    return &shared->moves;
}
