/* SPDX-License-Identifier: MIT
 *
 * The space: which part of the name space a path is, layers that stand for places in other overlays (C-1.9), the
 * record that children get (C-1.4), and what is left when a system call fails while it is opened.
 */
#include "config.h"
#include "config_check.h"
#include "fault_sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- layers in other overlays (C-1.9) -------------------------------------------------------------------------- */

static void test_layer_in_another_overlay(void **state)
{
    struct fixture *f = *state;
    make_dir(f, "upper/lib", 0755);
    make_dir(f, "lower1/lib", 0755);
    make_dir(f, "lower2/lib", 0755);
    make_dir(f, "lower2/only", 0755);
    make_dir(f, "last", 0755);
    struct ovl_space *space = opened(f, "mount=@/sdk,lowerdir=@/virtual/mnt/lib/.:@/last:@/virtual/mnt/only;"
                                        "mount=@/virtual/mnt,lowerdir=@/lower1:@/lower2,upperdir=@/upper");
    assert_layers(f, ovl_space_at(space, 1), "@/upper/lib\n@/lower1/lib\n@/lower2/lib\n@/last\n@/lower2/only\n");
    assert_true(ovl_is_read_only(ovl_space_at(space, 1)));
    ovl_space_close(space);
    assert_refused(f, "mount=@/sdk,lowerdir=@/virtual/mnt/none;mount=@/virtual/mnt,lowerdir=@/lower1",
                   "OVL_CONF: lowerdir=@/virtual/mnt/none: no such file or directory; name a directory that exists");
}

/* The mount itself: all its layers, the upper too if it is only now made. */
static void test_layer_is_another_mount(void **state)
{
    struct fixture *f = *state;
    struct ovl_space *space = opened(f, "mount=@/sdk,lowerdir=@/mount;"
                                        "mount=@/mount,lowerdir=@/lower1:@/lower2,upperdir=@/new");
    assert_layers(f, ovl_space_at(space, 1), "@/new\n@/lower1\n@/lower2\n");
    assert_false(ovl_is_protected(space, real(f, "new/x")));
    assert_true(ovl_is_protected(space, real(f, "lower1/x")));
    ovl_space_close(space);
}

/* Marks of the other overlay are honoured as they are then. */
static void test_marks_in_another_overlay(void **state)
{
    struct fixture *f = *state;
    make_dir(f, "upper/opaque", 0755);
    make_file(f, "upper/opaque/.wh..wh..opq", 0644, "");
    make_dir(f, "lower1/opaque/sub", 0755);
    make_file(f, "lower1/.wh.cut", 0644, "");
    make_dir(f, "lower1/cut", 0755);
    make_dir(f, "lower2/cut", 0755);
    make_file(f, "upper/.wh.gone", 0644, "");
    make_dir(f, "lower2/gone", 0755);
    make_file(f, "lower1/file", 0644, "");
    make_dir(f, "lower2/file", 0755);
    make_dir(f, "lower1/above", 0755);
    make_file(f, "lower2/above", 0644, "");
    static const char base[] = ";mount=@/mount,lowerdir=@/lower1:@/lower2,upperdir=@/upper";
    static const char *const shown[][2] = {
        {"opaque", "@/upper/opaque\n"}, {"cut", "@/lower1/cut\n"}, {"above", "@/lower1/above\n"}};
    static const char *const hidden[][2] = {{"opaque/sub", "no such file or directory"},
                                            {"gone", "no such file or directory"},
                                            {"file", "not a directory"},
                                            {".wh.gone", "no such file or directory"}};
    char conf[512], message[512];
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        snprintf(conf, sizeof conf, "mount=@/sdk,lowerdir=@/mount/%s%s", shown[i][0], base);
        struct ovl_space *space = opened(f, conf);
        assert_layers(f, ovl_space_at(space, 1), shown[i][1]);
        assert_int_equal(ovl_space_at(space, 1)->roots, 1);
        ovl_space_close(space);
    }
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) {
        snprintf(conf, sizeof conf, "mount=@/sdk,lowerdir=@/mount/%s%s", hidden[i][0], base);
        snprintf(message, sizeof message, "OVL_CONF: lowerdir=@/mount/%s: %s; name a directory that exists",
                 hidden[i][0], hidden[i][1]);
        assert_refused(f, conf, message);
    }
}

/* Links are those that the other overlay shows; they lead on in the whole name space. */
static void test_links_in_another_overlay(void **state)
{
    struct fixture *f = *state;
    make_dir(f, "lower1/dir/sub", 0755);
    make_dir(f, "lower2/dir/sub", 0755);
    make_link(f, "upper/link", "dir/sub");
    make_link(f, "lower2/link", "nowhere");
    make_link(f, "lower1/absolute", expanded(f, "@/mount/link/../sub"));
    make_link(f, "lower1/out", expanded(f, "@/outside"));
    make_link(f, "outside", "mount/dir");
    make_link(f, "lower1/loop", "loop");
    static const char base[] = ";mount=@/mount,lowerdir=@/lower1:@/lower2,upperdir=@/upper";
    static const char *const through[] = {"link", "absolute", "out/sub"};
    char conf[512];
    for (size_t i = 0; i < sizeof through / sizeof *through; i++) {
        snprintf(conf, sizeof conf, "mount=@/sdk,lowerdir=@/mount/%s%s", through[i], base);
        struct ovl_space *space = opened(f, conf);
        assert_layers(f, ovl_space_at(space, 1), "@/lower1/dir/sub\n@/lower2/dir/sub\n");
        ovl_space_close(space);
    }
    snprintf(conf, sizeof conf, "mount=@/sdk,lowerdir=@/mount/loop%s", base);
    assert_refused(f, conf,
                   "OVL_CONF: lowerdir=@/mount/loop: too many levels of symbolic links; name a directory "
                   "that exists");
}

/* What passes through the other overlay is the real directory. */
static void test_layer_passes_through(void **state)
{
    struct fixture *f = *state;
    make_dir(f, "lower1/ex", 0755);
    make_dir(f, "mount/ex/a", 0755);
    struct ovl_space *space = opened(f, "mount=@/sdk,lowerdir=@/mount/ex/a;mount=@/mount,lowerdir=@/lower1,exclude=ex");
    assert_layers(f, ovl_space_at(space, 1), "@/mount/ex/a\n");
    ovl_space_close(space);
    make_dir(f, "up/sub", 0755);
    space = opened(f, "mount=@/sdk,lowerdir=@/lower2;mount=/,lowerdir=/,upperdir=@/up,exclude=/proc");
    assert_layers(f, ovl_space_at(space, 0), "@/lower2\n");
    ovl_space_close(space);
}

static void test_layers_in_a_circle(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, "mount=@/a,lowerdir=@/b/x;mount=@/b,lowerdir=@/a/x",
                   "OVL_CONF: lowerdir=@/b/x: the overlay is a layer of itself, by way of others; name a directory "
                   "outside their mounts");
    assert_file_refused(f,
                        "[overlay]\nmount=@/a\nlowerdir=@/bb/x\n[overlay]\nmount=@/bb\nlowerdir=@/ccc\n"
                        "[overlay]\nmount=@/ccc\nlowerdir=lower1\nlowerdir=a/y\n",
                        "@/ovl.ini:10: lowerdir=@/a/y: the overlay is a layer of itself, by way of others; name a "
                        "directory outside their mounts");
    /* In place is no circle. */
    make_dir(f, "lower1/sub", 0755);
    struct ovl_space *space = opened(f, "mount=@/lower1,lowerdir=@/lower1:@/lower1/sub,upperdir=@/upper");
    assert_layers(f, ovl_space_at(space, 0), "@/upper\n@/lower1\n@/lower1/sub\n");
    ovl_space_close(space);
}

/* ---- the parts of the name space --------------------------------------------------------------------------------- */

static void test_regions(void **state)
{
    struct fixture *f = *state;
    make_dir(f, "m", 0755);
    struct ovl_space *space = opened(f, "mount=/,lowerdir=/:@/lower1,upperdir=@/up,exclude=/proc;"
                                        "mount=@/m,lowerdir=@/lower2;mount=@/m/inner,lowerdir=@/lower2,upperdir=@/m/u");
    for (unsigned i = 1; i < space->regions; i++)
        assert_true(space->region[i - 1].length >= space->region[i].length);
    static const char *const parts[][2] = {
        {"/", "/"},
        {"/etc", "/"},
        {"@", "/"},
        {"@/up", NULL},
        {"@/up/x", NULL},
        {"@/upp", "/"},
        {"@/up.work/x", NULL},
        {"@/m", "@/m"},
        {"@/m/x", "@/m"},
        {"@/m/inner", "@/m/inner"},
        {"@/m/inner/x", "@/m/inner"},
        {"@/m/u/x", NULL},
        {"/proc", NULL},
        {"@/lower1/x", NULL},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const char *path = expanded(f, parts[i][0]);
        const struct ovl_region *region = ovl_region_of(space, path);
        assert_non_null(region);
        if (parts[i][1])
            assert_string_equal(ovl_mount(region->ovl), expanded(f, parts[i][1]));
        else
            assert_null(region->ovl);
    }
    assert_true(ovl_space_below(space, "/"));
    ovl_space_close(space);
}

static void test_space_below(void **state)
{
    struct fixture *f = *state;
    struct ovl_space *space = opened(f, "mount=@/a/b,lowerdir=@/lower1");
    assert_true(ovl_space_below(space, "/"));
    assert_true(ovl_space_below(space, real(f, "a")));
    assert_true(ovl_space_below(space, real(f, "a/b")));
    assert_false(ovl_space_below(space, real(f, "a/b/c")));
    assert_false(ovl_space_below(space, real(f, "a/bc")));
    assert_false(ovl_space_below(space, real(f, "lower1")));
    assert_null(ovl_region_of(space, "/"));
    assert_null(ovl_region_of(space, real(f, "a")));
    assert_null(ovl_region_of(space, real(f, "a/bc")));
    ovl_space_close(space);
}

static void assert_merged(const struct fixture *f, const struct ovl_space *space, const char *path, const char *want)
{
    char buf[OVL_PATH_MAX];
    ssize_t n = ovl_merged_path(space, expanded(f, path), buf, sizeof buf);
    if (!want) {
        assert_int_equal(n, -ENOENT);
        return;
    }
    assert_string_equal(n < 0 ? "" : buf, expanded(f, want));
    assert_int_equal(n, strlen(buf));
}

static void test_merged_path(void **state)
{
    struct fixture *f = *state;
    make_dir(f, "lower1/deep", 0755);
    struct ovl_space *space = opened(f, "mount=@/m,lowerdir=@/lower1:@/lower1/deep:@/lower2,upperdir=@/upper,"
                                        "exclude=ex;mount=@/n,lowerdir=@/upper/../lower2");
    assert_merged(f, space, "@/upper/a/b", "@/m/a/b");
    assert_merged(f, space, "@/upper", "@/m");
    assert_merged(f, space, "@/lower1/a", "@/m/a");
    assert_merged(f, space, "@/lower1/deep/a", "@/m/a");
    assert_merged(f, space, "@/lower2/a", "@/m/a");
    assert_merged(f, space, "@/lower1x/a", NULL);
    assert_merged(f, space, "@/m/a", NULL);
    assert_merged(f, space, "@/upper.work/a", NULL);
    assert_merged(f, space, "@/lower1/ex/a", NULL); /* what is excluded shows no layer */
    char small[8];
    assert_int_equal(ovl_merged_path(space, real(f, "upper/abc"), small, sizeof small), -ENAMETOOLONG);
    ovl_space_close(space);
    space = opened(f, "mount=/,lowerdir=/,upperdir=@/upper,exclude=/proc:/tmp/none;mount=@/m,lowerdir=@/lower1");
    assert_merged(f, space, "/", "/");
    assert_merged(f, space, "/etc/passwd", "/etc/passwd");
    assert_merged(f, space, "@/upper", "/");
    assert_merged(f, space, "@/upper/etc", "/etc");
    assert_merged(f, space, "/proc/1", NULL);
    assert_merged(f, space, "@/m/x", NULL); /* hidden by the other mount */
    assert_merged(f, space, "@/upper.work/x", NULL);
    ovl_space_close(space);
}

static void test_protected(void **state)
{
    struct fixture *f = *state;
    struct ovl_space *space = opened(f, "mount=@/m,lowerdir=@/lower1:@/lower2,upperdir=@/lower1/up,exclude=ex");
    assert_true(ovl_is_protected(space, real(f, "lower1")));
    assert_true(ovl_is_protected(space, real(f, "lower2/x")));
    assert_true(ovl_is_protected(space, real(f, "lower1/ex")));
    assert_false(ovl_is_protected(space, real(f, "lower1/up/x")));
    assert_false(ovl_is_protected(space, real(f, "lower1/up.work/x")));
    assert_true(ovl_is_protected(space, real(f, "lower1/upper")));
    assert_false(ovl_is_protected(space, real(f, "lower3")));
    assert_false(ovl_is_protected(space, real(f, "m/x")));
    ovl_space_close(space);
    /* In place, an exclude is given back to the real file system, but not a layer below it. */
    space = opened(f, "mount=/,lowerdir=/:@/lower1,upperdir=@/up,exclude=/proc:@");
    assert_true(ovl_is_protected(space, "/"));
    assert_true(ovl_is_protected(space, "/etc/passwd"));
    assert_false(ovl_is_protected(space, "/proc/x"));
    assert_false(ovl_is_protected(space, real(f, "other")));
    assert_true(ovl_is_protected(space, real(f, "lower1/x")));
    assert_false(ovl_is_protected(space, real(f, "up/x")));
    ovl_space_close(space);
}

static void test_strictest_static(void **state)
{
    struct fixture *f = *state;
    struct ovl_space *space = opened(f, "mount=@/a,lowerdir=@/lower1,static=allow,static-allow=/bin/x\\:y;"
                                        "mount=@/b,lowerdir=@/lower1,static=warn");
    assert_int_equal(ovl_space_static(space), OVL_STATIC_WARN);
    assert_true(ovl_space_static_allows(space, "/bin/x:y"));
    ovl_space_close(space);
}

/* ---- the record ----------------------------------------------------------------------------------------------------
 */

static void assert_same_space(const struct ovl_space *a, const struct ovl_space *b)
{
    assert_int_equal(a->ovls, b->ovls);
    assert_int_equal(a->regions, b->regions);
    assert_string_equal(a->conf, b->conf);
    assert_string_equal(a->record, b->record);
    for (unsigned i = 0; i < a->regions; i++)
        assert_string_equal(a->region[i].path, b->region[i].path);
    for (unsigned i = 0; i < a->ovls; i++) {
        const struct ovl *o = &a->ovl[i], *p = &b->ovl[i];
        assert_string_equal(o->name, p->name);
        assert_string_equal(o->mount, p->mount);
        assert_int_equal(o->layers, p->layers);
        assert_int_equal(o->roots, p->roots);
        assert_int_equal(o->one_dev, p->one_dev);
        assert_int_equal(o->dir_dev, p->dir_dev);
        assert_int_equal(o->sorted, p->sorted);
        assert_int_equal(o->excludes, p->excludes);
        for (unsigned k = 0; k < o->layers; k++) {
            assert_string_equal(o->layer[k].path, p->layer[k].path);
            assert_int_equal(o->layer[k].dev, p->layer[k].dev);
        }
    }
}

/* C-1.4: a child gets the same overlays, whatever has become of directories, variables and files. */
static void test_record(void **state)
{
    struct fixture *f = *state;
    make_dir(f, "odd %20\n\x7f=\xc3\xa9", 0755);
    char text[512];
    snprintf(text, sizeof text,
             "[overlay my name]\nmount=@/m\nlowerdir=lower1\nlowerdir=/proc\nupperdir=upper\n"
             "readdir=native\nexclude=a:b c\n[overlay]\nmount=/\nlowerdir=/\n");
    struct ovl_space *space = opened_file(f, text);
    struct ovl *o = ovl_space_find(space, "my name");
    assert_false(o->one_dev);
    assert_int_equal(o->dir_dev, stat_of(f, "upper").st_dev);
    assert_true(strlen(ovl_space_record(space)) < 1000);
    assert_null(strchr(ovl_space_record(space), '\n'));
    assert_int_equal(rmdir(real(f, "lower1")), 0);
    assert_int_equal(unlink(real(f, "ovl.ini")), 0);
    struct ovl_space *child = NULL;
    struct ovl_message why = {""};
    assert_int_equal(ovl_space_import(ovl_space_record(space), &child, &why), 0);
    assert_same_space(space, child);
    ovl_space_close(child);
    ovl_space_close(space);
    make_dir(f, "lower1", 0755);
    space = opened(f, "mount=@/m,lowerdir=@/odd %20\n\x7f=\xc3\xa9");
    assert_int_equal(ovl_space_import(ovl_space_record(space), &child, &why), 0);
    assert_same_space(space, child);
    assert_layers(f, ovl_space_at(child, 0), "@/odd %20\n\x7f=\xc3\xa9\n");
    ovl_space_close(child);
    ovl_space_close(space);
}

static void test_foreign_record(void **state)
{
    struct ovl_space *space = NULL;
    struct ovl_message why;
    static const char *const bad[] = {
        "",
        "ovl0 conf= overlay= mount=/m roots=1 lower=1:/l",
        "ovl2",
        "ovl2 conf=",
        "ovl2 conf= ",
        "ovl2 overlay= mount=/m roots=1 lower=1:/l",
        "ovl2 conf= mount=/m",
        "ovl2 conf= overlay= roots=1 lower=1:/l",
        "ovl2 conf= overlay= mount=/m roots=1",
        "ovl2 conf= overlay= mount=/m lower=1:/l",
        "ovl2 conf= overlay= mount=/m roots=2 lower=1:/l",
        "ovl2 conf= overlay= mount=/m roots=1 lower=/l",
        "ovl2 conf= overlay= mount=/m roots=1 lower=1:l",
        "ovl2 conf= overlay= mount=/m roots=1 lower=1:/l/",
        "ovl2 conf= overlay= mount=/m roots=1 lower=1:/l/../x",
        "ovl2 conf= overlay= mount=/m roots=1 lower=1:/l%0",
        "ovl2 conf= overlay= mount=/m roots=1 lower=1:/l%00",
        "ovl2 conf= overlay= mount=/m roots=1 lower=1:/l upper=1:/u",
        "ovl2 conf= overlay= mount=/m roots=1 upper=1:/u lower=/l",
        "ovl2 conf= overlay= mount=/m roots=1 work=/w upper=1:/u",
        "ovl2 conf= overlay= mount=/m mount=/n roots=1 lower=1:/l",
        "ovl2 conf= overlay= mount=/m roots=1 lower=1:/l later=x",
        "ovl2 conf= overlay= mount=/m roots=1 lower=1:/l whiteout=x",
        "ovl2 conf= overlay= mount=/m roots=1 lower=1:/l exclude=/x",
        "ovl2 conf= overlay= mount=/m roots=1 lower=1:/l overlay= mount=/mm roots=1 lower=1:/l",
        "ovl2 conf= overlay= mount=/m roots=1 lower=1:/l overlay= mount=/m roots=1 lower=1:/l",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (ovl_space_import(bad[i], &space, &why) != -EINVAL)
            fail_msg("accepted: %s", bad[i]);
        assert_string_equal(why.text, "OVL_CONF: the configuration handed on by the parent process is not one of this "
                                      "version of libovl; start again from outside the overlay");
    }
    assert_int_equal(ovl_space_import("ovl2 conf= overlay= mount=/m roots=1 lower=1:/l", &space, &why), 0);
    ovl_space_close(space);
}

/* A configuration of so many layers with a name of 200 letters, in a file, as it is too long for a variable. */
static char *long_conf(struct fixture *f, unsigned layers)
{
    char name[256] = "";
    memset(name, 'n', 200);
    make_dir(f, name, 0755);
    FILE *file = fopen(real(f, "conf"), "we");
    fprintf(file, "[overlay x]\nmount = /m\nupperdir = upper\n");
    for (unsigned i = 0; i < layers; i++)
        fprintf(file, "lowerdir = %s\n", name);
    fclose(file);
    return strdup(real(f, "conf"));
}

/* A record goes through the environment in parts that the kernel takes, and comes out as it was. */
static void test_long_record(void **state)
{
    struct fixture *f = *state;
    char *conf = long_conf(f, 1000), *entries[OVL_RECORD_PARTS];
    struct ovl_space *space = opened(f, conf), *child = NULL;
    struct ovl_message why;
    const char *part[OVL_RECORD_PARTS] = {NULL};
    unsigned count;
    size_t mapped, size = ovl_record_put(ovl_space_record(space), NULL, NULL, &count);
    char *text = malloc(size);
    assert_in_range(count, 3, OVL_RECORD_PARTS);
    assert_int_equal(ovl_record_put(ovl_space_record(space), text, entries, &count), size);
    for (unsigned i = 0; i < count; i++) {
        assert_in_range(strlen(entries[i]), 1, 128 * 1024 - 1);
        assert_int_equal(ovl_record_part(entries[i], &part[i]), i);
        assert_memory_equal(part[i], "ovl2 ", 5);
        assert_non_null(strchr(part[i] + 5, '/'));
    }
    const char *record = ovl_record_join(part, &mapped);
    assert_string_equal(record, ovl_space_record(space));
    assert_int_equal(ovl_space_import(record, &child, &why), 0);
    assert_same_space(space, child);
    ovl_space_close(child);
    munmap((void *)(uintptr_t)record, mapped);
    part[1] = NULL; /* lost on the way */
    record = ovl_record_join(part, &mapped);
    assert_int_equal(mapped, 0);
    assert_int_equal(ovl_space_import(record, &child, &why), -EINVAL);
    ovl_space_close(space);
    free(text);
    free(conf);
}

static void test_parts(void **state)
{
    (void)state;
    const char *value;
    static const char *const none[] = {"OVL_RUN",      "OVL_RUN_=x", "OVL_RUN_15=x", "OVL_RUN_1",
                                       "OVL_RUN_1x=y", "OVL_RUNX=1", "X=1"};
    assert_int_equal(ovl_record_part("OVL_RUN=a", &value), 0);
    assert_string_equal(value, "a");
    assert_int_equal(ovl_record_part("OVL_RUN_14=b", &value), 14);
    assert_string_equal(value, "b");
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_int_equal(ovl_record_part(none[i], &value), -1);
}

/* ---- failing system calls ------------------------------------------------------------------------------------------
 */

static unsigned mappings(void)
{
    unsigned n = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    assert_non_null(maps);
    for (int c; (c = getc(maps)) != EOF;)
        n += c == '\n';
    fclose(maps);
    return n;
}

/* How many mappings may be new after a call: what core keeps for the process; valgrind maps memory of its own. */
static unsigned slack(void)
{
    const char *preload = getenv("LD_PRELOAD");
    return preload && strstr(preload, "vgpreload") ? 8 : 1;
}

/* Whichever call fails: a space or a message, no descriptor and no memory lost, the upper as it was. */
static void fail_each(struct fixture *f, const char *conf, int error)
{
    const char *text = expanded(f, conf);
    struct ovl_space *space;
    struct ovl_message why;
    for (unsigned n = 1;; n++) {
        unsigned fds = open_fds(), maps = mappings();
        space = NULL;
        why.text[0] = '\0';
        fault_arm(n, error);
        int r = ovl_space_open(text, &space, &why);
        bool hit = fault_hit() >= 0;
        fault_disarm();
        if (r == 0)
            ovl_space_close(space);
        else
            assert_true(why.text[0] != '\0');
        assert_int_equal(open_fds(), fds);
        assert_true(mappings() <= maps + slack());
        assert_string_equal(names_in(f, "upper"), "");
        if (!hit)
            break;
    }
}

static void test_failing_calls(void **state)
{
    struct fixture *f = *state;
    static const int errors[] = {EIO, ENOSPC, EINTR, ENOMEM, EMFILE};
    make_dir(f, "lower1/sub", 0755);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        fail_each(f, "mount=@/m,lowerdir=@/lower1,upperdir=@/upper,whiteout=kernel;mount=@/n,lowerdir=@/m/sub:@/lower2",
                  errors[i]);
        make_file(f, "ovl.ini", 0644, expanded(f, "[overlay]\nmount=@/m\nlowerdir=lower1:lower2\n"));
        fail_each(f, "@/ovl.ini", errors[i]);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_layer_in_another_overlay),
        TEST(test_layer_is_another_mount),
        TEST(test_marks_in_another_overlay),
        TEST(test_links_in_another_overlay),
        TEST(test_layer_passes_through),
        TEST(test_layers_in_a_circle),
        TEST(test_regions),
        TEST(test_space_below),
        TEST(test_merged_path),
        TEST(test_protected),
        TEST(test_strictest_static),
        TEST(test_record),
        TEST(test_foreign_record),
        TEST(test_long_record),
        TEST(test_parts),
        TEST(test_failing_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
