/* SPDX-License-Identifier: MIT
 *
 * The helpers of text.c, and the log.
 */
#include "fixture.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static int sign(int v)
{
    return (v > 0) - (v < 0);
}

static void test_strings(void **state)
{
    static const char *const sample[] = {"", "a", "ab", "abc", "abd", "b", "\xff", "/", "a/b/"};
    (void)state;
    for (size_t i = 0; i < sizeof sample / sizeof *sample; i++) {
        assert_int_equal(ovl_strlen(sample[i]), strlen(sample[i]));
        assert_ptr_equal(ovl_strchr(sample[i], '/'), strchr(sample[i], '/'));
        assert_ptr_equal(ovl_strrchr(sample[i], '/'), strrchr(sample[i], '/'));
        assert_ptr_equal(ovl_strchr(sample[i], '\0'), strchr(sample[i], '\0'));
        assert_ptr_equal(ovl_strrchr(sample[i], '\0'), strrchr(sample[i], '\0'));
        for (size_t k = 0; k < sizeof sample / sizeof *sample; k++) {
            assert_int_equal(sign(ovl_strcmp(sample[i], sample[k])), sign(strcmp(sample[i], sample[k])));
            assert_int_equal(ovl_streq(sample[i], sample[k]), i == k);
            assert_int_equal(ovl_has_prefix(sample[i], sample[k]),
                             strncmp(sample[i], sample[k], strlen(sample[k])) == 0);
        }
    }
}

static void test_append(void **state)
{
    char buf[8] = "ab";
    (void)state;
    assert_int_equal(ovl_append(buf, sizeof buf, 2, "cde"), 5);
    assert_string_equal(buf, "abcde");
    assert_int_equal(ovl_append(buf, sizeof buf, 5, "fg"), 7);
    assert_string_equal(buf, "abcdefg");
    assert_int_equal(ovl_append(buf, sizeof buf, 7, ""), 7);
    assert_int_equal(ovl_append(buf, sizeof buf, 7, "h"), -ENAMETOOLONG);
    assert_int_equal(ovl_append(buf, sizeof buf, 6, "gh"), -ENAMETOOLONG);
    assert_string_equal(buf, "abcdefg");
    assert_int_equal(ovl_append(buf, 0, 0, ""), -ENAMETOOLONG);
}

/* One line, whatever is in it; a long part keeps its end. */
static void test_append_shown(void **state)
{
    char buf[300], want[300];
    (void)state;
    assert_int_equal(ovl_append_shown(buf, sizeof buf, 0, "a\nb\x1b\x7f\xc3\xa9"), 7);
    assert_string_equal(buf, "a?b??\xc3\xa9");
    assert_int_equal(ovl_append_shown(buf, 10, 7, "cde"), 9);
    assert_string_equal(buf, "a?b??\xc3\xa9"
                             "cd");
    char part[1000];
    memset(part, 'x', sizeof part - 1);
    part[sizeof part - 1] = '\0';
    part[0] = 'a';
    part[sizeof part - 2] = 'z';
    assert_int_equal(ovl_append_shown(buf, sizeof buf, 0, part), 223);
    snprintf(want, sizeof want, "%.110s...%s", part, part + strlen(part) - 110);
    assert_string_equal(buf, want);
    part[240] = '\0';
    assert_int_equal(ovl_append_shown(buf, sizeof buf, 0, part), 240);
}

static void test_decimal(void **state)
{
    static const uint64_t sample[] = {0, 9, 10, 4294967295u, UINT64_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof sample / sizeof *sample; i++) {
        char got[24], want[24];
        snprintf(want, sizeof want, "%llu", (unsigned long long)sample[i]);
        assert_string_equal(ovl_decimal(got, sample[i]), want);
        const char *p = got;
        assert_true(ovl_parse_decimal(&p) == sample[i]);
        assert_int_equal(*p, '\0');
    }
    const char *p = "12x";
    assert_int_equal(ovl_parse_decimal(&p), 12);
    assert_string_equal(p, "x");
    assert_int_equal(ovl_parse_decimal(&p), 0);
    assert_string_equal(p, "x");
    p = "99999999999999999999999";
    assert_true(ovl_parse_decimal(&p) == UINT64_MAX);
    assert_string_equal(p, "");
}

static void test_is_below(void **state)
{
    (void)state;
    assert_true(ovl_is_below("/a", "/a", 2));
    assert_true(ovl_is_below("/a/b", "/a", 2));
    assert_false(ovl_is_below("/ab", "/a", 2));
    assert_false(ovl_is_below("/", "/a", 2));
    assert_false(ovl_is_below("", "/a", 2));
    assert_true(ovl_is_below("/a", "", 0));
    assert_true(ovl_is_below("", "", 0));
}

/* ---- the log ----------------------------------------------------------------------------------------------- */

static void test_log_levels(void **state)
{
    struct fixture *f = *state;
    char file[PATH_MAX];
    snprintf(file, sizeof file, "%s", real(f, "log"));
    ovl_log_set(OVL_LOG_WARN, file);
    assert_true(ovl_log_wants(OVL_LOG_ERROR));
    assert_true(ovl_log_wants(OVL_LOG_WARN));
    assert_false(ovl_log_wants(OVL_LOG_INFO));
    ovl_log_line(OVL_LOG_INFO, "no", NULL);
    assert_false(is_there(f, "log"));
    unsigned fds = open_fds();
    ovl_log_line(OVL_LOG_WARN, "one ", "line", NULL);
    ovl_log_line(OVL_LOG_ERROR, "two\nlines\x7f", NULL);
    assert_int_equal(open_fds(), fds);
    assert_string_equal(text_of(f, "log"), "libovl: one line\nlibovl: two?lines?\n");
    assert_int_equal(stat_of(f, "log").st_mode & 07777, 0600);
    ovl_log_set(OVL_LOG_DEBUG, NULL);
    assert_false(ovl_log_wants(OVL_LOG_ERROR));
    ovl_log_line(OVL_LOG_ERROR, "nowhere", NULL);
    ovl_log_set(OVL_LOG_DEBUG, "");
    assert_false(ovl_log_wants(OVL_LOG_ERROR));
}

/* 512 bytes with the newline, whole if it fits. */
static void test_log_long_lines(void **state)
{
    struct fixture *f = *state;
    char file[PATH_MAX], part[600], want[640];
    snprintf(file, sizeof file, "%s", real(f, "log"));
    ovl_log_set(OVL_LOG_WARN, file);
    memset(part, 'x', sizeof part);
    part[503] = '\0';
    ovl_log_line(OVL_LOG_WARN, part, NULL);
    snprintf(want, sizeof want, "libovl: %s\n", part);
    assert_string_equal(text_of(f, "log"), want);
    unlink(file);
    part[503] = 'x';
    part[599] = '\0';
    ovl_log_line(OVL_LOG_WARN, part, "never seen", NULL);
    snprintf(want, sizeof want, "libovl: %.500s...\n", part);
    assert_int_equal(strlen(want), 512);
    assert_string_equal(text_of(f, "log"), want);
    ovl_log_set(OVL_LOG_WARN, NULL);
}

/* A link in place of the log file is not followed; a FIFO that nobody reads blocks nobody. */
static void test_log_odd_files(void **state)
{
    struct fixture *f = *state;
    char file[PATH_MAX];
    snprintf(file, sizeof file, "%s", real(f, "log"));
    ovl_log_set(OVL_LOG_WARN, file);
    make_file(f, "other", 0644, "");
    make_link(f, "log", "other");
    ovl_log_line(OVL_LOG_WARN, "x", NULL);
    assert_string_equal(text_of(f, "other"), "");
    unlink(file);
    make_node(f, "log", S_IFIFO | 0600, 0);
    ovl_log_line(OVL_LOG_WARN, "x", NULL);
    ovl_log_set(OVL_LOG_WARN, NULL);
}

/* RFC 3629: each kind of character, and each kind of bytes that are none. */
/* Names that are numbered must not all come to the same few places of a table. */
static void test_hashes_of_numbered_names(void **state)
{
    static const char *const pattern[] = {"f%u", "%u", "file-%04u.c", "%u.txt"};
    enum { NAMES = 128 };
    (void)state;
    for (size_t p = 0; p < sizeof pattern / sizeof *pattern; p++) {
        unsigned taken[NAMES] = {0};
        for (unsigned i = 0; i < NAMES; i++) {
            char name[32];
            uint64_t hash = OVL_HASH_BEGIN;
            snprintf(name, sizeof name, pattern[p], i);
            for (const char *c = name; *c; c++)
                hash = ovl_hash_add(hash, *c);
            assert_true(++taken[ovl_hash_fold(hash) % NAMES] <= 8);
        }
    }
}

static void test_utf8(void **state)
{
    (void)state;
    assert_int_equal(ovl_utf8("a"), 1);
    assert_int_equal(ovl_utf8("\x7f"), 1);
    assert_int_equal(ovl_utf8("\xc2\x80"), 2);
    assert_int_equal(ovl_utf8("\xe0\xa0\x80"), 3);
    assert_int_equal(ovl_utf8("\xed\x9f\xbf"), 3);
    assert_int_equal(ovl_utf8("\xf4\x8f\xbf\xbf"), 4);
    static const char *const wrong[] = {
        "\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
        "\xf5", "\xff",     "\xc2",         "\xe2\x82",     "\xf0\x9d\x84",     "\xc2\x61",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(ovl_utf8(wrong[i]), 0);
}

/* C-4.6: a file size limit kills nobody, not even later */
static void test_log_file_size_limit(void **state)
{
    struct fixture *f = *state;
    char file[PATH_MAX];
    snprintf(file, sizeof file, "%s", real(f, "log"));
    make_file(f, "log", 0600, "full");
    pid_t child = fork();
    if (child == 0) {
        const struct rlimit limit = {4, 4};
        signal(SIGXFSZ, SIG_DFL);
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
            _exit(2);
        ovl_log_set(OVL_LOG_WARN, file);
        ovl_log_line(OVL_LOG_WARN, "x", NULL);
        sigset_t pending;
        sigpending(&pending);
        _exit(sigismember(&pending, SIGXFSZ) ? 3 : 0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_string_equal(text_of(f, "log"), "full");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_append),
        cmocka_unit_test(test_append_shown),
        cmocka_unit_test(test_decimal),
        cmocka_unit_test(test_is_below),
        cmocka_unit_test(test_hashes_of_numbered_names),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test_setup_teardown(test_log_levels, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log_long_lines, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log_odd_files, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_log_file_size_limit, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
