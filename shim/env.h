/* SPDX-License-Identifier: MIT
 *
 * The environment that an exec'd program gets: whatever the program that calls exec passes, the new
 * one stays in the overlay (CONTRACT 1.7, 1.11), unless it is let out by an empty OVL_CONF.
 */
#ifndef SHIM_ENV_H
#define SHIM_ENV_H

#include "boundary.h"

/* Internal variables from one process to the next: the resolved configuration, and the merged cwd. */
#define SHIM_ENV_RUN "OVL_RUN="
#define SHIM_ENV_CWD "OVL_CWD="

/* Whether this environment is the deliberate way out: OVL_CONF is set, but empty. */
bool shim_env_lets_out(char *const *env);

/* The environment for a program that stays inside, or for one that is let out: a new array, with the
 * strings that need no change shared.  NULL when there is no memory. */
char **shim_env_inside(struct shim_call *call, char *const *env);
char **shim_env_outside(struct shim_call *call, char *const *env);

#endif
