/* SPDX-License-Identifier: MIT
 *
 * Looking up symbols without ld.so: the same as dlsym(3) finds.
 */
#define _GNU_SOURCE
#include "fixture.h"
#include "symbols.h"

#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <stdio.h>

#define SHIM_FILE_ALL
#define TWIN(symbol, name) #symbol,
#define CALL(name, type, parameters, safety) #name,
static const char *const wanted[] = {
#include "calls.def"
    /* Several versions, an indirect function, a variable, and some that libc does not have. */
    "realpath", "memcpy", "strlen", "environ", "no_such_function", "cmocka_unit_test", "",
};
#undef CALL
#undef TWIN

static void libc_has_what_dlsym_finds(void **state)
{
    (void)state;
    struct shim_object libc;
    void *handle = dlopen("libc.so.6", RTLD_NOW);
    unsigned found = 0, indirect = 0;
    bool is_indirect;
    assert_non_null(handle);
    assert_true(shim_object_of((const void *)gnu_get_libc_version, &libc));
    assert_non_null(libc.versions);
    for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        void *p = shim_object_symbol(&libc, wanted[i], &is_indirect);
        if (!is_indirect && p != dlsym(handle, wanted[i]))
            fail_msg("%s: %p, not %p", wanted[i], p, dlsym(handle, wanted[i]));
        found += p != NULL;
        indirect += is_indirect;
    }
    assert_true(found > 150);
    assert_true(indirect > 0 && indirect < 20);
    dlclose(handle);
}

/* libc's own function, also where this test runs under libovl.so, whose function puts itself last. */
static shim_iterate *libc_iterate(void)
{
    void *handle = dlopen("libc.so.6", RTLD_NOW);
    assert_non_null(handle);
    void *p = dlsym(handle, "dl_iterate_phdr");
    dlclose(handle);
    return (shim_iterate *)p;
}

static void objects_come_in_the_order_of_the_search(void **state)
{
    (void)state;
    struct shim_object objects[32], libc;
    bool is_indirect, met = false;
    void *first = NULL;
    const void *here = (const void *)libc_has_what_dlsym_finds;
    shim_iterate *iterate = libc_iterate();
    const int n = shim_objects_behind(iterate, here, objects, 32);
    assert_in_range(n, 1, 32);
    assert_int_equal(shim_objects_behind(iterate, here, objects, n), n);
    assert_int_equal(shim_objects_behind(iterate, here, objects, n - 1), -1);
    assert_int_equal(shim_objects_behind(iterate, &n, objects, 32), -1); /* the stack */
    assert_true(shim_object_of((const void *)gnu_get_libc_version, &libc));
    for (int i = 0; i < n; i++) {
        met |= objects[i].base == libc.base;
        if (!first)
            first = shim_object_symbol(&objects[i], "openat", &is_indirect);
    }
    assert_true(met);
    assert_ptr_equal(first, dlsym(RTLD_NEXT, "openat"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(libc_has_what_dlsym_finds),
        cmocka_unit_test(objects_come_in_the_order_of_the_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
