/* SPDX-License-Identifier: MIT
 *
 * What the tests of the directory cache share.
 */
#ifndef FIXTURE_CACHE_H
#define FIXTURE_CACHE_H

#include "fixture.h"

/* As for FIXTURE_TEST(), with directories that are kept when they are first asked. */
int cache_setup(void **state);
#define CACHE_TEST(name) cmocka_unit_test_setup_teardown(name, cache_setup, fixture_teardown)
/* Make some layers and open an overlay over them. */
void cache_layers(struct fixture *f);

/* Whether a name is there: 1 or 0, or -1 for any error. */
int look(struct fixture *f, const char *path);
/* What a glance at it tells: 1 with the node, 0 for nothing, or -ENOENT. */
int glance(struct fixture *f, const char *path, struct ovl_node **node);
/* How many calls that could fail are needed for that. */
unsigned cost(struct fixture *f, const char *path);
/* Whether none is, at last; and the same for a listing, but for its memory. */
bool is_known(struct fixture *f, const char *path);
bool is_dir_known(struct fixture *f, const char *path);
/* Everything that is said of a name is the same with the cache as without. */
void agree_on_name(struct fixture *f, const char *path);
/* The same for the whole view, and for names that may not be in it, ended by NULL. */
void agree(struct fixture *f, const char *const *paths);
#define AGREE(f, ...) agree(f, (const char *const[]){__VA_ARGS__, NULL})
/* Run act(f) in a process of its own, which must end well. */
void in_child(struct fixture *f, void (*act)(struct fixture *f));

#endif
