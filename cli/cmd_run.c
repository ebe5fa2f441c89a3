/* SPDX-License-Identifier: MIT
 *
 * ovl run, ovl shell: the environment is set and the command executed.
 *
 * The command is started by way of env(1), which libovl is loaded into: so a command that only the overlay has is
 * found, and one that preloading can't reach is refused by libovl, where the kernel would have started it outside.
 */
#include "commands.h"
#include "library.h"
#include "output.h"
#include "remove.h"
#include "space.h"
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char run_help[] =
    "usage: ovl run [OPTION]... [--] COMMAND [ARGUMENT]...\n"
    "\n"
    "Runs the command in an overlay: it sees MOUNT with all changes in it, and what it changes goes to the upper\n"
    "directory.  The lower directories stay as they are.\n"
    "\n" SPACE_HELP "\n"
    "      --temp             drop the changes when the command has ended\n"
    "      --trace FILE       write each call that leads into the overlay to FILE, which lies outside, as a line of\n"
    "                         JSON: see `ovl trace`\n"
    "  -q, --quiet            do not say at the end where the changes are\n"
    "      --help             this text\n"
    "\n"
    "Changes that no -u or --conf gives a place to are kept in $XDG_STATE_HOME/ovl/NAME (~/.local/state/ovl/NAME), "
    "and\n"
    "the next call with the same options goes on with them.  See them with `ovl status` and `ovl diff`, drop them "
    "with\n"
    "`ovl discard`.\n"
    "\n"
    "libovl.so is looked for where OVL_LIBRARY says, else where it was installed or built with this program.\n"
    "\n"
    "Exit status: the command's; 128 + n where signal n ended it; 125 when the configuration is wrong, 126 when the\n"
    "command can't be started, 127 when it is not there; 2 for a wrong option, 3 when nothing can be kept.\n"
    "\n"
    "    ovl run -m /usr -- make install\n"
    "    ovl run -m /opt/sdk -l ~/patch -l /srv/sdk --temp -- make check\n"
    "    ovl run -m ~/src --trace /tmp/trace -- make; ovl trace /tmp/trace\n";

static const char shell_help[] = "usage: ovl shell [OPTION]...\n"
                                 "\n"
                                 "Starts $SHELL (or /bin/sh) in an overlay, as `ovl run` would.\n"
                                 "\n" SPACE_HELP "\n"
                                 "      --temp             drop the changes when the shell has ended\n"
                                 "      --trace FILE       write each call that leads into the overlay to FILE\n"
                                 "  -q, --quiet            do not say where the changes are\n"
                                 "      --help             this text\n"
                                 "\n"
                                 "Exit status: the shell's, and as for `ovl run`.\n";

/* What is to be run. */
struct run {
    struct space space;
    char *library;
    const char *trace_name; /* as it was given; NULL: none */
    char *trace;
    bool kept;      /* in the state directory: the end is waited for */
    bool temporary; /* and it is removed then */
    bool is_new, quiet;
};

/* ---- the library ----------------------------------------------------------------------------------- */

static int find_library(struct run *run)
{
    run->library = library_find();
    if (!run->library)
        return STATUS_FAILED;
    if (library_is_loaded(run->library))
        return STATUS_DONE;
    complain("%s is not loaded into " LIBRARY_STARTER
             ", so that the command would run outside; name the libovl.so of this system with OVL_LIBRARY",
             run->library);
    return STATUS_FAILED;
}

/* ---- the overlay ----------------------------------------------------------------------------------- */

/* Make the place of what is to be kept. */
static int keep(struct run *run, const struct options *options)
{
    struct space *s = &run->space;
    s->root = state_root();
    char *conf = s->root ? options_conf(options, FORM_FILE, "upper") : NULL;
    if (!conf)
        return STATUS_FAILED;
    if (options->temp) {
        s->name = state_make_temp(s->root, conf);
    } else {
        char *mount = mount_path(options);
        s->name = options->name ? need(strdup(options->name)) : state_name_of(mount);
        free(mount);
        if (state_make(s->root, s->name, conf, &run->is_new) < 0) {
            free(s->name);
            s->name = NULL;
        }
    }
    free(conf);
    if (!s->name)
        return STATUS_FAILED;
    s->conf = state_conf(s->root, s->name);
    run->is_new |= options->temp;
    return STATUS_DONE;
}

/* Why a trace can't lie there, or NULL: in a layer it would be a change, and take the place of one. */
static const char *trace_misplaced(struct space *s, const char *trace)
{
    struct ovl_node *node = need(ovl_node_new(&s->ctx));
    int r = ovl_resolve(&s->ctx, NULL, trace, OVL_CHANGE, node);
    if (r < 0)
        return r == -EROFS ? "it lies in a lower layer" : strerror(-r);
    if (node->ovl)
        return "it lies in the overlay";
    for (unsigned i = 0; i < ovl_space_count(s->space); i++)
        if (ovl_is_written(ovl_space_at(s->space, i), node->path))
            return "it lies in the upper or the work directory";
    return NULL;
}

static int check_trace(const struct run *run)
{
    struct space s = {.conf = need(strdup(run->space.conf))};
    int status = space_begin(&s);
    const char *why = status == STATUS_DONE ? trace_misplaced(&s, run->trace) : NULL;
    if (why) {
        complain("--trace %s: %s; name a file outside of the overlay and its layers, such as one in /tmp", run->trace,
                 why);
        status = STATUS_FAILED;
    }
    space_close(&s);
    return status;
}

/* A new trace, which the processes of the run add to. */
static int begin_trace(struct run *run)
{
    run->trace = absolute_path(run->trace_name);
    int status = check_trace(run);
    if (status != STATUS_DONE)
        return status;
    int fd = open(run->trace, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0666);
    if (fd < 0) {
        complain("--trace %s: %s", run->trace, strerror(errno));
        return STATUS_FAILED;
    }
    close(fd);
    return STATUS_DONE;
}

static int find_overlay(struct run *run, const struct options *options)
{
    struct space *s = &run->space;
    bool keeps = options->mount && !options->upper && !options->conf;
    int status;
    if (keeps) {
        *s = (struct space){.conf = NULL};
        status = space_check_options(options);
        if (status == STATUS_DONE)
            status = keep(run, options);
    } else {
        status = space_find(s, options, NEEDS_UPPER);
    }
    if (status == STATUS_DONE)
        status = space_check(s);
    if (status == STATUS_DONE && run->trace_name)
        status = begin_trace(run);
    if (status != STATUS_DONE && run->is_new && s->name) {
        char *folder = state_folder(s->root, s->name);
        state_remove(folder);
        free(folder);
    }
    run->kept = s->name != NULL;
    run->temporary = options->temp;
    return status;
}

static void set_environment(const struct run *run)
{
    const char *preload = getenv("LD_PRELOAD");
    char *both = preload && *preload ? text("%s:%s", run->library, preload) : need(strdup(run->library));
    setenv("LD_PRELOAD", both, 1);
    setenv("OVL_CONF", run->space.conf, 1);
    if (run->trace)
        setenv("OVL_TRACE", run->trace, 1);
    free(both);
}

/* ---- the command ------------------------------------------------------------------------------------- */

/* env(1) takes what has a '=' for a variable; sh does not. */
static char **starter(int argc, char **argv)
{
    static char env[] = LIBRARY_STARTER, dashes[] = "--";
    static char sh[] = "/bin/sh", c[] = "-c", script[] = "exec \"$@\"", name[] = "ovl";
    char *with_env[] = {env, dashes}, *with_sh[] = {sh, c, script, name};
    bool is_plain = !strchr(argv[0], '=');
    char **before = is_plain ? with_env : with_sh;
    size_t n = is_plain ? 2 : 4;
    char **made = need(calloc((size_t)argc + n + 1, sizeof *made));
    memcpy(made, before, n * sizeof *made);
    memcpy(made + n, argv, (size_t)argc * sizeof *made);
    return made;
}

static void execute(char **command)
{
    execv(command[0], command);
    complain("%s: %s", command[0], strerror(errno));
}

static volatile sig_atomic_t child;

static void pass_on(int signal)
{
    if (child > 0)
        kill((pid_t)child, signal);
}

/* Start the command as a child; how it ended, as a shell would say it.  Signals of the terminal reach it by themselves,
 * others are passed on. */
static int run_child(char **command)
{
    static const int from_terminal[] = {SIGINT, SIGQUIT}, passed[] = {SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};
    struct sigaction ignore = {.sa_handler = SIG_IGN}, pass = {.sa_handler = pass_on, .sa_flags = SA_RESTART}, old[2];
    sigset_t all, mask;
    int how;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &mask); /* until the child is known */
    for (size_t i = 0; i < 2; i++)
        sigaction(from_terminal[i], &ignore, &old[i]);
    pid_t pid = fork();
    if (pid == 0) {
        for (size_t i = 0; i < 2; i++)
            sigaction(from_terminal[i], &old[i], NULL);
        sigprocmask(SIG_SETMASK, &mask, NULL);
        execute(command);
        _exit(errno == ENOENT ? STATUS_NOT_FOUND : STATUS_CANT_RUN);
    }
    child = pid;
    for (size_t i = 0; pid > 0 && i < sizeof passed / sizeof *passed; i++) {
        struct sigaction was;
        sigaction(passed[i], NULL, &was);
        if (was.sa_handler != SIG_IGN) /* nohup(1) */
            sigaction(passed[i], &pass, NULL);
    }
    sigprocmask(SIG_SETMASK, &mask, NULL);
    if (pid < 0) {
        complain("no process can be made: %s", strerror(errno));
        return STATUS_CANT_RUN;
    }
    while (waitpid(pid, &how, 0) < 0)
        if (errno != EINTR)
            return STATUS_CANT_RUN;
    return WIFSIGNALED(how) ? 128 + WTERMSIG(how) : WEXITSTATUS(how);
}

/* ---- the end ----------------------------------------------------------------------------------------- */

/* What the command has started and not waited for may still run. */
static int user_of(const struct space *s)
{
    struct ovl_message why;
    struct ovl_space *space;
    if (ovl_space_look(s->conf, &space, &why) < 0)
        return 0;
    int user = ovl_in_use(ovl_space_at(space, 0));
    ovl_space_close(space);
    return user;
}

static void drop(const struct space *s)
{
    char *folder = state_folder(s->root, s->name);
    int user = user_of(s);
    if (user > 0)
        tell("process %d still runs in the overlay: %s is left there; remove it when that has ended", user, folder);
    else if (state_is_ours(folder))
        remove_tree(folder);
    free(folder);
}

static void say_where(const struct space *s)
{
    char *last = state_last(s->root);
    bool is_last = last && strcmp(last, s->name) == 0;
    const char *n = is_last ? "" : " -n ", *name = is_last ? "" : s->name;
    tell("what was changed is kept in %s/%s/upper; `ovl status%s%s` shows it, `ovl discard%s%s` drops it", s->root,
         s->name, n, name, n, name);
    free(last);
}

static int run_in(struct run *run, int argc, char **argv)
{
    char **command = starter(argc, argv);
    set_environment(run);
    if (!run->kept) {
        execute(command);
        return errno == ENOENT ? STATUS_NOT_FOUND : STATUS_CANT_RUN;
    }
    if (!run->temporary)
        state_set_last(run->space.root, run->space.name);
    int status = run_child(command);
    free(command);
    if (run->temporary)
        drop(&run->space);
    else if (!run->quiet)
        say_where(&run->space);
    return status;
}

/* ---- the subcommands --------------------------------------------------------------------------------- */

enum { OPTION_QUIET = 'q', OPTION_TRACE = OPTION_OWN };

static const struct option long_options[] = {
    SPACE_LONG,
    {"temp", no_argument, NULL, OPTION_TEMP},
    {"trace", required_argument, NULL, OPTION_TRACE},
    {"quiet", no_argument, NULL, OPTION_QUIET},
    HELP_LONG,
};

/* Take the options: a status + 1 that ends it, or 0. */
static int take_options(int argc, char **argv, const char *help, struct options *options, struct run *run)
{
    for (int option; (option = getopt_long(argc, argv, "+q" SPACE_SHORT, long_options, NULL)) != -1;) {
        int taken = options_take(options, option, help);
        if (ENDS(taken))
            return taken;
        run->quiet |= option == OPTION_QUIET;
        if (option == OPTION_TRACE)
            run->trace_name = optarg;
    }
    return 0;
}

static int start(struct run *run, const struct options *options, int argc, char **argv)
{
    int status = refuse_inside(options->command);
    if (status == STATUS_DONE)
        status = find_library(run);
    if (status == STATUS_DONE)
        status = find_overlay(run, options);
    if (status == STATUS_DONE)
        status = run_in(run, argc, argv);
    free(run->library);
    free(run->trace);
    space_close(&run->space);
    return status;
}

int cmd_run(int argc, char **argv)
{
    static struct options options = {.command = "run"};
    struct run run = {.library = NULL};
    int taken = take_options(argc, argv, run_help, &options, &run);
    if (ENDS(taken))
        return END_STATUS(taken);
    if (optind == argc)
        return usage_error("run", "a command is missing: ovl run -m /usr -- make install");
    return start(&run, &options, argc - optind, argv + optind);
}

int cmd_shell(int argc, char **argv)
{
    static struct options options = {.command = "shell"};
    struct run run = {.library = NULL};
    int taken = take_options(argc, argv, shell_help, &options, &run);
    if (ENDS(taken))
        return END_STATUS(taken);
    if (optind < argc)
        return usage_error("shell", "'%s': a shell is started without arguments; `ovl run` takes a command",
                           argv[optind]);
    const char *own = getenv("SHELL");
    char *shell[] = {need(strdup(own && *own ? own : "/bin/sh")), NULL};
    int status = start(&run, &options, 1, shell);
    free(shell[0]);
    return status;
}
