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
#include "symbols.h"

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

static bool is_own(const void *p)
{
    const ElfW(Ehdr) *header = (const void *)__ehdr_start;
    const ElfW(Phdr) *segment = (const void *)(__ehdr_start + header->e_phoff);
    uintptr_t at = (uintptr_t)p - (uintptr_t)__ehdr_start;
    for (unsigned i = 0; i < header->e_phnum; i++)
        if (segment[i].p_type == PT_LOAD && at - segment[i].p_vaddr < segment[i].p_memsz)
            return true;
    return false;
}

/* ---- the objects behind us -------------------------------------------------------------------------------- */

/* As they were when the program started.  Of a name that one of them defines, dlsym() finds no other, and takes many
 * times as long for it: hundreds of names at the start of every program. */
#define BEHIND_MAX 24
static struct shim_object behind[BEHIND_MAX];
static int behinds; /* 0: not known */
static bool all_is_libcs;

static void *find_behind(const char *name)
{
    bool is_indirect = false;
    void *p = NULL;
    for (int i = 0; i < behinds && !p && !is_indirect; i++)
        p = shim_object_symbol(&behind[i], name, &is_indirect);
    return p;
}

static bool leads_to_libc(void)
{
    static const char *const asked[] = {"open", "openat", "stat", "fstat", "lstat", "fstatat"};
    struct shim_object libc = {0};
    bool is_indirect;
    /* A function that nobody interposes. */
    if (!shim_object_of((const void *)gnu_get_libc_version, &libc))
        return false;
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        const void *p = find_behind(asked[i]);
        if (!p || p != shim_object_symbol(&libc, asked[i], &is_indirect))
            return false;
    }
    return true;
}

static void look_behind(void)
{
    const int found = shim_objects_behind(REAL(dl_iterate_phdr), __ehdr_start, behind, BEHIND_MAX);
    behinds = found > 0 ? found : 0;
    all_is_libcs = leads_to_libc();
}

bool shim_real_is_libc(void)
{
    return all_is_libcs;
}

/* ---- look-ups ---------------------------------------------------------------------------------------------- */

void *shim_real_find(enum shim_real_index i)
{
    void *p = find_behind(names[i]);
    if (p) {
        __atomic_store_n(&shim_real_slot[i], p, __ATOMIC_RELEASE);
        return p;
    }
    if (looking_up)
        return shim_early_function(names[i]);
    looking_up = true;
    p = dlsym(RTLD_NEXT, names[i]);
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

void shim_real_init(void)
{
    look_behind();
    for (int i = 0; i < SHIM_REAL_COUNT; i++)
        if (is_safe[i])
            shim_real_get((enum shim_real_index)i);
}
