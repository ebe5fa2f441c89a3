/* SPDX-License-Identifier: MIT
 *
 * The cwd slot (cwd.h): one buffer under a sequence count.
 *
 * A reader that meets an odd count, because it interrupted the writer or runs beside it, asks the kernel
 * instead of waiting.  Nothing here can be found locked.
 */
#define _GNU_SOURCE
#include "cwd.h"

#include "cwd_text.h"
#include "init.h"
#include "sys.h"
#include "text.h"

#include <string.h>

enum place { UNKNOWN = -1, OUTSIDE = SHIM_OUTSIDE, INSIDE = SHIM_INSIDE, REMOVED = SHIM_REMOVED };

static struct {
    uint32_t sequence;
    enum place place;
    size_t length;
    uint64_t mark;  /* ovl_moves_mark(): when the path was true */
    unsigned layer; /* whose directory it is, or SHIM_NO_LAYER */
    char path[OVL_PATH_MAX];
} slot = {.place = UNKNOWN};

static bool split; /* there is no one cwd to remember */

static bool is_kept(void)
{
    return !shim_in_vfork() && !__atomic_load_n(&split, __ATOMIC_RELAXED);
}

/* What was read of the slot, but for the path. */
struct seen {
    uint32_t sequence;
    enum place place;
    unsigned layer;
    uint64_t mark;
};

/* n is the size of buf. */
static bool read_slot(char *buf, size_t n, struct seen *seen, size_t *length)
{
    seen->sequence = __atomic_load_n(&slot.sequence, __ATOMIC_ACQUIRE);
    if (seen->sequence & 1)
        return false;
    seen->place = slot.place;
    seen->layer = slot.layer;
    seen->mark = slot.mark;
    *length = slot.length;
    if (seen->place == UNKNOWN || *length >= n)
        return false;
    memcpy(buf, slot.path, *length + 1);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&slot.sequence, __ATOMIC_RELAXED) == seen->sequence;
}

/* Write the slot unless somebody else has since the sequence was read. */
static bool write_slot(uint32_t even, const char *path, enum place place, unsigned layer, uint64_t mark)
{
    if ((even & 1) ||
        !__atomic_compare_exchange_n(&slot.sequence, &even, even + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        return false;
    slot.place = path ? place : UNKNOWN;
    slot.length = path ? strlen(path) : 0;
    slot.layer = layer;
    slot.mark = mark;
    if (path)
        memcpy(slot.path, path, slot.length + 1);
    __atomic_store_n(&slot.sequence, even + 2, __ATOMIC_RELEASE);
    return true;
}

/* Whether the path may be remembered, and with which mark. */
static bool is_true_since(struct shim_call *call, const char *path, int place, uint64_t *mark)
{
    *mark = place == OUTSIDE || !path ? OVL_MOVES_NONE : ovl_moves_mark(call->ctx.space, path);
    return place == OUTSIDE || ovl_moves_settled(call->ctx.space, call->moves);
}

void shim_cwd_set(struct shim_call *call, const char *path, int place, unsigned layer)
{
    uint64_t mark;
    if (!is_kept())
        return;
    if (!is_true_since(call, path, place, &mark))
        path = NULL;
    uint32_t even = __atomic_load_n(&slot.sequence, __ATOMIC_RELAXED) & ~1u;
    /* Two threads change the cwd at once; which one came last only the kernel knows. */
    if (!write_slot(even, path, (enum place)place, layer, mark))
        __atomic_store_n(&slot.place, UNKNOWN, __ATOMIC_RELEASE);
}

void shim_cwd_split(void)
{
    if (!shim_in_vfork())
        __atomic_store_n(&split, true, __ATOMIC_RELAXED);
}

/* Whether the merged directory `path` is the kernel's cwd, and as which layer has it. */
static bool is_cwd(struct shim_call *call, const char *path)
{
    struct stat here;
    size_t mark = call->ctx.used;
    struct ovl_node *node = ovl_node_new(&call->ctx);
    bool same = node && strlen(path) < OVL_PATH_MAX && ovl_sys_stat(".", &here) == 0 &&
                ovl_resolve(&call->ctx, NULL, path, 0, node) == 0 && node->ovl && node->exists &&
                node->st.st_dev == here.st_dev && node->st.st_ino == here.st_ino;
    call->layer = same ? node->top : SHIM_NO_LAYER;
    ovl_ctx_reset(&call->ctx, mark);
    return same;
}

/* The kernel's answer, made a merged path. `by_layer`: a layer's directory stands for its merged place. */
static int ask_kernel(struct shim_call *call, char *buf, bool by_layer)
{
    ssize_t n = ovl_sys_getcwd(buf, OVL_PATH_MAX);
    if (n == -ENAMETOOLONG || n == -ERANGE)
        return shim_ancestor(call, AT_FDCWD, buf);
    if (n == -ENOENT) {
        shim_removed_parent(call, AT_FDCWD, buf);
        return REMOVED;
    }
    if (n < 0)
        return (int)n;
    if (buf[0] != '/')
        return OUTSIDE; /* "(unreachable)": outside of the root */
    size_t mark = call->ctx.used;
    char *merged = ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX);
    ssize_t m = merged && by_layer ? ovl_place_of(&call->ctx, buf, merged, OVL_PATH_MAX) : -ENOENT;
    if (m >= 0)
        memcpy(buf, merged, strlen(merged) + 1);
    ovl_ctx_reset(&call->ctx, mark);
    if (m >= 0)
        return m ? INSIDE : REMOVED;
    return ovl_space_holds(call->ctx.space, buf) ? INSIDE : OUTSIDE;
}

/* ---- handed over exec (cwd_text.h) ---------------------------------------------------------------------------- */

static int take_inherited(struct shim_call *call, const char *text, char *buf)
{
    int r = shim_cwd_read(&call->ctx, text, buf);
    if (r == 0)
        return is_cwd(call, buf) ? INSIDE : UNKNOWN;
    if (r < 0)
        return UNKNOWN;
    /* A program outside may have gone elsewhere in between. */
    size_t used = call->ctx.used;
    char *now = ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX);
    r = now && ask_kernel(call, now, true) == REMOVED ? REMOVED : UNKNOWN;
    if (r == REMOVED && *now)
        memcpy(buf, now, strlen(now) + 1);
    ovl_ctx_reset(&call->ctx, used);
    return r;
}

int shim_cwd_export(struct shim_call *call, char *buf)
{
    enum { TRIES = 8, ROOM = 24 };
    char *path = buf + ROOM;
    uint64_t mark = OVL_MOVES_NONE;
    int r = UNKNOWN;
    for (int i = 0; i < TRIES; i++) {
        call->moves = ovl_moves(call->ctx.space);
        r = shim_cwd(call, path);
        if (r != INSIDE && r != REMOVED)
            return 0;
        if (is_true_since(call, path, r, &mark))
            break;
        ovl_moves_wait(&call->ctx);
    }
    ovl_decimal(buf, mark);
    size_t n = strlen(buf);
    buf[n++] = r == INSIDE ? ':' : '!';
    memmove(buf + n, path, strlen(path) + 1);
    return 1;
}

/* ---- asking --------------------------------------------------------------------------------------------------- */

size_t shim_cwd_inside(const struct ovl_space *space, char *buf, size_t n, unsigned *layer)
{
    struct seen seen;
    size_t length;
    if (__atomic_load_n(&slot.place, __ATOMIC_RELAXED) != INSIDE || !is_kept() || !read_slot(buf, n, &seen, &length) ||
        seen.place != INSIDE || ovl_moved_since(space, seen.mark))
        return 0;
    *layer = seen.layer;
    return length;
}

int shim_cwd(struct shim_call *call, char *buf)
{
    call->layer = SHIM_NO_LAYER;
    if (!is_kept())
        return ask_kernel(call, buf, true);
    struct seen seen;
    size_t length;
    if (read_slot(buf, OVL_PATH_MAX, &seen, &length)) {
        if (seen.place == OUTSIDE || !ovl_moved_since(call->ctx.space, seen.mark)) {
            call->layer = seen.layer;
            return seen.place;
        }
        int removed = ovl_follow(&call->ctx, buf, seen.place == REMOVED, &seen.mark);
        if (removed >= 0) {
            write_slot(seen.sequence, buf, removed ? REMOVED : INSIDE, SHIM_NO_LAYER, seen.mark);
            return removed ? REMOVED : INSIDE;
        }
    }
    const uint64_t moves = call->moves;
    const char *inherited = shim_inherited_cwd();
    call->moves = ovl_moves(call->ctx.space);
    int r = seen.sequence == 0 && inherited ? take_inherited(call, inherited, buf) : UNKNOWN;
    /* A first process that starts in a layer's directory uses the layer as it is; later, an unknown
     * cwd is more likely a merged one. */
    if (r == UNKNOWN)
        r = ask_kernel(call, buf, seen.sequence != 0 || inherited);
    uint64_t mark;
    if (r >= 0 && !call->deep && is_true_since(call, buf, r, &mark))
        write_slot(seen.sequence, buf, (enum place)r, call->layer, mark);
    call->moves = moves;
    return r;
}
