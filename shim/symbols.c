/* SPDX-License-Identifier: MIT
 *
 * Looking up symbols by the object's own hash table (symbols.h; the format is that of ld --hash-style=gnu).
 */
#define _GNU_SOURCE
#include "symbols.h"

#include <string.h>

struct search {
    uintptr_t address;
    struct shim_object *object;
};

/* ld.so adds the base to the pointers of a dynamic section that it can write to. */
static const void *place(uintptr_t base, const ElfW(Dyn) * d)
{
    uintptr_t p = (uintptr_t)d->d_un.d_ptr;
    return (const void *)(p < base ? p + base : p);
}

static bool read_dynamic(uintptr_t base, const ElfW(Dyn) * d, struct shim_object *object)
{
    memset(object, 0, sizeof *object);
    object->base = base;
    for (; d->d_tag != DT_NULL; d++) {
        if (d->d_tag == DT_SYMTAB)
            object->symbols = place(base, d);
        else if (d->d_tag == DT_STRTAB)
            object->strings = place(base, d);
        else if (d->d_tag == DT_GNU_HASH)
            object->hash = place(base, d);
        else if (d->d_tag == DT_VERSYM)
            object->versions = place(base, d);
    }
    return object->symbols && object->strings && object->hash;
}

/* Whether the address lies in the object; its dynamic section, or NULL. */
static bool holds(const struct dl_phdr_info *info, uintptr_t address, const ElfW(Dyn) * *dynamic)
{
    bool inside = false;
    *dynamic = NULL;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type == PT_DYNAMIC)
            *dynamic = (const ElfW(Dyn) *)(info->dlpi_addr + p->p_vaddr);
        else if (p->p_type == PT_LOAD && address - info->dlpi_addr - p->p_vaddr < p->p_memsz)
            inside = true;
    }
    return inside;
}

/* 1: this object is it; 0: look on; -1: it is, and can't be read. */
static int look_at(struct dl_phdr_info *info, size_t size, void *argument)
{
    (void)size;
    const struct search *search = argument;
    const ElfW(Dyn) * dynamic;
    if (!holds(info, search->address, &dynamic))
        return 0;
    return dynamic && read_dynamic(info->dlpi_addr, dynamic, search->object) ? 1 : -1;
}

bool shim_object_of(const void *address, struct shim_object *object)
{
    struct search search = {(uintptr_t)address, object};
    return dl_iterate_phdr(look_at, &search) == 1;
}

struct collecting {
    uintptr_t address;
    struct shim_object *objects;
    int n, found;
    bool is_behind;
};

/* 1: one can't be read, or is one too many. */
static int collect(struct dl_phdr_info *info, size_t size, void *argument)
{
    (void)size;
    struct collecting *c = argument;
    const ElfW(Dyn) * dynamic;
    if (holds(info, c->address, &dynamic)) {
        c->is_behind = true;
        return 0;
    }
    if (!c->is_behind)
        return 0;
    if (c->found == c->n || !dynamic || !read_dynamic(info->dlpi_addr, dynamic, &c->objects[c->found]))
        return 1;
    c->found++;
    return 0;
}

int shim_objects_behind(shim_iterate *iterate, const void *address, struct shim_object *objects, int n)
{
    struct collecting c = {(uintptr_t)address, objects, n, 0, false};
    return iterate(collect, &c) == 0 && c.is_behind ? c.found : -1;
}

static uint32_t hash_of(const char *name)
{
    uint32_t h = 5381;
    for (const unsigned char *p = (const unsigned char *)name; *p; p++)
        h = h * 33 + *p;
    return h;
}

#define HIDDEN 0x8000u /* a version that only what was linked with it gets */

/* The next symbol of this name that is defined in the object, from *i on (0: from the first); NULL: no more. */
static const ElfW(Sym) * next_symbol(const struct shim_object *object, const char *name, uint32_t h, uint32_t *i)
{
    const uint32_t buckets = object->hash[0], first = object->hash[1], words = object->hash[2];
    const uint32_t *bucket = object->hash + 4 + words * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
    const uint32_t *chain = bucket + buckets;
    bool goes_on = *i == 0 || !(chain[*i - first] & 1);
    *i = *i ? *i + 1 : buckets ? bucket[h % buckets] : 0;
    for (; goes_on && *i >= first && *i; ++*i) {
        const ElfW(Sym) *s = &object->symbols[*i];
        if ((chain[*i - first] | 1) == (h | 1) && s->st_shndx != SHN_UNDEF &&
            strcmp(object->strings + s->st_name, name) == 0)
            return s;
        goes_on = !(chain[*i - first] & 1);
    }
    return NULL;
}

/* Most objects have most names not: two bits of a filter tell that (ld.so's do_lookup_x()). */
static bool may_define(const struct shim_object *object, uint32_t h)
{
    enum { BITS = 8 * sizeof(ElfW(Addr)) };
    const ElfW(Addr) *filter = (const void *)(object->hash + 4);
    const ElfW(Addr) word = filter[h / BITS & (object->hash[2] - 1)];
    return word >> h % BITS & word >> (h >> object->hash[3]) % BITS & 1;
}

void *shim_object_function(const struct shim_object *object, const char *name, size_t *size)
{
    uint32_t i = 0;
    const ElfW(Sym) * s;
    const uint32_t h = hash_of(name);
    while ((s = next_symbol(object, name, h, &i)) && ELF64_ST_TYPE(s->st_info) != STT_FUNC)
        ;
    if (!s)
        return NULL;
    *size = s->st_size;
    return (void *)(object->base + s->st_value);
}

void *shim_object_symbol(const struct shim_object *object, const char *name, bool *is_indirect)
{
    uint32_t i = 0;
    const ElfW(Sym) * s;
    const uint32_t h = hash_of(name);
    *is_indirect = false;
    if (!may_define(object, h))
        return NULL;
    while ((s = next_symbol(object, name, h, &i)) && object->versions && object->versions[i] & HIDDEN)
        ;
    *is_indirect = s && ELF64_ST_TYPE(s->st_info) != STT_FUNC;
    return s && !*is_indirect ? (void *)(object->base + s->st_value) : NULL;
}
