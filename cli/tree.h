/* SPDX-License-Identifier: MIT
 *
 * A directory tree that is being changed: where one stands in it, as descriptors of the directories on the way.
 *
 * What must hold: no symbolic link in the tree is ever followed, whatever is in it or put there meanwhile, so that
 * nothing outside of it is reached.  A directory's mode is no hindrance, and it has the time that it had, or was given,
 * when it is left, unless it is somebody else's.  Memory is that of the way to where one stands.
 */
#ifndef CLI_TREE_H
#define CLI_TREE_H

#include "object.h"

struct tree {
    struct tree_dir *dir; /* the root, and those on the way */
    size_t depth, room;
    bool looks; /* nothing is changed: closed directories stay so, and can't be gone into */
};

/* Begin at an open directory, which is the tree's from now on. */
int tree_open(struct tree *tree, int root);
int tree_look(struct tree *tree, int root);
/* Leave all of it. */
int tree_close(struct tree *tree);
/* Go to a directory, "" the root: its descriptor (for *at() calls only), or -1 with errno; ENOTDIR: something on the
 * way is no directory, and ELOOP a symbolic link.  Missing ones are made if `make`. */
int tree_go(struct tree *tree, const char *path, bool make);
/* Give the directory that one stands in metadata; it gets mode and time when it is left. */
int tree_dress(struct tree *tree, struct object *object);
/* The time that it has when it is left. */
void tree_set_time(struct tree *tree, const struct timespec *mtime);
/* Move an object of another directory to a name there: 0, or -1 with errno.  A directory that its owner may not write,
 * which can't be moved, is opened meanwhile: its ".." changes. */
int tree_move_in(const struct tree *tree, int from, const char *aside, const char *name);
/* Remove a name there, and what is below it: 0; -1 with errno; -2 after a message. */
int tree_remove(const struct tree *tree, const char *name);

#endif
