/* SPDX-License-Identifier: MIT
 *
 * Names that are linked in a lower layer stay links of one object: what is written through one is read through all,
 * they share one identity, and st_nlink counts the names of the merged view (C-3.5, C-2.6).
 */
#define _GNU_SOURCE
#include "fault_sys.h"
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct stat stat_at(struct fixture *f, const char *path)
{
    struct stat st;
    assert_int_equal(op_stat(f, path, &st), 0);
    return st;
}

static unsigned links_of(struct fixture *f, const char *path)
{
    return (unsigned)stat_at(f, path).st_nlink;
}

static ino_t ino_of(struct fixture *f, const char *path)
{
    return stat_at(f, path).st_ino;
}

static void append(struct fixture *f, const char *path, const char *text)
{
    assert_int_equal(op_write(f, path, O_WRONLY | O_APPEND, 0, text), 0);
}

/* What the index directory holds. */
static unsigned indexed(const struct fixture *f)
{
    unsigned n = 0;
    DIR *dir = opendir(real(f, "upper.work/state/link"));
    assert_non_null(dir);
    for (struct dirent *d; (d = readdir(dir));)
        n += d->d_name[0] != '.';
    closedir(dir);
    return n;
}

/* Three names of one file, and a file of its own. */
static void open_linked(struct fixture *f, const char *options)
{
    make_file(f, "lower2/a", 0644, "text");
    make_hard_link(f, "lower2/b", "lower2/a");
    make_hard_link(f, "lower2/d/c", "lower2/a");
    make_file(f, "lower1/other", 0644, "other");
    fixture_open(f, options);
}

static void writing_through_one_is_read_through_all(void **state)
{
    struct fixture *f = *state;
    open_linked(f, "");
    ino_t ino = ino_of(f, "/a");
    append(f, "/a", "+1");
    assert_string_equal(merged_text(f, "/b"), "text+1");
    assert_string_equal(merged_text(f, "/d/c"), "text+1");
    append(f, "/d/c", "+2");
    assert_string_equal(merged_text(f, "/a"), "text+1+2");
    assert_string_equal(merged_text(f, "/b"), "text+1+2");
    assert_int_equal(ino_of(f, "/a"), ino);
    assert_int_equal(ino_of(f, "/b"), ino);
    assert_int_equal(ino_of(f, "/d/c"), ino);
    assert_int_equal(links_of(f, "/a"), 3);
    assert_int_equal(links_of(f, "/b"), 3);
    /* The upper has the names that were written through, as links of one file; reading has made none. */
    assert_int_equal(stat_of(f, "upper/a").st_ino, stat_of(f, "upper/d/c").st_ino);
    assert_false(is_there(f, "upper/b"));
}

static void emptying_one_empties_all(void **state)
{
    struct fixture *f = *state;
    open_linked(f, "");
    int fd = op_open(f, "/a", O_WRONLY | O_TRUNC, 0);
    assert_true(fd >= 0);
    assert_string_equal(merged_text(f, "/b"), "");
    assert_int_equal(write(fd, "new", 3), 3);
    close(fd);
    assert_string_equal(merged_text(f, "/d/c"), "new");
    fd = op_open(f, "/b", O_RDWR | O_TRUNC, 0);
    assert_true(fd >= 0);
    close(fd);
    assert_string_equal(merged_text(f, "/a"), "");
}

static void a_listing_has_the_same_number(void **state)
{
    struct fixture *f = *state;
    struct ovl_listing listing;
    open_linked(f, "");
    append(f, "/a", "+");
    ino_t ino = ino_of(f, "/a");
    assert_int_equal(ovl_list(&f->ctx, find(f, "/"), &listing), 0);
    for (size_t i = 0; i < listing.count; i++)
        if (listing.entry[i].length == 1 && listing.entry[i].name[0] != '.' && listing.entry[i].name[0] != 'd')
            assert_int_equal(listing.entry[i].ino, ino);
    ovl_listing_free(&listing);
}

static void descriptors_of_it_agree(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    char link[64], shown[OVL_PATH_MAX], path[OVL_PATH_MAX];
    open_linked(f, "");
    struct stat before = stat_at(f, "/b");
    append(f, "/a", "+");
    int fd = op_open(f, "/b", O_RDONLY, 0);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    ovl_identity(f->space, fd, "", AT_EMPTY_PATH, &st);
    assert_int_equal(st.st_ino, before.st_ino);
    assert_int_equal(st.st_dev, before.st_dev);
    assert_int_equal(st.st_nlink, 3);
    /* It was opened in the work directory, and shows as a name of the file. */
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    assert_true(n > 0);
    path[n] = '\0';
    assert_true(ovl_linked_path(f->space, path, shown, sizeof shown) > 0);
    assert_string_equal(shown, merged(f, "/a"));
    assert_int_equal(ovl_linked_path(f->space, real(f, "upper/a"), shown, sizeof shown), -ENOENT);
    close(fd);
}

static void unlinking_names(void **state)
{
    struct fixture *f = *state;
    open_linked(f, "");
    append(f, "/a", "+1");
    assert_int_equal(op_unlink(f, "/a"), 0); /* the only one that the upper had */
    assert_int_equal(links_of(f, "/b"), 2);
    assert_string_equal(merged_text(f, "/b"), "text+1");
    append(f, "/b", "+2");
    assert_string_equal(merged_text(f, "/d/c"), "text+1+2");
    assert_int_equal(op_unlink(f, "/d/c"), 0); /* one that the upper never had */
    assert_int_equal(links_of(f, "/b"), 1);
    assert_int_equal(op_unlink(f, "/b"), 0);
    assert_int_equal(indexed(f), 0);
    assert_string_equal(names(f, "/"), "d other ");
    assert_string_equal(names(f, "/d"), "");
}

static void unlinking_before_anything_was_copied_up(void **state)
{
    struct fixture *f = *state;
    open_linked(f, "");
    assert_int_equal(op_unlink(f, "/a"), 0);
    assert_int_equal(links_of(f, "/b"), 2);
    append(f, "/b", "+");
    assert_int_equal(links_of(f, "/b"), 2);
    assert_int_equal(links_of(f, "/d/c"), 2);
    assert_string_equal(merged_text(f, "/d/c"), "text+");
}

static void unlinking_all_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    open_linked(f, "");
    assert_int_equal(op_unlink(f, "/a"), 0);
    assert_int_equal(op_unlink(f, "/b"), 0);
    assert_int_equal(links_of(f, "/d/c"), 1);
    assert_int_equal(indexed(f), 1);
    assert_int_equal(op_unlink(f, "/d/c"), 0);
    assert_int_equal(indexed(f), 0);
}

static void renaming_names(void **state)
{
    struct fixture *f = *state;
    open_linked(f, "");
    assert_int_equal(op_rename(f, "/a", "/b", 0), 0); /* two links of one file: nothing is done (rename(2)) */
    assert_string_equal(names(f, "/"), "a b d other ");
    assert_false(is_there(f, "upper/a"));
    append(f, "/a", "+");
    assert_int_equal(op_rename(f, "/a", "/b", 0), 0);
    assert_string_equal(names(f, "/"), "a b d other ");
    ino_t ino = ino_of(f, "/a");
    assert_int_equal(op_rename(f, "/b", "/moved", 0), 0);
    assert_int_equal(ino_of(f, "/moved"), ino);
    assert_int_equal(links_of(f, "/moved"), 3);
    append(f, "/moved", "+");
    assert_string_equal(merged_text(f, "/d/c"), "text++");
    assert_int_equal(op_rename(f, "/other", "/d/c", 0), 0); /* over one that only the lower has */
    assert_string_equal(merged_text(f, "/d/c"), "other");
    assert_int_equal(links_of(f, "/d/c"), 1);
    assert_int_equal(links_of(f, "/a"), 2);
}

static void exchanging_names(void **state)
{
    struct fixture *f = *state;
    open_linked(f, "");
    append(f, "/a", "+");
    assert_int_equal(op_rename(f, "/b", "/other", 2), 0);
    assert_string_equal(merged_text(f, "/other"), "text+");
    assert_string_equal(merged_text(f, "/b"), "other");
    assert_int_equal(links_of(f, "/other"), 3);
    append(f, "/other", "+");
    assert_string_equal(merged_text(f, "/d/c"), "text++");
}

static void linking_from_a_name(void **state)
{
    struct fixture *f = *state;
    open_linked(f, "");
    append(f, "/a", "+");
    assert_int_equal(op_link(f, "/b", "/d/new"), 0);
    assert_int_equal(links_of(f, "/a"), 4);
    assert_int_equal(ino_of(f, "/d/new"), ino_of(f, "/d/c"));
    append(f, "/d/new", "+");
    assert_string_equal(merged_text(f, "/d/c"), "text++");
}

static void renaming_a_directory_of_names(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/h/one", 0644, "text");
    make_hard_link(f, "lower1/h/two", "lower1/h/one");
    make_hard_link(f, "lower1/k/three", "lower1/h/one");
    fixture_open(f, "");
    ino_t ino = ino_of(f, "/h/one");
    assert_int_equal(op_rename(f, "/h", "/moved", 0), 0);
    assert_int_equal(ino_of(f, "/moved/one"), ino);
    assert_int_equal(ino_of(f, "/moved/two"), ino);
    assert_int_equal(links_of(f, "/k/three"), 3);
    append(f, "/moved/two", "+");
    assert_string_equal(merged_text(f, "/moved/one"), "text+");
    assert_string_equal(merged_text(f, "/k/three"), "text+");
    assert_int_equal(op_rename(f, "/k", "/moved/k", 0), 0);
    append(f, "/moved/k/three", "+");
    assert_string_equal(merged_text(f, "/moved/one"), "text++");
    assert_int_equal(links_of(f, "/moved/one"), 3);
    assert_int_equal(leftovers(f), 0);
}

static void other_kinds_of_objects(void **state)
{
    struct fixture *f = *state;
    make_link(f, "lower1/link", "target");
    make_hard_link(f, "lower1/link2", "lower1/link");
    make_node(f, "lower1/fifo", S_IFIFO | 0644, 0);
    make_hard_link(f, "lower1/fifo2", "lower1/fifo");
    fixture_open(f, "");
    ino_t link = ino_of(f, "/link"), fifo = ino_of(f, "/fifo");
    assert_int_equal(op_copy_up(f, "/link", OVL_COPY_ALL), 0);
    assert_int_equal(op_copy_up(f, "/fifo", OVL_COPY_ALL), 0);
    assert_int_equal(chmod(real(f, "upper/fifo"), 0600), 0);
    assert_int_equal(stat_at(f, "/fifo2").st_mode & 07777, 0600);
    assert_int_equal(ino_of(f, "/fifo2"), fifo);
    assert_int_equal(ino_of(f, "/link2"), link);
    assert_int_equal(links_of(f, "/link2"), 2);
}

static void access_is_that_of_the_copy(void **state)
{
    struct fixture *f = *state;
    open_linked(f, "");
    assert_int_equal(op_copy_up(f, "/a", OVL_COPY_ALL), 0);
    assert_int_equal(chmod(real(f, "upper/a"), 0), 0);
    assert_int_equal(op_access(f, "/b", W_OK), op_access(f, "/a", W_OK));
    assert_int_equal(chmod(real(f, "upper/a"), 0600), 0);
    assert_int_equal(op_access(f, "/b", W_OK), 0);
}

static void the_kernel_form(void **state)
{
    struct fixture *f = *state;
    if (mknod(real(f, "upper/device"), S_IFCHR, 0) != 0)
        skip_because("no 0/0 device can be made");
    unlink(real(f, "upper/device"));
    open_linked(f, ",whiteout=kernel");
    append(f, "/a", "+");
    assert_int_equal(op_unlink(f, "/a"), 0);
    assert_int_equal(links_of(f, "/b"), 2);
    append(f, "/b", "+");
    assert_string_equal(merged_text(f, "/d/c"), "text++");
    assert_int_equal(op_rename(f, "/b", "/e", 0), 0);
    assert_int_equal(op_unlink(f, "/e"), 0);
    assert_int_equal(op_unlink(f, "/d/c"), 0);
    assert_int_equal(indexed(f), 0);
}

static void a_new_run_knows_them(void **state)
{
    struct fixture *f = *state;
    open_linked(f, "");
    ino_t ino = ino_of(f, "/b");
    append(f, "/a", "+1");
    assert_int_equal(op_unlink(f, "/a"), 0);
    fixture_close(f);
    fixture_open(f, "");
    ovl_space_clean(&f->ctx);
    assert_string_equal(merged_text(f, "/b"), "text+1");
    assert_int_equal(ino_of(f, "/b"), ino);
    assert_int_equal(links_of(f, "/b"), 2);
    append(f, "/d/c", "+2");
    assert_string_equal(merged_text(f, "/b"), "text+1+2");
}

/* An index that no name needs: the last one was removed by a process that was killed before it could do the rest. */
static void a_new_run_clears_what_is_left(void **state)
{
    struct fixture *f = *state;
    make_file(f, "lower1/a", 0644, "text");
    make_hard_link(f, "lower1/b", "lower1/a");
    fixture_open(f, "");
    append(f, "/a", "+");
    assert_int_equal(op_unlink(f, "/b"), 0);
    make_file(f, "upper/.wh.a", 0644, "");
    assert_int_equal(unlink(real(f, "upper/a")), 0);
    assert_int_equal(indexed(f), 3);
    fixture_close(f);
    fixture_open(f, "");
    ovl_space_clean(&f->ctx);
    assert_int_equal(indexed(f), 0);
}

/* The number of a lower file may be given to another one between runs. */
static void an_index_is_of_one_file_only(void **state)
{
    struct fixture *f = *state;
    open_linked(f, "");
    append(f, "/a", "+");
    struct stat st = stat_of(f, "lower2/a");
    struct ovl_group one, two;
    assert_true(ovl_group_path(f->ovl, &st, 1, &one));
    assert_true(ovl_group_path(f->ovl, &st, 2, &two));
    assert_string_not_equal(one.path, two.path);
}

static void without_the_work_directory_it_is_read(void **state)
{
    struct fixture *f = *state;
    if (geteuid() != 0)
        skip_because("needs another user");
    open_linked(f, "");
    append(f, "/a", "+");
    fixture_close(f);
    fflush(NULL);
    assert_int_equal(chmod(f->root, 0755), 0);
    fixture_open(f, "");
    const char *conf = ovl_space_record(f->space);
    pid_t pid = fork();
    if (pid == 0) {
        struct ovl_space *space;
        struct ovl_ctx ctx;
        struct ovl_node *node;
        struct ovl_message why;
        if (setgid(12345) || setuid(12345) || ovl_space_import(conf, &space, &why) ||
            ovl_ctx_begin(&ctx, space, &ovl_ops_kernel))
            _exit(1);
        node = ovl_node_new(&ctx);
        if (ovl_resolve(&ctx, "/", merged(f, "/b"), 0, node) < 0 || !node->exists)
            _exit(2);
        int fd = ovl_open(&ctx, node, O_RDONLY | O_CLOEXEC, 0);
        _exit(fd < 0 ? 3 : ovl_open(&ctx, node, O_RDWR | O_CLOEXEC, 0) == -EACCES ? 0 : 4);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* The device is part of what a group is known by. */
static void a_lower_on_another_file_system(void **state)
{
    struct fixture *f = *state;
    char other[] = "/dev/shm/ovl-unit-XXXXXX";
    char conf[256], a[128], b[128];
    struct stat there;
    if (!mkdtemp(other))
        skip_because("no file system beside the upper's");
    snprintf(a, sizeof a, "%s/a", other);
    snprintf(b, sizeof b, "%s/b", other);
    int fd = open(a, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "text", 4), 4);
    close(fd);
    assert_int_equal(link(a, b), 0);
    assert_int_equal(stat(a, &there), 0);
    snprintf(conf, sizeof conf, "mount=@/mount,lowerdir=@/lower1:%s,upperdir=@/upper", other);
    fixture_open_conf(f, conf);
    append(f, "/b", "+");
    assert_string_equal(merged_text(f, "/a"), "text+");
    assert_int_equal(stat_at(f, "/a").st_dev, there.st_dev);
    assert_int_equal(stat_at(f, "/a").st_ino, there.st_ino);
    assert_int_equal(links_of(f, "/b"), 2);
    assert_int_equal(op_unlink(f, "/b"), 0);
    assert_string_equal(merged_text(f, "/a"), "text+");
    assert_int_equal(links_of(f, "/a"), 1);
    unlink(a);
    unlink(b);
    rmdir(other);
}

/* Every process opens a name of its own of one file at the same time and adds lines to it. */
static void processes_share_one_file(void **state)
{
    struct fixture *f = *state;
    enum { PROCESSES = 4, ROUNDS = 25, LINES = 3 };
    char name[64];
    for (int round = 0; round < ROUNDS; round++) {
        snprintf(name, sizeof name, "lower1/%d-0", round);
        make_file(f, name, 0644, "");
        for (int i = 1; i < PROCESSES; i++) {
            char more[64];
            snprintf(more, sizeof more, "lower1/%d-%d", round, i);
            make_hard_link(f, more, name);
        }
    }
    fixture_open(f, "");
    fflush(NULL);
    for (int i = 0; i < PROCESSES; i++)
        if (fork() == 0) {
            for (int round = 0; round < ROUNDS; round++) {
                snprintf(name, sizeof name, "/%d-%d", round, i);
                for (int line = 0; line < LINES; line++)
                    if (op_write(f, name, O_WRONLY | O_APPEND, 0, "line\n") < 0)
                        _exit(1);
            }
            _exit(0);
        }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    for (int round = 0; round < ROUNDS; round++) {
        snprintf(name, sizeof name, "/%d-1", round);
        assert_int_equal(stat_at(f, name).st_size, PROCESSES * LINES * 5);
        assert_int_equal(links_of(f, name), PROCESSES);
    }
}

/* ---- kills ------------------------------------------------------------------------------------------------ */

static int append_to_a(struct fixture *f)
{
    return op_write(f, "/a", O_WRONLY | O_APPEND, 0, "+");
}

static int empty_a(struct fixture *f)
{
    int fd = op_open(f, "/a", O_WRONLY | O_TRUNC, 0);
    return fd < 0 ? fd : ovl_sys_close(fd);
}

static int unlink_a(struct fixture *f)
{
    return op_unlink(f, "/a");
}

static int rename_b(struct fixture *f)
{
    return op_rename(f, "/b", "/moved", 0);
}

static int rename_d(struct fixture *f)
{
    return op_rename(f, "/d", "/moved", 0);
}

/* Do it in a process that is killed before its call number n: whether it needs that many. */
static bool kill_at(struct fixture *f, int (*act)(struct fixture *f), unsigned n)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        fault_arm(n, FAULT_KILL);
        int r = act(f);
        fault_disarm();
        _exit(r < 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) || status == 0);
    return WIFSIGNALED(status);
}

/* Every name that is left shows the same file, whichever is written to, and no name is missing in the count. */
static void check_links(struct fixture *f, unsigned n)
{
    static const char *const path[] = {"/a", "/b", "/moved", "/d/c", "/moved/c"};
    enum { PATHS = sizeof path / sizeof *path };
    const char *left[PATHS];
    unsigned count = 0;
    struct stat st;
    for (size_t i = 0; i < PATHS; i++)
        if (op_stat(f, path[i], &st) == 0 && S_ISREG(st.st_mode))
            left[count++] = path[i];
    assert_in_range(count, 2, 3);
    for (unsigned i = 0; i < count; i++) {
        append(f, left[i], "!");
        for (unsigned k = 0; k < count; k++) {
            if (strcmp(merged_text(f, left[i]), merged_text(f, left[k])) != 0)
                fail_msg("killed at call %u: %s and %s are two files", n, left[i], left[k]);
            assert_int_equal(ino_of(f, left[k]), ino_of(f, left[i]));
            assert_true(links_of(f, left[k]) >= count);
        }
    }
}

static void try_kills(int (*prepare)(struct fixture *f), int (*act)(struct fixture *f), const char *options)
{
    bool killed = true;
    for (unsigned n = 1; killed; n++) {
        void *state;
        fixture_setup(&state);
        struct fixture *f = state;
        open_linked(f, options);
        if (prepare)
            assert_int_equal(prepare(f), 0);
        killed = kill_at(f, act, n);
        fixture_close(f);
        fixture_open(f, options); /* the next run */
        ovl_space_clean(&f->ctx);
        check_links(f, n);
        assert_int_equal(leftovers(f), 0);
        fixture_teardown(&state);
    }
}

static void killed_anywhere_they_stay_linked(void **state)
{
    (void)state;
    try_kills(NULL, append_to_a, "");
    try_kills(NULL, empty_a, "");
    try_kills(append_to_a, unlink_a, "");
    try_kills(NULL, rename_b, "");
    try_kills(NULL, rename_d, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(writing_through_one_is_read_through_all),
        FIXTURE_TEST(emptying_one_empties_all),
        FIXTURE_TEST(a_listing_has_the_same_number),
        FIXTURE_TEST(descriptors_of_it_agree),
        FIXTURE_TEST(unlinking_names),
        FIXTURE_TEST(unlinking_before_anything_was_copied_up),
        FIXTURE_TEST(unlinking_all_leaves_nothing),
        FIXTURE_TEST(renaming_names),
        FIXTURE_TEST(exchanging_names),
        FIXTURE_TEST(linking_from_a_name),
        FIXTURE_TEST(renaming_a_directory_of_names),
        FIXTURE_TEST(other_kinds_of_objects),
        FIXTURE_TEST(access_is_that_of_the_copy),
        FIXTURE_TEST(the_kernel_form),
        FIXTURE_TEST(a_new_run_knows_them),
        FIXTURE_TEST(a_new_run_clears_what_is_left),
        FIXTURE_TEST(an_index_is_of_one_file_only),
        FIXTURE_TEST(without_the_work_directory_it_is_read),
        FIXTURE_TEST(a_lower_on_another_file_system),
        FIXTURE_TEST(processes_share_one_file),
        cmocka_unit_test(killed_anywhere_they_stay_linked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
