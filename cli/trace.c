/* SPDX-License-Identifier: MIT
 *
 * What a trace says of each file.
 *
 * Lines lie in the order in which calls ended, so that of two processes of which one waits for the other the order is
 * that of what they did.  A file is an input where its content was used that nothing in the trace had made before.
 */
#include "trace.h"

#include "output.h"
#include "space.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

/* ---- a line ------------------------------------------------------------------------------------------------ */

struct event {
    const char *call, *flags; /* flags: "" where there are none */
    char *path, *from;        /* from: NULL where there is none */
    bool exists, is_directory, moves_directory;
    int64_t pid, error, ns;
    double time;
};

static const char *string_of(struct json_object *line, const char *key)
{
    struct json_object *value;
    return json_object_object_get_ex(line, key, &value) ? json_object_get_string(value) : NULL;
}

static bool number_of(struct json_object *line, const char *key, int64_t *number)
{
    struct json_object *value;
    if (!json_object_object_get_ex(line, key, &value) || !json_object_is_type(value, json_type_int))
        return false;
    *number = json_object_get_int64(value);
    return true;
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char *from_hex(const char *hex)
{
    char *made = need(malloc(strlen(hex) / 2 + 1)), *to = made;
    for (; digit(hex[0]) >= 0 && digit(hex[1]) >= 0; hex += 2)
        *to++ = (char)(digit(hex[0]) * 16 + digit(hex[1]));
    *to = '\0';
    return made;
}

/* A path's own bytes, tidied: the caller's to free; NULL where there is none. */
static char *path_of(struct json_object *line, const char *key)
{
    char *hex_key = text("%s_hex", key);
    const char *hex = string_of(line, hex_key), *plain = string_of(line, key);
    char *path = hex ? from_hex(hex) : plain ? need(strdup(plain)) : NULL;
    free(hex_key);
    if (path && *path != '/') {
        free(path);
        return NULL;
    }
    if (path)
        tidy_path(path);
    return path;
}

/* Of a trace that others have sent, nothing else is shown as the name of a call. */
static bool is_call(const char *name)
{
    return name && !name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")];
}

static bool take_event(struct json_object *line, struct event *e)
{
    struct json_object *time;
    int64_t result;
    const char *type = string_of(line, "type"), *flags = string_of(line, "flags");
    const char *from_type = string_of(line, "from_type");
    *e = (struct event){.call = string_of(line, "call"), .flags = flags ? flags : ""};
    e->moves_directory = from_type && strcmp(from_type, "directory") == 0;
    e->exists = type != NULL;
    e->is_directory = (type && strcmp(type, "directory") == 0) || strstr(e->flags, "O_DIRECTORY");
    if (!is_call(e->call) || !number_of(line, "pid", &e->pid) || !number_of(line, "ns", &e->ns) || e->ns < 0 ||
        !json_object_object_get_ex(line, "time", &time) ||
        (!number_of(line, "errno", &e->error) && !number_of(line, "result", &result)))
        return false;
    e->time = json_object_get_double(time);
    e->path = path_of(line, "path");
    e->from = path_of(line, "from");
    return e->path != NULL;
}

/* ---- what is known of files ------------------------------------------------------------------------------ */

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct trace_file *)a)->path, ((const struct trace_file *)b)->path);
}

static struct trace_file *file_of(struct trace *t, const char *path)
{
    const struct trace_file key = {.path = (char *)path};
    struct trace_file *const *found = tfind(&key, &t->files, by_path);
    if (found)
        return *found;
    struct trace_file *file = need(calloc(1, sizeof *file));
    file->path = need(strdup(path));
    need(tsearch(file, &t->files, by_path));
    return file;
}

static void use(struct trace_file *file)
{
    file->done |= TRACE_READ | (file->done & TRACE_MADE ? 0 : TRACE_INPUT | TRACE_EXISTED);
}

static void make(struct trace_file *file, bool is_new_content)
{
    file->done = (file->done & ~(unsigned)TRACE_REMOVED) | TRACE_WRITTEN | (is_new_content ? TRACE_MADE : 0);
}

static void drop(struct trace_file *file)
{
    file->done = (file->done & ~(unsigned)TRACE_MADE) | TRACE_REMOVED | (file->done & TRACE_MADE ? 0 : TRACE_EXISTED);
}

/* ---- renames of directories ------------------------------------------------------------------------------ */

struct below {
    const char *folder;
    struct trace_file **at;
    size_t count;
};

static void collect(const void *node, VISIT visit, void *arg)
{
    struct below *b = arg;
    struct trace_file *file = *(struct trace_file *const *)node;
    size_t n = strlen(b->folder);
    if ((visit != postorder && visit != leaf) || strncmp(file->path, b->folder, n) != 0 || file->path[n] != '/')
        return;
    b->at = need(realloc(b->at, (b->count + 1) * sizeof *b->at));
    b->at[b->count++] = file;
}

/* What is known below `from` is now below `to`. */
static void move_below(struct trace *t, const char *from, const char *to)
{
    struct below b = {.folder = from};
    twalk_r(t->files, collect, &b);
    for (size_t i = 0; i < b.count; i++) {
        struct trace_file *old = b.at[i];
        if (old->done & TRACE_REMOVED || !(old->done & (TRACE_EXISTED | TRACE_WRITTEN)))
            continue;
        char *path = text("%s%s", to, old->path + strlen(from));
        make(file_of(t, path), true);
        drop(old);
        free(path);
    }
    free(b.at);
}

/* ---- calls ------------------------------------------------------------------------------------------------- */

static bool is_one_of(const char *call, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(call, *list) == 0)
            return true;
    return false;
}

static bool is_missing(const struct event *e)
{
    return e->error == ENOENT || e->error == ENOTDIR;
}

static void take_open(struct trace_file *file, const struct event *e)
{
    const bool reads = !strstr(e->flags, "O_WRONLY"), writes = !strstr(e->flags, "O_RDONLY");
    const bool is_new = !e->exists || strstr(e->flags, "O_TRUNC");
    if (strstr(e->flags, "O_PATH") || strstr(e->flags, "O_TMPFILE"))
        return;
    if (reads && !is_new)
        use(file);
    else if (reads)
        file->done |= TRACE_READ;
    if (writes || is_new)
        make(file, is_new);
}

static void take_rename(struct trace *t, struct trace_file *to, const struct event *e)
{
    struct trace_file *from = file_of(t, e->from);
    const bool is_exchange = strstr(e->flags, "RENAME_EXCHANGE");
    if (e->moves_directory && from->done & TRACE_MADE && !is_exchange) { /* of it, what is in it is known */
        to->done |= TRACE_MADE;
        from->done &= ~(unsigned)TRACE_MADE;
        move_below(t, e->from, e->path);
        return;
    }
    if (!(from->done & TRACE_MADE))
        from->done |= TRACE_EXISTED | (e->moves_directory ? 0 : TRACE_INPUT);
    if (e->exists && !(to->done & TRACE_MADE))
        to->done |= TRACE_EXISTED;
    make(to, true);
    if (is_exchange)
        make(from, true);
    else
        drop(from);
    if (!is_exchange && e->moves_directory) /* it looks at all files */
        move_below(t, e->from, e->path);
}

static void take_success(struct trace *t, struct trace_file *file, const struct event *e)
{
    static const char *const reading[] = {"exec", "load", "catopen", NULL};
    static const char *const making[] = {"mknodat", "symlinkat", "bind", NULL};
    static const char *const changing[] = {"truncate", "fchmodat",    "fchownat",     "utimensat",
                                           "setxattr", "removexattr", "fchmod",       "fchown",
                                           "futimens", "fsetxattr",   "fremovexattr", NULL};
    if (strcmp(e->call, "renameat2") == 0 && e->from) {
        take_rename(t, file, e);
        return;
    }
    if (strcmp(e->call, "mkdirat") == 0)
        file->done |= TRACE_MADE;
    if (e->is_directory)
        return;
    if (e->exists && !(file->done & TRACE_MADE))
        file->done |= TRACE_EXISTED;
    if (strcmp(e->call, "linkat") == 0 && e->from) {
        use(file_of(t, e->from));
        make(file, true);
    } else if (strcmp(e->call, "unlinkat") == 0) {
        drop(file);
    } else if (is_one_of(e->call, reading)) {
        use(file);
    } else if (is_one_of(e->call, making)) {
        make(file, true);
    } else if (is_one_of(e->call, changing)) {
        make(file, false);
    } else if (*e->flags) {
        take_open(file, e);
    }
}

static int by_pid(const void *a, const void *b)
{
    const int64_t first = *(const int64_t *)a, second = *(const int64_t *)b;
    return (first > second) - (first < second);
}

static void count_process(struct trace *t, int64_t pid)
{
    if (tfind(&pid, &t->pids, by_pid))
        return;
    int64_t *kept = need(malloc(sizeof *kept));
    *kept = pid;
    need(tsearch(kept, &t->pids, by_pid));
    t->processes++;
}

/* Keep it in its place among those that took longest. */
static void keep_slow(struct trace *t, const struct event *e)
{
    const uint64_t ns = (uint64_t)e->ns;
    if (t->slow_room == 0 || (t->slow_count == t->slow_room && t->slowest[t->slow_count - 1].ns >= ns))
        return;
    if (t->slow_count == t->slow_room) {
        free(t->slowest[--t->slow_count].function);
        free(t->slowest[t->slow_count].path);
    }
    size_t at = t->slow_count++;
    for (; at > 0 && t->slowest[at - 1].ns < ns; at--)
        t->slowest[at] = t->slowest[at - 1];
    t->slowest[at] = (struct trace_call){
        .ns = ns, .function = need(strdup(e->call)), .path = need(strdup(e->path)), .pid = e->pid, .error = e->error};
}

static void take(struct trace *t, const struct event *e)
{
    struct trace_file *file = file_of(t, e->path);
    const double end = e->time + (double)e->ns / 1e9;
    if (t->calls++ == 0)
        t->first = e->time;
    t->first = e->time < t->first ? e->time : t->first;
    t->last = end > t->last ? end : t->last;
    file->calls++;
    count_process(t, e->pid);
    keep_slow(t, e);
    if (!e->error)
        take_success(t, file, e);
    else if (is_missing(e) && !(file->done & TRACE_REMOVED))
        file->done |= TRACE_MISSED;
}

/* ---- all lines --------------------------------------------------------------------------------------------- */

static bool take_line(struct trace *t, struct json_tokener *tokener, const char *line, size_t n)
{
    struct event e = {.path = NULL};
    json_tokener_reset(tokener);
    struct json_object *object = json_tokener_parse_ex(tokener, line, (int)n);
    const bool good = object && json_object_is_type(object, json_type_object) && take_event(object, &e);
    if (good)
        take(t, &e);
    free(e.path);
    free(e.from);
    json_object_put(object);
    return good;
}

bool trace_read(struct trace *t, FILE *from, const char *name, size_t slowest)
{
    struct json_tokener *tokener = need(json_tokener_new());
    char *line = NULL;
    size_t size = 0, bad = 0, first = 0;
    t->slow_room = slowest;
    t->slowest = need(calloc(slowest + 1, sizeof *t->slowest));
    for (ssize_t n; (n = getline(&line, &size, from)) > 0;) {
        t->lines++;
        if (!take_line(t, tokener, line, (size_t)n) && bad++ == 0)
            first = t->lines;
    }
    const bool failed = ferror(from);
    if (failed)
        complain("%s: %s", name, strerror(errno));
    if (bad)
        complain("%s: line %zu is no line of a trace (of %zu such lines); see `ovl run --trace`", name, first, bad);
    free(line);
    json_tokener_free(tokener);
    return !failed && !bad;
}

struct visit {
    void (*each)(const struct trace_file *file, void *arg);
    void *arg;
};

static void visit_file(const void *node, VISIT visit, void *arg)
{
    const struct visit *v = arg;
    if (visit == postorder || visit == leaf)
        v->each(*(struct trace_file *const *)node, v->arg);
}

void trace_each(const struct trace *t, void (*each)(const struct trace_file *file, void *arg), void *arg)
{
    struct visit v = {each, arg};
    twalk_r(t->files, visit_file, &v);
}

static void free_file(void *it)
{
    struct trace_file *file = it;
    free(file->path);
    free(file);
}

void trace_free(struct trace *t)
{
    for (size_t i = 0; i < t->slow_count; i++) {
        free(t->slowest[i].function);
        free(t->slowest[i].path);
    }
    free(t->slowest);
    tdestroy(t->files, free_file);
    tdestroy(t->pids, free);
}
