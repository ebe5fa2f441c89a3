/* SPDX-License-Identifier: MIT
 *
 * Removing a tree that is ours.
 */
#ifndef CLI_REMOVE_H
#define CLI_REMOVE_H

/* Remove the directory and all that is below it.  No symbolic link is followed and no other file system entered, and a
 * directory's mode is no hindrance.  What is not there is no error.  0, or -1 with a message, when something is left.
 */
int remove_tree(const char *path);
/* The same for all that is in a directory but this name. */
int remove_all_but(const char *folder, const char *name);

#endif
