/* SPDX-License-Identifier: MIT
 *
 *   ways ENVIRONMENT WAY LIBRARY DIRECTORY PROGRAM ARGUMENT
 *
 * Change the environment, or what else a child inherits, and start the program in one of the ways that there are.
 * Its status is ours.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *library, *directory, *program, *argument;
static char *arguments[3];

/* ---- what a child inherits -------------------------------------------------------------------------------- */

static void do_nothing(void)
{
}

static void drop_preload(void)
{
    unsetenv("LD_PRELOAD");
}

static void drop_conf(void)
{
    unsetenv("OVL_CONF");
}

static void drop_both(void)
{
    drop_preload();
    drop_conf();
}

static void drop_run(void)
{
    unsetenv("OVL_RUN");
    unsetenv("OVL_CWD");
}

static void drop_all(void)
{
    clearenv();
}

static void leave(void)
{
    setenv("OVL_CONF", "", 1);
}

static void preload(const char *first, const char *second)
{
    char value[8192];
    snprintf(value, sizeof value, "%s%s%s", first, *second ? ":" : "", second);
    setenv("LD_PRELOAD", value, 1);
}

static void preload_first(void)
{
    preload(library, getenv("LD_PRELOAD"));
}

static void preload_last(void)
{
    preload(getenv("LD_PRELOAD"), library);
}

static void preload_only(void)
{
    preload(library, "");
}

static int finish(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            exit(99);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Go on as a daemon does: in a session of its own, orphaned; who started it waits for the pipe to be closed. */
static void become_daemon(void)
{
    int end[2];
    char status = 99;
    if (pipe(end) < 0)
        exit(99);
    if (fork() > 0) {
        close(end[1]);
        exit(read(end[0], &status, 1) == 1 ? status : 98);
    }
    setsid();
    if (fork() > 0)
        _exit(0);
    pid_t pid = fork();
    if (pid > 0) {
        status = (char)finish(pid);
        if (write(end[1], &status, 1) != 1)
            _exit(99);
        _exit(0);
    }
    close(end[0]);
    close(end[1]);
}

static void change_user(void)
{
    if (setresgid(54321, 54321, 54321) < 0 || setresuid(54321, 54321, 54321) < 0)
        exit(99);
}

static void change_user_and_drop_all(void)
{
    change_user();
    clearenv();
}

static void enter(void)
{
    if (chdir(directory) < 0)
        exit(99);
}

static void enter_and_drop_all(void)
{
    enter();
    clearenv();
}

static void go_out(void)
{
    enter();
    if (chdir("/") < 0)
        exit(99);
}

static void close_all(void)
{
    closefrom(3);
}

/* ---- the ways ------------------------------------------------------------------------------------------------- */

static int by_execve(void)
{
    return execve(program, arguments, environ);
}

static int by_execv(void)
{
    return execv(program, arguments);
}

static int by_execvp(void)
{
    return execvp(program, arguments);
}

static int by_execvpe(void)
{
    return execvpe(program, arguments, environ);
}

static int by_execl(void)
{
    return execl(program, arguments[0], argument, NULL);
}

static int by_execlp(void)
{
    return execlp(program, arguments[0], argument, NULL);
}

static int by_execle(void)
{
    return execle(program, arguments[0], argument, NULL, environ);
}

static int by_execveat(void)
{
    return execveat(AT_FDCWD, program, arguments, environ, 0);
}

static int by_fexecve(void)
{
    char *none[] = {NULL}; /* NULL, which clearenv makes of it, is EINVAL here */
    return fexecve(open(program, O_RDONLY), arguments, environ ? environ : none);
}

static int by_syscall(void)
{
    return (int)syscall(SYS_execve, program, arguments, environ);
}

static int by_vfork(void)
{
    pid_t pid = vfork();
    if (pid == 0) {
        execve(program, arguments, environ);
        _exit(97);
    }
    return finish(pid);
}

static int by_fork(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        execve(program, arguments, environ);
        _exit(97);
    }
    return finish(pid);
}

static int by_spawn(void)
{
    pid_t pid;
    return posix_spawn(&pid, program, NULL, NULL, arguments, environ) ? 97 : finish(pid);
}

static int by_spawnp(void)
{
    pid_t pid;
    return posix_spawnp(&pid, program, NULL, NULL, arguments, environ) ? 97 : finish(pid);
}

static const char *line(void)
{
    static char text[8192];
    snprintf(text, sizeof text, "'%s' '%s'", program, argument);
    return text;
}

static int by_system(void)
{
    int status = system(line());
    return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

static int by_popen(void)
{
    char text[256];
    FILE *stream = popen(line(), "r");
    while (fgets(text, sizeof text, stream))
        fputs(text, stdout);
    fflush(stdout);
    int status = pclose(stream);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

static int by_python(void)
{
    static char code[] = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:], env={}).returncode)";
    static char code_kept[] = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)";
    const char *conf = getenv("OVL_CONF");
    char *python = conf && !*conf ? code_kept : code; /* who left comes back no more, env={} or not */
    return execl("/usr/bin/python3", "python3", "-c", python, program, argument, NULL);
}

/* ---- the tables ----------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*change)(void);
} environments[] = {{"kept", do_nothing},
                    {"no-preload", drop_preload},
                    {"no-conf", drop_conf},
                    {"neither", drop_both},
                    {"no-run", drop_run},
                    {"nothing", drop_all},
                    {"left", leave},
                    {"other-first", preload_first},
                    {"other-last", preload_last},
                    {"other-only", preload_only},
                    {"daemon", become_daemon},
                    {"user", change_user},
                    {"user-nothing", change_user_and_drop_all},
                    {"chdir-in", enter},
                    {"chdir-in-nothing", enter_and_drop_all},
                    {"chdir-out", go_out},
                    {"closed", close_all}};

static const struct {
    const char *name;
    int (*start)(void);
} ways[] = {{"execve", by_execve},   {"execv", by_execv},     {"execvp", by_execvp}, {"execvpe", by_execvpe},
            {"execl", by_execl},     {"execlp", by_execlp},   {"execle", by_execle}, {"execveat", by_execveat},
            {"fexecve", by_fexecve}, {"syscall", by_syscall}, {"vfork", by_vfork},   {"fork", by_fork},
            {"spawn", by_spawn},     {"spawnp", by_spawnp},   {"system", by_system}, {"popen", by_popen},
            {"python", by_python}};

#define COUNT(table) (sizeof(table) / sizeof *(table))

int main(int argc, char **argv)
{
    if (argc != 7) {
        for (size_t i = 0; i < COUNT(environments); i++)
            printf("%s ", environments[i].name);
        puts("");
        for (size_t i = 0; i < COUNT(ways); i++)
            printf("%s ", ways[i].name);
        puts("");
        return 0;
    }
    library = argv[3];
    directory = argv[4];
    program = argv[5];
    argument = argv[6];
    const char *slash = strrchr(program, '/');
    arguments[0] = (char *)(slash ? slash + 1 : program);
    arguments[1] = (char *)argument;
    for (size_t i = 0; i < COUNT(environments); i++)
        if (strcmp(argv[1], environments[i].name) == 0)
            environments[i].change();
    for (size_t i = 0; i < COUNT(ways); i++)
        if (strcmp(argv[2], ways[i].name) == 0)
            return ways[i].start();
    return 99;
}
