/* SPDX-License-Identifier: MIT
 *
 * What vfork children and their parents must know of each other (vfork.h); the entry point
 * itself is in vfork_entry.S.
 */
#include "vfork.h"

#include "boundary.h"
#include "scratch.h"
#include "sys.h"

#include <pthread.h>

/* The process that this thread's memory belongs to while a child that shares it may run; 0 when
 * there is none.  A child in another pid name space could have the same number; the state that
 * matters compares more than this. */
static __thread pid_t owner __attribute__((tls_model("initial-exec")));

struct shim_vfork shim_vfork_begin(void)
{
    struct shim_vfork saved = {(uint64_t)(uint32_t)owner << 32 | ovl_ctx_held(), shim_scratch_mark()};
    __atomic_store_n(&owner, ovl_sys_getpid(), __ATOMIC_RELAXED);
    return saved;
}

long shim_vfork_end(long result, uint64_t mark, void *scratch)
{
    ovl_ctx_restore((uint32_t)mark);
    shim_scratch_release(scratch);
    __atomic_store_n(&owner, (pid_t)(mark >> 32), __ATOMIC_RELAXED);
    if (result >= 0)
        return result;
    errno = (int)-result;
    return -1;
}

/* The child of a real fork has memory of its own: the mark that is left by a parent whose signal handler jumped
 * over shim_vfork_end() means nothing there. */
static void forget(void)
{
    __atomic_store_n(&owner, 0, __ATOMIC_RELAXED);
}

__attribute__((constructor)) static void start(void)
{
    pthread_atfork(NULL, NULL, forget);
}

bool shim_in_vfork(void)
{
    pid_t pid = __atomic_load_n(&owner, __ATOMIC_RELAXED);
    return pid && pid != ovl_sys_getpid();
}
