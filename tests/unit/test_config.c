/* SPDX-License-Identifier: MIT
 *
 * The text of a configuration: both forms, and every refusal that needs no file system, word for word
 * (C-1.2 to C-1.6).
 */
#include "config.h"
#include "config_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OK "mount=@/mount,lowerdir=@/lower1"
#define KEYS                                                                                                           \
    "the keys are mount, lowerdir, upperdir, workdir, exclude, whiteout, readdir, static, static-allow, volatile, "    \
    "patch and guard"

/* ---- the inline form ------------------------------------------------------------------------------------- */

/* C-1.3 */
static void test_inline_form(void **state)
{
    struct fixture *f = *state;
    struct ovl_space *space = opened(f, "mount=@/mount,lowerdir=@/lower1:@/lower2,upperdir=@/upper;"
                                        "mount=@/other,lowerdir=@/lower2");
    assert_int_equal(ovl_space_count(space), 2);
    struct ovl *first = ovl_space_at(space, 0);
    assert_string_equal(ovl_mount(first), expanded(f, "@/mount"));
    assert_layers(f, first, "@/upper\n@/lower1\n@/lower2\n");
    assert_false(ovl_is_read_only(first));
    assert_string_equal(ovl_work(first), expanded(f, "@/upper.work"));
    assert_string_equal(ovl_name(first), "");
    struct ovl *second = ovl_space_at(space, 1);
    assert_layers(f, second, "@/lower2\n");
    assert_true(ovl_is_read_only(second));
    assert_null(ovl_work(second));
    assert_null(ovl_space_at(space, 2));
    ovl_space_close(space);
}

/* C-1.3: \, \: \; \\ */
static void test_inline_escapes(void **state)
{
    struct fixture *f = *state;
    make_dir(f, "a,b;c:d\\e", 0755);
    struct ovl_space *space = opened(f, "mount=@/mount,lowerdir=@/a\\,b\\;c\\:d\\\\e:@/lower1");
    assert_layers(f, ovl_space_at(space, 0), "@/a,b;c:d\\e\n@/lower1\n");
    ovl_space_close(space);
    assert_refused(f, "mount=@/mount,lowerdir=@/a\\b",
                   "OVL_CONF: lowerdir=@/a\\b: a backslash stands only before , : ; and \\");
    assert_refused(f, "mount=@/mount,lowerdir=@/a\\",
                   "OVL_CONF: lowerdir=@/a\\: a backslash stands only before , : ; and \\");
}

/* C-1.3: one layer, unsplit */
static void test_inline_append(void **state)
{
    struct fixture *f = *state;
    make_dir(f, "a:b", 0755);
    struct ovl_space *space = opened(f, "lowerdir+=@/lower2,mount=@/mount,lowerdir=@/lower1,lowerdir+=@/a:b");
    assert_layers(f, ovl_space_at(space, 0), "@/lower2\n@/lower1\n@/a:b\n");
    ovl_space_close(space);
}

static void test_inline_empty_options(void **state)
{
    struct fixture *f = *state;
    struct ovl_space *space = opened(f, ";," OK ",,static=warn,;;");
    assert_int_equal(ovl_space_count(space), 1);
    assert_int_equal(ovl_space_static(space), OVL_STATIC_WARN);
    ovl_space_close(space);
}

/* C-1.5: what each key may say, and what holds without it */
static void test_words(void **state)
{
    struct fixture *f = *state;
    struct ovl_space *space = opened(f, OK ",upperdir=@/upper");
    const struct ovl *o = ovl_space_at(space, 0);
    assert_int_equal(o->whiteout, OVL_WHITEOUT_OCI);
    assert_true(o->sorted);
    assert_false(o->is_volatile);
    assert_int_equal(ovl_patch_of(o), OVL_PATCH_AUTO);
    assert_int_equal(ovl_space_static(space), OVL_STATIC_DENY);
    ovl_space_close(space);
    space = opened(f, OK ",upperdir=@/upper,readdir=native,volatile=on,static=allow,static-allow=/bin/a:/opt/b,"
                         "patch=require");
    o = ovl_space_at(space, 0);
    assert_false(o->sorted);
    assert_true(o->is_volatile);
    assert_int_equal(ovl_patch_of(o), OVL_PATCH_REQUIRE);
    assert_int_equal(ovl_space_static(space), OVL_STATIC_ALLOW);
    assert_true(ovl_space_static_allows(space, "/opt/b"));
    assert_false(ovl_space_static_allows(space, "/opt"));
    assert_false(ovl_space_static_allows(space, "/opt/b/c"));
    ovl_space_close(space);
}

static void test_bad_words(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, OK ",whiteout=oic", "OVL_CONF: whiteout=oic: unknown value; it is 'oci' or 'kernel'");
    assert_refused(f, OK ",readdir=Sorted", "OVL_CONF: readdir=Sorted: unknown value; it is 'sorted' or 'native'");
    assert_refused(f, OK ",static=no", "OVL_CONF: static=no: unknown value; it is 'deny', 'warn' or 'allow'");
    assert_refused(f, OK ",volatile=1", "OVL_CONF: volatile=1: unknown value; it is 'off' or 'on'");
    assert_refused(f, OK ",patch=on", "OVL_CONF: patch=on: unknown value; it is 'auto', 'off' or 'require'");
}

static void test_unknown_key(void **state)
{
    assert_refused(*state, OK ",uperdir=@/upper", "OVL_CONF: unknown key 'uperdir'; " KEYS);
    assert_refused(*state, OK ",=@/upper", "OVL_CONF: unknown key ''; " KEYS);
    assert_refused(*state, OK ",upperdir+=@/upper", "OVL_CONF: unknown key 'upperdir+'; " KEYS);
    assert_refused(*state, OK ", upperdir=@/upper", "OVL_CONF: unknown key ' upperdir'; " KEYS);
}

static void test_repeated_key(void **state)
{
    assert_refused(*state, OK ",mount=@/other",
                   "OVL_CONF: key 'mount' is given twice for one overlay; leave one of them out");
    assert_refused(*state, OK ",lowerdir=@/lower2",
                   "OVL_CONF: key 'lowerdir' is given twice for one overlay; separate layers by ':' or append them "
                   "with lowerdir+=");
    assert_refused(*state, OK ",exclude=@/mount/a,exclude=@/mount/b",
                   "OVL_CONF: key 'exclude' is given twice for one overlay; separate paths by ':'");
}

static void test_missing_key(void **state)
{
    assert_refused(*state, "lowerdir=@/lower1",
                   "OVL_CONF: an overlay has no mount; add mount= and the absolute path "
                   "where it is to be seen");
    assert_refused(*state, OK ";mount=@/other",
                   "OVL_CONF: the overlay of mount=@/other has no lower layer; add "
                   "lowerdir= and one or more directories");
}

static void test_no_equals(void **state)
{
    assert_refused(*state, OK ",volatile",
                   "OVL_CONF: 'volatile' has no '='; options are KEY=VALUE, a comma in a value is '\\,'");
    assert_refused(*state, OK ",/b", "OVL_CONF: '/b' has no '='; options are KEY=VALUE, a comma in a value is '\\,'");
}

static void test_empty_values(void **state)
{
    assert_refused(*state, "mount=,lowerdir=@/lower1", "OVL_CONF: mount=: empty; give a value or leave the key out");
    assert_refused(*state, OK ",upperdir=", "OVL_CONF: upperdir=: empty; give a value or leave the key out");
    assert_refused(*state, "mount=@/mount,lowerdir=", "OVL_CONF: lowerdir=: empty; give a value or leave the key out");
    assert_refused(*state, OK ",whiteout=", "OVL_CONF: whiteout=: empty; give a value or leave the key out");
    assert_refused(*state, "mount=@/mount,lowerdir=@/lower1::@/lower2",
                   "OVL_CONF: lowerdir=@/lower1::@/lower2: a path is empty; write '\\:' for a colon that belongs to a "
                   "path");
    assert_refused(*state, "mount=@/mount,lowerdir=@/lower1:",
                   "OVL_CONF: lowerdir=@/lower1:: a path is empty; write '\\:' for a colon that belongs to a path");
}

static void test_relative_paths(void **state)
{
    assert_refused(*state, "mount=opt/sdk,lowerdir=@/lower1",
                   "OVL_CONF: mount=opt/sdk: not an absolute path; paths in OVL_CONF begin with '/'");
    assert_refused(*state, "mount=@/mount,lowerdir=@/lower1:b",
                   "OVL_CONF: lowerdir=b: not an absolute path; paths in OVL_CONF begin with '/'");
    assert_refused(*state, OK ",upperdir=~/u",
                   "OVL_CONF: upperdir=~/u: not an absolute path; paths in OVL_CONF begin with '/'");
    assert_refused(*state, OK ",static-allow=ls",
                   "OVL_CONF: static-allow=ls: not an absolute path; paths in OVL_CONF begin with '/'");
}

static void test_no_overlay(void **state)
{
    static const char message[] = "OVL_CONF: no overlay; write mount=/PATH,lowerdir=/PATH";
    struct ovl_message why = {""};
    struct ovl_arena arena = {NULL};
    struct ovl_config config = {.arena = &arena, .why = &why, .where = "OVL_CONF"};
    (void)state;
    assert_int_equal(ovl_config_parse(&config, ";,;", 3), -EINVAL);
    assert_string_equal(why.text, message);
    assert_int_equal(ovl_config_parse(&config, "", 0), -EINVAL);
    assert_string_equal(why.text, message);
    ovl_arena_free(&arena);
}

static void test_too_many_overlays(void **state)
{
    struct ovl_message why = {""};
    struct ovl_arena arena = {NULL};
    struct ovl_config config = {.arena = &arena, .why = &why, .where = "OVL_CONF"};
    static char text[OVL_OVERLAYS_MAX * 40 + 40];
    size_t n = 0;
    (void)state;
    for (unsigned i = 0; i <= OVL_OVERLAYS_MAX; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "mount=/m/%u,lowerdir=/l;", i);
    assert_int_equal(ovl_config_parse(&config, text, n), -EINVAL);
    assert_string_equal(why.text, "OVL_CONF: more than 256 overlays; leave some out");
    ovl_arena_free(&arena);
}

/* A long value is cut in its middle, so that the end of the line, the remedy, stays. */
static void test_long_path(void **state)
{
    char conf[5000] = "mount=@/mount,lowerdir=/";
    char message[512];
    size_t n = strlen(conf);
    memset(conf + n, 'x', 4096);
    conf[n + 4096] = '\0';
    snprintf(message, sizeof message, "OVL_CONF: lowerdir=/%.109s...%.110s: too long; a path has 4095 bytes at most",
             conf + n, conf + n);
    assert_refused(*state, conf, message);
}

/* One message is one line, whatever the value holds. */
static void test_control_characters(void **state)
{
    assert_refused(*state, OK ",up\nper\x7f=1", "OVL_CONF: unknown key 'up?per?'; " KEYS);
}

/* ---- the file form --------------------------------------------------------------------------------------- */

/* C-1.4 */
static void test_file_form(void **state)
{
    struct fixture *f = *state;
    make_dir(f, "a;b #c", 0755);
    struct ovl_space *space = opened_file(f, "\xef\xbb\xbf# a comment\r\n"
                                             "; another\n"
                                             "\n"
                                             " [overlay sdk ] \n"
                                             "mount = @/mount\t\n"
                                             "  lowerdir\t=  lower1:./lower2/ \n"
                                             "lowerdir=a;b #c\n"
                                             "upperdir=upper\n"
                                             "[overlay]\n"
                                             "lowerdir+=@/lower2\n"
                                             "mount=@/other");
    struct ovl *sdk = ovl_space_find(space, "sdk");
    assert_non_null(sdk);
    assert_string_equal(ovl_name(sdk), "sdk");
    assert_string_equal(ovl_mount(sdk), expanded(f, "@/mount"));
    assert_layers(f, sdk, "@/upper\n@/lower1\n@/lower2\n@/a;b #c\n");
    assert_null(ovl_space_find(space, "other"));
    assert_null(ovl_space_find(space, ""));
    assert_int_equal(ovl_space_count(space), 2);
    assert_string_equal(ovl_space_conf(space), real(f, "ovl.ini"));
    ovl_space_close(space);
}

/* C-1.4: the file's own folder, however it is named */
static void test_file_folder(void **state)
{
    struct fixture *f = *state;
    char cwd[4096];
    struct ovl_space *space;
    struct ovl_message why;
    make_file(f, "etc/x.ini", 0644, expanded(f, "[overlay]\nmount=@/mount\nlowerdir=../lower1\n"));
    assert_non_null(getcwd(cwd, sizeof cwd));
    assert_int_equal(chdir(real(f, "etc")), 0);
    assert_int_equal(ovl_space_open("x.ini", &space, &why), 0);
    assert_layers(f, ovl_space_at(space, 0), "@/lower1\n");
    ovl_space_close(space);
    assert_int_equal(chdir(f->root), 0);
    assert_int_equal(ovl_space_open("etc/x.ini", &space, &why), 0);
    assert_layers(f, ovl_space_at(space, 0), "@/lower1\n");
    ovl_space_close(space);
    /* C-1.2: a name with '=' needs a slash before it */
    make_file(f, "a=b", 0644, expanded(f, "[overlay]\nmount=@/mount\nlowerdir=lower1\n"));
    assert_int_equal(ovl_space_open("./a=b", &space, &why), 0);
    ovl_space_close(space);
    assert_int_equal(ovl_space_open("a=b", &space, &why), -EINVAL);
    assert_string_equal(why.text, "OVL_CONF: unknown key 'a'; " KEYS);
    assert_int_equal(chdir(cwd), 0);
}

/* C-1.4: ~/ and ${VAR}; what a variable holds is one path, and is not looked at again */
static void test_file_variables(void **state)
{
    struct fixture *f = *state;
    char home[200], layer[200];
    snprintf(home, sizeof home, "HOME=%s", f->root);
    snprintf(layer, sizeof layer, "LAYER=%s/a:$b", f->root);
    char *env[] = {"HOMER=/nowhere", home, layer, "NUMBER=1", "EMPTY=", NULL};
    ovl_config_environ(env);
    make_dir(f, "a:$b", 0755);
    make_dir(f, "~", 0755);
    struct ovl_space *space =
        opened_file(f, "[overlay]\n"
                       "mount=${HOME}/mount\n"
                       "lowerdir=${LAYER}:~/lower${NUMBER}:${HOME}/lower2:@/a\\:\\$b:~${EMPTY}\n");
    assert_layers(f, ovl_space_at(space, 0), "@/a:$b\n@/lower1\n@/lower2\n@/a:$b\n@/~\n");
    ovl_space_close(space);
    assert_file_refused(f, "[overlay]\nmount=@/mount\nlowerdir=@/${NOT_SET}/x\n",
                        "@/ovl.ini:3: lowerdir=@/${NOT_SET}/x: the variable NOT_SET is not set; set it or write its "
                        "value");
    assert_file_refused(f, "[overlay]\nmount=@/mount\nlowerdir=${EMPTY}\n",
                        "@/ovl.ini:3: lowerdir=${EMPTY}: empty; give a value or leave the key out");
    assert_file_refused(f, "[overlay]\nmount=@/${a-b}\n",
                        "@/ovl.ini:2: mount=@/${a-b}: '${' begins no ${NAME}; write '\\$' for a dollar sign");
    assert_file_refused(f, "[overlay]\nmount=@/${HOME\n",
                        "@/ovl.ini:2: mount=@/${HOME: '${' begins no ${NAME}; write '\\$' for a dollar sign");
    ovl_config_environ(NULL);
    assert_file_refused(f, "[overlay]\nmount=@/mount\nlowerdir=~/lower1\n",
                        "@/ovl.ini:3: lowerdir=~/lower1: '~/' needs the variable HOME; set it or write an absolute "
                        "path");
}

static void test_file_syntax(void **state)
{
    struct fixture *f = *state;
    assert_file_refused(f, "# nothing\n", "@/ovl.ini: no overlay; add a section [overlay] with mount= and lowerdir=");
    assert_file_refused(f, "\nmount=@/mount\n",
                        "@/ovl.ini:2: key 'mount' stands before the first section; begin with a line [overlay]");
    assert_file_refused(f, "[overlay]\nvolatile\n",
                        "@/ovl.ini:2: 'volatile' has no '='; lines are KEY=VALUE, [overlay NAME], or comments that "
                        "begin with '#'");
    static const char *const header[] = {"[overlay",   "[]",         "[overlays]",    "[Overlay]",   "[other a]",
                                         "[overlay]x", "[overlay]]", "[overlay a]b]", "[overlay [a]"};
    for (size_t i = 0; i < sizeof header / sizeof *header; i++) {
        char text[64], message[256];
        snprintf(text, sizeof text, "%s\n", header[i]);
        snprintf(message, sizeof message,
                 "@/ovl.ini:1: '%s' begins no section; write [overlay] or [overlay NAME] on a line of its own",
                 header[i]);
        assert_file_refused(f, text, message);
    }
    assert_file_refused(f, "[overlay a]\nmount=@/mount\nlowerdir=@/lower1\n[overlay a]\n",
                        "@/ovl.ini:4: two overlays are named 'a'; give each a name of its own");
    assert_file_refused(f, "[overlay]\nmount=mnt\n",
                        "@/ovl.ini:2: mount=mnt: not an absolute path; a mount begins with '/'");
    assert_file_refused(f, "[overlay]\nmount=/m\nmount=/m\n",
                        "@/ovl.ini:3: key 'mount' is given twice for one overlay; leave one of them out");
    assert_file_refused(f, "[overlay]\nmount=/m\n\n[overlay b]\n",
                        "@/ovl.ini:1: the overlay of mount=/m has no lower layer; add lowerdir= and one or more "
                        "directories");
    assert_file_refused(f, "[overlay]\nmount=/a\\b\n",
                        "@/ovl.ini:2: mount=/a\\b: a backslash stands only before , : ; $ and \\");
}

static void test_file_nul(void **state)
{
    struct fixture *f = *state;
    struct ovl_message why;
    struct ovl_space *space;
    make_file(f, "ovl.ini", 0644, "[overlay]\n");
    int fd = open(real(f, "ovl.ini"), O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_int_equal(write(fd, "mount=/a\0b\n", 11), 11);
    close(fd);
    assert_int_equal(ovl_space_open(real(f, "ovl.ini"), &space, &why), -EINVAL);
    assert_string_equal(why.text, expanded(f, "@/ovl.ini:2: a NUL byte; a configuration is text"));
}

/* C-1.4: a line has less than 1 MiB */
static void test_file_long_lines(void **state)
{
    struct fixture *f = *state;
    size_t size = OVL_CONFIG_LINE_MAX + 100;
    char *text = malloc(size);
    assert_non_null(text);
    size_t n = (size_t)snprintf(text, size, "[overlay]\nmount=%s/mount\nlowerdir=%s/lower1\n#", f->root, f->root);
    size_t line = OVL_CONFIG_LINE_MAX - 1 - 1; /* with its newline one byte short of the limit */
    if (n + line + 3 > size)
        text = realloc(text, size = n + line + 3);
    memset(text + n, 'x', line);
    memcpy(text + n + line, "\n", 2);
    make_file(f, "ovl.ini", 0644, text);
    struct ovl_space *space;
    struct ovl_message why = {""};
    assert_int_equal(ovl_space_open(real(f, "ovl.ini"), &space, &why), 0);
    ovl_space_close(space);
    memcpy(text + n + line, "x\n", 3);
    make_file(f, "ovl.ini", 0644, text);
    assert_int_equal(ovl_space_open(real(f, "ovl.ini"), &space, &why), -EINVAL);
    assert_string_equal(why.text,
                        expanded(f, "@/ovl.ini:4: the line is longer than 1 MiB; repeat lowerdir= for more layers"));
    free(text);
}

static void test_file_unreadable(void **state)
{
    struct fixture *f = *state;
    static const char remedy[] = "; name a readable file, or write mount=/PATH,lowerdir=/PATH";
    char message[512];
    snprintf(message, sizeof message,
             "OVL_CONF: the configuration file @/none can't be read: no such file or directory%s", remedy);
    assert_refused(f, "@/none", message);
    snprintf(message, sizeof message, "OVL_CONF: the configuration file @/lower1 can't be read: is a directory%s",
             remedy);
    assert_refused(f, "@/lower1", message);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_inline_form),     TEST(test_inline_escapes),
        TEST(test_inline_append),   TEST(test_inline_empty_options),
        TEST(test_words),           TEST(test_bad_words),
        TEST(test_unknown_key),     TEST(test_repeated_key),
        TEST(test_missing_key),     TEST(test_no_equals),
        TEST(test_empty_values),    TEST(test_relative_paths),
        TEST(test_no_overlay),      TEST(test_too_many_overlays),
        TEST(test_long_path),       TEST(test_control_characters),
        TEST(test_file_form),       TEST(test_file_folder),
        TEST(test_file_variables),  TEST(test_file_syntax),
        TEST(test_file_nul),        TEST(test_file_long_lines),
        TEST(test_file_unreadable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
