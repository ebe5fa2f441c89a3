/* SPDX-License-Identifier: MIT
 *
 * The exec family. libc's own members call each other inside, past every hook: so each is wrapped.
 */
#define _GNU_SOURCE
#include "exec.h"
#include "real.h"

#include <unistd.h>

int wrap_execve(const char *path, char *const argv[], char *const envp[])
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(execve)(path, argv, envp);
    struct shim_exec exec = {.dirfd = AT_FDCWD, .path = path, .argv = argv, .envp = envp};
    return (int)shim_leave(&call, shim_exec(&call, &exec));
}

int wrap_execv(const char *path, char *const argv[])
{
    return wrap_execve(path, argv, environ);
}

int wrap_execvpe(const char *file, char *const argv[], char *const envp[])
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(execvpe)(file, argv, envp);
    struct shim_exec exec = {.dirfd = AT_FDCWD, .path = file, .argv = argv, .envp = envp};
    return (int)shim_leave(&call, shim_exec_search(&call, &exec, true));
}

int wrap_execvp(const char *file, char *const argv[])
{
    return wrap_execvpe(file, argv, environ);
}

int wrap_execveat(int dirfd, const char *path, char *const argv[], char *const envp[], int flags)
{
    struct shim_call call;
    if (!shim_enter(&call))
        return REAL(execveat)(dirfd, path, argv, envp, flags);
    struct shim_exec exec = {.dirfd = dirfd, .path = path, .flags = flags, .argv = argv, .envp = envp};
    return (int)shim_leave(&call, shim_exec(&call, &exec));
}

int wrap_fexecve(int fd, char *const argv[], char *const envp[])
{
    if (fd < 0 || !argv || !envp) {
        errno = EINVAL;
        return -1;
    }
    return wrap_execveat(fd, "", argv, envp, AT_EMPTY_PATH);
}

/* ---- arguments as a list: put into an array on the stack, as libc does ---------------------------------- */

/* How many arguments there are from the first on, without the NULL that ends them.  (The caller has started the list,
 * which clang's analyzer does not see.) */
static size_t count(const char *first, va_list list)
{
    size_t n = 0;
    for (const char *next = first; next; next = va_arg(list, const char *)) /* NOLINT(*valist*) */
        n++;
    return n;
}

static void fill(char **argv, const char *first, va_list *list)
{
    for (char *next = (char *)first; (*argv++ = next);)
        next = va_arg(*list, char *); /* NOLINT(*valist*) */
}

int wrap_execl(const char *path, const char *first, ...)
{
    va_list list;
    va_start(list, first);
    char *argv[count(first, list) + 1];
    va_end(list);
    va_start(list, first);
    fill(argv, first, &list);
    va_end(list);
    return wrap_execve(path, argv, environ);
}

int wrap_execlp(const char *file, const char *first, ...)
{
    va_list list;
    va_start(list, first);
    char *argv[count(first, list) + 1];
    va_end(list);
    va_start(list, first);
    fill(argv, first, &list);
    va_end(list);
    return wrap_execvpe(file, argv, environ);
}

int wrap_execle(const char *path, const char *first, ...)
{
    va_list list;
    va_start(list, first);
    char *argv[count(first, list) + 1];
    va_end(list);
    va_start(list, first);
    fill(argv, first, &list);
    char *const *envp = va_arg(list, char *const *);
    va_end(list);
    return wrap_execve(path, argv, envp);
}

#define SHIM_FILE_exec
#include "export.h"
