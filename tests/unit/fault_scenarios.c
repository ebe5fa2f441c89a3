/* SPDX-License-Identifier: MIT
 *
 * The changes that are tried with every system call failing: see fault_run.c.
 */
#define _GNU_SOURCE
#include "fault_run.h"

#include <stdio.h>
#include <stdlib.h>

#define LONG_NAME                                                                                                      \
    "long-name-of-255-bytes-0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567"  \
    "8901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456"    \
    "78901234567890123456789012345678901"
#define EXCHANGE 2u

void fault_layers(struct fixture *f)
{
    make_file(f, "lower2/d/e/file", 0640, "lower text");
    set_xattr(f, "lower2/d/e/file", "user.kept", "value");
    make_file(f, "lower1/d/other", 0644, "other");
    make_file(f, "lower1/d/both", 0644, "lower");
    make_file(f, "lower1/full/a", 0644, "a");
    make_file(f, "lower2/full/b", 0644, "b");
    make_dir(f, "lower1/empty", 0755);
    make_link(f, "lower1/d/link", "other");
    make_node(f, "lower1/d/fifo", S_IFIFO | 0640, 0);
    make_file(f, "lower1/locked/file", 0644, "locked");
    make_dir(f, "lower1/locked", 0555);
    make_file(f, "lower1/" LONG_NAME, 0644, "long");
    make_file(f, "lower2/h/one", 0640, "linked");
    set_xattr(f, "lower2/h/one", "user.kept", "value");
    make_hard_link(f, "lower2/h/two", "lower2/h/one");
    make_hard_link(f, "lower2/h/sub/three", "lower2/h/one");
    make_file(f, "upper/d/both", 0644, "upper");
    make_file(f, "upper/u/only", 0644, "only");
    make_file(f, "upper/u/sub/deep", 0644, "deep");
    make_dir(f, "upper/blank", 0755);
    make_dir(f, "upper/empty", 0750);
}

static int append_lower(struct fixture *f)
{
    return op_write(f, "/d/e/file", O_WRONLY | O_APPEND, 0, " and more");
}

/* open(2) alone: what is written after it is a step of the program's own. */
static int open_and_close(struct fixture *f, const char *path, int flags, mode_t mode)
{
    int fd = op_open(f, path, flags, mode);
    return fd < 0 ? fd : ovl_sys_close(fd);
}

static int truncate_lower(struct fixture *f)
{
    return open_and_close(f, "/d/e/file", O_WRONLY | O_TRUNC, 0);
}

static int create_in_lower(struct fixture *f)
{
    return open_and_close(f, "/d/e/new", O_WRONLY | O_CREAT | O_EXCL, 0644);
}

static void remove_some(struct fixture *f)
{
    assert_int_equal(op_unlink(f, "/d/other"), 0);
    assert_int_equal(op_unlink(f, "/full/a"), 0);
    assert_int_equal(op_unlink(f, "/full/b"), 0);
    assert_int_equal(op_unlink(f, "/" LONG_NAME), 0);
}

static void remove_directory(struct fixture *f)
{
    remove_some(f);
    assert_int_equal(op_rmdir(f, "/full"), 0);
}

static int create_over_whiteout(struct fixture *f)
{
    return open_and_close(f, "/d/other", O_WRONLY | O_CREAT, 0600);
}

static int mkdir_new(struct fixture *f)
{
    return op_mkdir(f, "/d/e/new", 0755);
}

static int mkdir_over_whiteout(struct fixture *f)
{
    return op_mkdir(f, "/full", 0755);
}

static int mkdir_over_long(struct fixture *f)
{
    return op_mkdir(f, "/" LONG_NAME, 0755);
}

static int create_over_long(struct fixture *f)
{
    return open_and_close(f, "/" LONG_NAME, O_WRONLY | O_CREAT, 0644);
}

static int symlink_over_whiteout(struct fixture *f)
{
    return op_symlink(f, "target", "/d/other");
}

static int symlink_new(struct fixture *f)
{
    return op_symlink(f, "target", "/d/e/new");
}

static int mknod_new(struct fixture *f)
{
    return op_mknod(f, "/d/e/new", S_IFIFO | 0644, 0);
}

static int mknod_over_whiteout(struct fixture *f)
{
    return op_mknod(f, "/d/other", S_IFIFO | 0644, 0);
}

static int link_lower(struct fixture *f)
{
    return op_link(f, "/d/e/file", "/full/linked");
}

static int link_over_whiteout(struct fixture *f)
{
    return op_link(f, "/d/e/file", "/d/other");
}

static int link_over_long(struct fixture *f)
{
    return op_link(f, "/d/e/file", "/" LONG_NAME);
}

/* An open file that has no name gets one. */
static int link_descriptor(struct fixture *f, const char *path)
{
    struct ovl_node *node;
    int fd = op_open(f, "/u", O_WRONLY | O_TMPFILE, 0644);
    if (fd < 0)
        return fd;
    int r = try_resolve(f, path, OVL_CHANGE, &node);
    if (r == 0)
        r = ovl_link_fd(&f->ctx, fd, node);
    close(fd);
    return r;
}

static int link_descriptor_new(struct fixture *f)
{
    return link_descriptor(f, "/d/e/new");
}

static int link_descriptor_over_whiteout(struct fixture *f)
{
    return link_descriptor(f, "/d/other");
}

static int unlink_lower(struct fixture *f)
{
    return op_unlink(f, "/d/e/file");
}

static int unlink_upper(struct fixture *f)
{
    return op_unlink(f, "/u/only");
}

static int unlink_both(struct fixture *f)
{
    return op_unlink(f, "/d/both");
}

static int unlink_long(struct fixture *f)
{
    return op_unlink(f, "/" LONG_NAME);
}

static void copy_up_long(struct fixture *f)
{
    assert_int_equal(op_copy_up(f, "/" LONG_NAME, OVL_COPY_ALL), 0);
}

static int rmdir_merged(struct fixture *f)
{
    return op_rmdir(f, "/full");
}

static int rmdir_both(struct fixture *f)
{
    return op_rmdir(f, "/empty");
}

static int rmdir_upper(struct fixture *f)
{
    return op_rmdir(f, "/blank");
}

static void make_again(struct fixture *f)
{
    remove_directory(f);
    assert_int_equal(op_mkdir(f, "/full", 0755), 0);
}

static int rename_lower(struct fixture *f)
{
    return op_rename(f, "/d/e/file", "/full/new", 0);
}

static int rename_over_lower(struct fixture *f)
{
    return op_rename(f, "/d/e/file", "/d/other", 0);
}

static int rename_over_upper(struct fixture *f)
{
    return op_rename(f, "/d/e/file", "/u/only", 0);
}

static int rename_upper_over_lower(struct fixture *f)
{
    return op_rename(f, "/u/only", "/d/other", 0);
}

static int rename_both(struct fixture *f)
{
    return op_rename(f, "/d/both", "/d/both2", 0);
}

static int rename_to_long(struct fixture *f)
{
    return op_rename(f, "/d/both", "/" LONG_NAME, 0);
}

static int rename_from_long(struct fixture *f)
{
    return op_rename(f, "/" LONG_NAME, "/d/other", 0);
}

static int rename_directory(struct fixture *f)
{
    return op_rename(f, "/u", "/d/moved", 0);
}

static int rename_directory_over_name(struct fixture *f)
{
    return op_rename(f, "/u", "/full", 0);
}

static int rename_directory_over_empty(struct fixture *f)
{
    return op_rename(f, "/u", "/empty", 0);
}

static int rename_directory_over_blank(struct fixture *f)
{
    return op_rename(f, "/u", "/blank", 0);
}

/* The merged directory /d has names in every layer, removed ones, and a directory that is opaque. */
static void change_below(struct fixture *f)
{
    assert_int_equal(op_unlink(f, "/d/other"), 0);
    assert_int_equal(op_unlink(f, "/full/a"), 0);
    assert_int_equal(op_unlink(f, "/full/b"), 0);
    assert_int_equal(op_rmdir(f, "/full"), 0);
    assert_int_equal(op_mkdir(f, "/full", 0755), 0);
    assert_int_equal(op_write(f, "/full/new", O_WRONLY | O_CREAT, 0644, "new"), 0);
}

static int rename_merged_directory(struct fixture *f)
{
    return op_rename(f, "/d", "/u/moved", 0);
}

static int rename_merged_directory_to_long(struct fixture *f)
{
    return op_rename(f, "/d", "/" LONG_NAME, 0);
}

static int rename_merged_directory_over_lower(struct fixture *f)
{
    return op_rename(f, "/d", "/empty", 0);
}

static int rename_lower_directory(struct fixture *f)
{
    return op_rename(f, "/d/e", "/u/e", 0);
}

static int rename_lower_directory_over_removed(struct fixture *f)
{
    return op_rename(f, "/d/e", "/full", 0);
}

static int exchange_merged_directories(struct fixture *f)
{
    return op_rename(f, "/d", "/full", EXCHANGE);
}

static int exchange_files(struct fixture *f)
{
    return op_rename(f, "/d/e/file", "/d/other", EXCHANGE);
}

static int exchange_long(struct fixture *f)
{
    return op_rename(f, "/" LONG_NAME, "/d/other", EXCHANGE);
}

static int exchange_directory(struct fixture *f)
{
    return op_rename(f, "/u", "/d/other", EXCHANGE);
}

static int copy_up_file(struct fixture *f)
{
    return op_copy_up(f, "/d/e/file", OVL_COPY_ALL);
}

static int copy_up_link(struct fixture *f)
{
    return op_copy_up(f, "/d/link", OVL_COPY_ALL);
}

static int copy_up_fifo(struct fixture *f)
{
    return op_copy_up(f, "/d/fifo", OVL_COPY_ALL);
}

static int copy_up_directory(struct fixture *f)
{
    return op_copy_up(f, "/d/e", OVL_COPY_ALL);
}

static int append_in_locked(struct fixture *f)
{
    return op_write(f, "/locked/file", O_WRONLY | O_APPEND, 0, " and more");
}

/* Of three names of one lower file, the first was changed. */
static void change_linked(struct fixture *f)
{
    assert_int_equal(op_write(f, "/h/one", O_WRONLY | O_APPEND, 0, " and more"), 0);
}

/* It was changed and removed: only the index has it. */
static void change_and_remove_linked(struct fixture *f)
{
    change_linked(f);
    assert_int_equal(op_unlink(f, "/h/one"), 0);
}

static void remove_linked(struct fixture *f)
{
    assert_int_equal(op_unlink(f, "/h/one"), 0);
    assert_int_equal(op_unlink(f, "/h/two"), 0);
}

static int copy_up_linked(struct fixture *f)
{
    return op_copy_up(f, "/h/one", OVL_COPY_ALL);
}

static int truncate_linked(struct fixture *f)
{
    return open_and_close(f, "/h/one", O_WRONLY | O_TRUNC, 0);
}

static int truncate_second_link(struct fixture *f)
{
    return open_and_close(f, "/h/two", O_WRONLY | O_TRUNC, 0);
}

static int append_to_second_link(struct fixture *f)
{
    return op_write(f, "/h/two", O_WRONLY | O_APPEND, 0, " again");
}

static int unlink_first_link(struct fixture *f)
{
    return op_unlink(f, "/h/one");
}

static int unlink_second_link(struct fixture *f)
{
    return op_unlink(f, "/h/two");
}

static int unlink_last_link(struct fixture *f)
{
    return op_unlink(f, "/h/sub/three");
}

static int rename_second_link(struct fixture *f)
{
    return op_rename(f, "/h/two", "/d/moved", 0);
}

static int rename_over_second_link(struct fixture *f)
{
    return op_rename(f, "/u/only", "/h/two", 0);
}

static int link_second_link(struct fixture *f)
{
    return op_link(f, "/h/two", "/d/e/four");
}

static int exchange_second_link(struct fixture *f)
{
    return op_rename(f, "/h/two", "/d/other", EXCHANGE);
}

static int rename_directory_with_links(struct fixture *f)
{
    return op_rename(f, "/h/sub", "/u/moved", 0);
}

static int rename_directory_of_links(struct fixture *f)
{
    return op_rename(f, "/h", "/u/moved", 0);
}

const struct scenario fault_scenarios[] = {
    {"append_lower", NULL, append_lower},
    {"truncate_lower", NULL, truncate_lower},
    {"create_in_lower", NULL, create_in_lower},
    {"append_in_locked", NULL, append_in_locked},
    {"create_over_whiteout", remove_some, create_over_whiteout},
    {"create_over_long", remove_some, create_over_long},
    {"mkdir_new", NULL, mkdir_new},
    {"mkdir_over_whiteout", remove_directory, mkdir_over_whiteout},
    {"mkdir_over_long", remove_some, mkdir_over_long},
    {"symlink_new", NULL, symlink_new},
    {"symlink_over_whiteout", remove_some, symlink_over_whiteout},
    {"mknod_new", NULL, mknod_new},
    {"mknod_over_whiteout", remove_some, mknod_over_whiteout},
    {"link_lower", NULL, link_lower},
    {"link_over_long", remove_some, link_over_long},
    {"link_descriptor_new", NULL, link_descriptor_new},
    {"link_descriptor_over_whiteout", remove_some, link_descriptor_over_whiteout},
    {"link_over_whiteout", remove_some, link_over_whiteout},
    {"unlink_lower", NULL, unlink_lower},
    {"unlink_upper", NULL, unlink_upper},
    {"unlink_both", NULL, unlink_both},
    {"unlink_long", NULL, unlink_long},
    {"unlink_long_both", copy_up_long, unlink_long},
    {"rmdir_merged", remove_some, rmdir_merged},
    {"rmdir_both", NULL, rmdir_both},
    {"rmdir_upper", NULL, rmdir_upper},
    {"rmdir_made_again", make_again, rmdir_merged},
    {"rename_lower", NULL, rename_lower},
    {"rename_over_lower", NULL, rename_over_lower},
    {"rename_over_upper", NULL, rename_over_upper},
    {"rename_over_whiteout", remove_some, rename_over_lower},
    {"rename_upper_over_lower", NULL, rename_upper_over_lower},
    {"rename_upper_over_whiteout", remove_some, rename_upper_over_lower},
    {"rename_both", NULL, rename_both},
    {"rename_to_long", NULL, rename_to_long},
    {"rename_to_removed_long", remove_some, rename_to_long},
    {"rename_from_long", NULL, rename_from_long},
    {"rename_directory", NULL, rename_directory},
    {"rename_directory_over_whiteout", remove_directory, rename_directory_over_name},
    {"rename_directory_over_removed", remove_some, rename_directory_over_name},
    {"rename_directory_over_made_again", make_again, rename_directory_over_name},
    {"rename_directory_over_empty", NULL, rename_directory_over_empty},
    {"rename_directory_over_blank", NULL, rename_directory_over_blank},
    {"rename_merged_directory", NULL, rename_merged_directory},
    {"rename_merged_directory_changed", change_below, rename_merged_directory},
    {"rename_merged_directory_over_lower", change_below, rename_merged_directory_over_lower},
    {"rename_merged_directory_to_long", remove_some, rename_merged_directory_to_long},
    {"rename_lower_directory", NULL, rename_lower_directory},
    {"rename_lower_directory_over_removed", remove_directory, rename_lower_directory_over_removed},
    {"exchange_merged_directories", NULL, exchange_merged_directories},
    {"exchange_merged_directories_changed", change_below, exchange_merged_directories},
    {"exchange_files", NULL, exchange_files},
    {"exchange_long", NULL, exchange_long},
    {"exchange_directory", NULL, exchange_directory},
    {"copy_up_file", NULL, copy_up_file},
    {"copy_up_fifo", NULL, copy_up_fifo},
    {"copy_up_link", NULL, copy_up_link},
    {"copy_up_directory", NULL, copy_up_directory},
    {"copy_up_linked", NULL, copy_up_linked},
    {"truncate_linked", NULL, truncate_linked},
    {"truncate_second_link", change_linked, truncate_second_link},
    {"append_to_second_link", change_linked, append_to_second_link},
    {"append_to_link_of_index", change_and_remove_linked, append_to_second_link},
    {"unlink_lower_link", NULL, unlink_first_link},
    {"unlink_first_link", change_linked, unlink_first_link},
    {"unlink_second_link", change_linked, unlink_second_link},
    {"unlink_last_link", remove_linked, unlink_last_link},
    {"rename_lower_link", NULL, rename_second_link},
    {"rename_second_link", change_linked, rename_second_link},
    {"rename_over_second_link", change_linked, rename_over_second_link},
    {"link_second_link", change_linked, link_second_link},
    {"exchange_second_link", change_linked, exchange_second_link},
    {"rename_directory_with_links", change_linked, rename_directory_with_links},
    {"rename_directory_of_links", NULL, rename_directory_of_links},
    {"rename_directory_of_links_changed", change_linked, rename_directory_of_links},
    {NULL, NULL, NULL},
};
