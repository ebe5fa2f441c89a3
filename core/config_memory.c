/* SPDX-License-Identifier: MIT
 *
 * Memory while a configuration is read, and the one line that says why it is refused.
 *
 * Chunks are mappings of their own, so that a process that is only just starting needs no heap.  A message
 * must stay one line and keep its end, which says what would be right: long parts lose their middle.
 */
#include "config.h"

#include <stdarg.h>
#include <sys/mman.h>

#define CHUNK_SIZE ((size_t)64 << 10)
#define ALIGNMENT ((size_t)16)

struct ovl_chunk {
    struct ovl_chunk *next;
    size_t used, size;
    char bytes[] __attribute__((aligned(16)));
};

static struct ovl_chunk *new_chunk(size_t n)
{
    size_t size = sizeof(struct ovl_chunk) + n;
    if (size < CHUNK_SIZE)
        size = CHUNK_SIZE;
    struct ovl_chunk *chunk = ovl_sys_mmap(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (chunk)
        chunk->size = size - sizeof *chunk;
    return chunk;
}

void *ovl_arena_alloc(struct ovl_arena *arena, size_t n)
{
    if (n > SIZE_MAX / 2)
        return NULL;
    n = (n + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    struct ovl_chunk *chunk = arena->chunk;
    if (!chunk || n > chunk->size - chunk->used) {
        chunk = new_chunk(n);
        if (!chunk)
            return NULL;
        chunk->next = arena->chunk;
        arena->chunk = chunk;
    }
    void *p = chunk->bytes + chunk->used;
    chunk->used += n;
    return p;
}

char *ovl_arena_copy(struct ovl_arena *arena, const char *s, size_t n)
{
    char *copy = ovl_arena_alloc(arena, n + 1);
    if (copy)
        memcpy(copy, s, n);
    return copy;
}

char *ovl_arena_join(struct ovl_arena *arena, const char *first, ...)
{
    va_list parts;
    size_t n = 1;
    va_start(parts, first);
    for (const char *part = first; part; part = va_arg(parts, const char *))
        n += ovl_strlen(part);
    va_end(parts);
    char *text = ovl_arena_alloc(arena, n);
    if (!text)
        return NULL;
    ssize_t length = 0;
    va_start(parts, first);
    for (const char *part = first; part; part = va_arg(parts, const char *))
        length = ovl_append(text, n, (size_t)length, part);
    va_end(parts);
    return text;
}

void ovl_arena_free(struct ovl_arena *arena)
{
    while (arena->chunk) {
        struct ovl_chunk *chunk = arena->chunk;
        arena->chunk = chunk->next;
        ovl_sys_munmap(chunk, sizeof *chunk + chunk->size);
    }
}

const char *ovl_error_text(int error)
{
    static const struct {
        int error;
        const char *text;
    } known[] = {
        {EACCES, "permission denied"},
        {EDQUOT, "disk quota exceeded"},
        {EINVAL, "invalid argument"},
        {EIO, "input/output error"},
        {EISDIR, "is a directory"},
        {ELOOP, "too many levels of symbolic links"},
        {EMFILE, "too many open files"},
        {ENAMETOOLONG, "file name too long"},
        {ENFILE, "too many open files in the system"},
        {ENODEV, "no such device"},
        {ENOENT, "no such file or directory"},
        {ENOMEM, "out of memory"},
        {ENOSPC, "no space left on the device"},
        {ENOTDIR, "not a directory"},
        {EOPNOTSUPP, "operation not supported"},
        {EPERM, "operation not permitted"},
        {EROFS, "read-only file system"},
        {ESTALE, "stale file handle"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].error == error || known[i].error == -error)
            return known[i].text;
    return "the system refuses it";
}

static size_t add_part(struct ovl_message *why, size_t length, const char *part)
{
    return ovl_append_shown(why->text, sizeof why->text, length, part);
}

static size_t add_where(struct ovl_message *why, const char *where, unsigned line)
{
    char number[24];
    size_t length = add_part(why, 0, where);
    if (line) {
        length = add_part(why, length, ":");
        length = add_part(why, length, ovl_decimal(number, line));
    }
    return add_part(why, length, ": ");
}

int ovl_message_set(struct ovl_message *why, const char *where, unsigned line, ...)
{
    va_list parts;
    size_t length = add_where(why, where, line);
    va_start(parts, line);
    for (const char *part = va_arg(parts, const char *); part; part = va_arg(parts, const char *))
        length = add_part(why, length, part);
    va_end(parts);
    return -EINVAL;
}

int ovl_refuse(const struct ovl_config *config, enum ovl_key key, const struct ovl_value *value, ...)
{
    va_list parts;
    size_t length = add_where(config->why, config->where, value->line);
    length = add_part(config->why, length, ovl_key_name(key));
    length = add_part(config->why, length, "=");
    length = add_part(config->why, length, value->text);
    length = add_part(config->why, length, ": ");
    va_start(parts, value);
    for (const char *part = va_arg(parts, const char *); part; part = va_arg(parts, const char *))
        length = add_part(config->why, length, part);
    va_end(parts);
    return -EINVAL;
}

int ovl_refuse_no_memory(const struct ovl_config *config)
{
    ovl_message_set(config->why, config->where, 0, "out of memory", NULL);
    return -ENOMEM;
}
