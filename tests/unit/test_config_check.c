/* SPDX-License-Identifier: MIT
 *
 * The configuration against the file system: every refusal of C-1.6 word for word, what is made, and layers that
 * stand for places in other overlays (C-1.9).
 */
#include "config.h"
#include "config_check.h"
#include "fault_sys.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define OK "mount=@/mount,lowerdir=@/lower1"
#define OTHER "mount=@/other,lowerdir=@/lower2"
#define OWN "; set workdir= to a directory of your own on the upper's file system"
#define WRITABLE "; name a directory that you may write to"

/* ---- mounts -------------------------------------------------------------------------------------------------- */

static void test_mount(void **state)
{
    struct fixture *f = *state;
    make_file(f, "file", 0644, "");
    assert_refused(f, "mount=@/file,lowerdir=@/lower1",
                   "OVL_CONF: mount=@/file: not a directory; a mount is a directory, or a path that leads to nothing "
                   "yet");
    assert_refused(f, "mount=@/file/x,lowerdir=@/lower1",
                   "OVL_CONF: mount=@/file/x: lies below a file; a mount is a directory, or a path that leads to "
                   "nothing yet");
    assert_refused(f, OK ";mount=@/./lower1/..//mount/,lowerdir=@/lower2",
                   "OVL_CONF: mount=@/./lower1/..//mount/: two overlays have this mount; merge them into one or change "
                   "a mount");
    make_link(f, "loop", "loop");
    assert_refused(f, "mount=@/loop/x,lowerdir=@/lower1",
                   "OVL_CONF: mount=@/loop/x: too many levels of symbolic links; name a path that can be looked up");
}

/* Links in what there is of it are resolved, the rest is text. */
static void test_mount_is_canonical(void **state)
{
    struct fixture *f = *state;
    make_dir(f, "real/dir", 0755);
    make_link(f, "link", "real");
    make_link(f, "real/absolute", expanded(f, "@/real/dir"));
    make_link(f, "dangling", "real/not/there");
    static const char *const mounts[][2] = {
        {"@/link/dir", "@/real/dir"},
        {"@/link/absolute/x/./y//", "@/real/dir/x/y"},
        {"@/link/dir/../a/b/../c", "@/real/a/c"},
        {"@/dangling/x", "@/real/not/there/x"},
        {"@/none/../link", "@/real"},
        {"/", "/"},
        {"/..//.", "/"},
    };
    for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
        char conf[256];
        snprintf(conf, sizeof conf, "mount=%s,lowerdir=@/lower1", mounts[i][0]);
        struct ovl_space *space = opened(f, conf);
        assert_string_equal(ovl_mount(ovl_space_at(space, 0)), expanded(f, mounts[i][1]));
        ovl_space_close(space);
    }
}

/* ---- lower layers -------------------------------------------------------------------------------------------- */

static void test_lower(void **state)
{
    struct fixture *f = *state;
    make_file(f, "file", 0644, "");
    assert_refused(f, "mount=@/mount,lowerdir=@/lower1:@/none",
                   "OVL_CONF: lowerdir=@/none: no such file or directory; name a directory that exists");
    assert_refused(f, "mount=@/mount,lowerdir=@/file",
                   "OVL_CONF: lowerdir=@/file: not a directory; name a directory that exists");
    assert_refused(f, "mount=@/mount,lowerdir=@/file/x",
                   "OVL_CONF: lowerdir=@/file/x: not a directory; name a directory that exists");
    assert_file_refused(f, "[overlay]\nmount=@/mount\nlowerdir=lower1\nlowerdir=none\n",
                        "@/ovl.ini:4: lowerdir=@/none: no such file or directory; name a directory that exists");
    make_link(f, "link", "lower1/../lower2");
    struct ovl_space *space = opened(f, "mount=@/mount,lowerdir=@/link//:@/lower1/.");
    assert_layers(f, ovl_space_at(space, 0), "@/lower2\n@/lower1\n");
    ovl_space_close(space);
}

/* Run a test's part as an ordinary user. */
static void as_user(const struct fixture *f, void (*part)(const struct fixture *f))
{
    chmod(f->root, 0777);
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
            _exit(3);
        part(f);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* cmocka's asserts can't be used in a child. */
static void expect(const struct fixture *f, const char *conf, const char *message)
{
    struct ovl_space *space;
    struct ovl_message why = {""};
    if (ovl_space_open(expanded(f, conf), &space, &why) == 0)
        ovl_space_close(space);
    if (strcmp(why.text, expanded(f, message)) == 0)
        return;
    fprintf(stderr, "%s: got '%s', want '%s'\n", conf, why.text, expanded(f, message));
    _exit(1);
}

static void unreadable(const struct fixture *f)
{
    expect(f, "mount=@/mount,lowerdir=@/no-read",
           "OVL_CONF: lowerdir=@/no-read: permission denied; a layer must be readable and searchable for its user");
    expect(f, "mount=@/mount,lowerdir=@/no-search",
           "OVL_CONF: lowerdir=@/no-search: permission denied; a layer must be readable and searchable for its user");
    expect(f, "mount=@/mount,lowerdir=@/no-search/x",
           "OVL_CONF: lowerdir=@/no-search/x: permission denied; a layer must be readable and searchable for its user");
    expect(f, OK ",upperdir=@/no-write", "OVL_CONF: upperdir=@/no-write: can't be written: permission denied" WRITABLE);
    expect(f, OK ",upperdir=@/no-write/upper",
           "OVL_CONF: upperdir=@/no-write/upper: can't be made: permission denied" WRITABLE);
    expect(f, OK ",upperdir=@/no-write/mine",
           "OVL_CONF: upperdir=@/no-write/mine: its work directory @/no-write/mine.work can't be made: permission "
           "denied" OWN);
    expect(f, "@/secret.ini",
           "OVL_CONF: the configuration file @/secret.ini can't be read: permission denied; name a readable file, or "
           "write mount=/PATH,lowerdir=/PATH");
}

static void test_permissions(void **state)
{
    struct fixture *f = *state;
    if (geteuid() != 0)
        skip_because("needs root");
    make_dir(f, "no-read", 0711);
    make_dir(f, "no-search", 0744);
    make_dir(f, "no-write", 0755);
    make_dir(f, "no-write/mine", 0777);
    make_file(f, "secret.ini", 0600, "");
    as_user(f, unreadable);
}

static void test_too_many_lowers(void **state)
{
    struct fixture *f = *state;
    static char conf[1024 * 3 + 64];
    size_t n = (size_t)snprintf(conf, sizeof conf, "mount=@/mount,lowerdir=");
    for (unsigned i = 0; i < 1024; i++)
        n += (size_t)snprintf(conf + n, sizeof conf - n, "%s/", i ? ":" : "");
    assert_refused(f, conf, "OVL_CONF: lowerdir=/: more than 1023 lower layers; leave some out");
    conf[n - 2] = '\0';
    struct ovl_space *space = opened(f, conf);
    assert_int_equal(ovl_layers(ovl_space_at(space, 0)), 1023);
    ovl_space_close(space);
}

/* C-1.5: 500 at least; and quickly, because each run begins with it. */
static void test_many_lowers(void **state)
{
    struct fixture *f = *state;
    static char conf[600 * 64];
    size_t n = (size_t)snprintf(conf, sizeof conf, "mount=@/mount,upperdir=@/upper,lowerdir=");
    for (unsigned i = 0; i < 600; i++) {
        char name[32];
        snprintf(name, sizeof name, "many/%u", i);
        make_dir(f, name, 0755);
        n += (size_t)snprintf(conf + n, sizeof conf - n, "%s@/%s", i ? ":" : "", name);
    }
    struct ovl_space *space = opened(f, conf);
    assert_int_equal(ovl_layers(ovl_space_at(space, 0)), 601);
    assert_int_equal(ovl_space_at(space, 0)->roots, 601);
    ovl_space_close(space);
}

/* Layers below an opaque root take no part at the mount. */
static void test_roots(void **state)
{
    struct fixture *f = *state;
    make_dir(f, "lower3", 0755);
    make_file(f, "lower1/.wh..wh..opq", 0644, "");
    struct ovl_space *space = opened(f, "mount=@/mount,upperdir=@/upper,lowerdir=@/lower1:@/lower2:@/lower3");
    assert_int_equal(ovl_space_at(space, 0)->layers, 4);
    assert_int_equal(ovl_space_at(space, 0)->roots, 2);
    ovl_space_close(space);
}

/* ---- uppers -------------------------------------------------------------------------------------------------- */

static void test_upper(void **state)
{
    struct fixture *f = *state;
    make_file(f, "file", 0644, "");
    assert_refused(f, OK ",upperdir=@/file", "OVL_CONF: upperdir=@/file: not a directory" WRITABLE);
    assert_refused(f, OK ",upperdir=@/a/b",
                   "OVL_CONF: upperdir=@/a/b: the directory above it does not exist; make that first");
    assert_refused(f, OK ",upperdir=@/lower1",
                   "OVL_CONF: upperdir=@/lower1: equals the lower layer @/lower1; name a "
                   "directory that holds no layer");
    assert_refused(f, OK ",upperdir=@",
                   "OVL_CONF: upperdir=@: contains the lower layer @/lower1; name a directory "
                   "that holds no layer");
    assert_refused(f, OK ",upperdir=/",
                   "OVL_CONF: upperdir=/: contains the lower layer @/lower1; name a directory "
                   "that holds no layer");
    assert_refused(f, OK ",upperdir=@/lower2;" OTHER,
                   "OVL_CONF: upperdir=@/lower2: equals the lower layer @/lower2; name a directory that holds no "
                   "layer");
    assert_refused(f, OK ",upperdir=@/upper;" OTHER ",upperdir=@/upper/.",
                   "OVL_CONF: upperdir=@/upper/.: also the upper of the overlay at @/mount; give each overlay an "
                   "upperdir of its own");
    assert_refused(f, OK ",upperdir=@/upper;" OTHER ",upperdir=@/upper/x",
                   "OVL_CONF: upperdir=@/upper/x: inside the upper of the overlay at @/mount; give each overlay an "
                   "upperdir of its own");
    assert_refused(f, OK ",upperdir=@/upper/x;" OTHER ",upperdir=@/upper",
                   "OVL_CONF: upperdir=@/upper: contains the upper of the overlay at @/mount; give each overlay an "
                   "upperdir of its own");
    assert_false(is_there(f, "upper/x"));
    assert_false(is_there(f, "upper.work"));
}

/* C-1.5: made if only its last component is missing; the umask counts */
static void test_upper_is_made(void **state)
{
    struct fixture *f = *state;
    umask(027);
    struct ovl_space *space = opened(f, OK ",upperdir=@/new");
    umask(022);
    assert_int_equal(stat_of(f, "new").st_mode, S_IFDIR | 0750);
    assert_int_equal(stat_of(f, "new.work").st_mode, S_IFDIR | 0700);
    assert_string_equal(names_in(f, "new"), "");
    ovl_space_close(space);
}

/* C-1.8: an upper inside a lower is the main use in place */
static void test_upper_inside_lower(void **state)
{
    struct fixture *f = *state;
    struct ovl_space *space = opened(f, "mount=/,lowerdir=/,upperdir=@/up");
    assert_layers(f, ovl_space_at(space, 0), "@/up\n/\n");
    ovl_space_close(space);
}

/* Make the first call of this kind fail. */
static void assert_refused_when(const struct fixture *f, long call, int error, const char *conf, const char *message)
{
    struct ovl_space *space;
    struct ovl_message why = {""};
    for (unsigned n = 1; n < 1000; n++) {
        rmdir(real(f, "new"));
        fault_arm(n, error);
        int r = ovl_space_open(expanded(f, conf), &space, &why);
        bool hit = fault_hit() == call;
        fault_disarm();
        if (r == 0)
            ovl_space_close(space);
        if (!hit)
            continue;
        assert_int_equal(r, -EINVAL);
        assert_string_equal(why.text, expanded(f, message));
        return;
    }
    fail_msg("call %ld was never made", call);
}

static void test_upper_on_read_only_file_system(void **state)
{
    assert_refused_when(*state, SYS_faccessat2, EROFS, OK ",upperdir=@/upper",
                        "OVL_CONF: upperdir=@/upper: on a read-only file system; name a directory on a writable one, "
                        "or leave upperdir out for a read-only overlay");
    assert_refused_when(*state, SYS_mkdirat, EROFS, OK ",upperdir=@/new",
                        "OVL_CONF: upperdir=@/new: on a read-only file system; name a directory on a writable one, or "
                        "leave upperdir out for a read-only overlay");
}

enum { MAY_NOT_MOUNT = 77 }; /* a child's status */

/* The same with a true one. */
static void read_only(const struct fixture *f)
{
    if (mount("none", real(f, "upper"), "tmpfs", MS_RDONLY, NULL) != 0)
        _exit(MAY_NOT_MOUNT);
    expect(f, OK ",upperdir=@/upper",
           "OVL_CONF: upperdir=@/upper: on a read-only file system; name a directory on a writable one, or leave "
           "upperdir out for a read-only overlay");
    if (mount("none", real(f, "lower2"), "tmpfs", 0, "mode=755") != 0 || mkdir(real(f, "lower2/up"), 0755) != 0)
        _exit(4);
    expect(f, OK ",upperdir=@/lower2",
           "OVL_CONF: upperdir=@/lower2: its work directory @/lower2.work is not on the upper's file system" OWN);
    expect(f, OK ",upperdir=@/lower2/up", "");
    expect(f, OK ",upperdir=@/lower2/up,workdir=@/w", "OVL_CONF: workdir=@/w: is not on the upper's file system" OWN);
}

static void test_mounted_file_systems(void **state)
{
    struct fixture *f = *state;
    pid_t child = fork();
    if (child == 0) {
        if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0)
            _exit(MAY_NOT_MOUNT);
        read_only(f);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == MAY_NOT_MOUNT)
        skip_because("needs a mount name space of its own");
    assert_int_equal(status, 0);
}

/* ---- work directories ------------------------------------------------------------------------------------------ */

static void test_work(void **state)
{
    struct fixture *f = *state;
    make_file(f, "file", 0644, "");
    make_dir(f, "shared", 0775);
    make_dir(f, "dir", 0700);
    make_link(f, "link", "dir");
    assert_refused(f, OK ",upperdir=@/upper,workdir=@/file", "OVL_CONF: workdir=@/file: is not a directory" OWN);
    assert_refused(f, OK ",upperdir=@/upper,workdir=@/link", "OVL_CONF: workdir=@/link: is a symbolic link" OWN);
    assert_refused(f, OK ",upperdir=@/upper,workdir=@/a/b",
                   "OVL_CONF: workdir=@/a/b: can't be made: no such file or directory" OWN);
    assert_refused(f, OK ",upperdir=@/upper,workdir=@/shared",
                   "OVL_CONF: workdir=@/shared: can be written by others (chmod go-w)" OWN);
    assert_refused(f, OK ",upperdir=@/upper,workdir=@/upper/w",
                   "OVL_CONF: workdir=@/upper/w: lies in the upper of the overlay at @/mount" OWN);
    assert_refused(f, OK ",upperdir=@/dir/u,workdir=@/dir",
                   "OVL_CONF: workdir=@/dir: contains the upper of the overlay at @/mount" OWN);
    assert_refused(f, OK ",upperdir=@/upper,workdir=@/lower1",
                   "OVL_CONF: workdir=@/lower1: equals or contains the lower layer @/lower1" OWN);
    assert_refused(f, OK ",upperdir=@/upper,workdir=@/w;" OTHER ",upperdir=@/up2,workdir=@/w",
                   "OVL_CONF: workdir=@/w: is or lies in the work directory of the overlay at @/other" OWN);
    assert_refused(f, OK ",workdir=@/shared",
                   "OVL_CONF: workdir=@/shared: can be written by others (chmod go-w); set workdir= to a directory of "
                   "your own");
    make_link(f, "upper.work", "dir");
    assert_refused(f, OK ",upperdir=@/upper",
                   "OVL_CONF: upperdir=@/upper: its work directory @/upper.work is a symbolic link" OWN);
}

static void test_work_is_made(void **state)
{
    struct fixture *f = *state;
    static const char *const made[] = {"w",      "w/work", "w/state", "w/state/origin", "w/state/gone", "w/state/link",
                                       "w/cache"};
    make_dir(f, "dir", 0700);
    make_link(f, "link", "dir");
    ovl_space_close(opened(f, OK ",upperdir=@/upper,workdir=@/w"));
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        assert_int_equal(stat_of(f, made[i]).st_mode, S_IFDIR | 0700);
    struct ovl_space *space = opened(f, OK ",workdir=@/link/ro");
    assert_string_equal(ovl_work(ovl_space_at(space, 0)), expanded(f, "@/dir/ro"));
    assert_true(is_there(f, "dir/ro/cache"));
    ovl_space_close(space);
    assert_string_equal(names_in(f, "upper"), "");
}

static void test_work_of_another_user(void **state)
{
    struct fixture *f = *state;
    if (geteuid() != 0)
        skip_because("needs root");
    make_dir(f, "w", 0700);
    assert_int_equal(chown(real(f, "w"), 1, 1), 0);
    assert_refused(f, OK ",upperdir=@/upper,workdir=@/w", "OVL_CONF: workdir=@/w: belongs to another user" OWN);
    assert_int_equal(chown(real(f, "w"), 0, 0), 0);
    make_dir(f, "w/state", 0700);
    assert_int_equal(chown(real(f, "w/state"), 1, 1), 0);
    assert_refused(f, OK ",upperdir=@/upper,workdir=@/w", "OVL_CONF: workdir=@/w: belongs to another user" OWN);
}

static void test_kernel_whiteouts(void **state)
{
    struct fixture *f = *state;
    assert_refused_when(f, SYS_mknodat, EPERM, OK ",upperdir=@/upper,whiteout=kernel",
                        "OVL_CONF: whiteout=kernel: the system refuses a 0/0 device in @/upper.work: operation not "
                        "permitted; set whiteout=oci");
    make_node(f, "upper/probe", S_IFCHR, 0); /* fails where the system does refuse it */
    struct ovl_space *space = opened(f, OK ",upperdir=@/upper,whiteout=kernel");
    assert_int_equal(ovl_space_at(space, 0)->whiteout, OVL_WHITEOUT_KERNEL);
    assert_string_equal(names_in(f, "upper.work/work"), "");
    ovl_space_close(space);
    ovl_space_close(opened(f, OK ",whiteout=kernel"));
}

/* ---- runs that use a work directory ---------------------------------------------------------------------------- */

enum living { FIRST, FORKED, EXECED, EXECING };

/* Be a program of the run that tells its pid on `out`. */
static _Noreturn void run_program(const struct ovl_space *space, int out, const char *then)
{
    char *variable, *script;
    if (asprintf(&variable, "OVL_RUN=%s", ovl_space_record(space)) < 0 ||
        asprintf(&script, "echo $$; exec 1>&-; %s", then) < 0)
        _exit(1);
    dup2(out, 1);
    execle("/bin/sh", "sh", "-c", script, NULL, (char *[]){variable, NULL});
    _exit(1);
}

/* A run whose first process, or a descendant after that one's end, lives until it is told; its pid. */
static pid_t start_run(const struct fixture *f, const char *conf, enum living living)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        struct ovl_space *space;
        struct ovl_message why;
        if (ovl_space_open(expanded(f, conf), &space, &why) < 0)
            _exit(1);
        if (living != FIRST && fork() != 0)
            _exit(0);
        alarm(60); /* nothing outlives a test that fails */
        if (living == EXECED)
            run_program(space, ready[1], "exec sleep 100");
        if (living == EXECING)
            run_program(space, ready[1], "again='exec sh -c \"$0\" \"$0\"'; exec sh -c \"$again\" \"$again\"");
        dprintf(ready[1], "%d\n", (int)getpid());
        for (;;)
            pause();
    }
    close(ready[1]);
    char text[32] = "";
    for (size_t n = 0; n < sizeof text - 1 && read(ready[0], &byte, 1) == 1 && byte != '\n'; n++)
        text[n] = byte;
    close(ready[0]);
    if (living != FIRST)
        assert_int_equal(waitpid(child, NULL, 0), child);
    pid_t pid = (pid_t)strtol(text, NULL, 10);
    assert_true(pid > 0);
    return pid;
}

static void end_run(pid_t pid)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    if (waitpid(pid, NULL, 0) == pid)
        return;
    while (kill(pid, 0) == 0) /* not our child: until it is gone or its parent has seen it go */
        usleep(1000);
}

static void assert_run_refused(const struct fixture *f, const char *conf, pid_t pid, const char *difference)
{
    char message[512];
    snprintf(
        message, sizeof message,
        "OVL_CONF: upperdir=@/upper: its work directory @/upper.work is in use by a run (process %d) with %s until "
        "that ends" OWN,
        (int)pid, difference);
    assert_refused(f, conf, message);
}

/* When a process was started, as /proc/PID/stat tells the one that reads it. */
static unsigned long long start_of(pid_t pid)
{
    char path[64], text[512] = "";
    unsigned long long start = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    assert_true(n > 0);
    const char *p = strrchr(text, ')');
    assert_non_null(p);
    assert_int_equal(
        sscanf(p, ") %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu", &start), 1);
    return start;
}

/* qemu-user makes up /proc/self/stat: a forked child reads the start of its parent. */
static bool start_times_are_true(void)
{
    int ends[2];
    unsigned long long own = 0;
    usleep(30000); /* a start time is counted in hundredths of a second */
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        own = start_of(getpid());
        ssize_t written = write(ends[1], &own, sizeof own);
        pause();
        _exit(written == sizeof own);
    }
    assert_int_equal(read(ends[0], &own, sizeof own), sizeof own);
    unsigned long long seen = start_of(child);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    return own == seen;
}

/* C-1.6, the last of its list */
static void test_living_run(void **state)
{
    struct fixture *f = *state;
    if (!start_times_are_true())
        skip_because("the emulator gives a process its parent's start time");
    pid_t pid = start_run(f, OK ",upperdir=@/upper", FIRST);
    assert_run_refused(f, "mount=@/mount,lowerdir=@/lower2,upperdir=@/upper", pid, "other lower layers");
    assert_run_refused(f, OK ",upperdir=@/upper,whiteout=kernel", pid, "another whiteout form");
    char *run = strdup(text_of(f, "upper.work/state/run")), *version = strchr(run, '2');
    assert_non_null(version);
    *version = '1';
    make_file(f, "upper.work/state/run", 0600, run);
    assert_run_refused(f, OK ",upperdir=@/upper", pid, "another version of libovl");
    *version = '2';
    make_file(f, "upper.work/state/run", 0600, run);
    free(run);
    pid_t same = start_run(f, "mount=@/elsewhere,lowerdir=@/lower1,upperdir=@/upper,readdir=native", FIRST);
    end_run(pid);
    assert_run_refused(f, "mount=@/mount,lowerdir=@/lower2,upperdir=@/upper", same, "other lower layers");
    end_run(same);
    ovl_space_close(opened(f, "mount=@/mount,lowerdir=@/lower2,upperdir=@/upper"));
    ovl_space_close(opened(f, OK ",upperdir=@/upper"));
}

/* A run lasts as long as its descendants. */
static void living_descendant(struct fixture *f, enum living living)
{
    if (getenv("OVL_RUN"))
        skip_because("the tests run in an overlay: a child carries that run's record");
    pid_t pid = start_run(f, OK ",upperdir=@/upper", living);
    time_t end = time(NULL) + 10; /* long before the program's own */
    for (int i = 0; i < (living == EXECING ? 200 : 1) && time(NULL) < end; i++)
        assert_run_refused(f, "mount=@/mount,lowerdir=@/lower2,upperdir=@/upper", pid, "other lower layers");
    ovl_space_close(opened(f, OK ",upperdir=@/upper"));
    assert_int_equal(kill(pid, SIGKILL), 0);
    for (int i = 0; i < 2000 && kill(pid, 0) == 0; i++)
        usleep(1000);
    ovl_space_close(opened(f, "mount=@/mount,lowerdir=@/lower2,upperdir=@/upper"));
}

static void test_living_descendant(void **state)
{
    living_descendant(*state, EXECED);
}

/* In the middle of an exec a process shows neither its old environment nor its new one. */
static void test_living_exec(void **state)
{
    living_descendant(*state, EXECING);
}

/* A daemon that never calls exec. */
static void test_living_fork(void **state)
{
    living_descendant(*state, FORKED);
}

/* A pid that has been given to another process is no run; neither is rubbish. */
static void test_stale_run(void **state)
{
    struct fixture *f = *state;
    static const char *const stale[] = {"libovl-run 2 oci 1\n1 77777777777777\n", "libovl-run 2 oci 1\n999999999 5\n",
                                        "libovl-run 2 oci 1\nx\n1\n18446744073709551616 7\n", "rubbish", ""};
    ovl_space_close(opened(f, OK ",upperdir=@/upper"));
    for (size_t i = 0; i < sizeof stale / sizeof *stale; i++) {
        make_file(f, "upper.work/state/run", 0600, stale[i]);
        ovl_space_close(opened(f, OK ",upperdir=@/upper"));
    }
}

/* ---- excludes ---------------------------------------------------------------------------------------------------- */

static void test_exclude(void **state)
{
    struct fixture *f = *state;
    make_dir(f, "real/dir", 0755);
    make_link(f, "link", "real");
    make_link(f, "real/to-dir", "dir");
    assert_refused(f, OK ",exclude=@/elsewhere",
                   "OVL_CONF: exclude=@/elsewhere: not below the mount @/mount; exclude paths below it only");
    assert_refused(f, OK ",exclude=@/mount",
                   "OVL_CONF: exclude=@/mount: not below the mount @/mount; exclude paths below it only");
    assert_refused(f, OK ",exclude=a:../b",
                   "OVL_CONF: exclude=../b: not below the mount @/mount; exclude paths below it only");
    struct ovl_space *space = opened(f, "mount=@/link,lowerdir=@/lower1,exclude=a/b:@/link/c//d:to-dir");
    static const char *const through[] = {"@/real/a/b", "@/real/a/b/c", "@/real/c/d", "@/real/to-dir", "@/real/dir/x"};
    for (size_t i = 0; i < sizeof through / sizeof *through; i++)
        assert_null(ovl_region_of(space, expanded(f, through[i]))->ovl);
    assert_non_null(ovl_region_of(space, expanded(f, "@/real/a"))->ovl);
    assert_non_null(ovl_region_of(space, expanded(f, "@/real/a/bc"))->ovl);
    ovl_space_close(space);
}

/* C-1.5 */
static void test_exclude_by_default(void **state)
{
    struct fixture *f = *state;
    static const char *const usual[] = {"/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp"};
    struct ovl_space *space = opened(f, "mount=/,lowerdir=@/lower1");
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        assert_null(ovl_region_of(space, usual[i])->ovl);
    assert_non_null(ovl_region_of(space, "/etc")->ovl);
    assert_non_null(ovl_region_of(space, "/")->ovl);
    ovl_space_close(space);
    space = opened(f, "mount=/,lowerdir=@/lower1,exclude=/etc");
    assert_null(ovl_region_of(space, "/etc")->ovl);
    assert_non_null(ovl_region_of(space, "/proc")->ovl);
    ovl_space_close(space);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_mount),
        TEST(test_mount_is_canonical),
        TEST(test_lower),
        TEST(test_permissions),
        TEST(test_too_many_lowers),
        TEST(test_many_lowers),
        TEST(test_roots),
        TEST(test_upper),
        TEST(test_upper_is_made),
        TEST(test_upper_inside_lower),
        TEST(test_upper_on_read_only_file_system),
        TEST(test_mounted_file_systems),
        TEST(test_work),
        TEST(test_work_is_made),
        TEST(test_work_of_another_user),
        TEST(test_kernel_whiteouts),
        TEST(test_living_run),
        TEST(test_living_descendant),
        TEST(test_living_exec),
        TEST(test_living_fork),
        TEST(test_stale_run),
        TEST(test_exclude),
        TEST(test_exclude_by_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
