/* SPDX-License-Identifier: MIT
 *
 * A call's memory: slots of a pool, mappings when they are all taken, nothing shared between threads (C-4.5).
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void memory_is_aligned_and_bounded(void **state)
{
    (void)state;
    struct ovl_ctx ctx;
    assert_int_equal(ovl_ctx_begin(&ctx, NULL, NULL), 0);
    char *a = ovl_ctx_alloc(&ctx, 1);
    char *b = ovl_ctx_alloc(&ctx, 100);
    assert_true(a && b && b > a);
    assert_int_equal((uintptr_t)b % 16, 0);
    size_t mark = ctx.used;
    assert_non_null(ovl_ctx_alloc(&ctx, 1000));
    ovl_ctx_reset(&ctx, mark);
    assert_int_equal(ctx.used, mark);
    assert_null(ovl_ctx_alloc(&ctx, ctx.size));
    assert_null(ovl_ctx_alloc(&ctx, SIZE_MAX));
    assert_int_equal(ctx.used, mark);
    ovl_ctx_end(&ctx);
}

static void calls_within_calls_have_their_own(void **state)
{
    (void)state;
    enum { DEEP = 40 }; /* more than there are slots */
    struct ovl_ctx ctx[DEEP];
    uint32_t held = ovl_ctx_held();
    for (int i = 0; i < DEEP; i++) {
        assert_int_equal(ovl_ctx_begin(&ctx[i], NULL, NULL), 0);
        memset(ovl_ctx_alloc(&ctx[i], 5000), i, 5000);
        assert_true(ovl_ctx_holds(ctx[i].memory + 4999));
    }
    const char *mapping = ctx[DEEP - 1].memory;
    for (int i = 0; i < DEEP; i++)
        for (int k = 0; k < 5000; k += 499)
            assert_int_equal(ctx[i].memory[k], i);
    for (int i = DEEP - 1; i >= 0; i--)
        ovl_ctx_end(&ctx[i]);
    assert_int_equal(ovl_ctx_held(), held);
    assert_false(ovl_ctx_holds(mapping));
}

static void memory_of_a_call_is_known(void **state)
{
    struct ovl_ctx ctx;
    assert_int_equal(ovl_ctx_begin(&ctx, NULL, NULL), 0);
    char *p = ovl_ctx_alloc(&ctx, 100);
    assert_true(ovl_ctx_holds(p));
    assert_true(ovl_ctx_holds(p + 99));
    assert_false(ovl_ctx_holds(&ctx));
    assert_false(ovl_ctx_holds(NULL));
    assert_false(ovl_ctx_holds(state));
    ovl_ctx_end(&ctx);
}

static void lost_slots_come_back(void **state)
{
    (void)state;
    struct ovl_ctx lost;
    uint32_t before = ovl_ctx_held();
    assert_int_equal(ovl_ctx_begin(&lost, NULL, NULL), 0);
    int slot = lost.slot;
    assert_int_not_equal(ovl_ctx_held(), before);
    ovl_ctx_restore(before);
    assert_int_equal(ovl_ctx_held(), before);
    assert_int_equal(ovl_ctx_begin(&lost, NULL, NULL), 0);
    assert_int_equal(lost.slot, slot);
    ovl_ctx_end(&lost);
}

static void *write_and_read(void *arg)
{
    unsigned *wrong = arg;
    for (unsigned i = 0; i < 3000; i++) {
        struct ovl_ctx ctx;
        if (ovl_ctx_begin(&ctx, NULL, NULL) < 0) {
            __atomic_add_fetch(wrong, 1, __ATOMIC_RELAXED);
            continue;
        }
        unsigned char *p = ovl_ctx_alloc(&ctx, 256);
        memset(p, (int)(i % 251), 256);
        for (int k = 0; k < 256; k++)
            if (p[k] != i % 251)
                __atomic_add_fetch(wrong, 1, __ATOMIC_RELAXED);
        ovl_ctx_end(&ctx);
    }
    return NULL;
}

static void threads_share_nothing(void **state)
{
    (void)state;
    pthread_t thread[8];
    unsigned wrong = 0;
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, write_and_read, &wrong), 0);
    for (int i = 0; i < 8; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_aligned_and_bounded), cmocka_unit_test(calls_within_calls_have_their_own),
        cmocka_unit_test(memory_of_a_call_is_known),     cmocka_unit_test(lost_slots_come_back),
        cmocka_unit_test(threads_share_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
