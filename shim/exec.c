/* SPDX-License-Identifier: MIT
 *
 * Starting a program from inside an overlay.
 *
 * What must hold: the new program stays inside or is not started (but for the two ways out that the
 * user chose, an empty OVL_CONF and the `static` options); it sees the names that it would see
 * without the overlay; and where the kernel alone would come to the same files, it is left to
 * the kernel, which is exact about everything else.  Nothing here may allocate or lock: exec is
 * called in vfork children and signal handlers.
 */
#define _GNU_SOURCE
#include "exec.h"

#include "env.h"
#include "image.h"
#include "init.h"
#include "loader.h"
#include "real.h"
#include "scratch.h"
#include "sys.h"
#include "trace.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A script's interpreter may be a script: so many times, then ELOOP (the kernel's limit). */
#define LEVELS 5

#define SHELL "/bin/sh"
#define DEFAULT_PATH "/bin:/usr/bin"

/* A program file. */
struct target {
    int dirfd;
    const char *path;
    int flags;
    const char *asked;     /* the path that the program or the script gave */
    struct ovl_node *node; /* where it lies inside, else NULL */
    bool moved;            /* the kernel, given the path that the program gave, would come elsewhere */
};

/* The scripts on the way to a program. */
struct chain {
    struct shim_script *script;
    unsigned levels;
    bool moved;          /* any of the files */
    struct shim_elf elf; /* of the program that they end in */
};

/* ---- finding ----------------------------------------------------------------------------------- */

/* Whether the kernel, given what was asked, comes to the file at `there`. */
static bool is_same_file(const struct target *asked, const struct target *there)
{
    struct stat a, b;
    int flags = asked->flags & AT_SYMLINK_NOFOLLOW;
    return ovl_sys_fstatat(asked->dirfd, asked->path, &a, flags) == 0 &&
           ovl_sys_fstatat(there->dirfd, there->path, &b, flags) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* Find the file that target names and change it to what the kernel must be called with. */
static int find_file(struct shim_call *call, struct target *target)
{
    const struct target asked = *target;
    target->asked = asked.path;
    if (!*asked.path)
        return asked.flags & AT_EMPTY_PATH ? 0 : -ENOENT;
    unsigned follow = asked.flags & AT_SYMLINK_NOFOLLOW ? 0 : OVL_FOLLOW;
    int r = shim_find(call, &target->dirfd, &target->path, follow, &target->node);
    if (r < 0)
        return r;
    if (r == SHIM_OUTSIDE) {
        bool unchanged = target->dirfd == asked.dirfd && strcmp(target->path, asked.path) == 0;
        /* A way through a mount, which need not exist for the kernel, is not asked about. */
        target->moved = !unchanged && (ovl_space_holds(call->ctx.space, asked.path) || !is_same_file(&asked, target));
        return 0;
    }
    const struct ovl_node *node = target->node;
    if (!node->exists)
        return -ENOENT;
    if (!S_ISREG(node->st.st_mode))
        return S_ISLNK(node->st.st_mode) ? -ELOOP : -EACCES;
    r = ovl_access(&call->ctx, node, X_OK, true);
    if (r < 0)
        return r;
    target->dirfd = AT_FDCWD;
    target->path = node->real;
    /* Only where a layer is the mount itself (in place) can the kernel come to the same file; elsewhere it is not
     * asked, because the mount need not exist for it. */
    target->moved = strcmp(node->real, node->path) != 0 || !is_same_file(&asked, target);
    return 0;
}

/* The same, with a line in the trace: a call that starts a program has no end that could have one. */
static int find(struct shim_call *call, struct target *target)
{
    int r = find_file(call, target);
    if (shim_is_watched)
        shim_trace(call, "exec", r);
    return r;
}

/* Whether the caller may execute the file; inside, find() has asked. */
static int may_execute(const struct target *target)
{
    if (target->node)
        return 0;
    int flags = AT_EACCESS | (target->flags & (AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
    int r = ovl_sys_faccessat2(target->dirfd, target->path, X_OK, flags);
    if ((r == -ENOSYS || r == -EPERM) && *target->path)
        r = ovl_sys_faccessat(target->dirfd, target->path, X_OK);
    return r;
}

/* Go from a script to its interpreter until there is a program: *target.  Returns its kind. */
static int follow_scripts(struct shim_call *call, struct target *target, struct chain *chain)
{
    chain->script = ovl_ctx_alloc(&call->ctx, (LEVELS + 1) * sizeof *chain->script);
    if (!chain->script)
        return -ENOMEM;
    size_t mark = call->ctx.used;
    for (;;) {
        struct shim_script *script = &chain->script[chain->levels];
        chain->moved |= target->moved;
        int kind = shim_image(&call->ctx, target->dirfd, target->path, script, &chain->elf);
        if (kind != SHIM_IMAGE_SCRIPT)
            return kind;
        int r = may_execute(target);
        if (r < 0)
            return r;
        if (chain->levels++ == LEVELS)
            return -ELOOP;
        if (!*script->interpreter)
            return -EACCES; /* what the kernel answers to "#!" and nothing more */
        call->node = NULL;  /* the log's, in the memory that is given back */
        ovl_ctx_reset(&call->ctx, mark);
        *target = (struct target){.dirfd = AT_FDCWD, .path = script->interpreter};
        r = find(call, target);
        if (r < 0)
            return r;
    }
}

/* ---- names that programs and users see ------------------------------------------------------------- */

/* "/dev/fd/N" or "/dev/fd/N/path", as the kernel names what execveat(2) is given. */
static char *fd_name(struct shim_call *call, int fd, const char *path)
{
    char *name = shim_scratch(call, 32 + strlen(path)), *to = name, digits[12];
    if (!name)
        return NULL;
    size_t n = 0;
    to = stpcpy(to, "/dev/fd/");
    for (unsigned v = (unsigned)fd; v || !n; v /= 10)
        digits[n++] = (char)('0' + v % 10);
    while (n)
        *to++ = digits[--n];
    if (*path)
        *to++ = '/';
    strcpy(to, path);
    return name;
}

/* What an interpreter gets as the script's name: what exec was called with; below a directory's descriptor, the merged
 * path, because /dev/fd/N is the directory of one layer. */
static int script_name(struct shim_call *call, const struct shim_exec *exec, char **name)
{
    *name = (char *)exec->path;
    if (*exec->path == '/' || (*exec->path && exec->dirfd == AT_FDCWD))
        return 0;
    if (*exec->path) {
        size_t length = strlen(exec->path);
        *name = shim_scratch(call, OVL_PATH_MAX + 1 + length);
        if (!*name)
            return -ENOMEM;
        if (shim_dir_path(call, exec->dirfd, *name) == 1) {
            char *end = *name + strlen(*name);
            *end = '/';
            memcpy(end + 1, exec->path, length + 1);
            return 0;
        }
    }
    if (ovl_sys_raw(SYS_fcntl, exec->dirfd, F_GETFD, 0, 0, 0, 0) & FD_CLOEXEC)
        return -ENOENT; /* the interpreter could not open it */
    *name = fd_name(call, exec->dirfd, exec->path);
    return *name ? 0 : -ENOMEM;
}

/* The merged path of a program, symbolic links resolved; what is given when that can't be had. */
static const char *program_name(struct shim_call *call, const struct target *target)
{
    struct ovl_node *node = target->node;
    if (node)
        return node->path;
    if (!*target->path)
        return shim_find_fd(call, target->dirfd, &node) == 1 ? node->path : "(a program without a name)";
    char *base = ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX);
    node = ovl_node_new(&call->ctx);
    if (!base || !node || (*target->path != '/' && shim_dir_path(call, target->dirfd, base) < 0))
        return target->path;
    return ovl_resolve(&call->ctx, base, target->path, OVL_FOLLOW, node) < 0 ? target->path : node->path;
}

/* ---- programs that preloading can't reach ------------------------------------------------------------ */

static const char *reason(int kind)
{
    switch (kind) {
    case SHIM_IMAGE_STATIC:
        return ": statically linked, would run outside the overlay; set static=warn or static-allow=";
    case SHIM_IMAGE_GO:
        return ": a Go program (makes its own system calls), would run outside the overlay; set static=warn or "
               "static-allow=";
    case SHIM_IMAGE_LIBC:
        return ": made for another libc, would run outside the overlay; set static=warn or static-allow=";
    case SHIM_IMAGE_MACHINE:
        return ": made for another machine, would run outside the overlay; set static=warn or static-allow=";
    case SHIM_IMAGE_SECURE:
        return ": starts in secure mode (set-id bits, file capabilities, or ids that differ), would run outside the "
               "overlay; set static=warn or static-allow=";
    default:
        return ": can't be read, so that it may run outside the overlay; set static=warn or static-allow=";
    }
}

/* ldconfig is static, is run by every installation and would rewrite the real cache of the loader, which
 * nothing inside depends on. Ubuntu calls the program ldconfig.real. */
static bool is_ldconfig(const char *name, int kind)
{
    const char *base = strrchr(name, '/');
    base = base ? base + 1 : name;
    return kind == SHIM_IMAGE_STATIC && (strcmp(base, "ldconfig") == 0 || strcmp(base, "ldconfig.real") == 0);
}

/* Whether a program that would run outside may be started: 0, or -EACCES. */
static int judge(struct shim_call *call, struct shim_exec *exec, const struct target *target, int kind)
{
    int r = may_execute(target);
    if (r < 0)
        return r;
    const struct ovl_space *space = call->ctx.space;
    const char *name = program_name(call, target);
    if (ovl_space_static_allows(space, name) || ovl_space_static_allows(space, target->asked))
        return 0;
    if (is_ldconfig(name, kind)) {
        ovl_log_line(OVL_LOG_WARN, name, ": not run: counts as done (static-allow=", name, " runs it)", NULL);
        /* Ending here with status 0 is what the parent would see of a program that does nothing: exec
         * runs no exit handler and flushes nothing either. */
        ovl_sys_exit(0);
    }
    enum ovl_static policy = ovl_space_static(space);
    if (policy == OVL_STATIC_ALLOW)
        return 0;
    ovl_log_line(OVL_LOG_WARN, name, reason(kind), name, policy == OVL_STATIC_WARN ? ": run" : ": not run", NULL);
    if (policy == OVL_STATIC_WARN)
        return 0;
    shim_stderr_line(name, reason(kind), name, " to run it all the same", NULL);
    exec->refused = true;
    return -EACCES;
}

/* ---- running ------------------------------------------------------------------------------------------ */

static long run(const struct target *target, char *const *argv, char *const *envp)
{
    if (target->dirfd == AT_FDCWD && !target->flags)
        return shim_result(REAL(execve)(target->path, argv, envp));
    return shim_result(REAL(execveat)(target->dirfd, target->path, argv, envp, target->flags));
}

/* ld.so starts a program without a library that it can't load: outside. */
static int check_library(struct shim_exec *exec)
{
    if (ovl_sys_faccessat(AT_FDCWD, shim_library(), R_OK) == 0)
        return 0;
    ovl_log_line(OVL_LOG_ERROR, shim_library(), ": not there any more: no program can be started", NULL);
    shim_stderr_line(shim_library(), ": not there any more, a program would run outside the overlay: put it back",
                     NULL);
    exec->refused = true;
    return -EACCES;
}

/* The arguments for the last interpreter: each interpreter and its argument, the last one first, the
 * script's name, and the program's arguments but for argv[0]. */
static char **expand(struct shim_call *call, const struct chain *chain, char *name, char *const *argv)
{
    size_t rest = 0, n = 0;
    while (argv && argv[0] && argv[rest + 1])
        rest++;
    char **to = shim_scratch(call, ((size_t)2 * chain->levels + rest + 2) * sizeof *to);
    if (!to)
        return NULL;
    for (unsigned i = chain->levels; i-- > 0;) {
        to[n++] = (char *)chain->script[i].interpreter;
        if (chain->script[i].argument)
            to[n++] = (char *)chain->script[i].argument;
    }
    to[n++] = name;
    if (rest)
        memcpy(to + n, argv + 1, rest * sizeof *to);
    to[n + rest] = NULL;
    return to;
}

/* What to ask loader.c, and its answer. */
struct question {
    struct shim_call *call;
    struct shim_program program;
    char *const *env;
    struct shim_loader *loader;
};

static int ask_loader(void *argument)
{
    const struct question *q = argument;
    return shim_loader_ask(q->call, &q->program, q->env, q->loader);
}

static int find_help(struct shim_call *call, const struct shim_exec *exec, const struct target *target,
                     const struct shim_elf *elf, struct shim_loader *loader)
{
    struct question q = {call, {target->dirfd, target->path, target->node, elf}, exec->envp, loader};
    return ovl_with_descriptors(&call->ctx, target->dirfd, ask_loader, &q);
}

/* Start a program through the loader that it has inside. */
static long run_loader(struct shim_call *call, const struct shim_loader *loader, char *const *argv, char *const *envp)
{
    size_t rest = 0, n = 0;
    while (argv && argv[0] && argv[rest + 1])
        rest++;
    char **to = shim_scratch(call, (rest + 5) * sizeof *to);
    if (!to)
        return -ENOMEM;
    to[n++] = (char *)loader->interpreter;
    to[n++] = "--argv0";
    to[n++] = argv && argv[0] ? argv[0] : "";
    to[n++] = (char *)loader->program;
    if (rest)
        memcpy(to + n, argv + 1, rest * sizeof *to);
    to[n + rest] = NULL;
    return shim_result(REAL(execve)(loader->interpreter, to, envp));
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The comm of a process that the kernel is not given what was asked for: a link's name, a script's. NULL where it takes
 * the same from what it is given. */
static const char *find_comm(const struct shim_exec *exec, const struct target *given, const struct shim_loader *loader)
{
    const char *kernels = base_name(loader->interpreter ? loader->interpreter : given->path);
    const char *name = base_name(*exec->path || !loader->interpreter ? exec->path : loader->program);
    return *name && strcmp(name, kernels) != 0 ? name : NULL;
}

static long run_inside(struct shim_call *call, struct shim_exec *exec, const struct target *first)
{
    struct chain chain = {.levels = 0};
    struct target last = *first;
    struct shim_loader loader = {.audit = NULL};
    char *name, *const *argv = exec->argv;
    int r = follow_scripts(call, &last, &chain);
    size_t mark = call->ctx.used;
    if (r >= SHIM_IMAGE_STATIC) {
        r = judge(call, exec, &last, r);
        ovl_ctx_reset(&call->ctx, mark);
    } else if (r == SHIM_IMAGE_DYNAMIC) {
        r = find_help(call, exec, &last, &chain.elf, &loader);
    }
    if (r < 0)
        return r;
    bool is_plain = !chain.moved && !loader.interpreter;
    if (is_plain) /* also for the names that the kernel makes of it: comm, AT_EXECFN */
        last = (struct target){.dirfd = exec->dirfd, .path = exec->path, .flags = exec->flags};
    char **envp = shim_env_inside(call, exec->envp, &loader, is_plain ? NULL : find_comm(exec, &last, &loader));
    if (!envp)
        return -ENOMEM;
    if (!is_plain && chain.levels) {
        r = script_name(call, exec, &name);
        if (r < 0)
            return r;
        argv = expand(call, &chain, name, argv);
        if (!argv)
            return -ENOMEM;
    }
    if (loader.interpreter)
        return run_loader(call, &loader, argv, envp);
    return run(&last, argv, envp);
}

static long run_outside(struct shim_call *call, const struct shim_exec *exec, const struct target *first)
{
    char **envp = shim_env_outside(call, exec->envp);
    return envp ? run(first, exec->argv, envp) : -ENOMEM;
}

long shim_exec_loaded(struct shim_call *call, const char *path, const struct shim_loader *loader, char *const *argv,
                      char *const *envp)
{
    const struct target target = {.dirfd = AT_FDCWD, .path = path};
    return loader->interpreter ? run_loader(call, loader, argv, envp) : run(&target, argv, envp);
}

long shim_exec(struct shim_call *call, struct shim_exec *exec)
{
    struct target first = {.dirfd = exec->dirfd, .path = exec->path, .flags = exec->flags};
    if (!exec->path)
        return run(&first, exec->argv, exec->envp); /* EFAULT */
    void *mark = shim_scratch_mark();
    long r = find(call, &first);
    if (r < 0)
        return r;
    /* Of both kinds of path there is now one of the kernel's; flags other than those for paths stay. */
    if (first.node)
        first.flags &= ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
    if (shim_env_lets_out(exec->envp))
        r = run_outside(call, exec, &first);
    else if ((r = check_library(exec)) == 0)
        r = run_inside(call, exec, &first);
    shim_scratch_release(mark);
    return r;
}

/* ---- searching PATH ------------------------------------------------------------------------------------ */

static long exec_or_shell(struct shim_call *call, struct shim_exec *exec, bool shell)
{
    long r = shim_exec(call, exec);
    if (r != -ENOEXEC || !shell)
        return r;
    struct shim_script line = {.interpreter = SHELL};
    struct chain chain = {.script = &line, .levels = 1};
    void *mark = shim_scratch_mark();
    char **argv = expand(call, &chain, (char *)exec->path, exec->argv);
    if (!argv)
        return -ENOMEM;
    struct shim_exec sh = {.dirfd = AT_FDCWD, .path = SHELL, .argv = argv, .envp = exec->envp};
    r = shim_exec(call, &sh);
    exec->refused = sh.refused;
    shim_scratch_release(mark);
    return r;
}

/* Whether the search goes on to the next directory after this error. */
static bool is_passed_over(long r)
{
    return r == -EACCES || r == -ENOENT || r == -ENOTDIR || r == -ESTALE || r == -ENODEV || r == -ETIMEDOUT;
}

/* Write "directory/file", or "file" for an empty entry (the current directory); false if too long. */
static bool join(char *to, const char *directory, size_t n, const char *file)
{
    size_t length = strlen(file);
    if (n + 1 + length >= OVL_REAL_MAX)
        return false;
    memcpy(to, directory, n);
    if (n)
        to[n++] = '/';
    memcpy(to + n, file, length + 1);
    return true;
}

long shim_exec_search(struct shim_call *call, struct shim_exec *exec, bool shell)
{
    const char *file = exec->path;
    if (!file || strchr(file, '/'))
        return exec_or_shell(call, exec, shell);
    if (!*file)
        return -ENOENT;
    if (strlen(file) > OVL_NAME_MAX)
        return -ENAMETOOLONG;
    char *path = ovl_ctx_alloc(&call->ctx, OVL_REAL_MAX);
    if (!path)
        return -ENOMEM;
    const char *at = getenv("PATH");
    if (!at)
        at = DEFAULT_PATH;
    size_t mark = call->ctx.used;
    long r = -ENOENT;
    for (bool denied = false;; at++) {
        size_t n = strcspn(at, ":");
        if (join(path, at, n, file)) {
            exec->path = path;
            r = exec_or_shell(call, exec, shell);
            if (exec->refused || !is_passed_over(r))
                return r;
            denied |= r == -EACCES;
            call->node = NULL;
            ovl_ctx_reset(&call->ctx, mark);
        }
        at += n;
        if (!*at)
            return denied ? -EACCES : r;
    }
}
