/* SPDX-License-Identifier: MIT
 *
 * The trace: one line of JSON a call (trace.h).
 *
 * What must hold: a line is JSON whatever bytes a name has, and is one write(), so that the lines of all processes lie
 * whole in one file; and it is written by the kernel's own calls alone, which nothing that traced programs do disturbs.
 * JSON is UTF-8: bytes of a name that are not are shown as U+FFFD, and then KEY_hex has all of its bytes.
 */
#define _GNU_SOURCE
#include "trace.h"

#include "init.h"
#include "real.h"
#include "sys.h"
#include "text.h"

#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define NS UINT64_C(1000000000)
#define REPLACEMENT "\xef\xbf\xbd"
#define BOTH_MAX ((size_t)2 * OVL_PATH_MAX) /* a directory's path and a path that begins there */

static const char *trace_file;

void shim_trace_to(const char *file)
{
    trace_file = file && *file ? file : NULL;
}

const char *shim_trace_file(void)
{
    return trace_file;
}

static uint64_t now(int clock)
{
    struct timespec ts = {0, 0};
    ovl_sys_raw(SYS_clock_gettime, clock, OVL_SYS_PTR(&ts), 0, 0, 0, 0);
    return (uint64_t)ts.tv_sec * NS + (uint64_t)ts.tv_nsec;
}

uint64_t shim_trace_clock(void)
{
    return now(CLOCK_MONOTONIC);
}

/* ---- a line -------------------------------------------------------------------------------------------- */

/* What does not fit is counted, so that the line can be made again in more room. */
struct line {
    char *to;
    size_t used, size;
};

static void put(struct line *l, const char *text, size_t n)
{
    if (l->used + n <= l->size)
        memcpy(l->to + l->used, text, n);
    l->used += n;
}

static void put_text(struct line *l, const char *text)
{
    put(l, text, strlen(text));
}

static void put_number(struct line *l, uint64_t number)
{
    char digits[24];
    put_text(l, ovl_decimal(digits, number));
}

/* Nanoseconds as seconds. */
static void put_seconds(struct line *l, uint64_t ns)
{
    char digits[24];
    const char *fraction = ovl_decimal(digits, NS + ns % NS); /* with a digit more in front */
    put_number(l, ns / NS);
    put_text(l, ".");
    put_text(l, fraction + 1);
}

static void put_hex(struct line *l, unsigned char byte)
{
    static const char digits[] = "0123456789abcdef";
    put(l, &digits[byte >> 4], 1);
    put(l, &digits[byte & 15], 1);
}

/* The text of a string; false where it is no UTF-8. */
static bool put_escaped(struct line *l, const char *text)
{
    bool whole = true;
    for (size_t n; *text; text += n ? n : 1) {
        n = ovl_utf8(text);
        whole &= n > 0;
        if (n == 0) {
            put_text(l, REPLACEMENT);
        } else if ((unsigned char)*text < ' ') {
            put_text(l, "\\u00");
            put_hex(l, (unsigned char)*text);
        } else {
            if (*text == '"' || *text == '\\')
                put_text(l, "\\");
            put(l, text, n);
        }
    }
    return whole;
}

/* ,"KEY":"PATH": the path in two parts, `below` may be "". */
static void put_path(struct line *l, const char *key, const char *path, const char *below)
{
    put_text(l, ",\"");
    put_text(l, key);
    put_text(l, "\":\"");
    const bool first = put_escaped(l, path), second = put_escaped(l, below);
    put_text(l, "\"");
    if (first && second)
        return;
    put_text(l, ",\"");
    put_text(l, key);
    put_text(l, "_hex\":\"");
    for (const char *part = path; part; part = part == path ? below : NULL)
        for (const char *p = part; *p; p++)
            put_hex(l, (unsigned char)*p);
    put_text(l, "\"");
}

/* ---- flags --------------------------------------------------------------------------------------------- */

struct flag {
    unsigned bits;
    const char *name;
};

/* O_TMPFILE has O_DIRECTORY in it. */
static const struct flag open_flags[] = {
    {O_TMPFILE, "|O_TMPFILE"},   {O_DIRECTORY, "|O_DIRECTORY"},
    {O_CREAT, "|O_CREAT"},       {O_EXCL, "|O_EXCL"},
    {O_TRUNC, "|O_TRUNC"},       {O_APPEND, "|O_APPEND"},
    {O_NOFOLLOW, "|O_NOFOLLOW"}, {O_PATH, "|O_PATH"},
    {O_CLOEXEC, "|O_CLOEXEC"},   {0, NULL},
};
static const struct flag rename_flags[] = {
    {RENAME_NOREPLACE, "|RENAME_NOREPLACE"},
    {RENAME_EXCHANGE, "|RENAME_EXCHANGE"},
    {0, NULL},
};

static void put_flags(struct line *l, const struct shim_call *call)
{
    static const char *const access[] = {"|O_RDONLY", "|O_WRONLY", "|O_RDWR", "|O_ACCMODE"};
    if (call->flags == SHIM_NO_FLAGS)
        return;
    unsigned bits = (unsigned)call->flags;
    const char *first = call->from ? "" : access[bits & O_ACCMODE];
    const struct flag *flag = call->from ? rename_flags : open_flags;
    put_text(l, ",\"flags\":\"");
    put_text(l, *first ? first + 1 : "");
    for (bool begun = *first; flag->name; flag++) {
        if ((bits & flag->bits) != flag->bits)
            continue;
        bits &= ~flag->bits;
        put_text(l, flag->name + !begun);
        begun = true;
    }
    put_text(l, "\"");
}

/* ---- a call ---------------------------------------------------------------------------------------------- */

static const char *type_of(mode_t mode)
{
    return S_ISREG(mode) ? "file" : S_ISDIR(mode) ? "directory" : S_ISLNK(mode) ? "link" : "other";
}

static void put_type(struct line *l, const char *key, const struct ovl_node *node)
{
    if (!node || !node->exists)
        return;
    put_text(l, key);
    put_text(l, type_of(node->st.st_mode));
    put_text(l, "\"");
}

/* What the line is about: `node`, or, where the walk came to none, a path that begins below a mount. */
struct subject {
    const struct ovl_node *node;
    const char *path;
};

/* The path that was asked for, absolute, though with the dots and links that it was given with. */
static const char *absolute(struct shim_call *call)
{
    if (*call->asked == '/')
        return call->asked;
    char *path = ovl_ctx_alloc(&call->ctx, BOTH_MAX);
    if (!path || shim_dir_place(call, call->at, path) < 0 || *path != '/')
        return NULL;
    ssize_t n = ovl_append(path, BOTH_MAX, strlen(path), "/");
    n = n < 0 ? n : ovl_append(path, BOTH_MAX, (size_t)n, call->asked);
    return n < 0 ? NULL : path;
}

static bool find_subject(struct shim_call *call, struct subject *subject)
{
    const bool is_inside = call->node && call->node->ovl;
    subject->node = is_inside ? call->node : NULL;
    subject->path = is_inside ? call->node->path : !call->node && call->asked && *call->asked ? absolute(call) : NULL;
    return subject->path && (is_inside || ovl_space_holds(call->ctx.space, subject->path));
}

static void put_result(struct line *l, long r)
{
    put_text(l, r < 0 ? ",\"errno\":" : ",\"result\":");
    put_number(l, r < 0 ? (uint64_t)-r : (uint64_t)r);
}

static void put_call(struct line *l, const struct shim_call *call, const char *name, const struct subject *subject,
                     long r)
{
    const uint64_t ns = shim_trace_clock() - call->began;
    const char *layer, *below;
    put_text(l, "{\"time\":");
    put_seconds(l, now(CLOCK_REALTIME) - ns);
    put_text(l, ",\"ns\":");
    put_number(l, ns);
    put_text(l, ",\"pid\":");
    put_number(l, (uint64_t)ovl_sys_getpid());
    put_text(l, ",\"call\":\"");
    put_text(l, name);
    put_text(l, "\"");
    if (call->from)
        put_path(l, "from", call->from->path, "");
    put_type(l, ",\"from_type\":\"", call->from);
    put_path(l, "path", subject->path, "");
    if (subject->node && shim_layer_of(subject->node, r, &layer, &below))
        put_path(l, "layer", layer, below);
    put_type(l, ",\"type\":\"", subject->node);
    put_flags(l, call);
    put_result(l, r);
    put_text(l, "}\n");
}

/* One that the rest of the call's memory did not hold. */
static void write_longer(const struct shim_call *call, const char *name, const struct subject *subject, long r,
                         size_t n)
{
    struct line line = {.size = n + 64}; /* the numbers may grow */
    line.to = ovl_sys_mmap(line.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (!line.to)
        return;
    put_call(&line, call, name, subject, r);
    ovl_append_line(trace_file, line.to, line.used);
    ovl_sys_munmap(line.to, line.size);
}

void shim_trace(struct shim_call *call, const char *name, long r)
{
    struct ovl_ctx *ctx = &call->ctx;
    if (!trace_file || ctx->size == 0)
        return;
    const size_t mark = ctx->used;
    struct subject subject;
    if (find_subject(call, &subject)) {
        const size_t at = (ctx->used + 15) & ~(size_t)15;
        struct line line = {.size = at < ctx->size ? ctx->size - at : 0};
        line.to = ovl_ctx_alloc(ctx, line.size);
        put_call(&line, call, name, &subject, r);
        if (line.used <= line.size)
            ovl_append_line(trace_file, line.to, line.used);
        else
            write_longer(call, name, &subject, r, line.used);
    }
    ovl_ctx_reset(ctx, mark);
}

/* ---- libraries ------------------------------------------------------------------------------------------- */

/* ld.so opens them itself, by the paths of their layers. */
static int trace_library(struct dl_phdr_info *info, size_t size, void *argument)
{
    struct shim_call *call = argument;
    struct ovl_ctx *ctx = &call->ctx;
    const size_t mark = ctx->used;
    char *merged = ovl_ctx_alloc(ctx, OVL_PATH_MAX);
    struct ovl_node *node = ovl_node_new(ctx);
    (void)size;
    if (merged && node && info->dlpi_name && *info->dlpi_name == '/') {
        const bool is_layer = ovl_merged_path(ctx->space, info->dlpi_name, merged, OVL_PATH_MAX) > 0;
        const char *path = is_layer ? merged : info->dlpi_name;
        call->node = ovl_resolve(ctx, NULL, path, OVL_FOLLOW, node) == 0 && node->exists ? node : NULL;
        if (call->node)
            shim_trace(call, "load", 0);
    }
    call->node = NULL;
    ovl_ctx_reset(ctx, mark);
    return 0;
}

void shim_trace_libraries(void)
{
    struct shim_call call;
    if (!trace_file || !shim_begin(&call, "load"))
        return;
    if (call.ctx.size)
        REAL(dl_iterate_phdr)(trace_library, &call);
    if (call.ctx.memory)
        ovl_ctx_end(&call.ctx);
    errno = call.saved_errno;
}
