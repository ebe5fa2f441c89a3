/* SPDX-License-Identifier: MIT
 *
 * Reading ELF files: what is in one, and that truncated and hostile ones are survived.
 */
#include "fixture.h"

#include "elf_file.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#else
#define MACHINE EM_AARCH64
#endif

#define BASE 0x400000 /* the address of the file's beginning */
#define STRINGS 1024  /* of the string table, an offset and its size */

/* A library with all that is read, as one file. */
struct image {
    Elf64_Ehdr elf;
    Elf64_Phdr segment[5];
    char interpreter[32];
    Elf64_Dyn dynamic[32];
    char strings[STRINGS];
};

static struct ovl_ctx ctx;
static struct shim_elf_window window;

static int setup(void **state)
{
    (void)state;
    return ovl_ctx_begin(&ctx, NULL, &ovl_ops_kernel);
}

static int teardown(void **state)
{
    (void)state;
    ovl_ctx_end(&ctx);
    return 0;
}

static uint64_t add_string(struct image *image, size_t *used, const char *text)
{
    size_t at = *used;
    memcpy(image->strings + at, text, strlen(text) + 1);
    *used += strlen(text) + 1;
    return at;
}

static Elf64_Phdr segment(uint32_t type, uint64_t offset, uint64_t size)
{
    return (Elf64_Phdr){
        .p_type = type, .p_offset = offset, .p_vaddr = BASE + offset, .p_filesz = size, .p_memsz = size, .p_align = 8};
}

static void make(struct image *image)
{
    size_t used = 1, n = 0;
    memset(image, 0, sizeof *image);
    memcpy(image->elf.e_ident, ELFMAG, SELFMAG);
    image->elf.e_ident[EI_CLASS] = ELFCLASS64;
    image->elf.e_ident[EI_DATA] = ELFDATA2LSB;
    image->elf.e_type = ET_DYN;
    image->elf.e_machine = MACHINE;
    image->elf.e_phoff = offsetof(struct image, segment);
    image->elf.e_phentsize = sizeof(Elf64_Phdr);
    image->elf.e_phnum = 4;
    image->segment[0] = segment(PT_LOAD, 0, sizeof *image);
    image->segment[1] = segment(PT_INTERP, offsetof(struct image, interpreter), sizeof image->interpreter);
    image->segment[2] = segment(PT_DYNAMIC, offsetof(struct image, dynamic), sizeof image->dynamic);
    image->segment[3] = segment(PT_TLS, 0, 100);
    strcpy(image->interpreter, "/lib/ld.so");
    image->dynamic[n++] = (Elf64_Dyn){DT_NEEDED, {add_string(image, &used, "liba.so.1")}};
    image->dynamic[n++] = (Elf64_Dyn){DT_NEEDED, {add_string(image, &used, "libb.so.2")}};
    image->dynamic[n++] = (Elf64_Dyn){DT_SONAME, {add_string(image, &used, "libself.so")}};
    image->dynamic[n++] = (Elf64_Dyn){DT_RPATH, {add_string(image, &used, "/rpath")}};
    image->dynamic[n++] = (Elf64_Dyn){DT_FLAGS, {DF_STATIC_TLS}};
    image->dynamic[n++] = (Elf64_Dyn){DT_FLAGS_1, {DF_1_NODEFLIB}};
    image->dynamic[n++] = (Elf64_Dyn){DT_STRTAB, {BASE + offsetof(struct image, strings)}};
    image->dynamic[n++] = (Elf64_Dyn){DT_STRSZ, {STRINGS}};
    image->dynamic[n++] = (Elf64_Dyn){DT_NULL, {0}};
}

static int read_bytes(const void *bytes, size_t n, struct shim_elf *elf)
{
    int fd = memfd_create("elf", MFD_CLOEXEC);
    assert_true(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    window.n = 0;
    ovl_ctx_reset(&ctx, 0);
    int r = shim_elf_read(&ctx, fd, &window, elf);
    int fits = shim_elf_fits(fd, &window);
    close(fd);
    if (r == 0)
        assert_int_equal(fits, 1);
    assert_true(r == 0 || r == -ENOEXEC);
    return r;
}

/* Every string ends inside the context's memory. */
static void check_strings(const struct shim_elf *elf)
{
    const char *const end = ctx.memory + ctx.used;
    for (unsigned i = 0; i < elf->needs; i++)
        assert_true(elf->needed[i] + strlen(elf->needed[i]) < end);
    const char *const one[] = {elf->interpreter, elf->soname, elf->rpath, elf->runpath};
    for (size_t i = 0; i < sizeof one / sizeof *one; i++)
        assert_true(!one[i] || one[i] + strlen(one[i]) < end);
}

static void test_content(void **state)
{
    struct image image;
    struct shim_elf elf;
    (void)state;
    make(&image);
    assert_int_equal(read_bytes(&image, sizeof image, &elf), 0);
    assert_int_equal(elf.needs, 2);
    assert_string_equal(elf.needed[0], "liba.so.1");
    assert_string_equal(elf.needed[1], "libb.so.2");
    assert_string_equal(elf.soname, "libself.so");
    assert_string_equal(elf.interpreter, "/lib/ld.so");
    assert_string_equal(elf.rpath, "/rpath");
    assert_null(elf.runpath);
    assert_true(elf.no_default);
    assert_int_equal(elf.static_tls, 108);
    image.dynamic[5] = (Elf64_Dyn){DT_RUNPATH, {image.dynamic[0].d_un.d_val}};
    image.dynamic[4].d_un.d_val = 0;
    assert_int_equal(read_bytes(&image, sizeof image, &elf), 0);
    assert_string_equal(elf.runpath, "liba.so.1");
    assert_null(elf.rpath);
    assert_false(elf.no_default);
    assert_int_equal(elf.static_tls, 0);
}

static void test_this_program(void **state)
{
    struct shim_elf elf;
    (void)state;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(shim_elf_fits(fd, &window), 1);
    ovl_ctx_reset(&ctx, 0);
    assert_int_equal(shim_elf_read(&ctx, fd, &window, &elf), 0);
    close(fd);
    bool has_cmocka = false;
    for (unsigned i = 0; i < elf.needs; i++)
        has_cmocka |= strncmp(elf.needed[i], "libcmocka.so", 12) == 0;
    assert_true(has_cmocka);
    assert_non_null(elf.interpreter);
}

static void test_other_machines(void **state)
{
    struct image image;
    struct shim_elf elf;
    (void)state;
    make(&image);
    int fd = memfd_create("elf", MFD_CLOEXEC);
    image.elf.e_machine = EM_MIPS;
    assert_int_equal(pwrite(fd, &image, sizeof image, 0), sizeof image);
    assert_int_equal(shim_elf_fits(fd, &window), 0);
    assert_int_equal(shim_elf_read(&ctx, fd, &window, &elf), -ENOEXEC);
    image.elf.e_machine = MACHINE;
    image.elf.e_ident[EI_CLASS] = ELFCLASS32;
    assert_int_equal(pwrite(fd, &image, sizeof image, 0), sizeof image);
    assert_int_equal(shim_elf_fits(fd, &window), 0);
    image.elf.e_ident[EI_MAG1] = 'x';
    assert_int_equal(pwrite(fd, &image, sizeof image, 0), sizeof image);
    assert_int_equal(shim_elf_fits(fd, &window), -ENOEXEC);
    close(fd);
}

static void test_truncated(void **state)
{
    struct image image;
    struct shim_elf elf;
    (void)state;
    make(&image);
    for (size_t n = 0; n < sizeof image; n++)
        if (read_bytes(&image, n, &elf) == 0)
            check_strings(&elf);
    /* A file with a hole where the strings should be: none of the names is read. */
    assert_int_equal(read_bytes(&image, offsetof(struct image, strings), &elf), -ENOEXEC);
}

/* Every byte of the headers and of the dynamic section, set to values that are likely to hurt. */
static void test_changed(void **state)
{
    static const unsigned char value[] = {0, 1, 0x7f, 0x80, 0xff};
    struct image image;
    struct shim_elf elf;
    (void)state;
    make(&image);
    unsigned char *bytes = (unsigned char *)&image;
    for (size_t at = 0; at < offsetof(struct image, strings) + 64; at++) {
        unsigned char kept = bytes[at];
        for (size_t i = 0; i < sizeof value; i++) {
            bytes[at] = value[i];
            if (read_bytes(&image, sizeof image, &elf) == 0)
                check_strings(&elf);
        }
        bytes[at] = kept;
    }
}

static void set_and_read(size_t i, int64_t tag, uint64_t value, int want)
{
    struct image image;
    struct shim_elf elf;
    make(&image);
    image.dynamic[i] = (Elf64_Dyn){tag, {value}};
    assert_int_equal(read_bytes(&image, sizeof image, &elf), want);
}

static void test_hostile_sections(void **state)
{
    static const uint64_t far[] = {STRINGS, STRINGS + 1, UINT32_MAX, (uint64_t)UINT32_MAX + 1, INT64_MAX, UINT64_MAX};
    struct image image;
    struct shim_elf elf;
    (void)state;
    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        set_and_read(0, DT_NEEDED, far[i], -ENOEXEC);
        set_and_read(2, DT_SONAME, far[i], -ENOEXEC);
        set_and_read(3, DT_RUNPATH, far[i], -ENOEXEC);
        set_and_read(6, DT_STRTAB, far[i], -ENOEXEC);
    }
    set_and_read(6, DT_DEBUG, 0, -ENOEXEC); /* no string table */
    set_and_read(7, DT_STRSZ, 0, -ENOEXEC);
    set_and_read(7, DT_STRSZ, UINT64_MAX, -ENOEXEC);
    set_and_read(7, DT_STRSZ, 5, -ENOEXEC); /* a name that goes on behind the table */

    make(&image); /* a name that goes on behind the file */
    memset(image.strings, 'x', sizeof image.strings);
    assert_int_equal(read_bytes(&image, sizeof image, &elf), -ENOEXEC);

    make(&image); /* more program headers than there are */
    image.elf.e_phnum = UINT16_MAX;
    assert_int_equal(read_bytes(&image, sizeof image, &elf), -ENOEXEC);
    make(&image);
    image.elf.e_phoff = UINT64_MAX - 8;
    assert_int_equal(read_bytes(&image, sizeof image, &elf), -ENOEXEC);
    make(&image);
    image.segment[1].p_filesz = UINT64_MAX;
    image.segment[1].p_offset = UINT64_MAX - 1;
    assert_int_equal(read_bytes(&image, sizeof image, &elf), -ENOEXEC);
    make(&image); /* a size of TLS that would overflow a sum */
    image.segment[3].p_memsz = image.segment[3].p_align = UINT64_MAX;
    assert_int_equal(read_bytes(&image, sizeof image, &elf), 0);
    assert_true(elf.static_tls <= (uint64_t)UINT32_MAX + 4096);
}

/* A dynamic section without an end, and one with too many needs. */
static void test_many(void **state)
{
    enum { ENTRIES = 8192 };
    struct shim_elf elf;
    (void)state;
    size_t size = sizeof(struct image) + ENTRIES * sizeof(Elf64_Dyn);
    struct image *image = malloc(size);
    assert_non_null(image);
    make(image);
    Elf64_Dyn *dynamic = (Elf64_Dyn *)(image + 1);
    for (size_t i = 0; i < ENTRIES; i++)
        dynamic[i] = (Elf64_Dyn){DT_DEBUG, {0}};
    image->segment[0].p_filesz = size;
    image->segment[2] = segment(PT_DYNAMIC, sizeof *image, ENTRIES * sizeof *dynamic);
    assert_int_equal(read_bytes(image, size, &elf), -ENOEXEC);
    image->segment[2].p_filesz = UINT64_MAX;
    assert_int_equal(read_bytes(image, size, &elf), -ENOEXEC);
    memcpy(dynamic, image->dynamic, sizeof image->dynamic);
    for (size_t i = 8; i < 8 + SHIM_NEEDED_MAX; i++)
        dynamic[i] = image->dynamic[0];
    dynamic[8 + SHIM_NEEDED_MAX - 2].d_tag = DT_NULL;
    assert_int_equal(read_bytes(image, size, &elf), 0);
    assert_int_equal(elf.needs, SHIM_NEEDED_MAX);
    dynamic[8 + SHIM_NEEDED_MAX - 2].d_tag = DT_NEEDED;
    dynamic[8 + SHIM_NEEDED_MAX].d_tag = DT_NULL;
    assert_int_equal(read_bytes(image, size, &elf), -ENOEXEC);
    free(image);
}

static void test_little_memory(void **state)
{
    struct image image;
    struct shim_elf elf;
    (void)state;
    make(&image);
    int fd = memfd_create("elf", MFD_CLOEXEC), r = -ENOMEM;
    assert_int_equal(write(fd, &image, sizeof image), sizeof image);
    size_t size = ctx.size;
    for (ctx.size = 0; r == -ENOMEM; ctx.size += 16) {
        assert_true(ctx.size < size);
        window.n = 0;
        ovl_ctx_reset(&ctx, 0);
        r = shim_elf_read(&ctx, fd, &window, &elf);
    }
    assert_int_equal(r, 0);
    check_strings(&elf);
    ctx.size = size;
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_content, setup, teardown),
        cmocka_unit_test_setup_teardown(test_this_program, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_machines, setup, teardown),
        cmocka_unit_test_setup_teardown(test_truncated, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile_sections, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_little_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
