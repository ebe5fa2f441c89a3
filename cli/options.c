/* SPDX-License-Identifier: MIT
 *
 * From options to the text of a configuration, which the core reads as it reads any other.
 */
#include "options.h"

#include "output.h"
#include "space.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void list_add(struct list *list, const char *item)
{
    list->at = need(realloc(list->at, (list->count + 1) * sizeof *list->at));
    list->at[list->count++] = need(strdup(item));
}

void list_free(struct list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->at[i]);
    free(list->at);
    *list = (struct list){NULL, 0};
}

/* An empty path would be that of the current directory. */
static int refuse_empty(const struct options *options, const char *name)
{
    return *optarg ? 0 : usage_error(options->command, "--%s is empty; give a value or leave it out", name) + 1;
}

int options_take_once(const struct options *options, const char **to, const char *name)
{
    if (*to)
        return usage_error(options->command, "--%s is given twice; leave one of them out", name) + 1;
    *to = optarg;
    return refuse_empty(options, name);
}

static int take_more(const struct options *options, struct list *to, const char *name)
{
    list_add(to, optarg);
    return refuse_empty(options, name);
}

int options_take(struct options *options, int option, const char *help)
{
    switch (option) {
    case 'm':
        return options_take_once(options, &options->mount, "mount");
    case 'u':
        return options_take_once(options, &options->upper, "upper");
    case 'n':
        return options_take_once(options, &options->name, "name");
    case OPTION_CONF:
        return options_take_once(options, &options->conf, "conf");
    case 'l':
        return take_more(options, &options->lower, "lower");
    case 'x':
        return take_more(options, &options->exclude, "exclude");
    case OPTION_TEMP:
        options->temp = true;
        return 0;
    case OPTION_JSON:
        options->json = true;
        return 0;
    case OPTION_COLOR:
        return color_choose(optarg)
                   ? 0
                   : usage_error(options->command, "--color=%s: it is auto, always or never", optarg) + 1;
    case OPTION_HELP:
        fputs(help, stdout);
        return finish_output(STATUS_DONE) + 1;
    case '?':
        fprintf(stderr, "Try: ovl %s --help\n", options->command);
        return STATUS_USAGE + 1;
    default:
        return -1;
    }
}

bool options_describe(const struct options *options)
{
    return options->mount || options->upper || options->lower.count || options->exclude.count || options->temp;
}

/* The current directory, the caller's to free. */
static char *current_folder(void)
{
    const char *left = getenv(LEFT_CWD);
    char *cwd = left ? need(strdup(left)) : getcwd(NULL, 0);
    if (cwd)
        return cwd;
    complain("the current directory: %s; go to another one, or name files by absolute paths", strerror(errno));
    exit(STATUS_FAILED);
}

char *absolute_path(const char *path)
{
    char *cwd = *path == '/' ? need(strdup("")) : current_folder();
    char *made = *path == '/' ? text("%s", path) : text("%s/%s", cwd, path);
    for (size_t n = strlen(made); n > 1 && made[n - 1] == '/'; n--)
        made[n - 1] = '\0';
    free(cwd);
    return made;
}

char *mount_path(const struct options *options)
{
    char *path = absolute_path(options->mount);
    tidy_path(path);
    return path;
}

/* ---- the text ------------------------------------------------------------------------------------ */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* A line has no room for a line's end, and loses blanks at its own. */
bool conf_put_value(FILE *to, enum form form, const char *value)
{
    for (const char *p = value; *p; p++) {
        if (*p == ',' || *p == ':' || *p == ';' || *p == '\\' || (form == FORM_FILE && *p == '$'))
            fputc('\\', to);
        fputc(*p, to);
    }
    return form == FORM_INLINE || (!strchr(value, '\n') && !is_blank(value[strlen(value) - 1]));
}

struct writer {
    FILE *to;
    enum form form;
    char *misfit; /* what a file can't hold, or NULL */
};

static void put_value(struct writer *w, const char *value)
{
    if (!conf_put_value(w->to, w->form, value) && !w->misfit)
        w->misfit = need(strdup(value));
}

static void put_pair(struct writer *w, const char *key, const char *value)
{
    fprintf(w->to, w->form == FORM_FILE ? "%s = " : "%s=", key);
    put_value(w, value);
    fputc(w->form == FORM_FILE ? '\n' : ',', w->to);
}

static void put_path(struct writer *w, const char *key, const char *path)
{
    char *absolute = absolute_path(path);
    put_pair(w, key, absolute);
    free(absolute);
}

static void put_excludes(struct writer *w, const struct options *options)
{
    if (!options->exclude.count)
        return;
    fputs(w->form == FORM_FILE ? "exclude = " : "exclude=", w->to);
    for (size_t i = 0; i < options->exclude.count; i++) {
        if (i)
            fputc(':', w->to);
        put_value(w, options->exclude.at[i]);
    }
    fputc(w->form == FORM_FILE ? '\n' : ',', w->to);
}

char *options_conf(const struct options *options, enum form form, const char *upper)
{
    char *made = NULL;
    size_t size = 0;
    struct writer w = {.to = need(open_memstream(&made, &size)), .form = form};
    if (form == FORM_FILE)
        fputs("[overlay]\n", w.to);
    char *mount = mount_path(options);
    put_path(&w, "mount", mount);
    for (size_t i = 0; i < options->lower.count; i++)
        put_path(&w, form == FORM_FILE ? "lowerdir" : "lowerdir+", options->lower.at[i]);
    if (!options->lower.count)
        put_path(&w, form == FORM_FILE ? "lowerdir" : "lowerdir+", mount);
    free(mount);
    put_excludes(&w, options);
    if (upper && form == FORM_FILE)
        put_pair(&w, "upperdir", upper);
    else if (upper)
        put_path(&w, "upperdir", upper);
    if (fclose(w.to) != 0)
        no_memory();
    if (!w.misfit)
        return made;
    complain("'%s' has a line's end in it, or a blank at its end, which a configuration file can't hold; "
             "give -u, so that nothing need be kept",
             w.misfit);
    free(w.misfit);
    free(made);
    return NULL;
}
