/* SPDX-License-Identifier: MIT
 *
 * The arguments and the environment that the kernel put on the stack: for who has no libc to ask, or wants them as
 * they were at the start.
 */
#ifndef SHIM_ARGUMENTS_H
#define SHIM_ARGUMENTS_H

char **shim_first_arguments(void);
char **shim_first_environment(void);

/* A copy of a variable's value ("NAME="; of several the last, as ld.so takes it) that stays as it is when the program
 * writes over its environment, as those do that set their title; NULL when it is not set.  For the start: it maps
 * memory. */
const char *shim_first_variable(const char *name);

#endif
