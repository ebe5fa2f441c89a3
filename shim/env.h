/* SPDX-License-Identifier: MIT
 *
 * The environment that an exec'd program gets: whatever the program that calls exec passes, the new
 * one stays in the overlay (CONTRACT 1.7, 1.11), unless it is let out by an empty OVL_CONF.
 */
#ifndef SHIM_ENV_H
#define SHIM_ENV_H

#include "loader.h"

/* Internal variables from one process to the next: the merged cwd; where the loader was called itself, the program's
 * file; the process's name (comm), where the kernel takes another from what it is given.  Beside them the resolved
 * configuration (ovl_record_put). */
#define SHIM_ENV_CWD "OVL_CWD="
#define SHIM_ENV_PROGRAM "OVL_PROGRAM="
#define SHIM_ENV_COMM "OVL_COMM="

/* Whether this environment is the deliberate way out: OVL_CONF is set, but empty. */
bool shim_env_lets_out(char *const *env);

/* The value of a variable ("NAME=") as ld.so takes it: the last one; or NULL. */
const char *shim_env_find(char *const *env, const char *name);
/* The length of ".so" where a name of n bytes ends so, else 0. */
size_t shim_env_suffix(const char *name, size_t n);
/* Whether an entry of n bytes is this library or its audit object, by its path or under another one by its name;
 * whether a list has one. */
bool shim_env_is_ours(const char *entry, size_t n);
bool shim_env_has_ours(const char *value, const char *separators);
/* LD_LIBRARY_PATH without the directories that were put in for another program; NULL when there is no memory. */
const char *shim_env_without_directories(struct ovl_ctx *ctx, const char *value);

/* The environment for a program that stays inside, with the help that ld.so needs for it and the comm that it is to
 * have (NULL: the kernel's), or for one that is let out: a new array, with the strings that need no change shared.
 * NULL when there is no memory. */
char **shim_env_inside(struct shim_call *call, char *const *env, const struct shim_loader *loader, const char *comm);
char **shim_env_outside(struct shim_call *call, char *const *env);

#endif
