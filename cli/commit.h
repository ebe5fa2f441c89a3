/* SPDX-License-Identifier: MIT
 *
 * Applying an upper to one of the layers below it.
 *
 * What must hold: at every moment the overlay shows what it showed before, because the upper, which stays as it is
 * until the end, says all that is applied; so a call that was killed is finished by doing all of it once more.  In the
 * layer no symbolic link is followed, and every object is made aside, as a name that no overlay shows, and moved to its
 * place.
 */
#ifndef CLI_COMMIT_H
#define CLI_COMMIT_H

#include "changes.h"
#include "progress.h"
#include "space.h"
#include "tree.h"

#include <time.h>

struct commit {
    struct space *space;
    struct ovl *ovl;
    unsigned target;       /* the layer */
    enum ovl_mark form;    /* of whiteouts */
    struct timespec began; /* when the first run with this upper began; what was changed later is not overwritten */
    bool forced;           /* that is not asked */
    uint64_t files, bytes; /* to copy */
    uint64_t count[CHANGE_RENAMED + 1];
    struct progress progress;
    struct tree tree;
    int root;     /* of the layer, or -1 */
    int links;    /* the directory of objects with several names, or -1 */
    char *opaque; /* the path of a directory that hides all of lower ones, while the walk is below it */
    bool lost_xattrs;
};

/* ---- commit_check.c ---------------------------------------------------------------------------------- */

/* Whether all of it can be applied, and what there is; each change is given to `each`, unless that is NULL.  0, or -1
 * after a message. */
int commit_check(struct commit *c, void (*each)(const struct change *change));

/* ---- commit.c ---------------------------------------------------------------------------------------- */

/* Open the layer, and keep others from committing to it until c->root is closed: what is made aside there, and what was
 * newer there, is one commit's.  0, or -1 after a message. */
int commit_lock(struct commit *c);
/* Apply all of it to the locked layer: 0, or -1 after a message. */
int commit_apply(struct commit *c);

#endif
