/* SPDX-License-Identifier: MIT
 *
 * dlopen and dlmopen of a path, dladdr.
 *
 * The loader opens files itself, so it gets the layer's path.  It looks at its own return address to learn which
 * library asks (for RUNPATH, RPATH and the name space): so these bodies end in a jump, and what they pass lives
 * on after them, once for each path.  A name without a slash is searched by the loader, as it is.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "real.h"
#include "sys.h"
#include "wrap.h"

#include <stdlib.h>
#include <string.h>

/* Where nothing can ever be: what stands behind it is for the message. */
#define NOWHERE "/proc/self/task/0"

/* ---- paths that live on --------------------------------------------------------------------------------- */

struct kept {
    struct kept *next;
    char path[];
};

static struct kept *kept_paths;

/* The path, prefix before it, in memory that is never freed; NULL without memory. */
static const char *keep(const char *prefix, const char *path)
{
    size_t before = strlen(prefix), n = strlen(path);
    struct kept *first = __atomic_load_n(&kept_paths, __ATOMIC_ACQUIRE);
    for (const struct kept *k = first; k; k = k->next)
        if (strncmp(k->path, prefix, before) == 0 && strcmp(k->path + before, path) == 0)
            return k->path;
    struct kept *fresh = malloc(sizeof *fresh + before + n + 1);
    if (!fresh)
        return NULL;
    memcpy(fresh->path, prefix, before);
    memcpy(fresh->path + before, path, n + 1);
    fresh->next = first;
    while (!__atomic_compare_exchange_n(&kept_paths, &fresh->next, fresh, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        continue;
    return fresh->path;
}

/* ---- paths that go to the loader ------------------------------------------------------------------------- */

static const char *layer_path(struct shim_call *call, const char *path)
{
    struct ovl_node *node;
    const char *place = path;
    int dirfd = AT_FDCWD;
    int r = shim_find(call, &dirfd, &place, OVL_FOLLOW, &node);
    if (r == SHIM_INSIDE && node->exists)
        return keep("", node->real);
    if (r == SHIM_OUTSIDE)
        return place == path ? path : keep("", place);
    /* The loader's own error for the merged path, unless below an in-place mount there is something of that name. */
    if (ovl_sys_faccessat(AT_FDCWD, path, F_OK) < 0)
        return path;
    return keep(*path == '/' ? NOWHERE : NOWHERE "/", path);
}

/* What the loader is to be called with. The loader expands $ORIGIN and the like by itself. */
__attribute__((noinline)) static const char *translate(const char *path)
{
    struct shim_call call;
    if (!path || !strchr(path, '/') || strchr(path, '$') || !shim_begin(&call, "dlopen"))
        return path;
    const char *found = layer_path(&call, path);
    shim_leave(&call, 0);
    return found ? found : NOWHERE;
}

void *wrap_dlopen(const char *path, int mode)
{
    return REAL(dlopen)(translate(path), mode);
}

void *wrap_dlmopen(long space, const char *path, int mode)
{
    return REAL(dlmopen)(space, translate(path), mode);
}

/* ---- paths that come back ---------------------------------------------------------------------------------- */

/* The name of an object's file as the program may use it (CONTRACT 2.9). */
static void show_merged(const char **name)
{
    struct shim_call call;
    if (!*name || **name != '/' || !shim_begin(&call, "dladdr"))
        return;
    char *merged = ovl_ctx_alloc(&call.ctx, OVL_PATH_MAX);
    if (merged && ovl_merged_path(call.ctx.space, *name, merged, OVL_PATH_MAX) >= 0 && strcmp(merged, *name) != 0) {
        const char *kept = keep("", merged);
        *name = kept ? kept : *name;
    }
    shim_leave(&call, 0);
}

int wrap_dladdr(const void *address, Dl_info *info)
{
    int r = REAL(dladdr)(address, info);
    if (r)
        show_merged(&info->dli_fname);
    return r;
}

int wrap_dladdr1(const void *address, Dl_info *info, void **extra, int flags)
{
    int r = REAL(dladdr1)(address, info, extra, flags);
    if (r)
        show_merged(&info->dli_fname);
    return r;
}

#define SHIM_FILE_dl
#include "export.h"
