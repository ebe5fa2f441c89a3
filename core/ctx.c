/* SPDX-License-Identifier: MIT
 *
 * Memory for one call.
 *
 * Paths are too large for an 8 KiB signal stack and malloc is out of the question in a signal
 * handler or a vfork child, so a call borrows a slot of a static pool.  A slot is taken and given
 * back with one atomic operation each; nothing can be found locked.  What must hold: a slot
 * that is never given back (a handler that jumps out of a call, a vfork child that executes a program)
 * costs memory, never correctness, because a mapping of its own replaces a missing slot.
 */
#include "types.h"

#include <sys/mman.h>

#define SLOTS 8 /* with more, libovl.so would be larger than libc: see tests/static/size.sh */
#define ALL_SLOTS ((1u << SLOTS) - 1)
#define SLOT_SIZE ((size_t)124 * 1024) /* renames of directories take 111 KiB */
#define MAPPED 256                     /* mappings that are known as memory of a call */

static char pool[SLOTS][SLOT_SIZE] __attribute__((aligned(64)));
/* Which slots are in use. The copy in a page that fork empties is preferred: in the child the slots of
 * the parent's other threads are free. */
static uint32_t busy_static;
static uint32_t *busy_page;
/* The mappings that replace slots. One that is never given back stays mapped, so that its entry is never wrong. */
static char *mapped[MAPPED];
static uint32_t mapped_count; /* at least as many as there are entries */
static __thread uint32_t held __attribute__((tls_model("initial-exec")));

static uint32_t *busy_word(void)
{
    uint32_t *page = __atomic_load_n(&busy_page, __ATOMIC_ACQUIRE);
    return page ? page : &busy_static;
}

void ovl_ctx_init(void)
{
    if (busy_page)
        return;
    uint32_t *page = ovl_sys_mmap(4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (!page)
        return;
    if (ovl_sys_madvise(page, 4096, MADV_WIPEONFORK) < 0) {
        ovl_sys_munmap(page, 4096);
        return;
    }
    *page = busy_static;
    __atomic_store_n(&busy_page, page, __ATOMIC_RELEASE);
}

static int take_slot(void)
{
    uint32_t *word = busy_word();
    uint32_t old = __atomic_load_n(word, __ATOMIC_RELAXED);
    for (;;) {
        uint32_t unused = ~(old | held) & ALL_SLOTS;
        if (!unused)
            return -1;
        int slot = __builtin_ctz(unused);
        if (__atomic_compare_exchange_n(word, &old, old | 1u << slot, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
            held |= 1u << slot;
            return slot;
        }
    }
}

static void give_slots(uint32_t slots)
{
    held &= ~slots;
    __atomic_fetch_and(busy_word(), ~slots, __ATOMIC_RELEASE);
}

static char *map_memory(void)
{
    char *memory = ovl_sys_mmap(SLOT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    __atomic_fetch_add(&mapped_count, 1, __ATOMIC_ACQ_REL);
    for (int i = 0; memory && i < MAPPED; i++) {
        char *none = NULL;
        if (__atomic_compare_exchange_n(&mapped[i], &none, memory, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            return memory;
    }
    __atomic_fetch_sub(&mapped_count, 1, __ATOMIC_ACQ_REL);
    return memory;
}

static void unmap_memory(char *memory)
{
    for (int i = 0; i < MAPPED; i++) {
        char *it = memory;
        if (__atomic_compare_exchange_n(&mapped[i], &it, NULL, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
            __atomic_fetch_sub(&mapped_count, 1, __ATOMIC_ACQ_REL);
            break;
        }
    }
    ovl_sys_munmap(memory, SLOT_SIZE);
}

int ovl_ctx_begin(struct ovl_ctx *ctx, struct ovl_space *space, const struct ovl_ops *ops)
{
    ctx->space = space;
    ctx->ops = ops;
    ctx->used = 0;
    ctx->size = SLOT_SIZE;
    ctx->fds = ctx->anchors = 0;
    ctx->builds = false;
    ctx->slot = take_slot();
    ctx->memory = ctx->slot >= 0 ? pool[ctx->slot] : map_memory();
    return ctx->memory ? 0 : -ENOMEM;
}

void ovl_ctx_end(struct ovl_ctx *ctx)
{
    ovl_ctx_close(ctx, 0);
    if (ctx->slot >= 0)
        give_slots(1u << ctx->slot);
    else if (ctx->memory)
        unmap_memory(ctx->memory);
    ctx->memory = NULL;
}

void ovl_ctx_close(struct ovl_ctx *ctx, int keep)
{
    while (ctx->fds > keep)
        ovl_sys_close(ctx->fd[--ctx->fds]);
    ovl_anchors_drop(ctx);
}

void *ovl_ctx_alloc(struct ovl_ctx *ctx, size_t n)
{
    size_t at = (ctx->used + 15) & ~(size_t)15;
    if (n > ctx->size || at > ctx->size - n)
        return NULL;
    ctx->used = at + n;
    return ctx->memory + at;
}

bool ovl_ctx_holds(const void *p)
{
    if ((uintptr_t)p - (uintptr_t)pool < sizeof pool)
        return true;
    for (int i = 0; __atomic_load_n(&mapped_count, __ATOMIC_ACQUIRE) > 0 && i < MAPPED; i++) {
        const char *memory = __atomic_load_n(&mapped[i], __ATOMIC_ACQUIRE);
        if (memory && (uintptr_t)p - (uintptr_t)memory < SLOT_SIZE)
            return true;
    }
    return false;
}

uint32_t ovl_ctx_held(void)
{
    return held;
}

void ovl_ctx_restore(uint32_t before)
{
    uint32_t lost = held & ~before;
    if (lost)
        give_slots(lost);
}
