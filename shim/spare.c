/* SPDX-License-Identifier: MIT
 *
 * The child with a free descriptor (spare.h).  It has no exit signal: only who waits for exactly such children could
 * see it.
 */
#define _GNU_SOURCE
#include "spare.h"

#include "real.h"
#include "sys.h"

#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK_SIZE ((size_t)32 * 1024)

struct task {
    int dirfd;
    int (*function)(void *argument);
    void *argument;
    int answer;
};

static int child(void *argument)
{
    struct task *task = argument;
    ovl_sys_close(task->dirfd == STDIN_FILENO ? STDOUT_FILENO : STDIN_FILENO);
    task->answer = task->function(task->argument);
    ovl_sys_exit(0);
    return 0;
}

int shim_with_descriptor(int dirfd, int (*function)(void *argument), void *argument)
{
    struct task task = {.dirfd = dirfd, .function = function, .argument = argument, .answer = -EMFILE};
    uint64_t all = ~UINT64_C(0), signals;
    char *stack = ovl_sys_mmap(STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1);
    if (!stack)
        return -ENOMEM;
    ovl_sys_sigprocmask(SIG_SETMASK, &all, &signals);
    int saved_errno = errno, pid = REAL(clone)(child, stack + STACK_SIZE, CLONE_VM | CLONE_VFORK, &task);
    errno = saved_errno;
    while (pid > 0 && ovl_sys_raw(SYS_wait4, pid, 0, __WALL, 0, 0, 0) == -EINTR)
        continue;
    ovl_sys_sigprocmask(SIG_SETMASK, &signals, NULL);
    ovl_sys_munmap(stack, STACK_SIZE);
    return task.answer;
}
