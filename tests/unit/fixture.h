/* SPDX-License-Identifier: MIT
 *
 * What the unit tests share: a temporary directory with two lower layers and an upper, an overlay over them,
 * short words for making things in a layer and for acting on the merged view, and trees as text.
 *
 * What must hold: every helper but the op_ ones fails the test when it can't do its work, and the end of a
 * fixture fails it when a lower layer has changed in anything that can be read.
 */
#ifndef FIXTURE_H
#define FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "types.h"

struct fixture {
    char root[128];  /* the temporary directory: lower1, lower2, upper, upper.work; mount is not there */
    char mount[160]; /* root + "/mount" */
    pid_t owner;     /* the process that tests: a child that fails an assertion just ends */
    char *lowers;    /* what the lower layers were */
    struct ovl_space *space;
    struct ovl *ovl; /* the first overlay */
    struct ovl_ctx ctx;
};

/* Leave the test out. The reason comes into the summary of tests/run.sh. */
#define skip_because(reason)                                                                                           \
    do {                                                                                                               \
        print_message("skipped: %s: %s\n", __func__, reason);                                                          \
        skip();                                                                                                        \
    } while (0)

/* Whether the kernel has openat2(2), without which a link on the way can't be told: qemu-user may lack it. */
bool has_openat2(void);

/* Setup and teardown for cmocka; *state is the fixture. Nothing is open yet. */
int fixture_setup(void **state);
int fixture_teardown(void **state);
#define FIXTURE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
/* Open "mount=…,lowerdir=lower1:lower2,upperdir=upper" with more options ("" or ",key=value"). */
void fixture_open(struct fixture *f, const char *more);
/* The same without an upper. */
void fixture_open_read_only(struct fixture *f);
/* Open what a printf-like format makes, in which every @ stands for the root. */
void fixture_open_conf(struct fixture *f, const char *conf);
void fixture_close(struct fixture *f);
/* The lower layers are complete: from now on they must not change. The first opening does that too. */
void fixture_remember(struct fixture *f);

/* The real path of "upper/a", and the merged path of "/a": one of 16 buffers in turn. */
const char *real(const struct fixture *f, const char *path);
const char *merged(const struct fixture *f, const char *path);

/* ---- in a layer; parent directories are made, 0755 ------------------------------------------------ */
void make_file(const struct fixture *f, const char *path, mode_t mode, const char *text);
void make_dir(const struct fixture *f, const char *path, mode_t mode);
void make_link(const struct fixture *f, const char *path, const char *target);
/* One more name for a file. */
void make_hard_link(const struct fixture *f, const char *path, const char *of);
void make_node(const struct fixture *f, const char *path, mode_t mode, dev_t dev);
void set_xattr(const struct fixture *f, const char *path, const char *name, const char *value);
/* Give it these times, seconds and nanoseconds. */
void set_times(const struct fixture *f, const char *path, time_t sec, long nsec);
bool is_there(const struct fixture *f, const char *path);
struct stat stat_of(const struct fixture *f, const char *path);
/* The text of a file, as is. */
const char *text_of(const struct fixture *f, const char *path);
/* Whether trusted. attributes can be set here (CAP_SYS_ADMIN). */
bool can_be_trusted(const struct fixture *f);

/* ---- on the merged view; each begins with a fresh look ---------------------------------------------- */
/* Resolve; the node lives until the next op_ call or find_again(). */
struct ovl_node *find(struct fixture *f, const char *path);
int try_resolve(struct fixture *f, const char *path, unsigned flags, struct ovl_node **node);
int op_open(struct fixture *f, const char *path, int flags, mode_t mode);
int op_write(struct fixture *f, const char *path, int flags, mode_t mode, const char *text);
int op_mkdir(struct fixture *f, const char *path, mode_t mode);
int op_mknod(struct fixture *f, const char *path, mode_t mode, dev_t dev);
int op_symlink(struct fixture *f, const char *target, const char *path);
int op_link(struct fixture *f, const char *from, const char *to);
int op_unlink(struct fixture *f, const char *path);
int op_rmdir(struct fixture *f, const char *path);
int op_rename(struct fixture *f, const char *from, const char *to, unsigned flags);
int op_copy_up(struct fixture *f, const char *path, enum ovl_copy how);
int op_stat(struct fixture *f, const char *path, struct stat *st);
int op_access(struct fixture *f, const char *path, int mode);
/* The text of a merged file, or "!" and the error's number. */
const char *merged_text(struct fixture *f, const char *path);
/* The names of a merged directory but "." and "..", with a blank after each. */
const char *names(struct fixture *f, const char *path);

/* ---- trees as text, one line an object; the caller frees ---------------------------------------------- */
/* A real tree: path, type, mode, owner, inode, links, size, content, times, attributes. */
char *tree(const struct fixture *f, const char *path);
/* The merged view: path, type, mode, owner, size, content, target, attributes; no numbers, no times. */
char *view(struct fixture *f);
/* The entries of /proc/self/fd. */
unsigned open_fds(void);
/* The entries of the work directory in which half-made things lie. */
unsigned leftovers(const struct fixture *f);

#endif
