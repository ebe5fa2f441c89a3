/* SPDX-License-Identifier: MIT
 *
 * Reading ld.so's cache: names in ldconfig's order, and that truncated and hostile files are survived.
 */
#include "fixture.h"

#include "library_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#define FLAGS 0x0303
#else
#define FLAGS 0x0a03
#endif

struct entry {
    int32_t flags;
    uint32_t name, path, os;
    uint64_t hwcap;
};

/* As ldconfig sorts them: falling, rows of digits by their number. */
static const char *const name[] = {"libzz.so.10", "libzz.so.9", "libzz.so", "libb.so.2",
                                   "libb.so.1",   "liba10.so",  "liba9.so", "lib-x.so"};
enum { NAMES = sizeof name / sizeof *name };

struct file {
    char magic[20];
    uint32_t entries, strings_size;
    uint8_t flags, padding[3];
    uint32_t extension, unused[3];
    struct entry entry[NAMES + 2];
    char strings[512];
};

static char path[64];

static void make(struct file *file)
{
    size_t used = offsetof(struct file, strings), n = 0;
    memset(file, 0, sizeof *file);
    memcpy(file->magic, "glibc-ld.so.cache1.1", sizeof file->magic);
    for (size_t i = 0; i < NAMES; i++) {
        char *at = (char *)file + used;
        int length = sprintf(at, "/lib/%s", name[i]) + 1;
        struct entry entry = {FLAGS, (uint32_t)used + 5, (uint32_t)used, 0, 0};
        if (i == 3) { /* other copies of it: for another machine, for a better processor */
            file->entry[n++] = (struct entry){3, entry.name, 1, 0, 0};
            file->entry[n++] = (struct entry){FLAGS, entry.name, 1, 0, 1};
        }
        file->entry[n++] = entry;
        used += (size_t)length;
    }
    file->entries = (uint32_t)n;
}

static void open_bytes(struct shim_library_cache *cache, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
    shim_library_cache_open(cache, path);
}

static int setup(void **state)
{
    (void)state;
    strcpy(path, "/tmp/ovl-cache-XXXXXX");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
    (void)state;
    return unlink(path);
}

static void test_found(void **state)
{
    struct file file;
    struct shim_library_cache cache;
    (void)state;
    make(&file);
    open_bytes(&cache, &file, sizeof file);
    for (size_t i = 0; i < NAMES; i++) {
        const char *found = shim_library_cache_find(&cache, name[i]);
        assert_non_null(found);
        assert_string_equal(found + 5, name[i]);
    }
    static const char *const missing[] = {"",        "a",       "zzz",        "libzz.so.11",
                                          "libb.so", "liba.so", "libb.so.1x", "libzz.so.99999999999999999999999"};
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
        assert_null(shim_library_cache_find(&cache, missing[i]));
    shim_library_cache_close(&cache);
    shim_library_cache_close(&cache);
    assert_null(shim_library_cache_find(&cache, name[0]));
}

static void try_all(const void *bytes, size_t n)
{
    struct shim_library_cache cache;
    open_bytes(&cache, bytes, n);
    for (size_t i = 0; i < NAMES; i++) {
        const char *found = shim_library_cache_find(&cache, name[i]);
        if (found)
            assert_true(found >= cache.data && found + strlen(found) < cache.data + cache.size);
    }
    shim_library_cache_close(&cache);
}

static void test_truncated(void **state)
{
    struct file file;
    (void)state;
    make(&file);
    for (size_t n = 0; n < sizeof file; n++)
        try_all(&file, n);
}

static void test_changed(void **state)
{
    static const unsigned char value[] = {0, 1, 0x7f, 0xff};
    struct file file;
    (void)state;
    make(&file);
    unsigned char *bytes = (unsigned char *)&file;
    for (size_t at = 0; at < offsetof(struct file, strings); at++) {
        unsigned char kept = bytes[at];
        for (size_t i = 0; i < sizeof value; i++) {
            bytes[at] = value[i];
            try_all(&file, sizeof file);
        }
        bytes[at] = kept;
    }
    memset(file.strings, 'x', sizeof file.strings);
    try_all(&file, sizeof file);
}

#ifdef __aarch64__
#define OWN_KIND "libc6,AArch64"
#else
#define OWN_KIND "libc6,x86-64"
#endif

/* What this machine has, as ldconfig prints it. */
static void test_this_machine(void **state)
{
    struct shim_library_cache cache;
    (void)state;
    shim_library_cache_open(&cache, SHIM_LIBRARY_CACHE);
    FILE *f = cache.data ? popen("ldconfig -p 2>/dev/null || /sbin/ldconfig -p", "r") : NULL;
    char line[1024], soname[256], kind[256], file[512];
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, " %255s (%255[^)]) => %511s", soname, kind, file) == 3 &&
            strcmp(kind, OWN_KIND) == 0) { /* under an emulator there may be none */
            const char *found = shim_library_cache_find(&cache, soname);
            assert_non_null(found);
            assert_string_equal(strrchr(found, '/'), strrchr(file, '/'));
        }
    if (f)
        pclose(f);
    shim_library_cache_close(&cache);
}

static void test_no_file(void **state)
{
    struct shim_library_cache cache;
    (void)state;
    shim_library_cache_open(&cache, "/nothing");
    assert_null(cache.data);
    shim_library_cache_open(&cache, "/");
    assert_null(cache.data);
    shim_library_cache_open(&cache, "/dev/zero");
    assert_null(cache.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_found, setup, teardown),
        cmocka_unit_test_setup_teardown(test_truncated, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changed, setup, teardown),
        cmocka_unit_test(test_this_machine),
        cmocka_unit_test(test_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
