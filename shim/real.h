/* SPDX-License-Identifier: MIT
 *
 * The next library's functions: what a wrapper calls in the end, so that fakeroot, faketime and
 * sanitizers behind us go on working.
 *
 *   REAL(openat)(dirfd, path, flags, mode)
 */
#ifndef SHIM_REAL_H
#define SHIM_REAL_H

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <link.h>
#include <nl_types.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sys/types.h>
#include <utime.h>
#include <wordexp.h>

struct file_handle;
struct mount_attr;
struct utmp;

#define SHIM_FILE_ALL
#define TWIN(symbol, name)

#define CALL(name, type, parameters, safety) SHIM_REAL_##name,
enum shim_real_index {
#include "calls.def"
    SHIM_REAL_COUNT
};
#undef CALL

/* Only for the types of the functions. */
#define CALL(name, type, parameters, safety) __typeof__(type(*) parameters) name;
struct shim_real_types {
#include "calls.def"
};
#undef CALL
#undef TWIN
#undef SHIM_FILE_ALL

extern void *shim_real_slot[SHIM_REAL_COUNT];

/* Look up every SAFE row. Called once at start. */
void shim_real_init(void);

/* Look up one row. Never NULL: a function that the next libraries don't have answers ENOSYS. */
void *shim_real_find(enum shim_real_index i);

static inline void *shim_real_get(enum shim_real_index i)
{
    void *p = __atomic_load_n(&shim_real_slot[i], __ATOMIC_ACQUIRE);
    return p ? p : shim_real_find(i);
}

/* Whether programs would come to libc's own functions without us: nobody behind us looks at what files are opened and
 * asked for.  False also where that is not known. */
bool shim_real_is_libc(void);

#define REAL(name) ((__typeof__(((struct shim_real_types *)0)->name))shim_real_get(SHIM_REAL_##name))

#endif
