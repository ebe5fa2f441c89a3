/* SPDX-License-Identifier: MIT
 *
 * A program that tells which copy of a library it got.  It is linked with libwho.so.1; each argument is a step:
 *
 *   NAME          dlopen NAME and tell what its who() says, or why not
 *   new:NAME      the same in a name space of its own (dlmopen)
 *   loaded:NAME   whether NAME is loaded already (RTLD_NOLOAD)
 *   exe, comm     the program's file and name by the kernel's word (/proc/self)
 *   address       where dladdr says that who() is
 *   env:NAME      an environment variable
 *   exec:PATH     become that program, with the rest of the arguments
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#ifdef PLUGIN_ONLY
static const char *who(void)
{
    return "none";
}
#else
const char *who(void);
#endif

static void tell(const char *name, void *handle)
{
    const char *(*function)(void) = handle ? (const char *(*)(void))dlsym(handle, "who") : NULL;
    printf("%s: %s\n", name, function ? function() : handle ? "no who" : dlerror());
}

static void address(void)
{
    Dl_info info;
    printf("address: %s\n", dladdr((void *)who, &info) ? info.dli_fname : "unknown");
}

static void exe(void)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path);
    printf("exe: %.*s\n", (int)n, path);
}

static void comm(void)
{
    char name[17] = "";
    prctl(PR_GET_NAME, name);
    printf("comm: %s\n", name);
}

int main(int argc, char **argv)
{
    printf("who: %s\n", who());
    for (int i = 1; i < argc; i++) {
        const char *step = argv[i];
        fflush(stdout);
        if (strcmp(step, "address") == 0)
            address();
        else if (strcmp(step, "exe") == 0)
            exe();
        else if (strcmp(step, "comm") == 0)
            comm();
        else if (strncmp(step, "new:", 4) == 0)
            tell(step, dlmopen(LM_ID_NEWLM, step + 4, RTLD_NOW));
        else if (strncmp(step, "loaded:", 7) == 0)
            printf("%s: %s\n", step, dlopen(step + 7, RTLD_NOW | RTLD_NOLOAD) ? "yes" : "no");
        else if (strncmp(step, "env:", 4) == 0)
            printf("%s: %s\n", step, getenv(step + 4) ? getenv(step + 4) : "unset");
        else if (strncmp(step, "exec:", 5) == 0)
            return execv(step + 5, argv + i);
        else
            tell(step, dlopen(step, RTLD_NOW));
    }
    return 0;
}
