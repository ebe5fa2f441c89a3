/* SPDX-License-Identifier: MIT
 *
 * ovl conf: a configuration is checked, and what it comes to is printed as one.
 */
#include "commands.h"
#include "json.h"
#include "output.h"
#include "space.h"

#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: ovl conf [OPTION]... [FILE]\n"
    "\n"
    "Checks a configuration and prints what it comes to: complete, with absolute paths, all layers and all defaults, "
    "as a\n"
    "configuration that gives the same overlays.  Nothing is made: that the upper can be written is not tried.\n"
    "\n" SPACE_HELP "\n"
    "      --inline           as one line, as OVL_CONF can have it\n" JSON_HELP "      --help             this text\n"
    "\n"
    "Exit status: 0; 2 for a wrong option; 3 when there is no such overlay, or a path that no file can hold; 125 when "
    "the\n"
    "configuration is wrong.\n";

enum output { OUTPUT_FILE, OUTPUT_INLINE, OUTPUT_JSON };

/* A key that takes several values, of which only lowerdir may repeat in a file. */
static bool is_list(const char *key)
{
    return strcmp(key, "lowerdir") == 0 || strcmp(key, "exclude") == 0 || strcmp(key, "static-allow") == 0;
}

/* Take the settings from number i on that have the same key: so many, in *values, which is the caller's to free. */
static size_t take_values(const struct ovl *o, unsigned i, const char **key, const char ***values)
{
    const char *other, *value;
    size_t count = 0;
    *values = NULL;
    if (!ovl_setting(o, i, key, &value))
        return 0;
    for (other = *key; strcmp(other, *key) == 0;) {
        *values = need(realloc(*values, (count + 1) * sizeof **values));
        (*values)[count++] = value;
        if (!ovl_setting(o, i + (unsigned)count, &other, &value))
            break;
    }
    return count;
}

/* ---- as a configuration -------------------------------------------------------------------------------- */

static bool put(enum form form, const char *value)
{
    if (conf_put_value(stdout, form, value))
        return true;
    complain(
        "'%s' has a line's end in it, or a blank at its end, which a configuration file can't hold; see --inline and "
        "--json",
        value);
    return false;
}

static bool print_key(enum form form, const char *key, const char *const *values, size_t count)
{
    const bool repeats = form == FORM_FILE && strcmp(key, "lowerdir") == 0;
    const char *equals = form == FORM_FILE ? " = " : "=", *end = form == FORM_FILE ? "\n" : "";
    bool fits = true;
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || repeats)
            printf("%s%s", key, equals);
        fits &= put(form, values[i]);
        fputs(i + 1 == count || repeats ? end : ":", stdout);
    }
    return fits;
}

static bool print_overlay(const struct ovl *o, enum form form)
{
    const char *key, **values;
    bool fits = true;
    if (form == FORM_FILE)
        printf(*ovl_name(o) ? "[overlay %s]\n" : "[overlay]\n", ovl_name(o));
    for (unsigned i = 0;;) {
        size_t count = take_values(o, i, &key, &values);
        if (!count)
            return fits;
        if (form == FORM_INLINE && i)
            putchar(',');
        fits &= print_key(form, key, values, count);
        free(values);
        i += (unsigned)count;
    }
}

static bool print_all(const struct ovl_space *space, enum form form)
{
    bool fits = true;
    for (unsigned i = 0; i < ovl_space_count(space); i++) {
        if (i)
            putchar(form == FORM_FILE ? '\n' : ';');
        fits &= print_overlay(ovl_space_at(space, i), form);
    }
    if (form == FORM_INLINE)
        putchar('\n');
    return fits;
}

/* ---- as JSON --------------------------------------------------------------------------------------------- */

static struct json_object *object_of(const struct ovl *o)
{
    struct json_object *object = json_new();
    const char *key, **values;
    size_t count;
    json_add_text(object, "name", ovl_name(o));
    for (unsigned i = 0; (count = take_values(o, i, &key, &values)); i += (unsigned)count) {
        if (is_list(key))
            json_add_paths(object, key, values, count);
        else
            json_add_path(object, key, *values);
        free(values);
    }
    return object;
}

static void print_json(const struct ovl_space *space, const char *conf)
{
    struct json_list list;
    struct json_object *members = json_new();
    json_add_path(members, "conf", conf);
    json_list_begin(&list, members, "overlays");
    for (unsigned i = 0; i < ovl_space_count(space); i++)
        json_list_item(&list, object_of(ovl_space_at(space, i)));
    json_list_end(&list);
    putchar('\n');
}

/* ---- the subcommand -------------------------------------------------------------------------------------- */

static int print(const struct space *s, enum output output)
{
    bool fits = true;
    if (output == OUTPUT_JSON)
        print_json(s->space, s->conf);
    else
        fits = print_all(s->space, output == OUTPUT_FILE ? FORM_FILE : FORM_INLINE);
    return finish_output(fits ? STATUS_DONE : STATUS_FAILED);
}

int cmd_conf(int argc, char **argv)
{
    enum { OPTION_INLINE = OPTION_OWN };
    static const struct option table[] = {
        SPACE_LONG,
        {"inline", no_argument, NULL, OPTION_INLINE},
        {"json", no_argument, NULL, OPTION_JSON},
        HELP_LONG,
    };
    static struct options options = {.command = "conf"};
    struct space space;
    enum output output = OUTPUT_FILE;
    for (int option; (option = getopt_long(argc, argv, SPACE_SHORT, table, NULL)) != -1;) {
        int taken = options_take(&options, option, help);
        if (ENDS(taken))
            return END_STATUS(taken);
        if (option == OPTION_INLINE)
            output = OUTPUT_INLINE;
    }
    if (options.json)
        output = OUTPUT_JSON;
    if (optind < argc && (options.conf || optind + 1 < argc))
        return usage_error("conf", "'%s': one file is enough", argv[argc - 1]);
    if (optind < argc)
        options.conf = argv[optind];
    int status = space_open(&space, &options, NEEDS_LAYERS);
    if (status == STATUS_DONE)
        status = print(&space, output);
    space_close(&space);
    return status;
}
