/* SPDX-License-Identifier: MIT
 *
 * Memory for an exec (scratch.h).  The chain is the thread's: a signal handler that interrupts an
 * exec adds to it and takes away what it added, so that no lock is needed.
 */
#include "scratch.h"

#include "sys.h"

#include <sys/mman.h>

struct block {
    struct block *older;
    size_t size;
};

static __thread struct block *newest __attribute__((tls_model("initial-exec")));

void *shim_scratch(struct shim_call *call, size_t n)
{
    void *p = ovl_ctx_alloc(&call->ctx, n);
    if (p)
        return p;
    size_t size = sizeof(struct block) + n;
    struct block *block = ovl_sys_mmap(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (!block)
        return NULL;
    block->older = newest;
    block->size = size;
    __atomic_store_n(&newest, block, __ATOMIC_RELAXED);
    return block + 1;
}

void *shim_scratch_mark(void)
{
    return newest;
}

void shim_scratch_release(void *mark)
{
    while (newest && newest != mark) {
        struct block *block = newest;
        __atomic_store_n(&newest, block->older, __ATOMIC_RELAXED);
        ovl_sys_munmap(block, block->size);
    }
}
