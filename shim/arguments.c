/* SPDX-License-Identifier: MIT
 *
 * From where ld.so found the stack (arguments.h); what it points to is laid down in the psABI: the number of
 * arguments, the arguments, NULL, the environment.
 */
#include "arguments.h"

#include "sys.h"
#include "text.h"

#include <string.h>
#include <sys/mman.h>

/* Exported by ld.so, in no header. */
extern void *__libc_stack_end; /* NOLINT(bugprone-reserved-identifier) */

char **shim_first_arguments(void)
{
    return (char **)__libc_stack_end + 1;
}

char **shim_first_environment(void)
{
    return shim_first_arguments() + *(const long *)__libc_stack_end + 1;
}

const char *shim_first_variable(const char *name)
{
    const char *found = NULL;
    for (char **env = shim_first_environment(); *env; env++)
        if (ovl_has_prefix(*env, name))
            found = *env + ovl_strlen(name);
    if (!found)
        return NULL;
    size_t n = ovl_strlen(found) + 1;
    char *copy = ovl_sys_mmap(n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (copy)
        memcpy(copy, found, n);
    return copy;
}
