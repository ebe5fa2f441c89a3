/* SPDX-License-Identifier: MIT
 *
 * What `ovl run` keeps between calls: $XDG_STATE_HOME/ovl (~/.local/state/ovl) has a directory for each overlay,
 *
 *   NAME/conf          its configuration, complete: OVL_CONF=.../NAME/conf makes the same overlay
 *   NAME/upper         what was changed
 *   NAME/upper.work    what libovl needs beside it
 *   .last              a symbolic link: the NAME that `ovl run` used last
 *   .temp-XXXXXX/      the same for `ovl run --temp`, while that runs
 */
#ifndef CLI_STATE_H
#define CLI_STATE_H

#include "options.h"

#include <stdbool.h>

/* The directory of all of it, the caller's to free; NULL with a message. */
char *state_root(void);
/* Whether a name is one: letters, digits, '.', '_', '+' and '-', not a '.' first. */
bool state_is_name(const char *name);
/* The name for a mount, the caller's to free. */
char *state_name_of(const char *mount);
/* The paths of a NAME's directory, and of its configuration; the caller's to free. */
char *state_folder(const char *root, const char *name);
char *state_conf(const char *root, const char *name);
/* Whether the directory is one that `ovl run` has made for this user. */
bool state_is_ours(const char *folder);
/* Make it, with this configuration; of one that is there the configuration must be the same.  0, or -1 with a message.
 * *is_new: it was not there. */
int state_make(const char *root, const char *name, const char *conf, bool *is_new);
/* Whether the directory was kept with this configuration: 0, or -1 with a message. */
int state_compare(const char *folder, const char *name, const char *conf);
/* Whether it was kept for the mount that this configuration has. */
int state_compare_mount(const char *folder, const char *name, const char *conf);
/* Make one with a name of its own, the caller's to free; NULL with a message. */
char *state_make_temp(const char *root, const char *conf);
/* The names of those that are there, the caller's to free as the list is. */
struct list state_temps(const char *root);
/* Take back what state_make() has made new, or what is left when its upper has been removed. */
void state_remove(const char *folder);
/* The name that was used last, the caller's to free; NULL: none is there. */
char *state_last(const char *root);
void state_set_last(const char *root, const char *name);

#endif
