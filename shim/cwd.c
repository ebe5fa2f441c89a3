/* SPDX-License-Identifier: MIT
 *
 * The cwd slot (cwd.h): one buffer under a sequence count.
 *
 * A reader that meets an odd count, because it interrupted the writer or runs beside it, asks the kernel
 * instead of waiting.  Nothing here can be found locked.
 */
#define _GNU_SOURCE
#include "cwd.h"

#include "init.h"
#include "sys.h"

#include <string.h>

enum place { UNKNOWN, OUTSIDE, INSIDE };

static struct {
    uint32_t sequence;
    enum place place;
    size_t length;
    uint64_t renames; /* when path was learnt */
    char path[OVL_PATH_MAX];
} slot;

static bool split; /* there is no one cwd to remember */

static bool read_slot(char *buf, enum place *place, uint64_t *renames)
{
    uint32_t before = __atomic_load_n(&slot.sequence, __ATOMIC_ACQUIRE);
    if (before & 1)
        return false;
    *place = slot.place;
    size_t length = slot.length;
    *renames = slot.renames;
    if (*place == UNKNOWN || length >= OVL_PATH_MAX)
        return false;
    memcpy(buf, slot.path, length + 1);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&slot.sequence, __ATOMIC_RELAXED) == before;
}

void shim_cwd_set(const char *path, bool inside, uint64_t renames)
{
    if (shim_in_vfork() || __atomic_load_n(&split, __ATOMIC_RELAXED))
        return;
    uint32_t even = __atomic_load_n(&slot.sequence, __ATOMIC_RELAXED) & ~1u;
    if (!__atomic_compare_exchange_n(&slot.sequence, &even, even + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
        /* Two threads change the cwd at once; which one came last only the kernel knows. */
        __atomic_store_n(&slot.place, UNKNOWN, __ATOMIC_RELEASE);
        return;
    }
    slot.place = !path ? UNKNOWN : inside ? INSIDE : OUTSIDE;
    slot.length = path ? strlen(path) : 0;
    slot.renames = renames;
    if (path)
        memcpy(slot.path, path, slot.length + 1);
    __atomic_store_n(&slot.sequence, even + 2, __ATOMIC_RELEASE);
}

void shim_cwd_split(void)
{
    if (!shim_in_vfork())
        __atomic_store_n(&split, true, __ATOMIC_RELAXED);
}

/* Whether the merged directory `path` is the kernel's cwd. */
static bool is_cwd(struct shim_call *call, const char *path)
{
    struct stat here;
    size_t mark = call->ctx.used;
    struct ovl_node *node = ovl_node_new(&call->ctx);
    bool same = node && strlen(path) < OVL_PATH_MAX && ovl_sys_stat(".", &here) == 0 &&
                ovl_resolve(&call->ctx, NULL, path, 0, node) == 0 && node->ovl && node->exists &&
                node->st.st_dev == here.st_dev && node->st.st_ino == here.st_ino;
    ovl_ctx_reset(&call->ctx, mark);
    return same;
}

/* The kernel's answer, made a merged path. `by_layer`: a layer's directory stands for its merged place. */
static int ask_kernel(struct shim_call *call, char *buf, bool by_layer)
{
    ssize_t n = ovl_sys_getcwd(buf, OVL_PATH_MAX);
    if (n == -ENAMETOOLONG || n == -ERANGE)
        return shim_ancestor(call, AT_FDCWD, buf);
    if (n < 0)
        return (int)n;
    if (buf[0] != '/')
        return 0; /* "(unreachable)": outside of the root */
    size_t mark = call->ctx.used;
    char *merged = ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX);
    ssize_t m = merged && by_layer ? ovl_merged_path(call->ctx.space, buf, merged, OVL_PATH_MAX) : -ENOENT;
    if (m >= 0)
        memcpy(buf, merged, (size_t)m + 1);
    ovl_ctx_reset(&call->ctx, mark);
    if (m >= 0)
        return 1;
    return ovl_space_holds(call->ctx.space, buf);
}

int shim_cwd(struct shim_call *call, char *buf)
{
    if (shim_in_vfork() || __atomic_load_n(&split, __ATOMIC_RELAXED))
        return ask_kernel(call, buf, true);
    enum place place;
    uint64_t learnt, renames = ovl_space_renames(call->ctx.space);
    if (read_slot(buf, &place, &learnt) && (place == OUTSIDE || learnt == renames))
        return place == INSIDE;
    const char *inherited = shim_inherited_cwd();
    if (__atomic_load_n(&slot.sequence, __ATOMIC_RELAXED) == 0 && inherited && is_cwd(call, inherited)) {
        memcpy(buf, inherited, strlen(inherited) + 1);
        shim_cwd_set(buf, true, renames);
        return 1;
    }
    /* A first process that starts in a layer's directory uses the layer as it is; later, an unknown
     * cwd is more likely a merged one. */
    bool first = __atomic_load_n(&slot.sequence, __ATOMIC_RELAXED) == 0 && !inherited;
    int r = ask_kernel(call, buf, !first);
    if (r >= 0 && !call->deep)
        shim_cwd_set(buf, r == 1, renames);
    return r;
}

int shim_cwd_export(struct shim_call *call, char *buf)
{
    return shim_cwd(call, buf) == 1;
}
