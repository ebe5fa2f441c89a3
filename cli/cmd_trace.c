/* SPDX-License-Identifier: MIT
 *
 * ovl trace: what a run has read, written and looked for, out of what `ovl run --trace` has written.
 */
#include "commands.h"
#include "json.h"
#include "options.h"
#include "output.h"
#include "trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: ovl trace [OPTION]... FILE\n"
    "\n"
    "Sums up what `ovl run --trace FILE` has written: which files a build or an installation has used, made and "
    "looked\n"
    "for.\n"
    "\n"
    "      --slowest N        show the N calls that took longest (10)\n" JSON_HELP RESULT_HELP "\n"
    "  inputs      opened for reading, loaded or run, with content that was there before\n"
    "  outputs     made or changed, and still there at the end\n"
    "  temporary   made, and removed or renamed again\n"
    "  removed     there before, and gone at the end\n"
    "  missed      looked for, not there, and not made later\n"
    "\n"
    "Only what lies in an overlay is in a trace: with `-m /`, all but what is excluded.  A shared library that a "
    "program\n"
    "opens by dlopen(3) is not in it, nor is where ld.so looked for one.\n"
    "\n"
    "Each line of FILE is a JSON object: time (seconds since 1970) and ns (how long the call took), pid, call, path, "
    "from\n"
    "and from_type (the other name of a rename or link), layer (the file that was used), type (file, directory, link,\n"
    "other; none where there was nothing before), flags (of open or rename), and result or errno.\n"
    "\n"
    "Exit status: 0; 2 for a wrong option, 3 when the file can't be read or a line of it is none of a trace.\n"
    "\n"
    "    ovl run -m ~/src --trace /tmp/trace -- make\n"
    "    ovl trace /tmp/trace\n"
    "    ovl trace --json /tmp/trace | jq -r '.files[] | select(.input) | .path'\n";

/* ---- for people ------------------------------------------------------------------------------------------ */

struct section {
    const char *head, *what;
    unsigned all, none; /* the files that have done all of the first and none of the second */
    enum color color;
    uint64_t count;
};

static bool belongs(const struct section *s, const struct trace_file *file)
{
    return (file->done & s->all) == s->all && !(file->done & s->none);
}

static void print_file(const struct trace_file *file, void *arg)
{
    struct section *s = arg;
    if (!belongs(s, file))
        return;
    if (s->count++ == 0)
        printf("\n%s%s%s (%s)\n", color_begin(COLOR_HEAD), s->head, color_end(), s->what);
    printf("  %s", color_begin(s->color));
    print_path(stdout, file->path);
    printf("%s\n", color_end());
}

static void print_slowest(const struct trace *t)
{
    if (t->slow_count)
        printf("\n%sslowest calls%s\n", color_begin(COLOR_HEAD), color_end());
    for (size_t i = 0; i < t->slow_count; i++) {
        const struct trace_call *c = &t->slowest[i];
        printf("%10.3f ms  %-10s ", (double)c->ns / 1e6, c->function);
        print_path(stdout, c->path);
        if (c->error)
            printf("  %s", strerrorname_np((int)c->error) ? strerrorname_np((int)c->error) : "?");
        putchar('\n');
    }
}

static void print(const struct trace *t)
{
    struct section sections[] = {
        {"inputs", "read, and there before", TRACE_INPUT, 0, COLOR_NONE, 0},
        {"outputs", "made or changed", TRACE_WRITTEN, TRACE_REMOVED, COLOR_GOOD, 0},
        {"temporary", "made and removed again", TRACE_WRITTEN | TRACE_REMOVED, TRACE_EXISTED, COLOR_NONE, 0},
        {"removed", "there before, and gone", TRACE_REMOVED | TRACE_EXISTED, 0, COLOR_BAD, 0},
        {"missed", "looked for, and not there", TRACE_MISSED, TRACE_WRITTEN, COLOR_CHANGED, 0},
    };
    printf("%ju calls by %ju processes in %.3f s\n", (uintmax_t)t->calls, (uintmax_t)t->processes, t->last - t->first);
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
        trace_each(t, print_file, &sections[i]);
    print_slowest(t);
}

/* ---- as JSON ------------------------------------------------------------------------------------------------ */

static struct json_object *slowest_of(const struct trace *t)
{
    struct json_object *list = need(json_object_new_array());
    for (size_t i = 0; i < t->slow_count; i++) {
        const struct trace_call *c = &t->slowest[i];
        struct json_object *object = json_new();
        json_add_number(object, "ns", (int64_t)c->ns);
        json_add_text(object, "call", c->function);
        json_add_path(object, "path", c->path);
        json_add_number(object, "pid", c->pid);
        if (c->error)
            json_add_number(object, "errno", c->error);
        if (json_object_array_add(list, object) < 0)
            no_memory();
    }
    return list;
}

static void list_file(const struct trace_file *file, void *arg)
{
    const unsigned d = file->done;
    struct json_object *object = json_new();
    json_add_path(object, "path", file->path);
    json_add_number(object, "calls", (int64_t)file->calls);
    json_add_bool(object, "read", d & TRACE_READ);
    json_add_bool(object, "input", d & TRACE_INPUT);
    json_add_bool(object, "output", d & TRACE_WRITTEN && !(d & TRACE_REMOVED));
    json_add_bool(object, "temporary", d & TRACE_WRITTEN && d & TRACE_REMOVED && !(d & TRACE_EXISTED));
    json_add_bool(object, "removed", d & TRACE_REMOVED && d & TRACE_EXISTED);
    json_add_bool(object, "missed", d & TRACE_MISSED && !(d & TRACE_WRITTEN));
    json_list_item(arg, object);
}

static void print_as_json(const struct trace *t)
{
    struct json_list list;
    struct json_object *members = json_new(), *slowest = slowest_of(t);
    json_add_number(members, "calls", (int64_t)t->calls);
    json_add_number(members, "processes", (int64_t)t->processes);
    json_add_number(members, "ns", (int64_t)((t->last - t->first) * 1e9));
    if (json_object_object_add(members, "slowest", slowest) < 0)
        no_memory();
    json_list_begin(&list, members, "files");
    trace_each(t, list_file, &list);
    json_list_end(&list);
    putchar('\n');
}

/* ---- the subcommand ----------------------------------------------------------------------------------------- */

static int sum_up(const char *name, const struct options *options, size_t slowest)
{
    struct trace t = {.calls = 0};
    FILE *file = fopen(name, "re");
    if (!file) {
        complain("%s: %s", name, strerror(errno));
        return STATUS_FAILED;
    }
    const bool good = trace_read(&t, file, name, slowest);
    fclose(file);
    if (options->json)
        print_as_json(&t);
    else
        print(&t);
    trace_free(&t);
    return finish_output(good ? STATUS_DONE : STATUS_FAILED);
}

/* At most so many are of use, and fit. */
static bool take_count(const char *given, size_t *count)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(given, &end, 10);
    *count = number;
    return *given >= '0' && *given <= '9' && !*end && !errno && number <= 100000;
}

int cmd_trace(int argc, char **argv)
{
    enum { OPTION_SLOWEST = OPTION_OWN };
    static const struct option table[] = {
        RESULT_LONG,
        {"slowest", required_argument, NULL, OPTION_SLOWEST},
        HELP_LONG,
    };
    static struct options options = {.command = "trace"};
    size_t slowest = 10;
    for (int option; (option = getopt_long(argc, argv, "", table, NULL)) != -1;) {
        int taken = options_take(&options, option, help);
        if (ENDS(taken))
            return END_STATUS(taken);
        if (option == OPTION_SLOWEST && !take_count(optarg, &slowest))
            return usage_error("trace", "--slowest=%s: it is a number, at most 100000", optarg);
    }
    if (optind == argc)
        return usage_error("trace", "a file is missing: what `ovl run --trace FILE` has written");
    if (optind + 1 < argc)
        return usage_error("trace", "'%s': one file is enough", argv[argc - 1]);
    return sum_up(argv[optind], &options, slowest);
}
