/* SPDX-License-Identifier: MIT
 *
 * Makes processes in every way that libc has, and shows what a new program sees: argv, cwd.
 *
 *   proc show ARGS...             print argv and the cwd  (also under any name beginning with "show")
 *   proc exec HOW PATH ARGV...    replace the process; prints the error when that fails
 *   proc spawn HOW PATH ARGV...   the same in a child of posix_spawn or posix_spawnp
 *   proc TEST ARGS...             see the table at the end
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int fail(const char *what, int error)
{
    printf("%s: %s\n", what, strerrorname_np(error));
    fflush(stdout);
    return 1;
}

static int show(int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        printf("%s|", argv[i]);
    printf(" in %s\n", getcwd(NULL, 0));
    return 0;
}

static void report(const char *what, int status)
{
    if (WIFEXITED(status))
        printf("%s: exit %d\n", what, WEXITSTATUS(status));
    else
        printf("%s: signal %d\n", what, WTERMSIG(status));
    fflush(stdout);
}

static void reap(const char *what, pid_t pid)
{
    int status;
    if (waitpid(pid, &status, 0) != pid)
        fail("waitpid", errno);
    else
        report(what, status);
}

/* ---- exec ------------------------------------------------------------------------------------------------- */

static void exec_list(const char *how, const char *path, char **argv)
{
    char *a[4] = {NULL};
    for (int i = 0; i < 3 && argv[i]; i++)
        a[i] = argv[i];
    if (strcmp(how, "execl") == 0)
        execl(path, a[0], a[1], a[2], NULL);
    else if (strcmp(how, "execlp") == 0)
        execlp(path, a[0], a[1], a[2], NULL);
    else
        execle(path, a[0], a[1], a[2], NULL, environ);
}

static void exec_fd(const char *how, const char *path, char **argv)
{
    int fd = open(path, strcmp(how, "fexecve-path") == 0 ? O_PATH : O_RDONLY);
    if (fd < 0)
        return;
    if (strcmp(how, "fexecve-cloexec") == 0)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    int same = dup2(fd, 9); /* a number that is the same on all sides */
    if (strcmp(how, "fexecve-cloexec") == 0)
        fcntl(same, F_SETFD, FD_CLOEXEC);
    fexecve(same, argv, environ);
}

static void exec_at(const char *how, const char *path, char **argv)
{
    char *folder = strdup(path), *slash = strrchr(folder, '/');
    *slash = '\0';
    int fd = dup2(open(folder, O_RDONLY | O_DIRECTORY), 9);
    execveat(fd, slash + 1, argv, environ, strcmp(how, "execveat-nofollow") == 0 ? AT_SYMLINK_NOFOLLOW : 0);
}

static int exec_how(char **argv)
{
    const char *how = argv[0], *path = argv[1];
    argv += 2;
    if (strcmp(how, "execve") == 0)
        execve(path, argv, environ);
    else if (strcmp(how, "execv") == 0)
        execv(path, argv);
    else if (strcmp(how, "execvp") == 0)
        execvp(path, argv);
    else if (strcmp(how, "execvpe") == 0)
        execvpe(path, argv, environ);
    else if (strncmp(how, "execl", 5) == 0)
        exec_list(how, path, argv);
    else if (strncmp(how, "fexecve", 7) == 0)
        exec_fd(how, path, argv);
    else if (strncmp(how, "execveat", 8) == 0)
        exec_at(how, path, argv);
    else if (strcmp(how, "empty-environment") == 0)
        execve(path, argv, (char *[]){NULL});
    else if (strcmp(how, "null-environment") == 0)
        execve(path, argv, NULL);
    else if (strcmp(how, "null-arguments") == 0)
        execve(path, NULL, environ);
    else
        return fail(how, ENOSYS);
    return fail(how, errno);
}

static int spawn_how(char **argv)
{
    pid_t pid;
    int error = strcmp(argv[0], "posix_spawnp") == 0 ? posix_spawnp(&pid, argv[1], NULL, NULL, argv + 2, environ)
                                                     : posix_spawn(&pid, argv[1], NULL, NULL, argv + 2, environ);
    if (error)
        return fail(argv[0], error);
    reap(argv[0], pid);
    return 0;
}

/* ---- vfork ---------------------------------------------------------------------------------------------------- */

/* The child goes elsewhere, closes and execs; nothing of that may show in the parent. */
static int vfork_chdir(char **argv)
{
    pid_t pid = vfork();
    if (pid == 0) {
        if (chdir(argv[0]) == 0)
            execv(argv[1], argv + 1);
        _exit(99);
    }
    if (pid < 0)
        return fail("vfork", errno);
    reap("child", pid);
    printf("parent in %s\n", getcwd(NULL, 0));
    return access(argv[2], F_OK) ? fail(argv[2], errno) : 0;
}

static int nested(char **argv, int depth)
{
    pid_t pid = vfork();
    if (pid == 0) {
        if (depth > 0 && nested(argv, depth - 1) != 0)
            _exit(98);
        if (chdir("/") == 0)
            execv(argv[0], argv);
        _exit(99);
    }
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
        return 1;
    return 0;
}

/* Children in children, and more of them than there is memory set aside for calls. */
static int vfork_many(char **argv)
{
    for (int i = 0; i < 100; i++)
        if (nested(argv, i % 3))
            return fail("nested", errno);
    printf("parent in %s\n", getcwd(NULL, 0));
    return 0;
}

static void *vfork_thread(void *argument)
{
    char **argv = argument;
    for (int i = 0; i < 50; i++)
        if (nested(argv, 1))
            return (void *)"vfork";
    return NULL;
}

static void *stat_thread(void *argument)
{
    char **argv = argument;
    for (int i = 0; i < 5000; i++)
        if (access(argv[0], X_OK) || access("bin", F_OK))
            return (void *)"access";
    return NULL;
}

/* Other threads of the parent go on while a vfork child runs, and use the same memory. */
static int vfork_threads(char **argv)
{
    pthread_t thread[4];
    int bad = 0;
    for (int i = 0; i < 4; i++)
        pthread_create(&thread[i], NULL, i % 2 ? vfork_thread : stat_thread, argv);
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(thread[i], &result);
        bad += result != NULL;
    }
    printf("%d threads failed\n", bad);
    return bad != 0;
}

static sigjmp_buf jump;

static void jump_out(int signal)
{
    (void)signal;
    siglongjmp(jump, 1);
}

/* A handler that runs as soon as the parent goes on and jumps out of vfork; afterwards all must be as ever. */
static int vfork_jump(char **argv)
{
    signal(SIGUSR1, jump_out);
    if (sigsetjmp(jump, 1) == 0) {
        pid_t parent = getpid();
        if (vfork() == 0) {
            kill(parent, SIGUSR1);
            _exit(0);
        }
    }
    while (wait(NULL) > 0)
        continue;
    if (chdir(argv[0]))
        return fail("chdir", errno);
    printf("parent in %s\n", getcwd(NULL, 0));
    fflush(stdout);
    if (fork() == 0) {
        if (chdir(".."))
            _exit(98);
        printf("child in %s\n", getcwd(NULL, 0));
        fflush(stdout);
        _exit(0);
    }
    wait(NULL);
    printf("parent in %s\n", getcwd(NULL, 0));
    return 0;
}

/* ---- signal handlers -------------------------------------------------------------------------------------------- */

static char **to_run;

static void run_it(int signal)
{
    (void)signal;
    execv(to_run[0], to_run);
    _exit(99);
}

/* exec on an alternate stack of 8 KiB whose lower neighbour can't be touched. */
static int handler(char **argv)
{
    char *pages = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(pages, 4096, PROT_NONE);
    stack_t stack = {.ss_sp = pages + 4096, .ss_size = 8192};
    struct sigaction action = {.sa_handler = run_it, .sa_flags = SA_ONSTACK};
    to_run = argv;
    if (sigaltstack(&stack, NULL) || sigaction(SIGUSR1, &action, NULL))
        return fail("sigaltstack", errno);
    raise(SIGUSR1);
    return 1;
}

/* ---- posix_spawn ----------------------------------------------------------------------------------------------------
 */

/* FOLDER PROGRAM: change there, write to a new and to an old file by relative names, run a relative program. */
static int actions(char **argv)
{
    posix_spawn_file_actions_t a;
    pid_t pid;
    char *new_argv[] = {"child", NULL};
    posix_spawn_file_actions_init(&a);
    posix_spawn_file_actions_addclose(&a, 7);
    posix_spawn_file_actions_addchdir_np(&a, argv[0]);
    posix_spawn_file_actions_addopen(&a, 1, "out", O_WRONLY | O_CREAT | O_APPEND, 0640);
    posix_spawn_file_actions_adddup2(&a, 1, 2);
    posix_spawn_file_actions_addopen(&a, 5, "..", O_RDONLY | O_DIRECTORY, 0);
    posix_spawn_file_actions_addfchdir_np(&a, 5);
    posix_spawn_file_actions_addclosefrom_np(&a, 3);
    int error = posix_spawn(&pid, argv[1], &a, NULL, new_argv, environ);
    posix_spawn_file_actions_destroy(&a);
    if (error)
        return fail("posix_spawn", error);
    reap("child", pid);
    printf("parent in %s\n", getcwd(NULL, 0));
    return 0;
}

/* Each way for an action to fail, and that nothing is left to wait for. */
static int action_errors(char **argv)
{
    static const char *const names[] = {"open", "chdir", "fchdir", "dup2", "close", "close-high", "exec"};
    for (int i = 0; i < 7; i++) {
        posix_spawn_file_actions_t a;
        pid_t pid = -5;
        posix_spawn_file_actions_init(&a);
        if (i == 0)
            posix_spawn_file_actions_addopen(&a, 5, argv[0], O_RDONLY, 0);
        else if (i == 1)
            posix_spawn_file_actions_addchdir_np(&a, argv[0]);
        else if (i == 2)
            posix_spawn_file_actions_addfchdir_np(&a, 77);
        else if (i == 3)
            posix_spawn_file_actions_adddup2(&a, 77, 78);
        else if (i == 4)
            posix_spawn_file_actions_addclose(&a, 77);
        int error = posix_spawn(&pid, i == 6 ? argv[0] : argv[1], &a, NULL, argv + 1, environ);
        if (error)
            fail(names[i], error);
        else
            reap(names[i], pid);
        if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD)
            printf("%s: a child is left\n", names[i]);
        posix_spawn_file_actions_destroy(&a);
    }
    return 0;
}

static void caught(int signal)
{
    (void)signal;
}

/* PROGRAM: attributes, shown by /proc/self/status and ids of the child. */
static int attributes(char **argv)
{
    posix_spawnattr_t a;
    sigset_t set;
    pid_t pid;
    signal(SIGUSR1, caught);
    signal(SIGUSR2, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    sigprocmask(SIG_SETMASK, &set, NULL);
    posix_spawnattr_init(&a);
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    posix_spawnattr_setsigdefault(&a, &set);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    posix_spawnattr_setsigmask(&a, &set);
    short flags = (short)strtol(argv[0], NULL, 0);
    posix_spawnattr_setflags(&a, flags);
    posix_spawnattr_setpgroup(&a, 0);
    struct sched_param parameters = {.sched_priority = 0};
    posix_spawnattr_setschedparam(&a, &parameters);
    posix_spawnattr_setschedpolicy(&a, SCHED_BATCH);
    int error = posix_spawn(&pid, argv[1], NULL, &a, argv + 1, environ);
    if (error)
        return fail("posix_spawn", error);
    reap("child", pid);
    return 0;
}

/* What attributes() asks of the child. */
static int status(char **argv)
{
    (void)argv;
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "SigBlk", 6) == 0 || strncmp(line, "SigIgn", 6) == 0)
            printf("%.6s %lx\n", line, strtoul(line + 7, NULL, 16) & 0x7fffffff); /* not libc's own two */
    printf("leader %d session %d policy %d\n", getpgrp() == getpid(), getsid(0) == getpid(), sched_getscheduler(0));
    return 0;
}

/* ---- system, popen
 * ------------------------------------------------------------------------------------------------------ */

static int systems(char **argv)
{
    printf("shell %d\n", system(NULL) != 0);
    fflush(stdout);
    for (; *argv; argv++)
        report(*argv, system(*argv));
    struct sigaction action;
    sigset_t set;
    sigaction(SIGINT, NULL, &action);
    sigprocmask(SIG_BLOCK, NULL, &set);
    printf("interrupt %s, child %s\n", action.sa_handler == SIG_DFL ? "default" : "changed",
           sigismember(&set, SIGCHLD) ? "blocked" : "free");
    return 0;
}

static int popens(char **argv)
{
    char line[4096];
    FILE *in = popen(argv[0], "r"), *out = popen(argv[1], "w");
    if (!in || !out)
        return fail("popen", errno);
    while (fgets(line, sizeof line, in))
        fputs(line, out);
    report("in", pclose(in));
    report("out", pclose(out));
    in = popen(argv[0], "re");
    printf("close on exec %d\n", in && fcntl(fileno(in), F_GETFD) & FD_CLOEXEC);
    pclose(in);
    errno = 0;
    printf("mode rw %d", popen(argv[0], "rw") != NULL);
    printf(" %s\n", strerrorname_np(errno));
    /* An earlier stream is not open in a later child: the reader would never see the end. */
    out = popen("cat >/dev/null", "w");
    in = popen("sleep 3", "r");
    time_t before = time(NULL);
    report("cat", pclose(out));
    printf("%s\n", time(NULL) - before > 1 ? "too late" : "in time");
    return 0;
}

/* popen with the standard descriptors closed: the pipe takes their numbers. */
static int popen_closed(char **argv)
{
    char line[256] = "";
    int keep = fcntl(1, F_DUPFD_CLOEXEC, 50);
    close(0);
    close(1);
    FILE *in = popen(argv[0], "r");
    char *got = in ? fgets(line, sizeof line, in) : NULL;
    int status = in ? pclose(in) : -1;
    dup2(keep, 1);
    printf("%d %s", status, got ? got : "nothing\n");
    return 0;
}

/* ---- limits
 * ------------------------------------------------------------------------------------------------------------------ */

/* No descriptor is free. */
static int few_files(char **argv)
{
    struct rlimit limit = {4, 4};
    if (fcntl(0, F_DUPFD_CLOEXEC, 3) != 3) /* the loader of the new program needs one, exec none */
        return fail("fcntl", errno);
    if (setrlimit(RLIMIT_NOFILE, &limit))
        return fail("setrlimit", errno);
    execv(argv[0], argv);
    return fail("execv", errno);
}

/* Many arguments and variables, not too many; too many. */
static int large(char **argv)
{
    size_t n = strtoul(argv[0], NULL, 0);
    char **many = calloc(n + 2, sizeof *many);
    many[0] = argv[1];
    for (size_t i = 1; i <= n; i++)
        many[i] = "A_VARIABLE_OF_SOME_LENGTH=and_a_value_too";
    pid_t pid = vfork();
    if (pid == 0) {
        execve(argv[1], many, many);
        printf("execve: %s\n", strerrorname_np(errno));
        fflush(stdout);
        _exit(97);
    }
    reap("child", pid);
    return 0;
}

static int count(char **argv)
{
    size_t n = 0;
    while (argv[n])
        n++;
    printf("%zu arguments\n", n);
    return 0;
}

static int in_child(void *argument)
{
    char **argv = argument;
    if (chdir(argv[0]) == 0)
        execv(argv[1], argv + 1);
    _exit(99);
}

/* clone with a stack, as runtimes call it that do not use vfork. */
static int clones(char **argv)
{
    size_t size = 65536;
    char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 40; i++) {
        int result;
        pid_t pid = clone(in_child, stack + size, CLONE_VM | CLONE_VFORK | SIGCHLD, argv);
        if (pid < 0 || waitpid(pid, &result, 0) != pid || result)
            return fail("clone", errno);
    }
    printf("parent in %s\n", getcwd(NULL, 0));
    return 0;
}

static int daemons(char **argv)
{
    int pipe_end[2];
    char c;
    if (pipe(pipe_end))
        return 1;
    if (fork() == 0) {
        close(pipe_end[0]);
        if (daemon(0, 1) == 0)
            printf("daemon in %s, %s\n", getcwd(NULL, 0), access(argv[0], F_OK) ? "gone" : "there");
        fflush(stdout);
        _exit(0);
    }
    close(pipe_end[1]);
    return read(pipe_end[0], &c, 1) != 0;
}

static const struct {
    const char *name;
    int (*run)(char **argv);
} tests[] = {
    {"exec", exec_how},
    {"spawn", spawn_how},
    {"vfork-chdir", vfork_chdir},
    {"vfork-many", vfork_many},
    {"handler", handler},
    {"vfork-threads", vfork_threads},
    {"vfork-jump", vfork_jump},
    {"actions", actions},
    {"status", status},
    {"action-errors", action_errors},
    {"attributes", attributes},
    {"system", systems},
    {"popen", popens},
    {"popen-closed", popen_closed},
    {"few-files", few_files},
    {"large", large},
    {"count", count},
    {"clone", clones},
    {"daemon", daemons},
};

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/'), *name = slash ? slash + 1 : argv[0];
    if (argc < 2 || strncmp(name, "show", 4) == 0 || strcmp(argv[1], "show") == 0)
        return show(argc, argv);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (strcmp(argv[1], tests[i].name) == 0)
            return tests[i].run(argv + 2);
    if (strcmp(name, "count") == 0 || strncmp(argv[1], "A_VAR", 5) == 0)
        return count(argv);
    return fail(argv[1], ENOSYS);
}
