/* SPDX-License-Identifier: MIT
 *
 * Dropping an upper that libovl has made: what `ovl discard` does, and `ovl commit` at its end.
 */
#ifndef CLI_DISCARD_H
#define CLI_DISCARD_H

#include <ovl.h>

/* Whether upper and work directory, as far as they are there, are what a run has left and none uses: a status, with a
 * message if it is not STATUS_DONE. */
int discard_check(const struct ovl *o);
/* Keep new runs from beginning: a descriptor to close, or -1 where there is nothing to lock. */
int discard_lock(const char *work);
/* Remove both, while the lock is held and discard_check() has been asked since; called again after a kill, it finishes.
 * A status. */
int discard_upper(const struct ovl *o);

#endif
