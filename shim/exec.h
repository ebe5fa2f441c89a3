/* SPDX-License-Identifier: MIT
 *
 * Starting a program from inside an overlay: what the exec family and posix_spawn share.
 */
#ifndef SHIM_EXEC_H
#define SHIM_EXEC_H

#include "loader.h"

/* As execveat(2) has it. */
struct shim_exec {
    int dirfd;
    const char *path;
    int flags;
    char *const *argv;
    char *const *envp;
    bool refused; /* out: not the kernel's answer but ours (CONTRACT 1.12); a search must end here */
};

/* Replace the process by the program; returns only on failure, with a negative errno.
 * Async-signal-safe. */
long shim_exec(struct shim_call *call, struct shim_exec *exec);

/* Start a program file with the help that it needs and an environment that is ready.  Returns a negative errno. */
long shim_exec_loaded(struct shim_call *call, const char *path, const struct shim_loader *loader, char *const *argv,
                      char *const *envp);

/* As shim_exec() for exec->path without a slash in the directories of PATH, as execvpe(3) does; with `shell`,
 * what the kernel does not know is given to /bin/sh. */
long shim_exec_search(struct shim_call *call, struct shim_exec *exec, bool shell);

#endif
