/* SPDX-License-Identifier: MIT
 *
 * Merged listings: names, order, types and numbers, which agree with what look-up and stat say (C-2.5).
 */
#define _GNU_SOURCE
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Every entry must be found by name with the same type and number. */
static void check_agrees(struct fixture *f, const char *path)
{
    struct ovl_listing listing;
    struct stat st;
    assert_int_equal(ovl_list(&f->ctx, find(f, path), &listing), 0);
    for (size_t i = 0; i < listing.count; i++) {
        const struct ovl_entry *e = &listing.entry[i];
        char *below;
        assert_true(asprintf(&below, "%s/%s", path, e->name) > 0);
        if (path[0] == '\0' && i == 1) /* ".." of a mount is outside */
            st = stat_of(f, "");
        else
            assert_int_equal(op_stat(f, below, &st), 0);
        assert_int_equal(e->ino, st.st_ino);
        assert_int_equal(e->type, IFTODT(st.st_mode));
        free(below);
    }
    ovl_listing_free(&listing);
}

static void names_once_sorted_by_bytes(void **state)
{
    struct fixture *f = *state;
    make_file(f, "upper/b", 0644, "");
    make_file(f, "lower1/b", 0644, "");
    make_file(f, "lower1/a", 0644, "");
    make_file(f, "lower2/ab", 0644, "");
    make_file(f, "lower2/B", 0644, "");
    make_file(f, "lower2/\xc3\xa9", 0644, "");
    make_dir(f, "lower1/d", 0755);
    make_dir(f, "lower2/d", 0755);
    fixture_open(f, "");
    assert_string_equal(names(f, ""), "B a ab b d \xc3\xa9 ");
    struct ovl_listing listing;
    assert_int_equal(ovl_list(&f->ctx, find(f, "/d"), &listing), 0);
    assert_int_equal(listing.count, 2);
    ovl_listing_free(&listing);
    assert_int_equal(ovl_list(&f->ctx, find(f, "/a"), &listing), -ENOTDIR);
    assert_int_equal(ovl_list(&f->ctx, find(f, "/none"), &listing), -ENOENT);
}

static void native_keeps_the_order_of_the_layers(void **state)
{
    struct fixture *f = *state;
    char path[64];
    for (int i = 0; i < 40; i++) {
        snprintf(path, sizeof path, "%s/%02d", i % 2 ? "upper" : "lower1", (i * 7) % 40);
        make_file(f, path, 0644, "");
    }
    fixture_open(f, ",readdir=native");
    char expected[256] = "";
    DIR *dir;
    struct dirent *d;
    for (int k = 0; k < 2; k++) {
        dir = opendir(real(f, k ? "lower1" : "upper"));
        while ((d = readdir(dir)))
            if (d->d_name[0] != '.')
                strcat(strcat(expected, d->d_name), " ");
        closedir(dir);
    }
    assert_string_equal(names(f, ""), expected);
}

static void types_and_numbers_agree_with_stat(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/d/file", 0644, "x");
    make_link(f, "lower1/d/link", "nowhere");
    make_node(f, "lower1/d/fifo", S_IFIFO | 0644, 0);
    make_dir(f, "lower1/d/dir", 0755);
    make_dir(f, "lower2/d/dir", 0755);
    make_dir(f, "upper/d/dir", 0755);
    make_file(f, "lower2/d/dir/deep", 0644, "");
    make_file(f, "lower1/d/changed", 0644, "");
    make_file(f, "upper/d/own", 0644, "");
    fixture_open(f, "");
    assert_int_equal(op_write(f, "/d/changed", O_WRONLY, 0, "new"), 0);
    assert_int_equal(op_copy_up(f, "/d/link", OVL_COPY_ALL), 0);
    check_agrees(f, "");
    check_agrees(f, "/d");
    check_agrees(f, "/d/dir");
}

static void many_names(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 3000 };
    char path[64];
    for (int i = 0; i < COUNT; i++) {
        snprintf(path, sizeof path, "%s/file-with-a-name-%06d", i % 3 ? "lower2" : "lower1", i);
        make_file(f, path, 0644, "");
        if (i % 5 == 0) {
            snprintf(path, sizeof path, "upper/.wh.file-with-a-name-%06d", i);
            make_file(f, path, 0644, "");
        }
    }
    fixture_open(f, "");
    struct ovl_listing listing;
    assert_int_equal(ovl_list(&f->ctx, find(f, ""), &listing), 0);
    assert_int_equal(listing.count, 2 + COUNT - COUNT / 5);
    for (size_t i = 3; i < listing.count; i++)
        assert_true(strcmp(listing.entry[i - 1].name, listing.entry[i].name) < 0);
    ovl_listing_free(&listing);
}

static void the_work_directory_never_shows(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/a", 0644, "");
    fixture_open(f, "");
    assert_int_equal(op_unlink(f, "/a"), 0);
    assert_int_equal(op_mkdir(f, "/a", 0755), 0);
    assert_string_equal(names(f, ""), "a ");
    assert_string_equal(names(f, "/a"), "");
}

/* C-1.9: a mount below shows as an entry, also where no layer has it. */
static void mounts_below_show(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/d/x", 0644, "");
    make_file(f, "lower2/inner", 0644, "");
    fixture_open_conf(f, "mount=@/mount,lowerdir=@/lower1,upperdir=@/upper;mount=@/mount/d/sub,lowerdir=@/lower2;"
                         "mount=@/mount/d/x,lowerdir=@/lower2");
    assert_string_equal(names(f, "/d"), "sub x ");
    assert_string_equal(names(f, "/d/x"), "inner ");
    check_agrees(f, "/d");
}

static void a_listing_needs_no_upper(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/a", 0644, "");
    make_file(f, "lower2/.wh.a", 0644, "");
    make_file(f, "lower1/.wh.b", 0644, "");
    make_file(f, "lower2/b", 0644, "");
    fixture_open_read_only(f);
    assert_string_equal(names(f, ""), "a ");
    check_agrees(f, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(names_once_sorted_by_bytes),        FIXTURE_TEST(native_keeps_the_order_of_the_layers),
        FIXTURE_TEST(types_and_numbers_agree_with_stat), FIXTURE_TEST(many_names),
        FIXTURE_TEST(the_work_directory_never_shows),    FIXTURE_TEST(mounts_below_show),
        FIXTURE_TEST(a_listing_needs_no_upper),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
