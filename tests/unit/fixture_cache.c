/* SPDX-License-Identifier: MIT
 *
 * What the tests of the directory cache share: see fixture_cache.h.
 */
#define _GNU_SOURCE
#include "fixture_cache.h"
#include "fault_sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int look(struct fixture *f, const char *path)
{
    struct ovl_node *node;
    ovl_ctx_close(&f->ctx, 0);
    ovl_ctx_reset(&f->ctx, 0);
    return try_resolve(f, path, OVL_TYPE, &node) < 0 ? -1 : node->exists;
}

/* How many calls that could fail are needed to know whether the name is there, and of which type. */
unsigned cost(struct fixture *f, const char *path)
{
    fault_arm(0, 0);
    look(f, path);
    return fault_disarm();
}

enum { DEPTH = 6 }; /* each look brings a table for one more directory of a path */

bool is_known(struct fixture *f, const char *path)
{
    for (int i = 0; i < DEPTH; i++)
        look(f, path);
    return cost(f, path) == 0;
}

bool is_dir_known(struct fixture *f, const char *path)
{
    struct ovl_listing cached;
    for (int i = 0; i < DEPTH; i++)
        look(f, path);
    names(f, path);
    const struct ovl_node *dir = find(f, path);
    fault_arm(0, 0);
    bool known = ovl_cache_list(&f->ctx, dir, &cached);
    unsigned calls = fault_disarm();
    if (known)
        ovl_listing_free(&cached);
    return known && calls == 1; /* for the listing's memory */
}

/* Everything that is said of a name, as text; the caller frees. */
static char *described(struct fixture *f, const char *path)
{
    struct stat st;
    char *text;
    int r = op_stat(f, path, &st);
    assert_true((r < 0 ? asprintf(&text, "%s: error %d", path, -r)
                       : asprintf(&text, "%s: mode %o size %jd ino %ju dev %ju links %ju rdev %jx", path, st.st_mode,
                                  (intmax_t)st.st_size, (uintmax_t)st.st_ino, (uintmax_t)st.st_dev,
                                  (uintmax_t)st.st_nlink, (uintmax_t)st.st_rdev)) > 0);
    return text;
}

int glance(struct fixture *f, const char *path, struct ovl_node **node)
{
    struct ovl_glance glance;
    const char *merged_path = merged(f, path);
    ovl_ctx_close(&f->ctx, 0);
    ovl_ctx_reset(&f->ctx, 0);
    *node = ovl_node_new(&f->ctx);
    assert_non_null(*node);
    int r = ovl_glance(f->space, merged_path, strlen(merged_path), &glance);
    if (r == 0)
        return 0;
    const int known = ovl_resolve_known(&f->ctx, &glance, 0, *node);
    assert_true(known == 1 || r > 0);
    assert_true(known == 0 || (*node)->exists == (r > 0));
    return r > 0 ? known : r;
}

/* What a glance tells, if it does, is what a walk without the cache finds. */
static void glance_agrees(struct fixture *f, const char *path)
{
    struct ovl_node *seen;
    int r = glance(f, path, &seen);
    if (r == 0)
        return;
    const struct ovl_node at_a_glance = *seen;
    ovl_cache_use(OVL_CACHE_OFF);
    assert_int_equal(look(f, path), r > 0);
    if (r > 0) {
        const struct ovl_node *walked = find(f, path);
        assert_string_equal(at_a_glance.path, walked->path);
        assert_string_equal(at_a_glance.real, walked->real);
        assert_int_equal(at_a_glance.st.st_mode & S_IFMT, walked->st.st_mode & S_IFMT);
        assert_ptr_equal(at_a_glance.ovl, walked->ovl);
        assert_memory_equal(at_a_glance.in.bits, walked->in.bits, sizeof walked->in.bits);
    }
    ovl_cache_use(OVL_CACHE_EAGER);
}

void agree_on_name(struct fixture *f, const char *path)
{
    for (int i = 0; i < 3; i++) {
        glance_agrees(f, path);
        char *cached = described(f, path);
        ovl_cache_use(OVL_CACHE_OFF);
        char *plain = described(f, path);
        ovl_cache_use(OVL_CACHE_EAGER);
        assert_string_equal(cached, plain);
        free(cached);
        free(plain);
    }
}

/* The whole view, and names that may not be in it (ended by NULL), are the same with the cache as without.  The names
 * come first: a listing makes a table anew, in which nothing is wrong any more. */
void agree(struct fixture *f, const char *const *paths)
{
    for (; *paths; paths++)
        agree_on_name(f, *paths);
    ovl_cache_use(OVL_CACHE_OFF);
    char *plain = view(f);
    ovl_cache_use(OVL_CACHE_EAGER);
    for (int i = 0; i < 3; i++) {
        char *cached = view(f);
        assert_string_equal(cached, plain);
        free(cached);
    }
    free(plain);
}

/* Run act(f) in a process of its own, which must end well. */
void in_child(struct fixture *f, void (*act)(struct fixture *f))
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        act(f);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int cache_setup(void **state)
{
    ovl_cache_use(OVL_CACHE_EAGER);
    return fixture_setup(state);
}

void cache_layers(struct fixture *f)
{
    make_file(f, "lower1/d/f", 0644, "one");
    make_file(f, "lower1/d/gone", 0644, "hidden");
    make_file(f, "lower2/d/g", 0640, "two");
    make_file(f, "lower2/d/f", 0600, "below");
    make_file(f, "lower2/d/sub/x", 0644, "deep");
    make_link(f, "lower1/d/l", "f");
    make_dir(f, "lower1/empty", 0755);
    make_file(f, "upper/d/u", 0644, "upper");
    make_file(f, "upper/d/.wh.gone", 0644, "");
    fixture_open(f, "");
}
