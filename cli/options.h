/* SPDX-License-Identifier: MIT
 *
 * The options that subcommands share: which overlay is meant, and how results are written.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Texts in the order in which they were given. */
struct list {
    char **at;
    size_t count;
};
void list_add(struct list *list, const char *item);
void list_free(struct list *list);

struct options {
    const char *command; /* the subcommand, for messages */
    const char *mount, *upper, *conf, *name;
    struct list lower, exclude;
    bool temp, json;
};

/* The values of long options without a short one; a command's own begin at OPTION_OWN. */
enum { OPTION_HELP = 256, OPTION_JSON, OPTION_COLOR, OPTION_CONF, OPTION_TEMP, OPTION_OWN };

/* For the tables of getopt_long(3). */
#define SPACE_SHORT "m:l:u:x:n:"
#define SPACE_LONG                                                                                                     \
    {"mount", required_argument, NULL, 'm'}, {"lower", required_argument, NULL, 'l'},                                  \
        {"upper", required_argument, NULL, 'u'}, {"exclude", required_argument, NULL, 'x'},                            \
        {"name", required_argument, NULL, 'n'},                                                                        \
    {                                                                                                                  \
        "conf", required_argument, NULL, OPTION_CONF                                                                   \
    }
#define RESULT_LONG                                                                                                    \
    {"json", no_argument, NULL, OPTION_JSON},                                                                          \
    {                                                                                                                  \
        "color", required_argument, NULL, OPTION_COLOR                                                                 \
    }
#define HELP_LONG                                                                                                      \
    {"help", no_argument, NULL, OPTION_HELP},                                                                          \
    {                                                                                                                  \
        NULL, 0, NULL, 0                                                                                               \
    }
/* What --help says of them. */
#define SPACE_HELP                                                                                                     \
    "Which overlay:\n"                                                                                                 \
    "  -m, --mount MOUNT      the path under which it is seen\n"                                                       \
    "  -l, --lower LOWER      a lower directory, the highest first; may repeat (default: the mount itself)\n"          \
    "  -u, --upper UPPER      the directory that takes the changes (default: one that ovl keeps, see -n)\n"            \
    "  -x, --exclude PATH     a path below the mount that stays the real one; may repeat\n"                            \
    "  -n, --name NAME        of the upper that ovl keeps (default: made of MOUNT, \"usr\" for /usr)\n"                \
    "      --conf FILE        all of it from a configuration file instead: ovl.conf(5)\n"                              \
    "Without any of these: what OVL_CONF says; if that is not set, what `ovl run` kept last.\n"
#define RESULT_HELP                                                                                                    \
    "      --color WHEN       auto (on a terminal), always or never\n"                                                 \
    "      --help             this text\n"
#define JSON_HELP "      --json             the result as JSON (names that are no UTF-8: see `ovl --help`)\n"

/* Take one answer of getopt_long(3): -1 where it is none of the shared ones, else 0, or a status + 1 that the command
 * ends with (after --help, `help` being its text, or a wrong option). */
int options_take(struct options *options, int option, const char *help);
/* The same for an option of a command's own that may be given once, and not empty: 0, or a status + 1. */
int options_take_once(const struct options *options, const char **to, const char *name);
/* The status that ends the command, of what options_take() answered. */
#define ENDS(taken) ((taken) > 0)
#define END_STATUS(taken) ((taken)-1)

/* Whether any option says what the overlay consists of. */
bool options_describe(const struct options *options);
/* What a command that was inside an overlay has left it with: OVL_CONF and the current directory there. */
#define LEFT_CONF "OVL_TOOL_CONF"
#define LEFT_CWD "OVL_TOOL_CWD"
/* An absolute path, without a slash at its end; the caller's to free. */
char *absolute_path(const char *path);
/* That of the mount, without "." and "..", so that it is one however it was given; the caller's to free. */
char *mount_path(const struct options *options);

/* How a configuration is written: as OVL_CONF has it, or as a file. */
enum form { FORM_INLINE, FORM_FILE };
/* A value as it stands in one; false, in a file, where a line can't hold it. */
bool conf_put_value(FILE *to, enum form form, const char *value);
/* The overlay that the options describe, with this upper (NULL: read-only); the caller's to free.  NULL with a message
 * where a file can't hold a path. */
char *options_conf(const struct options *options, enum form form, const char *upper);

#endif
