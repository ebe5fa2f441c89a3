/* SPDX-License-Identifier: MIT
 *
 * posix_spawn for the rest of the shim, and what it knows of libc's file actions.
 */
#ifndef SHIM_SPAWN_ACTIONS_H
#define SHIM_SPAWN_ACTIONS_H

#include <spawn.h>

/* The element of posix_spawn_file_actions_t, which glibc (2.1 to now) does not declare but cannot
 * change either: programs have it in memory that an older header sized.  Tags and members were
 * only ever added at the end.  tests/unit/test_spawn_layout.c holds it against the libc at hand. */
enum shim_spawn_tag {
    SHIM_SPAWN_CLOSE,
    SHIM_SPAWN_DUP2,
    SHIM_SPAWN_OPEN,
    SHIM_SPAWN_CHDIR,
    SHIM_SPAWN_FCHDIR,
    SHIM_SPAWN_CLOSEFROM,
    SHIM_SPAWN_TCSETPGRP,
};

struct shim_spawn_action {
    int tag;
    union {
        int fd; /* of close, fchdir, closefrom, tcsetpgrp */
        struct {
            int from, to;
        } dup2;
        struct {
            int fd;
            char *path;
            int flags;
            mode_t mode;
        } open;
        char *directory;
    };
};

int wrap_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                     const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]);
int wrap_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                      const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]);

#endif
