/* SPDX-License-Identifier: MIT
 *
 * Which runs use a work directory (CONTRACT 1.6, 1.13): two with different lower layers or whiteout forms
 * must not meet in one, because what the one records there is wrong for the other.
 *
 * state/run holds a description of the layers and the first processes (pid and start time) of the runs that
 * have it.  Descriptors and locks can't stand for a run (C-4.6: none stays open), so a run whose first
 * process has ended is found by what its processes carry: those that were exec'd, the record in their
 * environment; those that were only forked, the mapping of state/shared.  That look at /proc is taken
 * only when the description has changed.  The file is replaced under a
 * flock of the directory, which the kernel drops if we die; that it can't be written stops nobody.
 *
 *   libovl-run 2 oci HASH-OF-THE-LOWER-LAYERS
 *   PID START
 */
#include "config.h"

#include <sys/file.h>
#include <sys/mman.h>

/* The number changes with whatever the processes of a run must have in common: what lies in state/shared and in the
 * cache, and by which hashes it is found. */
#define RUN_FORMAT "libovl-run 2 "
#define ANY_RECORD "ovl" /* of any version: OVL_RECORD_MAGIC */

#define RUN_FILE_MAX ((size_t)64 << 10)
#define PROC_FILE_MAX ((size_t)8 << 20)
#define DENTS_SIZE ((size_t)32 << 10)

/* How often a process in the middle of an exec is looked at again, and after how many nanoseconds the first time; then
 * later and later, so as not to keep step with one that executes one program after the other. */
#define EXEC_TRIES 30
#define EXEC_WAIT 200000

struct run {
    const struct ovl_plans *plans;
    const struct ovl_plan *plan;
    const char *file;
    const char *description; /* the first line */
    char *text;              /* the file's content, with room for one more process */
    size_t length;
};

/* ---- processes ------------------------------------------------------------------------------------------ */

static ssize_t read_file(const char *path, char *buf, size_t n)
{
    int fd = ovl_sys_open(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd < 0)
        return fd;
    size_t length = 0;
    ssize_t r = 1;
    while (r > 0 && length < n - 1) {
        r = ovl_sys_read(fd, buf + length, n - 1 - length);
        length += r > 0 ? (size_t)r : 0;
    }
    ovl_sys_close(fd);
    buf[length] = '\0';
    return r < 0 ? r : (ssize_t)length;
}

static void proc_path(char *buf, size_t n, uint64_t pid, const char *file)
{
    char number[24];
    ssize_t length = ovl_append(buf, n, 0, "/proc/");
    length = ovl_append(buf, n, (size_t)length, ovl_decimal(number, pid));
    ovl_append(buf, n, (size_t)length, file);
}

/* A field of /proc/PID/stat behind the state (proc(5)); 0 when the process is not there, ended, or can't be seen. */
static uint64_t stat_field(uint64_t pid, int wanted)
{
    char path[64];
    char text[1024];
    proc_path(path, sizeof path, pid, "/stat");
    if (read_file(path, text, sizeof text) <= 0)
        return 0;
    const char *p = ovl_strrchr(text, ')');
    if (!p || p[1] != ' ' || p[2] == 'Z' || p[2] == 'X')
        return 0;
    for (int field = 2; field < wanted && *p; p++)
        field += *p == ' ';
    return ovl_parse_decimal(&p);
}

/* When a process was started, in clock ticks since boot. */
static uint64_t start_time(uint64_t pid)
{
    return stat_field(pid, 22);
}

static bool is_alive(uint64_t pid, uint64_t start)
{
    if (start)
        return start_time(pid) == start;
    return pid <= INT32_MAX && ovl_sys_kill((pid_t)pid, 0) == 0; /* written where there is no /proc */
}

/* ---- the run's other processes ---------------------------------------------------------------------------- */

/* What a process of the run has: a word in an environment variable, or a mapping. */
struct marks {
    const char *word, *mapped;
};

/* Whether a value of an environment variable is (part of) a record with this work directory. */
static bool is_record_of(const char *value, const struct marks *marks)
{
    if (!ovl_has_prefix(value, ANY_RECORD))
        return false;
    size_t n = ovl_strlen(marks->word);
    for (const char *token = ovl_strchr(value, ' '); token; token = ovl_strchr(token + 1, ' '))
        if (ovl_has_prefix(token, marks->word) && (token[n] == ' ' || !token[n]))
            return true;
    return false;
}

static bool has_record(const char *block, size_t n, const struct marks *marks)
{
    for (size_t at = 0; at < n; at += ovl_strlen(block + at) + 1) {
        const char *equals = ovl_strchr(block + at, '=');
        if (equals && is_record_of(equals + 1, marks))
            return true;
    }
    return false;
}

/* Whether a line of /proc/PID/maps ends in the file's path. */
static bool has_mapping(const char *maps, const struct marks *marks)
{
    size_t n = ovl_strlen(marks->mapped);
    for (const char *end = ovl_strchr(maps, '\n'); end; end = ovl_strchr(end + 1, '\n'))
        if ((size_t)(end - maps) > n && end[-(ptrdiff_t)n - 1] == ' ' && memcmp(end - n, marks->mapped, n) == 0)
            return true;
    return false;
}

/* Whether the process executes a program right now: it has one, and no environment yet or any more. */
static bool is_between_programs(uint64_t pid, ssize_t environ_length)
{
    char path[64], program[1];
    proc_path(path, sizeof path, pid, "/exe"); /* what ended and what is the kernel's own has none */
    if (environ_length != 0 || ovl_sys_readlink(path, program, sizeof program) <= 0)
        return false;
    uint64_t end = stat_field(pid, 51); /* env_end */
    return end == 0 || stat_field(pid, 50) != end;
}

static bool takes_part(uint64_t pid, char *buf, const struct marks *marks)
{
    char path[64];
    for (int i = 0; i < EXEC_TRIES; i++) {
        proc_path(path, sizeof path, pid, "/maps");
        if (read_file(path, buf, PROC_FILE_MAX) > 0 && has_mapping(buf, marks))
            return true;
        /* After the mappings: what was only forked when those were read may have executed a program since. */
        proc_path(path, sizeof path, pid, "/environ");
        ssize_t length = read_file(path, buf, PROC_FILE_MAX);
        if (length > 0 && has_record(buf, (size_t)length, marks))
            return true;
        if (!is_between_programs(pid, length))
            return false;
        ovl_sys_nanosleep((i + 1L) * EXEC_WAIT);
    }
    return true; /* in doubt, the work directory is in use */
}

/* Look through one buffer of /proc: the first process of those in it that takes part in the run, or 0. */
static uint64_t find_among(const char *dents, ssize_t n, char *buf, const struct marks *marks)
{
    uint64_t own = (uint64_t)ovl_sys_getpid();
    for (ssize_t at = 0; at < n;) {
        const struct ovl_dirent *d = (const struct ovl_dirent *)(const void *)(dents + at);
        at += d->d_reclen;
        const char *name = d->d_name;
        uint64_t pid = ovl_parse_decimal(&name);
        if (!*name && pid && pid != own && takes_part(pid, buf, marks))
            return pid;
    }
    return 0;
}

/* A living process that uses the plan's work directory, or 0. */
static uint64_t find_descendant(const struct run *run)
{
    struct ovl_arena *arena = run->plans->config->arena;
    const char *work = run->plan->work, *escaped = ovl_record_escape(arena, work);
    const struct marks marks = {.word = escaped ? ovl_arena_join(arena, " work=", escaped, NULL) : NULL,
                                .mapped = ovl_arena_join(arena, work, OVL_SHARED_FILE, NULL)};
    char *dents = ovl_arena_alloc(arena, DENTS_SIZE);
    char *buf = ovl_sys_mmap(PROC_FILE_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    int fd = ovl_sys_open(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    uint64_t pid = 0;
    ssize_t n;
    if (fd >= 0 && buf && dents && marks.word && marks.mapped)
        while (!pid && (n = ovl_sys_getdents(fd, dents, DENTS_SIZE)) > 0)
            pid = find_among(dents, n, buf, &marks);
    if (fd >= 0)
        ovl_sys_close(fd);
    if (buf)
        ovl_sys_munmap(buf, PROC_FILE_MAX);
    return pid;
}

/* ---- the file ---------------------------------------------------------------------------------------------- */

static uint64_t hash_lowers(const struct ovl_plan *plan)
{
    uint64_t hash = OVL_HASH_BEGIN;
    for (unsigned i = plan->has_upper; i < plan->layers; i++)
        for (const char *p = plan->layer[i].path;; p++) {
            hash = ovl_hash_add(hash, *p);
            if (!*p)
                break;
        }
    return hash;
}

static const char *describe(const struct run *run)
{
    char hash[24];
    return ovl_arena_join(run->plans->config->arena, RUN_FORMAT, ovl_config_word(run->plan->section, OVL_KEY_WHITEOUT),
                          " ", ovl_decimal(hash, hash_lowers(run->plan)), "\n", NULL);
}

/* Keep of the processes in the file's old text those that live, other than this one; the first one's pid or 0. */
static uint64_t keep_living(struct run *run, const char *old)
{
    uint64_t first = 0, own = (uint64_t)ovl_sys_getpid();
    run->length = (size_t)ovl_append(run->text, RUN_FILE_MAX, 0, run->description);
    for (const char *line = ovl_strchr(old, '\n'); line && line[1]; line = ovl_strchr(line + 1, '\n')) {
        const char *p = line + 1, *begin = p;
        uint64_t pid = ovl_parse_decimal(&p);
        if (*p++ != ' ')
            continue;
        uint64_t start = ovl_parse_decimal(&p);
        if (*p != '\n' || !pid || pid == own || !is_alive(pid, start))
            continue;
        if (!first)
            first = pid;
        size_t n = (size_t)(p + 1 - begin);
        if (run->length + n < RUN_FILE_MAX / 2) {
            memcpy(run->text + run->length, begin, n);
            run->length += n;
        }
    }
    return first;
}

static void add_own(struct run *run)
{
    char number[24];
    uint64_t own = (uint64_t)ovl_sys_getpid();
    char start[24];
    const char *const part[] = {ovl_decimal(number, own), " ", ovl_decimal(start, start_time(own)), "\n"};
    run->text[run->length] = '\0';
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        run->length = (size_t)ovl_append(run->text, RUN_FILE_MAX, run->length, part[i]);
}

static void replace_file(const struct run *run)
{
    const char *aside = ovl_arena_join(run->plans->config->arena, run->file, ".new", NULL);
    if (!aside)
        return;
    ovl_sys_unlink(aside);
    int fd = ovl_sys_open(AT_FDCWD, aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return;
    ssize_t n = ovl_sys_write(fd, run->text, run->length);
    ovl_sys_close(fd);
    if (n == (ssize_t)run->length)
        ovl_sys_rename(aside, run->file, 0);
    else
        ovl_sys_unlink(aside);
}

static int refuse_run(const struct run *run, const char *old, uint64_t pid)
{
    char number[24];
    size_t form = ovl_strlen(run->description) - ovl_strlen(ovl_strrchr(run->description, ' '));
    bool same_version = ovl_has_prefix(old, RUN_FORMAT);
    bool same_form = same_version && memcmp(old, run->description, form + 1) == 0;
    const char *problem =
        ovl_arena_join(run->plans->config->arena, "is in use by a run (process ", ovl_decimal(number, pid), ") with ",
                       same_form      ? "other lower layers"
                       : same_version ? "another whiteout form"
                                      : "another version of libovl",
                       " until that ends", NULL);
    return ovl_refuse_work(run->plans, run->plan, problem ? problem : "is in use", "");
}

static int update(struct run *run)
{
    char *old = ovl_arena_alloc(run->plans->config->arena, RUN_FILE_MAX);
    run->text = ovl_arena_alloc(run->plans->config->arena, RUN_FILE_MAX);
    run->description = describe(run);
    if (!old || !run->text || !run->description)
        return ovl_refuse_no_memory(run->plans->config);
    ssize_t n = read_file(run->file, old, RUN_FILE_MAX);
    if (n < 0 && n != -ENOENT)
        return ovl_refuse_work(run->plans, run->plan, "has a state/run that can't be read: ", ovl_error_text((int)n));
    uint64_t living = keep_living(run, old);
    if (n > 0 && !ovl_has_prefix(old, run->description)) {
        if (!living)
            living = find_descendant(run);
        if (living)
            return refuse_run(run, old, living);
    }
    if (!living) {
        struct ovl o = {.work = run->plan->work, .work_length = run->plan->work_length};
        ovl_moves_start(&o);
        ovl_identity_start(&o);
        ovl_cache_start(&o);
        ovl_shared_detach(&o);
    }
    add_own(run);
    replace_file(run);
    return 0;
}

/* Whether what is open as dir, and the upper, are still there: `ovl discard` and `ovl commit` remove both under the
 * lock. */
static bool is_there_still(const struct ovl_plan *plan, int dir, const char *state)
{
    struct stat open, now;
    if (ovl_sys_fstat(dir, &open) < 0 || ovl_sys_lstat(state, &now) < 0 || now.st_ino != open.st_ino)
        return false;
    return !plan->has_upper || (ovl_sys_lstat(*plan->layer[0].path ? plan->layer[0].path : "/", &now) == 0 &&
                                now.st_ino == plan->layer[0].st.st_ino);
}

int ovl_plan_enter_run(struct ovl_plans *plans, const struct ovl_plan *plan)
{
    struct run run = {.plans = plans, .plan = plan};
    const char *state = ovl_arena_join(plans->config->arena, plan->work, "/state", NULL);
    run.file = ovl_arena_join(plans->config->arena, plan->work, "/state/run", NULL);
    if (!state || !run.file)
        return ovl_refuse_no_memory(plans->config);
    int dir = ovl_sys_open(AT_FDCWD, state, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (dir == -ENOENT)
        return -ESTALE;
    if (dir < 0)
        return ovl_refuse_work(plans, plan, "has a state directory that can't be opened: ", ovl_error_text(dir));
    while (ovl_sys_raw(SYS_flock, dir, LOCK_EX, 0, 0, 0, 0) == -EINTR)
        ;
    int r = is_there_still(plan, dir, state) ? update(&run) : -ESTALE;
    ovl_sys_close(dir);
    return r;
}

int ovl_in_use(const struct ovl *o)
{
    if (!o->work)
        return 0;
    struct ovl_arena arena = {NULL};
    struct ovl_config config = {.arena = &arena};
    const struct ovl_plans plans = {.config = &config};
    const struct ovl_plan plan = {.work = o->work, .work_length = o->work_length};
    struct run run = {.plans = &plans, .plan = &plan, .description = ""};
    char *old = ovl_arena_alloc(&arena, RUN_FILE_MAX);
    run.text = ovl_arena_alloc(&arena, RUN_FILE_MAX);
    run.file = ovl_arena_join(&arena, o->work, "/state/run", NULL);
    int r = -ENOMEM;
    if (old && run.text && run.file) {
        ssize_t n = read_file(run.file, old, RUN_FILE_MAX);
        uint64_t living = n > 0 ? keep_living(&run, old) : 0;
        if (!living)
            living = find_descendant(&run);
        r = n < 0 && n != -ENOENT && n != -ENOTDIR ? (int)n : (int)living;
    }
    ovl_arena_free(&arena);
    return r;
}
