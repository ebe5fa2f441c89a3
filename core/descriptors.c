/* SPDX-License-Identifier: MIT
 *
 * Opening files when the process has no descriptor left.
 *
 * chmod(2) of a file needs no descriptor, so it must not fail for want of one because the file is copied up for it
 * (CONTRACT 4.6).  Then the work is done by a child that shares our memory and has a table of descriptors of its own,
 * in which some are free.  What must hold: signals are blocked, so that no handler runs in it; it has no exit signal,
 * so that only who waits for exactly such children could see it.
 */
#include "types.h"

#include <sys/mman.h>

#define STACK_SIZE ((size_t)32 * 1024)
#define FREED 3 /* a file to copy, its copy, and one to spare */
/* CLONE_VM and CLONE_VFORK of <sched.h>, __WALL of <sys/wait.h>: for _GNU_SOURCE only there. */
#define FLAG_VM 0x00000100
#define FLAG_VFORK 0x00004000
#define WAIT_ALL 0x40000000

struct task {
    const struct ovl_ctx *ctx;
    int keep;
    int (*act)(void *arg);
    void *arg;
    int answer;
};

static bool is_kept(const struct task *task, int fd)
{
    for (int i = 0; task->ctx && i < task->ctx->fds; i++)
        if (task->ctx->fd[i] == fd)
            return true;
    return fd == task->keep;
}

static void run(void *arg)
{
    struct task *task = arg;
    for (int fd = 0; fd < FREED; fd++)
        if (!is_kept(task, fd))
            ovl_sys_close(fd);
    task->answer = task->act(task->arg);
    ovl_sys_exit(0);
}

static int run_apart(struct task *task)
{
    const uint64_t all = ~UINT64_C(0);
    uint64_t signals;
    char *stack = ovl_sys_mmap(STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1);
    if (!stack)
        return -EMFILE;
    ovl_sys_sigprocmask(SIG_SETMASK, &all, &signals);
    long pid = ovl_sys_clone(FLAG_VM | FLAG_VFORK, stack + STACK_SIZE, run, task);
    while (pid > 0 && ovl_sys_raw(SYS_wait4, pid, 0, WAIT_ALL, 0, 0, 0) == -EINTR)
        continue;
    ovl_sys_sigprocmask(SIG_SETMASK, &signals, NULL);
    ovl_sys_munmap(stack, STACK_SIZE);
    return task->answer;
}

int ovl_with_descriptors(struct ovl_ctx *ctx, int keep, int (*act)(void *arg), void *arg)
{
    size_t mark = ctx ? ctx->used : 0;
    int r = act(arg);
    if (r != -EMFILE)
        return r;
    if (ctx)
        ovl_ctx_reset(ctx, mark);
    struct task task = {.ctx = ctx, .keep = keep, .act = act, .arg = arg, .answer = -EMFILE};
    return run_apart(&task);
}
