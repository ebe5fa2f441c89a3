/* SPDX-License-Identifier: MIT
 *
 * posix_spawn, posix_spawnp.
 *
 * libc's own child reaches no hook at all, and its file actions can't be translated before it runs:
 * a relative path depends on an earlier chdir action, an open for writing copies up.  So the child is
 * made here: it shares our memory (clone with CLONE_VM and CLONE_VFORK), runs on a stack of its
 * own with all signals blocked, does what the attributes and actions ask for through our own
 * wrappers, and leaves its errno where the parent reads it.
 */
#define _GNU_SOURCE
#include "spawn_actions.h"

#include "exec.h"
#include "real.h"
#include "sys.h"
#include "vfork.h"
#include "wrap.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Enough for a copy-up and for the libraries behind us; pages that are not touched cost nothing. */
#define STACK_SIZE ((size_t)256 * 1024)
#define SIGNALS 64 /* of the kernel: the real-time ones that libc keeps to itself too */

#define FLAGS_KNOWN                                                                                                    \
    (POSIX_SPAWN_RESETIDS | POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK |                   \
     POSIX_SPAWN_SETSCHEDPARAM | POSIX_SPAWN_SETSCHEDULER | POSIX_SPAWN_USEVFORK | POSIX_SPAWN_SETSID)

struct spawn {
    const char *file;
    bool search;
    const posix_spawn_file_actions_t *actions;
    const posix_spawnattr_t *attributes;
    short flags;
    char *const *argv;
    char *const *envp;
    int *pidfd;       /* pidfd_spawn: where the child's goes, instead of a process id */
    uint64_t signals; /* the caller's mask */
    int error;        /* the child's */
};

/* The kernel's struct sigaction, for the signals that libc's sigaction refuses. */
struct kernel_sigaction {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

/* ---- attributes, in the child ----------------------------------------------------------------------------- */

/* No handler of the parent may run in the child, which shares its memory; exec would reset them anyway. */
static void reset_signals(const struct spawn *spawn)
{
    sigset_t set;
    uint64_t defaults = 0;
    if (spawn->flags & POSIX_SPAWN_SETSIGDEF && posix_spawnattr_getsigdefault(spawn->attributes, &set) == 0)
        memcpy(&defaults, &set, sizeof defaults);
    for (int signal = 1; signal <= SIGNALS; signal++) {
        struct kernel_sigaction action;
        if (ovl_sys_raw(SYS_rt_sigaction, signal, 0, OVL_SYS_PTR(&action), OVL_SIGSET_BYTES, 0, 0) < 0)
            continue;
        bool caught = action.handler != SIG_DFL && action.handler != SIG_IGN;
        bool wanted = defaults >> (signal - 1) & 1;
        if (!caught && !(wanted && action.handler == SIG_IGN))
            continue;
        memset(&action, 0, sizeof action);
        ovl_sys_raw(SYS_rt_sigaction, signal, OVL_SYS_PTR(&action), 0, OVL_SIGSET_BYTES, 0, 0);
    }
}

static long set_scheduling(const struct spawn *spawn)
{
    struct sched_param parameters;
    int policy;
    if (!(spawn->flags & (POSIX_SPAWN_SETSCHEDULER | POSIX_SPAWN_SETSCHEDPARAM)))
        return 0;
    posix_spawnattr_getschedparam(spawn->attributes, &parameters);
    posix_spawnattr_getschedpolicy(spawn->attributes, &policy);
    if (spawn->flags & POSIX_SPAWN_SETSCHEDULER)
        return ovl_sys_raw(SYS_sched_setscheduler, 0, policy, OVL_SYS_PTR(&parameters), 0, 0, 0);
    return ovl_sys_raw(SYS_sched_setparam, 0, OVL_SYS_PTR(&parameters), 0, 0, 0, 0);
}

/* libc's seteuid would have every thread of the parent change its ids. */
static long reset_ids(void)
{
    long r = ovl_sys_raw(SYS_setresuid, -1, ovl_sys_getuid(), -1, 0, 0, 0);
    if (r < 0)
        return r;
    return ovl_sys_raw(SYS_setresgid, -1, ovl_sys_raw(SYS_getgid, 0, 0, 0, 0, 0, 0), -1, 0, 0, 0);
}

static long set_attributes(const struct spawn *spawn)
{
    reset_signals(spawn);
    long r = set_scheduling(spawn);
    if (r >= 0 && spawn->flags & POSIX_SPAWN_SETSID)
        r = ovl_sys_raw(SYS_setsid, 0, 0, 0, 0, 0, 0);
    if (r >= 0 && spawn->flags & POSIX_SPAWN_SETPGROUP) {
        pid_t group = 0;
        posix_spawnattr_getpgroup(spawn->attributes, &group);
        r = ovl_sys_raw(SYS_setpgid, 0, group, 0, 0, 0, 0);
    }
    if (r >= 0 && spawn->flags & POSIX_SPAWN_RESETIDS)
        r = reset_ids();
    return r < 0 ? r : 0;
}

/* ---- file actions, in the child --------------------------------------------------------------------------- */

/* Closing what is not open is no error, but a number that can't be a descriptor's is. */
static long act_close(int fd)
{
    struct rlimit limit;
    if (wrap_close(fd) == 0)
        return 0;
    bool possible = fd >= 0 && (getrlimit(RLIMIT_NOFILE, &limit) != 0 || (rlim_t)fd < limit.rlim_cur);
    return possible ? 0 : -EBADF;
}

static long act_dup2(int from, int to)
{
    if (from != to)
        return shim_result(wrap_dup2(from, to));
    int flags = wrap_fcntl(from, F_GETFD);
    return flags < 0 ? -errno : shim_result(wrap_fcntl(from, F_SETFD, flags & ~FD_CLOEXEC));
}

/* The number is closed first: at the limit of descriptors there may be no other. */
static long act_open(const struct shim_spawn_action *action)
{
    wrap_close(action->open.fd);
    int fd = wrap_open(action->open.path, action->open.flags, action->open.mode);
    if (fd < 0)
        return -errno;
    if (fd == action->open.fd)
        return 0;
    long r = shim_result(wrap_dup2(fd, action->open.fd));
    wrap_close(fd);
    return r;
}

static long act(const struct shim_spawn_action *action)
{
    switch (action->tag) {
    case SHIM_SPAWN_CLOSE:
        return act_close(action->fd);
    case SHIM_SPAWN_DUP2:
        return act_dup2(action->dup2.from, action->dup2.to);
    case SHIM_SPAWN_OPEN:
        return act_open(action);
    case SHIM_SPAWN_CHDIR:
        return shim_result(wrap_chdir(action->directory));
    case SHIM_SPAWN_FCHDIR:
        return shim_result(wrap_fchdir(action->fd));
    case SHIM_SPAWN_CLOSEFROM:
        return shim_result(wrap_close_range((unsigned)action->fd, UINT_MAX, 0));
    case SHIM_SPAWN_TCSETPGRP:
        return shim_result(tcsetpgrp(action->fd, getpgrp()));
    default: /* of a newer libc */
        return -ENOTSUP;
    }
}

static long act_all(const struct spawn *spawn)
{
    if (!spawn->actions)
        return 0;
    const struct shim_spawn_action *action = (const void *)spawn->actions->__actions;
    for (int i = 0; i < spawn->actions->__used; i++) {
        long r = act(&action[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- parent and child -------------------------------------------------------------------------------------- */

static long run(const struct spawn *spawn)
{
    struct shim_call call;
    struct shim_exec exec = {.dirfd = AT_FDCWD, .path = spawn->file, .argv = spawn->argv, .envp = spawn->envp};
    if (!shim_begin(&call, "posix_spawn"))
        return -ENOMEM;
    /* posix_spawnp gives the shell nothing (the version of it before glibc 2.15 did). */
    long r = spawn->search ? shim_exec_search(&call, &exec, false) : shim_exec(&call, &exec);
    shim_leave(&call, 0);
    return r;
}

static int child(void *argument)
{
    struct spawn *spawn = argument;
    long r = set_attributes(spawn);
    if (r == 0)
        r = act_all(spawn);
    if (r == 0) {
        uint64_t signals = spawn->signals;
        sigset_t set;
        if (spawn->flags & POSIX_SPAWN_SETSIGMASK && posix_spawnattr_getsigmask(spawn->attributes, &set) == 0)
            memcpy(&signals, &set, sizeof signals);
        ovl_sys_sigprocmask(SIG_SETMASK, &signals, NULL);
        r = run(spawn);
    }
    spawn->error = (int)-r;
    ovl_sys_exit(127);
    return 0;
}

/* Make the child and wait until it has called exec or has failed: its pid, or a negative errno. */
static pid_t make_child(struct spawn *spawn)
{
    char *stack = ovl_sys_mmap(STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1);
    if (!stack)
        return -ENOMEM;
    uint64_t all = ~UINT64_C(0);
    ovl_sys_sigprocmask(SIG_SETMASK, &all, &spawn->signals);
    struct shim_vfork saved = shim_vfork_begin();
    const int flags = CLONE_VM | CLONE_VFORK | SIGCHLD | (spawn->pidfd ? CLONE_PIDFD : 0);
    long r = shim_result(REAL(clone)(child, stack + STACK_SIZE, flags, spawn, spawn->pidfd));
    r = shim_result(shim_vfork_end(r, saved.mark, saved.scratch));
    ovl_sys_munmap(stack, STACK_SIZE);
    if (r > 0 && spawn->error) {
        /* Reaped before a SIGCHLD handler can run, which would wait for it. */
        while (ovl_sys_raw(SYS_wait4, r, 0, 0, 0, 0, 0) == -EINTR)
            continue;
        if (spawn->pidfd)
            ovl_sys_close(*spawn->pidfd);
        r = -spawn->error;
    }
    ovl_sys_sigprocmask(SIG_SETMASK, &spawn->signals, NULL);
    return (pid_t)r;
}

/* Returns 0 or an errno, as posix_spawn does. */
static int spawn_program(pid_t *pid, struct spawn *spawn)
{
    if (spawn->attributes)
        posix_spawnattr_getflags(spawn->attributes, &spawn->flags);
    if (spawn->flags & ~FLAGS_KNOWN)
        return ENOTSUP;
    int saved_errno = errno, cancel;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel); /* the child runs as this thread */
    pid_t made = make_child(spawn);
    pthread_setcancelstate(cancel, NULL);
    errno = saved_errno;
    if (made < 0)
        return -made;
    if (pid)
        *pid = made;
    return 0;
}

int wrap_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                     const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    if (!shim_space())
        return REAL(posix_spawn)(pid, path, actions, attributes, argv, envp);
    struct spawn spawn = {.file = path, .actions = actions, .attributes = attributes, .argv = argv, .envp = envp};
    return spawn_program(pid, &spawn);
}

int wrap_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                      const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    if (!shim_space())
        return REAL(posix_spawnp)(pid, file, actions, attributes, argv, envp);
    struct spawn spawn = {
        .file = file, .search = true, .actions = actions, .attributes = attributes, .argv = argv, .envp = envp};
    return spawn_program(pid, &spawn);
}

/* As these with a descriptor of the process in place of its id (glibc 2.39). */
int wrap_pidfd_spawn(int *pidfd, const char *path, const posix_spawn_file_actions_t *actions,
                     const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    if (!shim_space())
        return REAL(pidfd_spawn)(pidfd, path, actions, attributes, argv, envp);
    int fd = -1;
    struct spawn spawn = {
        .file = path, .actions = actions, .attributes = attributes, .pidfd = &fd, .argv = argv, .envp = envp};
    int r = spawn_program(NULL, &spawn);
    if (r == 0)
        *pidfd = fd;
    return r;
}

int wrap_pidfd_spawnp(int *pidfd, const char *file, const posix_spawn_file_actions_t *actions,
                      const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    if (!shim_space())
        return REAL(pidfd_spawnp)(pidfd, file, actions, attributes, argv, envp);
    int fd = -1;
    struct spawn spawn = {.file = file,
                          .search = true,
                          .actions = actions,
                          .attributes = attributes,
                          .pidfd = &fd,
                          .argv = argv,
                          .envp = envp};
    int r = spawn_program(NULL, &spawn);
    if (r == 0)
        *pidfd = fd;
    return r;
}

#define SHIM_FILE_spawn
#include "export.h"
