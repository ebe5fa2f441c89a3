/* SPDX-License-Identifier: MIT
 *
 * system, popen, pclose, daemon, clone: libc's other ways to make a process or to change what it is.
 *
 * Not wrapped: fork and _Fork.  They take no path, and the state that a child must not keep is on
 * pages that the kernel clears in it (MADV_WIPEONFORK).
 *
 * The few words of state that system and popen share between threads stand behind a lock that names
 * its owner's process: in a forked child a lock that another thread of the parent held is free.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "cwd.h"
#include "real.h"
#include "spawn_actions.h"
#include "sys.h"
#include "vfork.h"
#include "wrap.h"

#include <paths.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define SHELL "/bin/sh"

/* ---- the lock ---------------------------------------------------------------------------------------------- */

static pid_t lock_owner;

/* Signals are blocked while it is held: a handler on top of us could wait for ever. */
static void lock(uint64_t *signals)
{
    uint64_t all = ~UINT64_C(0);
    ovl_sys_sigprocmask(SIG_SETMASK, &all, signals);
    pid_t self = ovl_sys_getpid(), seen = 0;
    while (!__atomic_compare_exchange_n(&lock_owner, &seen, self, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        if (seen != self) /* of the process that we were forked from */
            continue;
        seen = 0;
        sched_yield();
    }
}

static void unlock(const uint64_t *signals)
{
    __atomic_store_n(&lock_owner, 0, __ATOMIC_RELEASE);
    ovl_sys_sigprocmask(SIG_SETMASK, signals, NULL);
}

/* ---- system ------------------------------------------------------------------------------------------------- */

/* While any thread is in system(), SIGINT and SIGQUIT are ignored; the last one out restores them. */
static struct {
    pid_t owner; /* the process that counted */
    unsigned users;
    struct sigaction interrupt, quit;
} in_system;

static void ignore_signals(void)
{
    uint64_t signals;
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    lock(&signals);
    if (in_system.owner != lock_owner)
        in_system.users = 0;
    in_system.owner = lock_owner;
    if (in_system.users++ == 0) {
        sigaction(SIGINT, &ignore, &in_system.interrupt);
        sigaction(SIGQUIT, &ignore, &in_system.quit);
    }
    unlock(&signals);
}

static void restore_signals(void)
{
    uint64_t signals;
    lock(&signals);
    if (--in_system.users == 0) {
        sigaction(SIGINT, &in_system.interrupt, NULL);
        sigaction(SIGQUIT, &in_system.quit, NULL);
    }
    unlock(&signals);
}

/* A system() under way. */
struct command {
    pid_t pid;
    sigset_t mask; /* the caller's */
};

static void end_command(struct command *command)
{
    restore_signals();
    pthread_sigmask(SIG_SETMASK, &command->mask, NULL);
}

/* The thread is cancelled while it waits: the command must not go on unnoticed. */
static void kill_command(void *argument)
{
    struct command *command = argument;
    kill(command->pid, SIGKILL);
    while (ovl_sys_raw(SYS_wait4, command->pid, 0, 0, 0, 0, 0) == -EINTR)
        continue;
    end_command(command);
}

static int spawn_command(struct command *command, const char *line)
{
    char *argv[] = {"sh", "-c", (char *)line, NULL};
    sigset_t defaults;
    posix_spawnattr_t attributes;
    sigemptyset(&defaults);
    if (in_system.interrupt.sa_handler != SIG_IGN)
        sigaddset(&defaults, SIGINT);
    if (in_system.quit.sa_handler != SIG_IGN)
        sigaddset(&defaults, SIGQUIT);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &command->mask);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    int error = wrap_posix_spawn(&command->pid, SHELL, NULL, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    return error;
}

/* The command's status as waitpid gives it: that of a shell that could not be started is 127. */
static int run_command(const char *line)
{
    struct command command;
    sigset_t child;
    int status = W_EXITCODE(127, 0);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    pthread_sigmask(SIG_BLOCK, &child, &command.mask);
    ignore_signals();
    int error = spawn_command(&command, line);
    if (error == 0) {
        pthread_cleanup_push(kill_command, &command);
        while (waitpid(command.pid, &status, 0) < 0)
            if (errno != EINTR) {
                status = -1;
                break;
            }
        pthread_cleanup_pop(0);
    }
    int wait_errno = errno;
    end_command(&command);
    errno = error ? error : wait_errno;
    return status;
}

int wrap_system(const char *line)
{
    if (!shim_space())
        return REAL(system)(line);
    if (!line)
        return run_command("exit 0") == 0;
    return run_command(line);
}

/* ---- popen --------------------------------------------------------------------------------------------------- */

/* A stream of popen that is open. */
struct stream {
    struct stream *next;
    FILE *file;
    int fd;
    pid_t pid;
};

static struct stream *streams;

struct popen_mode {
    bool reads, close_on_exec;
};

static bool parse_mode(const char *text, struct popen_mode *mode)
{
    bool writes = false;
    *mode = (struct popen_mode){.reads = false};
    for (; *text; text++) {
        if (*text == 'r')
            mode->reads = true;
        else if (*text == 'w')
            writes = true;
        else if (*text == 'e')
            mode->close_on_exec = true;
        else
            return false;
    }
    return mode->reads != writes;
}

/* The shell, with one end of the pipe as its stdin or stdout and the streams of earlier popens closed.  Called
 * with the lock held; `signals` is the caller's mask. */
static int spawn_shell(pid_t *pid, const char *line, int fd, int standard, uint64_t signals)
{
    char *argv[] = {"sh", "-c", (char *)line, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t mask;
    sigemptyset(&mask);
    memcpy(&mask, &signals, sizeof signals);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &mask);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawn_file_actions_init(&actions);
    int error = posix_spawn_file_actions_adddup2(&actions, fd, standard);
    for (const struct stream *s = streams; s && !error; s = s->next)
        if (s->fd != standard)
            error = posix_spawn_file_actions_addclose(&actions, s->fd);
    if (!error)
        error = wrap_posix_spawn(pid, SHELL, &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* Start the command and make the stream of our end of the pipe: 0 or an errno. Closes the other end. */
static int open_stream(struct stream *stream, const char *line, struct popen_mode mode, const int pipe_end[2])
{
    uint64_t signals;
    int theirs = pipe_end[mode.reads];
    stream->fd = pipe_end[!mode.reads];
    stream->file = fdopen(stream->fd, mode.reads ? "r" : "w");
    int error = stream->file ? 0 : errno;
    if (!error) {
        lock(&signals);
        error = spawn_shell(&stream->pid, line, theirs, mode.reads ? STDOUT_FILENO : STDIN_FILENO, signals);
        if (!error) {
            stream->next = streams;
            streams = stream;
        }
        unlock(&signals);
    }
    shim_close(theirs);
    if (error && stream->file)
        fclose(stream->file);
    else if (error)
        shim_close(stream->fd);
    else if (!mode.close_on_exec)
        wrap_fcntl(stream->fd, F_SETFD, 0);
    return error;
}

FILE *wrap_popen(const char *line, const char *type)
{
    struct popen_mode mode;
    int pipe_end[2];
    if (!shim_space())
        return REAL(popen)(line, type);
    if (!parse_mode(type, &mode)) {
        errno = EINVAL;
        return NULL;
    }
    struct stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return NULL;
    int error = pipe2(pipe_end, O_CLOEXEC) < 0 ? errno : open_stream(stream, line, mode, pipe_end);
    if (!error)
        return stream->file; /* NOLINT(*Malloc): the stream is in the list */
    free(stream);
    errno = error;
    return NULL;
}

/* Take the stream out of the list; NULL if popen did not make it here. */
static struct stream *take_stream(const FILE *file)
{
    uint64_t signals;
    lock(&signals);
    struct stream **link = &streams;
    while (*link && (*link)->file != file)
        link = &(*link)->next;
    struct stream *stream = *link;
    if (stream)
        *link = stream->next;
    unlock(&signals);
    return stream;
}

int wrap_pclose(FILE *file)
{
    struct stream *stream = take_stream(file);
    if (!stream)
        return REAL(pclose)(file);
    pid_t pid = stream->pid, waited;
    int status, cancel;
    free(stream);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    fclose(file);
    do
        waited = waitpid(pid, &status, 0);
    while (waited < 0 && errno == EINTR);
    pthread_setcancelstate(cancel, NULL);
    return waited < 0 ? -1 : status;
}

/* ---- daemon, clone ---------------------------------------------------------------------------------------------- */

/* Point the standard descriptors at /dev/null, if that is what it should be. */
static int close_standard(void)
{
    struct stat st;
    int fd = wrap_open(_PATH_DEVNULL, O_RDWR);
    if (fd < 0)
        return -1;
    if (wrap_fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3)) {
        shim_close(fd);
        errno = ENODEV;
        return -1;
    }
    for (int to = STDIN_FILENO; to <= STDERR_FILENO; to++)
        wrap_dup2(fd, to);
    if (fd > STDERR_FILENO)
        shim_close(fd);
    return 0;
}

/* libc's own changes the directory behind our back. */
int wrap_daemon(int keep_directory, int keep_descriptors)
{
    if (!shim_space())
        return REAL(daemon)(keep_directory, keep_descriptors);
    pid_t pid = fork();
    if (pid < 0)
        return -1;
    if (pid > 0)
        _exit(0);
    if (setsid() < 0)
        return -1;
    if (!keep_directory)
        wrap_chdir("/"); /* libc goes on without it too */
    return keep_descriptors ? 0 : close_standard();
}

/* Wrapped for children that share our memory until they call exec, as those of vfork do.  (One that shares it
 * without stopping us, CLONE_VM alone, is told from us by its process id.) */
int wrap_clone(int (*function)(void *), void *stack, int flags, void *argument, ...)
{
    va_list list;
    va_start(list, argument);
    void *parent_tid = va_arg(list, void *), *tls = va_arg(list, void *), *child_tid = va_arg(list, void *);
    va_end(list);
    if ((flags & (CLONE_VM | CLONE_VFORK | CLONE_FS)) == CLONE_VM)
        shim_cwd_split(); /* one memory, two current directories */
    if ((flags & (CLONE_VM | CLONE_VFORK)) != (CLONE_VM | CLONE_VFORK))
        return REAL(clone)(function, stack, flags, argument, parent_tid, tls, child_tid);
    struct shim_vfork saved = shim_vfork_begin();
    long r = shim_result(REAL(clone)(function, stack, flags, argument, parent_tid, tls, child_tid));
    return (int)shim_vfork_end(r, saved.mark, saved.scratch);
}

#define SHIM_FILE_process
#include "export.h"
