/* SPDX-License-Identifier: MIT
 *
 * The start: before main, or at the first interposed call if another library's constructor is earlier.
 *
 * The first process of a run opens and checks the configuration; its descendants import the result from
 * their environment.  What must hold: with a wrong configuration the program never runs (status 125,
 * one line on stderr), and a process that is inside never ends up outside by accident.
 */
#define _GNU_SOURCE
#include "init.h"

#include "arguments.h"
#include "config.h"
#include "cwd.h"
#include "env.h"
#include "exec.h"
#include "image.h"
#include "next.h"
#include "patch.h"
#include "real.h"
#include "sys.h"
#include "text.h"
#include "trace.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <unistd.h>

#define STATUS_WRONG_CONFIGURATION 125

#define SELF "/proc/self/exe"

enum { UNKNOWN, STARTING, INERT, READY };

static int state = UNKNOWN;
static struct ovl_space *space;
static __thread bool starting __attribute__((tls_model("initial-exec")));
static char library[OVL_REAL_MAX];
/* Copies: programs that set their title write over their environment. */
static char log_file[OVL_REAL_MAX], trace_file[OVL_REAL_MAX];
static const char *inherited_cwd;
static struct stat first_stderr;
static bool audit_helps;
static const char *library_path, *program;

struct ovl_space *shim_space(void)
{
    return __atomic_load_n(&state, __ATOMIC_ACQUIRE) == READY ? space : NULL;
}

const char *shim_library(void)
{
    return library;
}

const char *shim_inherited_cwd(void)
{
    return inherited_cwd;
}

const char *shim_library_path(void)
{
    return library_path;
}

const char *shim_program(void)
{
    return program;
}

bool shim_audit_helps(void)
{
    return audit_helps;
}

/* ---- messages ----------------------------------------------------------------------------------- */

static void write_line(const char *first, va_list rest)
{
    char line[1200] = "libovl: ";
    size_t n = strlen(line);
    for (const char *s = first; s; s = va_arg(rest, const char *))
        n = ovl_append_shown(line, sizeof line - 1, n, s);
    line[n++] = '\n';
    ovl_sys_write(STDERR_FILENO, line, n);
}

void shim_stderr_line(const char *first, ...)
{
    struct stat now;
    if (ovl_sys_fstat(STDERR_FILENO, &now) < 0 || now.st_dev != first_stderr.st_dev ||
        now.st_ino != first_stderr.st_ino)
        return;
    va_list rest;
    va_start(rest, first);
    write_line(first, rest);
    va_end(rest);
}

static void refuse(const char *first, ...)
{
    va_list rest;
    va_start(rest, first);
    write_line(first, rest);
    va_end(rest);
    ovl_sys_exit(STATUS_WRONG_CONFIGURATION);
}

/* The same with a line that is made already. */
static void refuse_for(const struct ovl_message *why)
{
    char line[sizeof why->text + 16] = "libovl: ";
    char *end = stpcpy(stpcpy(line + strlen(line), why->text), "\n");
    ovl_sys_write(STDERR_FILENO, line, (size_t)(end - line));
    ovl_sys_exit(STATUS_WRONG_CONFIGURATION);
}

/* ---- start ---------------------------------------------------------------------------------------- */

/* Our own variable's value, for the length of the process: setenv may replace what getenv returns. */
static const char *own_variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* Make the log's file where it lies in an overlay, and find its place in the upper. */
static int make_log_file(struct ovl_ctx *ctx, const char *path, struct ovl_node *node)
{
    int fd = ovl_open(ctx, node, OVL_LOG_FLAGS, 0600);
    if (fd < 0)
        return fd;
    ovl_sys_close(fd);
    int r = ovl_resolve(ctx, NULL, path, 0, node);
    return r < 0 ? r : node->ovl && node->exists && node->top == 0 ? 0 : -EROFS;
}

/* Where lines for `path` go, which core appends without asking the overlay: `place`, of OVL_REAL_MAX bytes.  -EROFS
 * where that would change a lower layer, -EXDEV where it must lie outside and does not. */
static int find_line_file(const char *path, bool outside, char *place)
{
    struct ovl_ctx ctx;
    if (ovl_ctx_begin(&ctx, space, &ovl_ops_kernel) < 0)
        return -ENOMEM;
    struct ovl_node *node = ovl_node_new(&ctx);
    int r = node ? ovl_resolve(&ctx, NULL, path, OVL_CHANGE, node) : -ENOMEM;
    if (r == 0 && node->ovl && outside)
        r = -EXDEV;
    if (r == 0 && node->ovl)
        r = make_log_file(&ctx, path, node);
    if (r == 0 && ctx.fds)
        r = -ENAMETOOLONG; /* a name that only this call's descriptors make short enough */
    if (r == 0)
        ovl_append(place, OVL_REAL_MAX, 0, node->ovl ? node->real : node->path);
    ovl_ctx_end(&ctx);
    return r;
}

static const char *line_file_error(int r)
{
    return r == -EINVAL  ? ": not an absolute path; it begins with '/'"
           : r == -EROFS ? ": lies in a lower layer or a read-only overlay; name a file elsewhere"
           : r == -EXDEV ? ": lies in an overlay; name a file outside of all, where a path that is excluded is one"
                         : ": can't be made there; name a file in a directory that you may write to";
}

/* Set up the log.  A relative path would be another file after each chdir, in a layer's own directory too. */
static void start_log(bool first)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    const char *wanted = getenv("OVL_LOG"), *file = own_variable("OVL_LOG_FILE");
    enum ovl_log level = OVL_LOG_WARN;
    for (int i = 0; wanted && i < 4; i++)
        if (strcmp(wanted, names[i]) == 0)
            level = (enum ovl_log)i;
    int r = !file ? 0 : *file == '/' ? find_line_file(file, false, log_file) : -EINVAL;
    if (r < 0 && first)
        refuse("OVL_LOG_FILE: ", file, line_file_error(r), NULL);
    ovl_log_set(level, log_file);
}

/* A trace that can't be written would only seem to be one. */
static int try_trace(void)
{
    int fd = ovl_sys_open(AT_FDCWD, trace_file, OVL_LOG_FLAGS, 0600);
    return fd < 0 ? fd : ovl_sys_close(fd);
}

static void start_trace(bool first)
{
    const char *file = own_variable("OVL_TRACE");
    int r = !file ? 0 : *file == '/' ? find_line_file(file, true, trace_file) : -EINVAL;
    if (r == 0 && file && first)
        r = try_trace();
    if (r < 0 && first)
        refuse("OVL_TRACE: ", file, line_file_error(r), NULL);
    if (r == 0)
        shim_trace_to(trace_file);
    shim_is_watched = ovl_log_wants(OVL_LOG_DEBUG) || shim_trace_file();
}

static void set_cache(const char *wanted)
{
    if (wanted && strcmp(wanted, "off") == 0)
        ovl_cache_use(OVL_CACHE_OFF);
    else if (wanted && strcmp(wanted, "eager") == 0)
        ovl_cache_use(OVL_CACHE_EAGER);
}

/* Where this library lies, as an absolute path: what a child's LD_PRELOAD must name. */
static void find_library(void)
{
    Dl_info info = {.dli_fname = NULL};
    ssize_t n = -1;
    library[0] = '\0';
    if (REAL(dladdr)((const void *)shim_library, &info) <= 0 || !info.dli_fname)
        return;
    if (info.dli_fname[0] != '/') {
        n = ovl_sys_getcwd(library, sizeof library);
        if (n <= 0 || library[0] != '/')
            return;
        n = ovl_append(library, sizeof library, strlen(library), "/");
    } else {
        n = 0;
    }
    if (n >= 0)
        ovl_append(library, sizeof library, (size_t)n, info.dli_fname);
}

/* ld.so splits LD_PRELOAD at blanks and colons and expands `$`: a relative path that was fine here would, made
 * absolute, load nothing into a child, which would then run outside. */
static void check_library_path(void)
{
    if (strpbrk(library, " :$"))
        refuse("LD_PRELOAD: ", library,
               ": can't be handed on with a blank, a ':' or a '$' in it; put the library elsewhere", NULL);
}

static int import(const char *record, const char *conf)
{
    struct ovl_message why;
    if (ovl_space_import(record, &space, &why) < 0)
        refuse_for(&why);
    if (conf && strcmp(conf, ovl_space_conf(space)) != 0)
        refuse("OVL_CONF: is '", conf, "' inside an overlay that was started with '", ovl_space_conf(space),
               "'; leave it alone, or set it to nothing to run one program outside", NULL);
    inherited_cwd = own_variable("OVL_CWD");
    return READY;
}

/* The path by which this program can be started again: that which it was started by, or its file's. */
static const char *find_program(char *buf, size_t size)
{
    struct stat self, st;
    const char *name = (const char *)getauxval(AT_EXECFN); /* NOLINT(*int-to-ptr) */
    if (ovl_sys_stat(SELF, &self) < 0)
        return SELF;
    if (name && ovl_sys_stat(name, &st) == 0 && st.st_dev == self.st_dev && st.st_ino == self.st_ino)
        return name;
    ssize_t n = ovl_sys_readlink(SELF, buf, size - 1);
    buf[n > 0 ? n : 0] = '\0';
    return n > 0 && ovl_sys_stat(buf, &st) == 0 && st.st_dev == self.st_dev && st.st_ino == self.st_ino ? buf : SELF;
}

/* Start the program again with the help that ld.so needs for its libraries, if it needs any. */
static void start_with_help(struct shim_call *call)
{
    struct shim_script *script = ovl_ctx_alloc(&call->ctx, sizeof *script);
    struct shim_elf elf;
    struct shim_program self = {.dirfd = AT_FDCWD, .path = SELF, .elf = &elf};
    struct shim_loader loader = {.audit = NULL};
    if (!script || shim_image(&call->ctx, AT_FDCWD, SELF, script, &elf) != SHIM_IMAGE_DYNAMIC ||
        shim_loader_ask(call, &self, environ, &loader) < 0 ||
        (!loader.audit && !loader.library_path && !loader.interpreter))
        return;
    char *buf = ovl_ctx_alloc(&call->ctx, OVL_REAL_MAX);
    char comm[16] = "";
    ovl_sys_prctl(PR_GET_NAME, (uintptr_t)comm);
    char **env = buf ? shim_env_inside(call, environ, &loader, *comm ? comm : NULL) : NULL;
    if (!env)
        return;
    const char *path = find_program(buf, OVL_REAL_MAX);
    long r = shim_exec_loaded(call, path, &loader, shim_first_arguments(), env);
    ovl_log_line(OVL_LOG_ERROR, path, ": can't be started again with its libraries inside: ", ovl_error_text((int)r),
                 NULL);
}

/* The first process was started without us, so that ld.so may not have found the libraries that are to be seen: then
 * its program is started again, once (CONTRACT 1.14). */
static void start_again(void)
{
    struct shim_call call = {.function = "start"};
    if (ovl_ctx_begin(&call.ctx, space, &shim_next) == 0) {
        start_with_help(&call);
        ovl_ctx_end(&call.ctx);
    }
}

static int open_first(const char *conf)
{
    struct ovl_message why;
    struct ovl_ctx ctx;
    ovl_config_environ(environ);
    if (ovl_space_open(conf, &space, &why) < 0 || ovl_space_guard(space, &why) < 0)
        refuse_for(&why);
    if (ovl_ctx_begin(&ctx, space, &ovl_ops_kernel) == 0) {
        ovl_space_clean(&ctx);
        ovl_ctx_end(&ctx);
    }
    return READY;
}

/* Of several variables of a name the first counts, as for getenv. */
static const char *find_record(size_t *mapped)
{
    const char *part[OVL_RECORD_PARTS] = {NULL}, *value;
    for (char *const *env = environ; env && *env; env++) {
        int number = ovl_record_part(*env, &value);
        if (number >= 0 && !part[number] && *value)
            part[number] = value;
    }
    return ovl_record_join(part, mapped);
}

static int start(void)
{
    size_t mapped;
    if (getauxval(AT_SECURE))
        return INERT; /* the environment is that of someone with fewer rights (ld.so(8)) */
    const char *conf = getenv("OVL_CONF");
    const char *record = find_record(&mapped);
    if (conf ? !*conf : !record)
        return INERT;
    ovl_ctx_init();
    ovl_sys_fstat(STDERR_FILENO, &first_stderr);
    find_library();
    check_library_path();
    audit_helps = record && shim_env_has_ours(getenv("LD_AUDIT"), ":");
    library_path = shim_first_variable("LD_LIBRARY_PATH=");
    program = record ? shim_first_variable(SHIM_ENV_PROGRAM) : NULL;
    const char *comm = record ? shim_first_variable(SHIM_ENV_COMM) : NULL;
    if (comm)
        ovl_sys_prctl(PR_SET_NAME, (uintptr_t)comm);
    shim_real_init();
    shim_next_start();
    int result = record ? import(record, conf) : open_first(conf);
    if (mapped)
        ovl_sys_munmap((void *)(uintptr_t)record, mapped);
    start_log(!record);
    start_trace(!record);
    set_cache(getenv("OVL_CACHE"));
    if (!record)
        start_again();
    struct ovl_message why;
    if (shim_patch_start(space, &why) < 0)
        refuse_for(&why);
    return result;
}

bool shim_start(void)
{
    int seen = __atomic_load_n(&state, __ATOMIC_ACQUIRE);
    if (seen >= INERT)
        return seen == READY;
    if (starting)
        return false; /* a call that our own start makes */
    seen = UNKNOWN;
    if (__atomic_compare_exchange_n(&state, &seen, STARTING, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        int saved = errno;
        starting = true;
        int result = start();
        starting = false;
        errno = saved;
        __atomic_store_n(&state, result, __ATOMIC_RELEASE);
        return result == READY;
    }
    while (__atomic_load_n(&state, __ATOMIC_ACQUIRE) == STARTING)
        ovl_sys_raw(SYS_sched_yield, 0, 0, 0, 0, 0, 0); /* another thread, before main */
    return __atomic_load_n(&state, __ATOMIC_ACQUIRE) == READY;
}

__attribute__((constructor(101))) static void constructor(void)
{
    if (!shim_start())
        return;
    shim_cwd_start();
    shim_trace_libraries();
}
