/* SPDX-License-Identifier: MIT
 *
 * Which beginnings of functions may be overwritten, and that what is written leads where it should.
 */
#define _GNU_SOURCE
#include "../../shim/patch_code.h"
#include "../../shim/symbols.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

/* A function's code: the bytes that are given, and NOPs up to a page. */
struct code {
    _Alignas(16) uint8_t byte[256];
};

#if defined __x86_64__
enum { FILL = 0x90, SIZE = 64 };

#define CHECK(...) check((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static int check(const uint8_t *bytes, size_t n)
{
    struct code code;
    memset(&code, FILL, sizeof code);
    memcpy(code.byte, bytes, n);
    return shim_patch_check(code.byte, SIZE);
}

static void test_entries_of_glibc(void **state)
{
    (void)state;
    /* access: mov $21,%eax; syscall; cmp; ja behind; */
    assert_int_equal(CHECK(0xb8, 21, 0, 0, 0, 0x0f, 5, 0x48, 0x3d, 0, 0xf0, 0xff, 0xff, 0x77, 1), 0);
    /* fstatat64 */
    assert_int_equal(CHECK(0x41, 0x89, 0xca, 0xb8, 6, 1, 0, 0, 0x0f, 5, 0x3d, 0, 0xf0, 0xff, 0xff), 0);
    /* open64: push; mov; mov; push; mov; sub; mov to the stack */
    assert_int_equal(CHECK(0x55, 0x41, 0x89, 0xf2, 0x48, 0x89, 0xfd, 0x53, 0x89, 0xf3, 0x48, 0x83, 0xec, 0x68, 0x48,
                           0x89, 0x54, 0x24, 0x40),
                     0);
    /* openat64: the stack protector's word */
    assert_int_equal(
        CHECK(0x48, 0x83, 0xec, 0x78, 0x48, 0x89, 0x4c, 0x24, 0x58, 0x64, 0x48, 0x8b, 4, 0x25, 0x28, 0, 0, 0), 0);
    /* connect: cmpb of a variable; je behind */
    assert_int_equal(CHECK(0x80, 0x3d, 1, 2, 3, 4, 0, 0x74, 0x17, 0xb8, 42, 0, 0, 0), 0);
    /* connect of 2.41: sub; mov; movslq; xor; push $42; it calls behind that */
    assert_int_equal(CHECK(0x48, 0x83, 0xec, 0x10, 0x89, 0xd2, 0x48, 0x63, 0xff, 0x45, 0x31, 0xc9, 0x6a, 42, 0xe8), 0);
    /* getdents64: cmp; cmova */
    assert_int_equal(CHECK(0xb8, 0xff, 0xff, 0xff, 0x7f, 0x48, 0x39, 0xc2, 0x48, 0x0f, 0x47, 0xd0, 0xb8, 0xd9, 0, 0, 0),
                     0);
}

static void test_landing_pad_is_kept(void **state)
{
    (void)state;
    assert_int_equal(
        CHECK(0xf3, 0x0f, 0x1e, 0xfa, 0xb8, 21, 0, 0, 0, 0x0f, 5, 0x48, 0x3d, 0, 0xf0, 0xff, 0xff, 0x77, 9), 4);
    /* "jae" that is outside without a pad is inside with one */
    assert_int_equal(CHECK(0xf3, 0x0f, 0x1e, 0xfa, 0x73, 11, 0xb8, 21, 0, 0, 0, 0xb8, 21, 0, 0, 0, 0xb8, 1, 0, 0, 0),
                     -1);
}

static void test_what_others_have_put_there(void **state)
{
    (void)state;
    assert_int_equal(CHECK(0xe9, 1, 2, 3, 4), -1);              /* jmp */
    assert_int_equal(CHECK(0xff, 0x25, 0, 0, 0, 0), -1);        /* jmp *0(%rip): ours */
    assert_int_equal(CHECK(0xcc), -1);                          /* a breakpoint */
    assert_int_equal(CHECK(0xb8, 21, 0, 0, 0, 0xe8, 1, 2), -1); /* a call */
    assert_int_equal(CHECK(0x31, 0xc0, 0xc3), -1);              /* returns at once */
    assert_int_equal(CHECK(0x31, 0xc0, 0xeb, 0x20), -1);
    assert_int_equal(CHECK(0x90), -1);
    assert_int_equal(CHECK(0xf7, 0xd8), -1); /* neg: not known */
    assert_int_equal(CHECK(0x6a, 21, 0x58, 0x90, 0x90), -1);
    assert_int_equal(CHECK(0x68, 1, 2, 3, 4, 0xc3), -1); /* a jump by way of the stack */
}

static void test_jumps_into_what_is_overwritten(void **state)
{
    (void)state;
    enum { MOV = 0xb8 };
    assert_int_equal(CHECK(0x74, 12, MOV, 0, 0, 0, 0, MOV, 0, 0, 0, 0, MOV, 0, 0, 0, 0), 0);  /* to byte 14 */
    assert_int_equal(CHECK(0x74, 11, MOV, 0, 0, 0, 0, MOV, 0, 0, 0, 0, MOV, 0, 0, 0, 0), -1); /* to byte 13 */
    assert_int_equal(CHECK(MOV, 0, 0, 0, 0, 0x75, 0xf9, MOV, 0, 0, 0, 0, MOV, 0, 0, 0, 0), -1);
    assert_int_equal(CHECK(0x0f, 0x84, 8, 0, 0, 0, MOV, 0, 0, 0, 0, MOV, 0, 0, 0, 0), 0);
    assert_int_equal(CHECK(0x0f, 0x84, 7, 0, 0, 0, MOV, 0, 0, 0, 0, MOV, 0, 0, 0, 0), -1);
    assert_int_equal(CHECK(0x0f, 0x84, 0xf0, 0xff, 0xff, 0xff, MOV, 0, 0, 0, 0, MOV, 0, 0, 0, 0), -1);
}

static void test_operands(void **state)
{
    (void)state;
    enum { SYSCALL_1 = 0x0f, SYSCALL_2 = 0x05 };
    /* Each form of an operand, then something unknown right behind 14 bytes' worth of it: lengths must be exact. */
    assert_int_equal(CHECK(0x8b, 0x00, 0x8b, 0x00, 0x8b, 0x00, 0x8b, 0x00, 0x8b, 0x00, 0x8b, 0x00, 0x8b, 0x00, 0xcc),
                     0);
    assert_int_equal(CHECK(0x8b, 0x40, 0xcc, 0x8b, 0x40, 0xcc, 0x8b, 0x40, 0xcc, 0x8b, 0x40, 0xcc, 0x89, 0xc0, 0xcc),
                     0);
    assert_int_equal(CHECK(0x8b, 0x80, 0xcc, 0xcc, 0xcc, 0xcc, 0x8b, 0x05, 0xcc, 0xcc, 0xcc, 0xcc, 0x89, 0xc0, 0xcc),
                     0);
    assert_int_equal(CHECK(0x8b, 0x04, 0x24, 0x8b, 0x44, 0x24, 0xcc, 0x8b, 0x84, 0x24, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc),
                     0);
    assert_int_equal(CHECK(0x8b, 0x04, 0x25, 0xcc, 0xcc, 0xcc, 0xcc, 0xc7, 0x00, 0xcc, 0xcc, 0xcc, 0xcc, 0x50, 0xcc),
                     0);
    assert_int_equal(CHECK(0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 0xc6, 0x00, 0xcc, 0x50, 0xcc), 0);
    assert_int_equal(CHECK(0xf6, 0xc2, 0xcc, 0xf7, 0xc2, 0xcc, 0xcc, 0xcc, 0xcc, 0xa8, 0xcc, 0x41, 0x54, 0x50, 0xcc),
                     0);
    assert_int_equal(CHECK(0x25, 0xcc, 0xcc, 0xcc, 0xcc, 0x48, 0x81, 0xec, 0xcc, 0xcc, 0xcc, 0xcc, 0x0f, 0x05, 0xcc),
                     0);
}

static void test_short_functions(void **state)
{
    (void)state;
    struct code code;
    memset(&code, 0x50, sizeof code); /* push %rax */
    assert_int_equal(shim_patch_check(code.byte, 29), 0);
    assert_int_equal(shim_patch_check(code.byte, 28), -1);
    assert_int_equal(shim_patch_check(code.byte, 0), -1);
    memcpy(code.byte, (const uint8_t[]){0xf3, 0x0f, 0x1e, 0xfa}, 4);
    assert_int_equal(shim_patch_check(code.byte, 33), 4);
    assert_int_equal(shim_patch_check(code.byte, 32), -1);
    assert_int_equal(shim_patch_check(code.byte, 3), -1);
}

#else

#define CHECK(...) check((const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}))

static int check(const uint32_t *instruction, size_t n)
{
    struct code code;
    for (size_t i = 0; i + 4 <= sizeof code; i += 4)
        memcpy(code.byte + i, &(const uint32_t){0xd503201f}, 4);
    memcpy(code.byte, instruction, n);
    return shim_patch_check(code.byte, 64);
}

static void test_entries_of_glibc(void **state)
{
    (void)state;
    /* fstatat64, open64, getdents64, connect */
    assert_int_equal(CHECK(0x93407c00, 0x93407c63, 0xd28009e8, 0xd4000001, 0x3140041f), 0);
    assert_int_equal(CHECK(0xa9b97bfd, 0xd0000623, 0xf9473463, 0x910003fd, 0xa90153f3), 0);
    assert_int_equal(CHECK(0xb2407be3, 0xeb03005f, 0x93407c00, 0x9a839042, 0xd28007a8), 0);
    assert_int_equal(CHECK(0xa9bd7bfd, 0xd00005e3, 0x910003fd, 0x39676063, 0xa90153f3), 0);
}

static void test_landing_pad_is_kept(void **state)
{
    (void)state;
    assert_int_equal(CHECK(0xd503245f, 0xa9b97bfd, 0xd0000623, 0xf9473463, 0x910003fd), 0); /* bti c: written anew */
    assert_int_equal(CHECK(0xd503233f, 0xa9b97bfd, 0xd0000623, 0xf9473463, 0x910003fd), 0); /* paciasp */
}

static void test_what_others_have_put_there(void **state)
{
    (void)state;
    assert_int_equal(CHECK(0x14000010), -1);             /* b */
    assert_int_equal(CHECK(0x94000010), -1);             /* bl */
    assert_int_equal(CHECK(0x58000050, 0xd61f0200), -1); /* ldr x16, near; br x16 */
    assert_int_equal(CHECK(0xd4200000), -1);             /* brk */
    assert_int_equal(CHECK(0x52800000, 0xd65f03c0), -1); /* ret */
    assert_int_equal(CHECK(0x00000000), -1);
}

static void test_jumps_into_what_is_overwritten(void **state)
{
    (void)state;
    assert_int_equal(CHECK(0x540000a8), 0);              /* b.hi, 5 on */
    assert_int_equal(CHECK(0x54000088), -1);             /* 4 on */
    assert_int_equal(CHECK(0xd503201f, 0x54ffffe8), -1); /* back */
    assert_int_equal(CHECK(0x340000a3), 0);              /* cbz */
    assert_int_equal(CHECK(0x34000083), -1);
    assert_int_equal(CHECK(0x373000a2), 0); /* tbnz */
    assert_int_equal(CHECK(0x37300082), -1);
}

static void test_operands(void **state)
{
    (void)state;
}

static void test_short_functions(void **state)
{
    (void)state;
    struct code code;
    for (size_t i = 0; i + 4 <= sizeof code; i += 4)
        memcpy(code.byte + i, &(const uint32_t){0xd503201f}, 4);
    assert_int_equal(shim_patch_check(code.byte, 20), 0);
    assert_int_equal(shim_patch_check(code.byte, 19), -1);
}

#endif

static int hooked(int a, int b)
{
    return a * 10 + b;
}

static void test_what_is_written_leads_to_the_hook(void **state)
{
    (void)state;
    uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(page, MAP_FAILED);
    shim_patch_write(page + 32, (const void *)hooked);
    assert_int_equal(page[31], 0);
    assert_int_equal(page[32 + SHIM_PATCH_BYTES], 0);
    assert_int_equal(mprotect(page, 4096, PROT_READ | PROT_EXEC), 0);
    int (*function)(int, int);
    void *entry = page + 32;
    memcpy(&function, &entry, sizeof function);
    assert_int_equal(function(4, 2), 42);
    assert_int_equal(shim_patch_check(page + 32, 64), -1); /* not a second time */
    munmap(page, 4096);
}

/* ---- symbols ------------------------------------------------------------------------------------- */

static void test_symbols_are_those_of_dlsym(void **state)
{
    (void)state;
    static const char *const names[] = {"open64", "fstatat64", "access", "readlink", "getdents64", "connect", "qsort"};
    struct shim_object libc;
    void *handle = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD); /* not a sanitizer's functions */
    assert_true(shim_object_of(dlsym(handle, "gnu_get_libc_version"), &libc));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t size = 0;
        assert_ptr_equal(shim_object_function(&libc, names[i], &size), dlsym(handle, names[i]));
        assert_true(size > 0);
    }
    size_t size;
    assert_ptr_equal(shim_object_function(&libc, "__open64_nocancel", &size),
                     dlvsym(handle, "__open64_nocancel", "GLIBC_PRIVATE"));
    assert_null(shim_object_function(&libc, "no_such_function", &size));
    assert_null(shim_object_function(&libc, "", &size));
    assert_null(shim_object_function(&libc, "environ", &size)); /* no function */
    assert_false(shim_object_of(&libc, &libc));                 /* the stack */
    dlclose(handle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries_of_glibc),
        cmocka_unit_test(test_landing_pad_is_kept),
        cmocka_unit_test(test_what_others_have_put_there),
        cmocka_unit_test(test_jumps_into_what_is_overwritten),
        cmocka_unit_test(test_operands),
        cmocka_unit_test(test_short_functions),
        cmocka_unit_test(test_what_is_written_leads_to_the_hook),
        cmocka_unit_test(test_symbols_are_those_of_dlsym),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
