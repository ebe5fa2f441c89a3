/* SPDX-License-Identifier: MIT
 *
 * Following DT_NEEDED (closure.h): breadth first, each name once; the object that needs it first decides where it is
 * looked for.  That is ld.so's order too.
 */
#include "closure.h"

#include "sys.h"
#include "text.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define OBJECTS_MAX 2048
#define LIBC "libc.so.6"
#define MEMORY_MAX ((size_t)4 << 20)

int shim_with_memory(struct ovl_space *space, const struct ovl_ops *ops,
                     int (*function)(struct ovl_ctx *ctx, void *argument), void *argument)
{
    struct ovl_ctx ctx;
    int r = ovl_ctx_begin(&ctx, space, ops);
    if (r < 0)
        return r;
    r = function(&ctx, argument);
    ovl_ctx_end(&ctx);
    if (r != -ENOMEM)
        return r;
    ctx = (struct ovl_ctx){.space = space, .ops = ops, .size = MEMORY_MAX, .slot = -1};
    ctx.memory = ovl_sys_mmap(MEMORY_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    if (!ctx.memory)
        return -ENOMEM;
    r = function(&ctx, argument);
    ovl_ctx_end(&ctx);
    return r;
}

static uint32_t hash(const char *s)
{
    uint32_t h = 2166136261u;
    while (*s)
        h = (h ^ (unsigned char)*s++) * 16777619u;
    return h;
}

/* Whether ld.so has this name already: as that of a file that it looked for, or as a library's own. */
static bool is_known(const struct shim_closure *c, const char *name, uint32_t h)
{
    for (const struct shim_object *o = &c->first; o; o = o->next)
        if ((o->name && o->name_hash == h && ovl_streq(o->name, name)) ||
            (o->elf.soname && o->soname_hash == h && ovl_streq(o->elf.soname, name)))
            return true;
    return c->has && c->has(name);
}

struct shim_closure *shim_closure_new(struct ovl_ctx *ctx)
{
    struct shim_closure *c = ovl_ctx_alloc(ctx, sizeof *c);
    if (!c)
        return NULL;
    memset(c, 0, sizeof *c);
    c->ctx = ctx;
    c->last = &c->first;
    c->search = shim_libraries_new(ctx);
    c->found = ovl_ctx_alloc(ctx, sizeof *c->found);
    return c->search && c->found ? c : NULL;
}

int shim_closure_read(struct shim_closure *c, struct shim_object *object, int fd, const char *path)
{
    size_t mark = c->ctx->used, n = ovl_strlen(path) + 1;
    int r = shim_elf_read(c->ctx, fd, c->search->window, &object->elf);
    ovl_sys_close(fd);
    if (r == -ENOEXEC) {
        ovl_ctx_reset(c->ctx, mark);
        memset(&object->elf, 0, sizeof object->elf);
    }
    char *file = r == -ENOMEM ? NULL : ovl_ctx_alloc(c->ctx, n);
    if (!file)
        return -ENOMEM;
    memcpy(file, path, n);
    object->asker.file = file;
    object->asker.rpath = object->elf.rpath;
    object->asker.runpath = object->elf.runpath;
    object->asker.no_default = object->elf.no_default;
    object->soname_hash = object->elf.soname ? hash(object->elf.soname) : 0;
    return 0;
}

int shim_closure_note(struct shim_closure *c, const char *name)
{
    struct shim_object *new = ovl_ctx_alloc(c->ctx, sizeof *new);
    if (!new)
        return -ENOMEM;
    memset(new, 0, sizeof *new);
    new->name = name;
    new->name_hash = hash(name);
    new->kind = SHIM_LIBRARY_NATIVE;
    c->last = c->last->next = new;
    return 0;
}

int shim_closure_add(struct shim_closure *c, const struct shim_object *object, const char *name)
{
    uint32_t h = hash(name);
    if (is_known(c, name, h))
        return 0;
    struct shim_object *new = c->objects++ == OBJECTS_MAX ? NULL : ovl_ctx_alloc(c->ctx, sizeof *new);
    if (!new)
        return -ENOMEM;
    memset(new, 0, sizeof *new);
    new->name = name;
    new->name_hash = h;
    new->asker.loader = &object->asker;
    int r = shim_library_find(c->search, &object->asker, name, c->found);
    if (r < 0)
        return r;
    c->last = c->last->next = new;
    new->kind = c->found->kind;
    if (new->kind == SHIM_LIBRARY_NATIVE && ovl_streq(name, LIBC)) { /* known to need nothing but ld.so */
        ovl_sys_close(c->found->fd);
        return 0;
    }
    return c->found->fd >= 0 ? shim_closure_read(c, new, c->found->fd, c->found->path) : 0;
}

int shim_closure_complete(struct shim_closure *c)
{
    int r = 0;
    for (const struct shim_object *o = &c->first; r == 0 && o; o = o->next)
        for (unsigned i = 0; r == 0 && i < o->elf.needs; i++)
            r = shim_closure_add(c, o, o->elf.needed[i]);
    return r;
}
