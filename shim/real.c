/* SPDX-License-Identifier: MIT
 *
 * Finding the next library's functions.
 *
 * dlsym may allocate, and an allocator may open files while it starts, which comes back here.
 * While a look-up of this thread is under way, the answer is therefore a function that asks
 * the kernel directly: the third answer besides "found" and "not there" is "too early to ask".
 */
#define _GNU_SOURCE
#include "real.h"

#include "early.h"

#include <dlfcn.h>
#include <errno.h>
#include <gnu/libc-version.h>
#include <link.h>

void *shim_real_slot[SHIM_REAL_COUNT];

#define SHIM_FILE_ALL
#define TWIN(symbol, name)
#define CALL(name, type, parameters, safety) #name,
static const char *const names[SHIM_REAL_COUNT] = {
#include "calls.def"
};
#undef CALL

#define SAFE true
#define LAZY false
#define CALL(name, type, parameters, safety) safety,
static const bool is_safe[SHIM_REAL_COUNT] = {
#include "calls.def"
};
#undef CALL
#undef TWIN
#undef SHIM_FILE_ALL

static __thread bool looking_up __attribute__((tls_model("initial-exec")));

static long no_such_function(void)
{
    errno = ENOSYS;
    return -1;
}

/* Where this library begins, by the linker's own name for it. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));

static bool is_of(const char *object, const void *p)
{
    const ElfW(Ehdr) *header = (const void *)object;
    const ElfW(Phdr) *segment = (const void *)(object + header->e_phoff);
    uintptr_t at = (uintptr_t)p - (uintptr_t)object;
    for (unsigned i = 0; i < header->e_phnum; i++)
        if (segment[i].p_type == PT_LOAD && at - segment[i].p_vaddr < segment[i].p_memsz)
            return true;
    return false;
}

static bool is_own(const void *p)
{
    return is_of(__ehdr_start, p);
}

void *shim_real_find(enum shim_real_index i)
{
    if (looking_up)
        return shim_early_function(names[i]);
    looking_up = true;
    void *p = dlsym(RTLD_NEXT, names[i]);
    if (!p) /* perhaps libc itself was preloaded, before us */
        p = dlsym(RTLD_DEFAULT, names[i]);
    if (is_own(p))
        p = NULL;
    looking_up = false;
    if (!p)
        p = (void *)no_such_function;
    __atomic_store_n(&shim_real_slot[i], p, __ATOMIC_RELEASE);
    return p;
}

static bool all_is_libcs;

/* By a function that nobody interposes. */
static bool leads_to_libc(void)
{
    Dl_info info;
    if (REAL(dladdr)((const void *)gnu_get_libc_version, &info) <= 0 || !info.dli_fbase)
        return false;
    static const enum shim_real_index asked[] = {SHIM_REAL_openat, SHIM_REAL_open, SHIM_REAL_fstatat, SHIM_REAL_fstat};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
        if (!is_of(info.dli_fbase, shim_real_get(asked[i])))
            return false;
    return true;
}

void shim_real_init(void)
{
    for (int i = 0; i < SHIM_REAL_COUNT; i++)
        if (is_safe[i])
            shim_real_get((enum shim_real_index)i);
    all_is_libcs = leads_to_libc();
}

bool shim_real_is_libc(void)
{
    return all_is_libcs;
}
