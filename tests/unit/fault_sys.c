/* SPDX-License-Identifier: MIT
 *
 * The floor under the unit tests: the true one, but for a call that a test wants to fail,
 * or to be made after something else has happened.
 *
 * Linked with --wrap=ovl_sys_raw, so that core is tested as it is built.  What must hold: calls that can't fail
 * on Linux never do here, and a failed close(2) has closed, as on Linux; what is off costs one branch.
 */
#include "fault_sys.h"
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

long __real_ovl_sys_raw(long nr, long a, long b, long c, long d, long e, long f);
long __wrap_ovl_sys_raw(long nr, long a, long b, long c, long d, long e, long f);

static __thread struct {
    bool on;
    unsigned calls, fail_at, again_at;
    int error;
    long hit;
    void (*act)(void *arg);
    void *arg;
} fault;

void fault_arm(unsigned n, int error)
{
    fault.calls = 0;
    fault.fail_at = n;
    fault.again_at = 0;
    fault.error = error;
    fault.hit = -1;
    fault.act = NULL;
    fault.on = true;
}

void fault_run_before(unsigned n, unsigned again, void (*act)(void *arg), void *arg)
{
    fault_arm(n, 0);
    fault.again_at = again;
    fault.act = act;
    fault.arg = arg;
}

unsigned fault_disarm(void)
{
    fault.on = false;
    return fault.calls;
}

long fault_hit(void)
{
    return fault.hit;
}

static bool can_fail(long nr)
{
    switch (nr) {
    case SYS_rt_sigprocmask:
    case SYS_getpid:
    case SYS_gettid:
    case SYS_getuid:
    case SYS_geteuid:
    case SYS_getgid:
    case SYS_getegid:
    case SYS_getgroups:
    case SYS_capget:
    case SYS_clock_gettime:
    case SYS_munmap:
    case SYS_madvise:
    case SYS_kill:
    case SYS_futex:
    case SYS_exit_group:
        return false;
    default:
        return true;
    }
}

#if defined __has_feature
#if __has_feature(thread_sanitizer)
#define IS_TSAN 1
#endif
#endif

/* TSan must see memory come and go: what one thread gives back and another one gets at the same address is no race. */
static long pass_on(long nr, long a, long b, long c, long d, long e, long f)
{
#ifdef IS_TSAN
    if (nr == SYS_mmap) {
        void *p = mmap((void *)a, (size_t)b, (int)c, (int)d, (int)e, f);
        return p == MAP_FAILED ? -errno : OVL_SYS_PTR(p);
    }
    if (nr == SYS_munmap)
        return munmap((void *)a, (size_t)b) < 0 ? -errno : 0;
#endif
    return __real_ovl_sys_raw(nr, a, b, c, d, e, f);
}

/* Killed after another one, a process leaves what it leaves when it is killed before the next. */
static bool only_reads(long nr, long c)
{
    switch (nr) {
    case SYS_openat:
        return !(c & (O_CREAT | O_TRUNC));
    case SYS_newfstatat:
    case SYS_fstat:
    case SYS_statx:
    case SYS_faccessat:
    case SYS_faccessat2:
    case SYS_readlinkat:
    case SYS_lgetxattr:
    case SYS_fgetxattr:
    case SYS_llistxattr:
    case SYS_flistxattr:
    case SYS_getdents64:
    case SYS_read:
    case SYS_close:
    case SYS_mmap:
    case SYS_munmap:
    case SYS_prlimit64:
    case SYS_sigaltstack:
    case SYS_rt_sigprocmask:
        return true;
    default:
        return !can_fail(nr);
    }
}

/* Whether a fault can be had at this call at all. */
static bool counts(long nr, long c)
{
    switch (fault.error) {
    case FAULT_KILL:
        return true;
    case FAULT_KILL_AFTER:
        return !only_reads(nr, c);
    default:
        return can_fail(nr);
    }
}

static bool kills(int error)
{
    return error == FAULT_KILL || error == FAULT_KILL_AFTER;
}

/* Something else happens first. */
static void run_before(long nr)
{
    fault.calls++;
    if (fault.calls != fault.fail_at && fault.calls != fault.again_at)
        return;
    if (fault.calls == fault.fail_at)
        fault.hit = nr;
    fault.on = false;
    fault.act(fault.arg);
    fault.on = true;
}

long __wrap_ovl_sys_raw(long nr, long a, long b, long c, long d, long e, long f)
{
    if (fault.on && fault.act) {
        run_before(nr);
        return pass_on(nr, a, b, c, d, e, f);
    }
    if (!fault.on || !counts(nr, c) || ++fault.calls != fault.fail_at)
        return pass_on(nr, a, b, c, d, e, f);
    fault.hit = nr;
    if (fault.error == FAULT_KILL_AFTER)
        pass_on(nr, a, b, c, d, e, f);
    if (kills(fault.error))
        __real_ovl_sys_raw(SYS_kill, __real_ovl_sys_raw(SYS_getpid, 0, 0, 0, 0, 0, 0), SIGKILL, 0, 0, 0, 0);
    if (nr == SYS_close)
        __real_ovl_sys_raw(nr, a, b, c, d, e, f);
    return -fault.error;
}
