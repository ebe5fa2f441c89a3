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
    }
    return object->symbols && object->strings && object->hash;
}

/* 1: this object is it; 0: look on; -1: it is, and can't be read. */
static int look_at(struct dl_phdr_info *info, size_t size, void *argument)
{
    (void)size;
    const struct search *search = argument;
    const ElfW(Dyn) *dynamic = NULL;
    bool inside = false;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type == PT_DYNAMIC)
            dynamic = (const ElfW(Dyn) *)(info->dlpi_addr + p->p_vaddr);
        else if (p->p_type == PT_LOAD && search->address - info->dlpi_addr - p->p_vaddr < p->p_memsz)
            inside = true;
    }
    if (!inside)
        return 0;
    return dynamic && read_dynamic(info->dlpi_addr, dynamic, search->object) ? 1 : -1;
}

bool shim_object_of(const void *address, struct shim_object *object)
{
    struct search search = {(uintptr_t)address, object};
    return dl_iterate_phdr(look_at, &search) == 1;
}

static uint32_t hash_of(const char *name)
{
    uint32_t h = 5381;
    for (const unsigned char *p = (const unsigned char *)name; *p; p++)
        h = h * 33 + *p;
    return h;
}

void *shim_object_function(const struct shim_object *object, const char *name, size_t *size)
{
    const uint32_t buckets = object->hash[0], first = object->hash[1], words = object->hash[2];
    const uint32_t *bucket = object->hash + 4 + words * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
    const uint32_t *chain = bucket + buckets;
    const uint32_t h = hash_of(name);
    uint32_t i = buckets ? bucket[h % buckets] : 0;
    for (; i >= first && i; i++) {
        const ElfW(Sym) *s = &object->symbols[i];
        if ((chain[i - first] | 1) == (h | 1) && s->st_shndx != SHN_UNDEF && ELF64_ST_TYPE(s->st_info) == STT_FUNC &&
            strcmp(object->strings + s->st_name, name) == 0) {
            *size = s->st_size;
            return (void *)(object->base + s->st_value);
        }
        if (chain[i - first] & 1)
            break;
    }
    return NULL;
}
