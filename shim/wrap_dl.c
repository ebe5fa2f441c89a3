/* SPDX-License-Identifier: MIT
 *
 * What ld.so says of loaded objects: dladdr, dladdr1, dl_iterate_phdr.  (dlopen is in dlopen.c.)
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "real.h"

#include <stdlib.h>
#include <string.h>

/* ---- merged names ----------------------------------------------------------------------------------------- */

/* A layer path that was asked for and its merged path, which live as long as the process: callers keep the pointer, as
 * they may with ld.so's own names. */
struct name {
    struct name *next;
    const char *merged;
    char real[];
};

static struct name *names;

static const char *find_name(const char *real)
{
    for (const struct name *name = __atomic_load_n(&names, __ATOMIC_ACQUIRE); name; name = name->next)
        if (strcmp(name->real, real) == 0)
            return name->merged;
    return NULL;
}

static const char *keep_name(const char *real, const char *merged)
{
    size_t n = strlen(real) + 1, m = strlen(merged) + 1;
    struct name *name = malloc(sizeof *name + n + m);
    if (!name)
        return real;
    memcpy(name->real, real, n);
    memcpy(name->real + n, merged, m);
    name->merged = name->real + n;
    name->next = __atomic_load_n(&names, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&names, &name->next, name, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        continue;
    return name->merged;
}

/* The merged path of a loaded object's file. */
static const char *merge(struct shim_call *call, const char *real)
{
    const char *known = find_name(real);
    char *merged = known ? NULL : ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX);
    if (known || !merged || ovl_merged_path(call->ctx.space, real, merged, OVL_PATH_MAX) < 0 ||
        strcmp(merged, real) == 0)
        return known ? known : real;
    return keep_name(real, merged);
}

/* Put the merged path into what dladdr found. */
static void merge_info(struct shim_call *call, int found, Dl_info *info)
{
    if (found && info->dli_fname && info->dli_fname[0] == '/' && call->ctx.size)
        info->dli_fname = merge(call, info->dli_fname);
}

int wrap_dladdr(const void *address, Dl_info *info)
{
    struct shim_call call;
    int found = REAL(dladdr)(address, info);
    if (!shim_enter(&call))
        return found;
    merge_info(&call, found, info);
    return (int)shim_leave(&call, found);
}

int wrap_dladdr1(const void *address, Dl_info *info, void **extra, int flags)
{
    struct shim_call call;
    int found = REAL(dladdr1)(address, info, extra, flags);
    if (!shim_enter(&call))
        return found;
    merge_info(&call, found, info);
    return (int)shim_leave(&call, found);
}

/* ---- the order of objects --------------------------------------------------------------------------------- */

/* The beginning of this library in memory; defined by the linker. */
extern const char __ehdr_start[] __attribute__((visibility("hidden"))); /* NOLINT(bugprone-reserved-identifier) */

struct visit {
    int (*callback)(struct dl_phdr_info *info, size_t size, void *data);
    void *data;
    struct dl_phdr_info own;
    size_t own_size;
};

static int visit(struct dl_phdr_info *info, size_t size, void *argument)
{
    struct visit *v = argument;
    if (info->dlpi_addr != (ElfW(Addr))(uintptr_t)__ehdr_start)
        return v->callback(info, size, v->data);
    v->own_size = size < sizeof v->own ? size : sizeof v->own;
    memcpy(&v->own, info, v->own_size);
    return 0;
}

/* As libc's, but this library comes last: ASan's run-time library refuses to start if it is not the first behind the
 * program, and nothing else cares. */
int wrap_dl_iterate_phdr(int (*callback)(struct dl_phdr_info *, size_t, void *), void *data)
{
    struct visit v = {.callback = callback, .data = data};
    int r = REAL(dl_iterate_phdr)(visit, &v);
    return r == 0 && v.own_size ? callback(&v.own, v.own_size, data) : r;
}

#define SHIM_FILE_dl
#include "export.h"
