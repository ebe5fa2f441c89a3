/* SPDX-License-Identifier: MIT
 *
 * The overlays that a command is about: found from its options, OVL_CONF or what `ovl run` has kept, and opened for a
 * look, which changes nothing.
 */
#ifndef CLI_SPACE_H
#define CLI_SPACE_H

#include "options.h"

#include <ovl.h>

struct changes_visitor;

struct space {
    char *conf;              /* as OVL_CONF has it */
    char *root, *name;       /* state.h: where it is kept and as what; NULL where it is not */
    struct ovl_space *space; /* after space_open() */
    struct ovl_ctx ctx;
};

enum need { NEEDS_UPPER, NEEDS_LAYERS };

/* Whether the options go together: a status. */
int space_check_options(const struct options *options);
/* Find the configuration; a status, with a message if it is not STATUS_DONE.  With NEEDS_LAYERS, layers that the
 * options describe may be looked at before anything was changed. */
int space_find(struct space *s, const struct options *options, enum need need);
/* Open one that is found; s->ctx is begun. */
int space_begin(struct space *s);
/* Find and open. */
int space_open(struct space *s, const struct options *options, enum need need);
/* Check a configuration that is found. */
int space_check(const struct space *s);
/* Free what was found, opened or not. */
void space_close(struct space *s);

/* The merged paths that these arguments mean, as many, with a NULL at the end.  Links are followed but in the last
 * name, as far as there are directories.  NULL, and *status, after a message, where one lies in no overlay. */
char **space_paths(struct space *s, char *const *arguments, int *status);
void space_free_paths(char **paths);
/* The overlay that a merged path lies in, or NULL. */
struct ovl *space_overlay_of(const struct space *s, const char *path);
/* changes_walk() below each of these paths (a list that ends with NULL) that lies in the overlay; all of it, if there
 * are none.  The visitor goes on. */
int space_changes(struct space *s, struct ovl *o, const struct changes_visitor *visitor, char *const *paths);

/* Make an absolute path one without ".", ".." and repeated slashes, by the text alone. */
void tidy_path(char *path);

/* Whether this process runs inside an overlay, where everything that it changed would be changed by way of that. */
bool is_inside(void);
/* Start this program again outside, where a layer's path is the layer; it still speaks of the same overlay, and of
 * paths from the same directory.  Returns where that can't be, after a message. */
void leave_overlay(char **argv);
/* Refuse to go on in there: STATUS_DONE, or STATUS_FAILED with a message. */
int refuse_inside(const char *command);
/* Refuse to go on while a process uses the overlay, as ovl_in_use() has told: a status as well. */
int refuse_user(const struct ovl *o, int user);

#endif
