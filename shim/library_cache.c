/* SPDX-License-Identifier: MIT
 *
 * Reading ld.so's cache (library_cache.h), in the form that ldconfig has written since glibc 2.32: a header,
 * entries sorted by name in falling order, strings.
 *
 * The file may be replaced but is never changed in place; all the same every offset is checked, and the search
 * reads nothing behind the mapping.
 */
#include "library_cache.h"

#include "sys.h"
#include "text.h"

#include <string.h>
#include <sys/mman.h>

#define MAGIC "glibc-ld.so.cache1.1"
#define CACHE_MAX ((off_t)64 << 20)

#if defined(__x86_64__)
#define FLAGS 0x0303 /* ELF, libc 6, x86-64 */
#elif defined(__aarch64__)
#define FLAGS 0x0a03
#endif

struct header {
    char magic[sizeof MAGIC - 1];
    uint32_t entries, strings_size;
    uint8_t flags, padding[3];
    uint32_t extension, unused[3];
};

struct entry {
    int32_t flags;
    uint32_t name, path; /* offsets in the file */
    uint32_t os;
    uint64_t hwcap;
};

void shim_library_cache_open(struct shim_library_cache *cache, const char *path)
{
    struct stat st;
    cache->data = NULL;
    int fd = ovl_sys_open(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
    if (fd < 0)
        return;
    if (ovl_sys_fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > (off_t)sizeof(struct header) &&
        st.st_size < CACHE_MAX) {
        cache->size = (size_t)st.st_size;
        cache->data = ovl_sys_mmap(cache->size, PROT_READ, MAP_PRIVATE, fd);
    }
    ovl_sys_close(fd);
    if (cache->data && memcmp(cache->data, MAGIC, sizeof MAGIC - 1) != 0)
        shim_library_cache_close(cache);
}

void shim_library_cache_close(struct shim_library_cache *cache)
{
    if (cache->data)
        ovl_sys_munmap((void *)(uintptr_t)cache->data, cache->size);
    cache->data = NULL;
}

/* The string at an offset, or NULL when it does not end inside the file. */
static const char *string_at(const struct shim_library_cache *cache, uint32_t at)
{
    for (size_t i = at; i < cache->size; i++)
        if (!cache->data[i])
            return cache->data + at;
    return NULL;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The order that the entries are in (falling): as strings, but a row of digits by the number that it makes. */
static int compare(const char *a, const char *b)
{
    while (*a) {
        if (is_digit(*a) && is_digit(*b)) {
            uint64_t x = ovl_parse_decimal(&a), y = ovl_parse_decimal(&b);
            if (x != y)
                return x < y ? -1 : 1;
        } else if (is_digit(*a) || is_digit(*b)) {
            return is_digit(*a) ? 1 : -1;
        } else if (*a != *b) {
            return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
        } else {
            a++;
            b++;
        }
    }
    return *b ? -1 : 0;
}

static bool get(const struct shim_library_cache *cache, uint32_t i, struct entry *entry)
{
    size_t at = sizeof(struct header) + (size_t)i * sizeof *entry;
    if (at > cache->size - sizeof *entry)
        return false;
    memcpy(entry, cache->data + at, sizeof *entry);
    return true;
}

const char *shim_library_cache_find(const struct shim_library_cache *cache, const char *name)
{
    struct header header;
    struct entry entry;
    if (!cache->data)
        return NULL;
    memcpy(&header, cache->data, sizeof header);
    uint32_t low = 0, high = header.entries;
    while (low < high) { /* the first entry that is not greater */
        uint32_t middle = low + (high - low) / 2;
        const char *key = get(cache, middle, &entry) ? string_at(cache, entry.name) : NULL;
        if (!key)
            return NULL;
        if (compare(key, name) > 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < header.entries && get(cache, low, &entry); low++) {
        const char *key = string_at(cache, entry.name);
        if (!key || compare(key, name) != 0)
            return NULL;
        if (entry.flags == FLAGS && entry.hwcap == 0)
            return string_at(cache, entry.path);
    }
    return NULL;
}
