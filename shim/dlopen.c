/* SPDX-License-Identifier: MIT
 *
 * dlopen and dlmopen (dlopen.h); the entry points are in dlopen_entry.S.
 *
 * A library is looked for as ld.so would in the merged view.  If that comes to the same file as the kernel's view,
 * ld.so is left alone; else it gets the path in the layer.  Where the audit object is at work it finds by
 * itself what the library needs in its turn; where it is not, what of that is virtual is opened before, deepest
 * first: ld.so takes a library that is loaded already by its soname.
 */
#define _GNU_SOURCE
#include "dlopen.h"

#include "closure.h"
#include "env.h"
#include "init.h"
#include "loader.h"
#include "real.h"
#include "sys.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

struct request {
    bool in_space; /* dlmopen */
    Lmid_t space;
    const char *path;
    int flags;
    const void *caller;
    struct shim_call *call;
    char *plan; /* out: the paths to open, each with its NUL, the library that is wanted last, then ""; NULL: ld.so
                   is left alone */
};

/* ---- what is loaded --------------------------------------------------------------------------------------- */

static int compare_soname(struct dl_phdr_info *info, size_t size, void *name)
{
    (void)size;
    const ElfW(Dyn) *soname = NULL;
    uintptr_t strings = 0;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type != PT_DYNAMIC)
            continue;
        const uintptr_t at = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        for (const ElfW(Dyn) *d = (const void *)at; d->d_tag != DT_NULL; d++) { /* NOLINT(*int-to-ptr) */
            if (d->d_tag == DT_STRTAB)
                strings = d->d_un.d_ptr;
            else if (d->d_tag == DT_SONAME)
                soname = d;
        }
    }
    if (!soname || !strings)
        return 0;
    if (strings < info->dlpi_addr)
        strings += info->dlpi_addr;
    return strcmp((const char *)strings + soname->d_un.d_val, name) == 0; /* NOLINT(*int-to-ptr) */
}

static bool is_loaded(const char *name)
{
    return REAL(dl_iterate_phdr)(compare_soname, (void *)(uintptr_t)name) == 1;
}

/* ---- what is to be opened --------------------------------------------------------------------------------- */

/* Make a plan of the virtual libraries of a list, the last one first, and `path` behind them. */
static int make_plan(struct request *q, const struct shim_object *needed, const char *path)
{
    size_t size = strlen(path) + 2;
    for (const struct shim_object *o = needed; o; o = o->next)
        if (o->kind == SHIM_LIBRARY_VIRTUAL)
            size += strlen(o->asker.file) + 1;
    char *plan = malloc(size);
    if (!plan)
        return -ENOMEM;
    char *at = plan + size - strlen(path) - 2;
    memcpy(at, path, strlen(path) + 1);
    plan[size - 1] = '\0';
    for (const struct shim_object *o = needed; o; o = o->next)
        if (o->kind == SHIM_LIBRARY_VIRTUAL) {
            size_t n = strlen(o->asker.file) + 1;
            at -= n;
            memcpy(at, o->asker.file, n);
        }
    q->plan = plan;
    return 0;
}

/* A library that only the kernel's view has: open a name under which nothing is, for ld.so's message. */
static int plan_hidden(struct request *q, struct shim_closure *c)
{
    char *path = ovl_ctx_alloc(c->ctx, OVL_PATH_MAX);
    if (!path)
        return -ENOMEM;
    ssize_t n = ovl_append(path, OVL_PATH_MAX, 0, *q->path == '/' ? SHIM_NOWHERE : SHIM_NOWHERE "/");
    n = ovl_append(path, OVL_PATH_MAX, (size_t)n, q->path);
    return n < 0 ? (int)n : make_plan(q, NULL, path);
}

/* What opening the file that was found takes. */
static int plan_found(struct request *q, struct shim_closure *c, const struct shim_asker *asker)
{
    bool is_virtual = c->found->kind == SHIM_LIBRARY_VIRTUAL;
    int fd = c->found->fd, r = 0;
    char *path = ovl_ctx_alloc(c->ctx, OVL_REAL_MAX);
    if (!path) {
        ovl_sys_close(fd);
        return -ENOMEM;
    }
    memcpy(path, c->found->path, OVL_REAL_MAX);
    if (shim_audit_helps() || q->flags & RTLD_NOLOAD || (q->in_space && q->space == LM_ID_NEWLM)) {
        ovl_sys_close(fd);
        return is_virtual ? make_plan(q, NULL, path) : 0;
    }
    c->has = is_loaded;
    c->first.asker.loader = asker;
    r = shim_closure_read(c, &c->first, fd, path);
    if (r == 0)
        r = shim_closure_complete(c);
    for (const struct shim_object *o = c->first.next; o; o = o->next)
        is_virtual |= o->kind == SHIM_LIBRARY_VIRTUAL;
    return r == 0 && is_virtual ? make_plan(q, c->first.next, path) : r;
}

static const struct link_map *map_of(const void *address)
{
    Dl_info info;
    struct link_map *map = NULL;
    return REAL(dladdr1)(address, &info, (void **)&map, RTLD_DL_LINKMAP) ? map : NULL;
}

static int plan(struct ovl_ctx *ctx, void *argument)
{
    struct request *q = argument;
    struct shim_closure *c = shim_closure_new(ctx);
    struct shim_asker *program = ovl_ctx_alloc(ctx, sizeof *program), *asker = ovl_ctx_alloc(ctx, sizeof *asker);
    char *exe = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    if (!c || !program || !asker || !exe)
        return -ENOMEM;
    const struct link_map *map = map_of(q->caller), *head = map;
    while (head && head->l_prev)
        head = head->l_prev;
    if (!head)
        return 0;
    const char *file = shim_program();
    if (!file) {
        ssize_t n = ovl_sys_readlink("/proc/self/exe", exe, OVL_REAL_MAX - 1);
        exe[n > 0 ? n : 0] = '\0';
        file = exe;
    }
    shim_asker_of_map(head, file, program);
    shim_asker_of_map(map, file, asker);
    asker->loader = program;
    c->search->program = program;
    const char *library_path = shim_library_path();
    c->search->library_path = library_path ? shim_env_without_directories(ctx, library_path) : NULL;
    c->search->find_cwd = shim_find_cwd;
    c->search->cwd_argument = q->call;
    int r = shim_library_find(c->search, map == head ? program : asker, q->path, c->found);
    if (r == 0 && c->found->kind == SHIM_LIBRARY_HIDDEN)
        r = plan_hidden(q, c);
    else if (r == 0 && c->found->fd >= 0)
        r = plan_found(q, c, map == head ? program : asker);
    shim_libraries_end(c->search);
    return r;
}

/* ---- opening ---------------------------------------------------------------------------------------------- */

static void *open_real(const struct request *q, const char *path, int flags)
{
    return q->in_space ? REAL(dlmopen)(q->space, path, flags) : REAL(dlopen)(path, flags);
}

/* Open the plan's libraries; what was opened for the last one's sake is then held by that alone. */
static void *follow_plan(const struct request *q, const char *path)
{
    const char *next = path + strlen(path) + 1;
    if (!*next)
        return open_real(q, path, q->flags);
    void *needed = open_real(q, path, RTLD_LAZY | RTLD_LOCAL);
    void *handle = follow_plan(q, next);
    if (needed)
        dlclose(needed);
    return handle;
}

/* Find out what is to be opened: true with q->plan. */
static bool find_plan(struct request *q)
{
    struct shim_call call;
    if (!q->path || !*q->path || !shim_begin(&call, q->in_space ? "dlmopen" : "dlopen"))
        return false;
    q->call = &call;
    int r = 0;
    /* By a bare name ld.so takes what is loaded already, and asks the audit object for what is not. */
    if (strchr(q->path, '/') || !(shim_audit_helps() || (!q->in_space && is_loaded(q->path))))
        r = shim_with_memory(call.ctx.space, call.ctx.ops, plan, q);
    q->call = NULL;
    shim_leave(&call, 0);
    return r == 0 && q->plan;
}

static int answer_with(struct request *q, struct shim_dlopen *answer)
{
    if (!find_plan(q))
        return 0;
    answer->handle = follow_plan(q, q->plan);
    free(q->plan);
    return 1;
}

int shim_dlopen(const char *path, int flags, const void *caller, struct shim_dlopen *answer)
{
    struct request q = {.path = path, .flags = flags, .caller = caller};
    answer->next = (void *)REAL(dlopen);
    return answer_with(&q, answer);
}

int shim_dlmopen(Lmid_t space, const char *path, int flags, const void *caller, struct shim_dlopen *answer)
{
    struct request q = {.in_space = true, .space = space, .path = path, .flags = flags, .caller = caller};
    answer->next = (void *)REAL(dlmopen);
    return answer_with(&q, answer);
}
