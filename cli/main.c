/* SPDX-License-Identifier: MIT
 *
 * ovl: the tool around libovl.
 */
#include "commands.h"
#include "output.h"
#include "space.h"

#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct command {
    const char *name, *line;
    int (*run)(int argc, char **argv);
    bool inside; /* it may run inside an overlay; others are started again outside */
};

static const struct command commands[] = {
    {"run", "run a command in an overlay", cmd_run, true},
    {"shell", "start a shell in an overlay", cmd_shell, true},
    {"status", "show what was changed", cmd_status, false},
    {"diff", "show what was changed as text", cmd_diff, false},
    {"discard", "drop what was changed", cmd_discard, true},
    {"explain", "show where a name is, layer by layer", cmd_explain, false},
    {"trace", "sum up what `ovl run --trace` has written", cmd_trace, true},
    {"conf", "check a configuration and print what it comes to", cmd_conf, false},
    {"doctor", "tell what works on this machine, and which programs are reached", cmd_doctor, false},
    {"export", "write what was changed as a layer of an OCI image", cmd_export, true},
    {"import", "make layers of images and archives", cmd_import, true},
    {"commit", "apply what was changed to a lower directory", cmd_commit, true},
    {"convert", "give whiteouts another form", cmd_convert, true},
    {"check", "look for what is left over or means nothing in an upper", cmd_check, true},
};
#define COMMANDS (sizeof commands / sizeof *commands)

static const char begin_text[] =
    "usage: ovl COMMAND [OPTION]... [ARGUMENT]...\n"
    "\n"
    "Overlays of directories, without privileges: programs see several directories as one; lower ones, which\n"
    "nothing changes, and an upper one, which takes every change.\n"
    "\n";

static const char end_text[] =
    "\n"
    "`ovl COMMAND --help`, or `ovl help COMMAND`, tells more.  `ovl --version` prints the version.\n"
    "\n"
    "Exit status:\n"
    "  0    done\n"
    "  1    there are changes (with --exit-code), or what was asked for is not there\n"
    "  2    a wrong option or argument\n"
    "  3    something could not be read, written or found, or was refused\n"
    "  125  the configuration is wrong; nothing was run\n"
    "  126  `ovl run`: the command can't be started; 127: it is not there; else the command's own, or 128 + n\n"
    "       where signal n ended it\n"
    "\n"
    "JSON is UTF-8, and names need not be.  Where a path is none, its bytes that are not are shown as U+FFFD, and a\n"
    "member of the same name with _hex appended has all of the path's bytes as hexadecimal digits.\n";

static int help(void)
{
    fputs(begin_text, stdout);
    for (size_t i = 0; i < COMMANDS; i++)
        printf("  %-9s %s\n", commands[i].name, commands[i].line);
    fputs(end_text, stdout);
    return finish_output(STATUS_DONE);
}

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    usage_error("", "there is no command '%s'", name);
    return NULL;
}

static int help_for(const char *name)
{
    char own[] = "--help", *argv[] = {(char *)name, own, NULL};
    const struct command *command = find(name);
    return command ? command->run(2, argv) : STATUS_USAGE;
}

/* Whatever we were started with, no file that is opened later has the number of stdout or stderr, so that messages
 * would go there.  What stands in for a missing one can't be used either, and is not passed on to commands. */
static bool hold_standard_numbers(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/", O_PATH | O_CLOEXEC) != fd)
            return false;
    return true;
}

int main(int argc, char **argv)
{
    if (!hold_standard_numbers())
        return STATUS_FAILED;
    signal(SIGCHLD, SIG_DFL); /* where it is ignored, which is inherited, nobody is told how a child has ended */
    setlocale(LC_CTYPE, "");
    const char *name = argc > 1 ? argv[1] : "";
    if (!*name) {
        help();
        return STATUS_USAGE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || (strcmp(name, "help") == 0 && argc == 2))
        return help();
    if (strcmp(name, "help") == 0)
        return help_for(argv[2]);
    if (strcmp(name, "--version") == 0) {
        puts("ovl " OVL_VERSION);
        return finish_output(STATUS_DONE);
    }
    const struct command *command = find(name);
    if (!command)
        return STATUS_USAGE;
    if (!command->inside && is_inside() && !getenv(LEFT_CONF))
        leave_overlay(argv);
    argv[1] = text("ovl %s", name); /* what getopt_long(3) begins its messages with */
    return command->run(argc - 1, argv + 1);
}
