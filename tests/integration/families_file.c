/* SPDX-License-Identifier: MIT
 *
 * Scenarios of streams, temporary files and extended attributes.
 */
#include "families.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

/* ---- streams ------------------------------------------------------------------------------------- */

static void use_stream(const char *mode, FILE *f)
{
    char line[64] = "";
    int flags = fcntl(fileno(f), F_GETFL);
    printf(" fd %d flags %o cloexec %d at %ld", fileno(f), (unsigned)flags & (O_ACCMODE | O_APPEND),
           fcntl(fileno(f), F_GETFD), ftell(f));
    if (mode[0] == 'r' || strchr(mode, '+'))
        printf(" read [%s]", fgets(line, sizeof line, f) ? line : "-");
    if (mode[0] != 'r' || strchr(mode, '+')) {
        fseek(f, 0, SEEK_CUR);
        printf(" put %d at %ld", fputs("written\n", f) >= 0, ftell(f));
    }
    printf(" close %d\n", fclose(f));
}

void do_fopen(void)
{
    static const char *const modes[] = {"r",           "rb",          "r+",           "a",  "a+",  "ae", "rx",
                                        "w",           "w+",          "wbe",          "wx", "w+x", "ac", "wxc",
                                        "r,ccs=UTF-8", "w,ccs=UTF-8", "a+,ccs=UTF-8", "rm", "q",   ""};
    static const char *const names[] = {"file",     "dir/file", "new",      "missing/file", "dir",
                                        "readonly", "link",     "dangling", "gone",         "dir/new"};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        for (size_t j = 0; j < sizeof names / sizeof *names; j++) {
            errno = 0;
            FILE *f = fopen(in(names[j]), modes[i]);
            printf("fopen %s %s: %s", names[j], modes[i], f ? "-" : error_name());
            if (f)
                use_stream(modes[i], f);
            else
                puts("");
            show_file(names[j]);
        }
        unlink(in("new"));
        unlink(in("dir/new"));
        unlink(in("nothing")); /* where the dangling link leads */
    }
    mode_t old = umask(0277);
    FILE *f = fopen(in("closed"), "w"); /* can't be opened a second time */
    printf("umask 0277: %s\n", f ? "-" : error_name());
    if (f)
        use_stream("w", f);
    umask(old);
    chmod(in("closed"), 0600);
    show_file("closed");
}

static void reopen(const char *what, const char *name, const char *mode, FILE **f)
{
    errno = 0;
    FILE *r = freopen(name ? in(name) : NULL, mode, *f);
    printf("freopen %s %s %s: %s same %d fd %d\n", what, name ? name : "(null)", mode, r ? "-" : error_name(), r == *f,
           r ? fileno(r) : -1);
    *f = r;
}

void do_freopen(void)
{
    static const char *const steps[][2] = {
        {"dir/file", "r"}, {"new", "w"},       {"dir/file", "a"}, {"new", "r+"},          {"link", "w+"}, {"new", "wx"},
        {"missing", "r"},  {"missing/x", "w"}, {"dir", "w"},      {"new2", "wxe"},        {"file", "q"},  {NULL, "r"},
        {NULL, "r+"},      {NULL, "a"},        {NULL, "w"},       {"new3", "w,ccs=UTF-8"}};
    char line[64];
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        FILE *f = fopen(in("file"), "r");
        if (!f)
            return;
        printf("first [%s]", fgets(line, sizeof line, f) ? line : "-");
        reopen("r", steps[i][0], steps[i][1], &f);
        if (f)
            use_stream(steps[i][1], f);
        show_file(steps[i][0] ? steps[i][0] : "file");
    }
    /* What the stream still holds is written before the same file is emptied. */
    FILE *f = fopen(in("new"), "a");
    if (!f)
        return;
    fputs("held", f);
    reopen("a", "new", "a+", &f);
    if (f)
        use_stream("a+", f);
    show_file("new");
    fflush(stdout);
    int saved = dup(1);
    bool moved = freopen(in("stdout"), "w", stdout) && fileno(stdout) == 1;
    puts("into the file");
    fflush(stdout);
    dup2(saved, 1);
    printf("stdout moved %d\n", moved);
    show_file("stdout");
}

void do_mntent(void)
{
    FILE *f = setmntent(in("mtab"), "r");
    struct mntent *m;
    while (f && (m = getmntent(f)) != NULL)
        printf("%s on %s\n", m->mnt_fsname, m->mnt_dir);
    if (f)
        endmntent(f);
    f = setmntent(in("mtab"), "a");
    struct mntent more = {.mnt_fsname = "new", .mnt_dir = "/new", .mnt_type = "none", .mnt_opts = "rw"};
    printf("add %d\n", f ? addmntent(f, &more) : -2);
    if (f)
        endmntent(f);
    show_file("mtab");
    errno = 0;
    printf("missing %d %s\n", setmntent(in("missing"), "r") != NULL, error_name());
}

/* ---- temporary files ------------------------------------------------------------------------------- */

/* Whether a name is the template with other letters in it, at `at` from its end. */
static bool fits(const char *name, const char *template, size_t suffix)
{
    size_t n = strlen(template);
    return strlen(name) == n && strncmp(name, template, n - suffix - 6) == 0 &&
           strcmp(name + n - suffix, template + n - suffix) == 0 && memcmp(name + n - suffix - 6, "XXXXXX", 6) != 0;
}

static void check_temporary(const char *what, int fd, char *name, const char *template, size_t suffix)
{
    struct stat st = {0}, named = {0};
    printf("%s: %s", what, fd < 0 ? error_name() : "-");
    if (fd >= 0) {
        fstat(fd, &st);
        lstat(name, &named);
        printf(" fits %d mode %o same %d flags %o cloexec %d", fits(name, template, suffix), st.st_mode,
               st.st_ino == named.st_ino, (unsigned)fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND), fcntl(fd, F_GETFD));
        close(fd);
    }
    puts("");
}

void do_temp(void)
{
    static const char *const templates[] = {"tXXXXXX", "dir/XXXXXX",  "missing/XXXXXX", "tXXXXX",
                                            "XXXXXXt", "file/XXXXXX", "noXXX"};
    char name[4096];
    errno = 0;
    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++) {
        const char *template = in(templates[i]);
        check_temporary("mkstemp", mkstemp(strcpy(name, template)), name, template, 0);
        check_temporary("mkostemp", mkostemp(strcpy(name, template), O_APPEND | O_CLOEXEC), name, template, 0);
        char *made = mkdtemp(strcpy(name, template));
        struct stat st = {0};
        printf("mkdtemp: %s fits %d mode %o\n", made ? "-" : error_name(), made && fits(name, template, 0),
               made && stat(name, &st) == 0 ? st.st_mode : 0);
        printf("mktemp: %s\n", *mktemp(strcpy(name, template)) ? "name" : error_name());
    }
    const char *template = in("aXXXXXX.c");
    check_temporary("mkstemps", mkstemps(strcpy(name, template), 2), name, template, 2);
    check_temporary("mkostemps", mkostemps(strcpy(name, template), 2, O_SYNC), name, template, 2);
    check_temporary("mkstemps 9", mkstemps(strcpy(name, template), 900), name, template, 2);
    check_temporary("mkstemps -1", mkstemps(strcpy(name, template), -1), name, template, 2);
    setenv("TMPDIR", in("dir"), 1);
    char *free_name = tempnam("/nowhere", "pre");
    printf("tempnam %d\n", free_name && strncmp(free_name, in("dir/pre"), strlen(in("dir/pre"))) == 0);
    free(free_name);
    setenv("TMPDIR", in("missing"), 1);
    free_name = tempnam(in("dir"), "longprefix");
    printf("tempnam %d\n", free_name && strncmp(free_name, in("dir/longp"), strlen(in("dir/longp"))) == 0);
    free(free_name);
    FILE *f = tmpfile();
    char line[8] = "";
    if (f) {
        fputs("abc", f);
        rewind(f);
        printf("tmpfile %s fd %d\n", fgets(line, sizeof line, f), fileno(f));
        fclose(f);
    }
    char buf[L_tmpnam];
    printf("tmpnam %d %d %d\n", tmpnam(buf) == buf && strncmp(buf, "/tmp/", 5) == 0, tmpnam(NULL) != NULL,
           tmpnam_r(NULL) == NULL);
}

/* ---- extended attributes --------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void print_names(const char *what, char *list, ssize_t n)
{
    const char *names[64];
    size_t count = 0;
    printf("%s %s:", what, n < 0 ? error_name() : "-");
    for (ssize_t at = 0; at < n && count < 64; at += (ssize_t)strlen(list + at) + 1)
        if (strncmp(list + at, "user.", 5) == 0 && strncmp(list + at, "user.overlay.", 13) != 0)
            names[count++] = list + at;
    qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 0; i < count; i++)
        printf(" %s", names[i]);
    puts("");
}

static void show_attributes(const char *name)
{
    char list[4096], value[64] = "";
    print_names(name, list, listxattr(in(name), list, sizeof list));
    errno = 0;
    ssize_t n = getxattr(in(name), "user.one", value, sizeof value);
    printf("  user.one %zd %s [%s]\n", n, n < 0 ? error_name() : "-", value);
}

void do_xattr(void)
{
    char list[4096], value[64];
    show_attributes("x");
    show_attributes("file");
    show_attributes("link");
    show_attributes("missing");
    result("size of list", listxattr(in("x"), NULL, 0) > 0);
    result("small list", listxattr(in("x"), list, 3));
    result("small value", getxattr(in("x"), "user.one", value, 1));
    result("size of value", getxattr(in("x"), "user.one", NULL, 0));
    result("create existing", setxattr(in("x"), "user.one", "2", 1, XATTR_CREATE));
    result("replace missing", setxattr(in("x"), "user.two", "2", 1, XATTR_REPLACE));
    result("remove missing", removexattr(in("x"), "user.two"));
    result("bad flags", setxattr(in("x"), "user.two", "2", 1, 77));
    result("bad space", setxattr(in("x"), "nonsense.two", "2", 1, 0));
    result("on a link", lsetxattr(in("link"), "user.two", "2", 1, 0));
    result("readonly", setxattr(in("readonly"), "user.two", "2", 1, 0));
    result("missing", setxattr(in("missing"), "user.two", "2", 1, 0));
    result("set", setxattr(in("link"), "user.two", "22", 2, 0));
    show_attributes("file");
    result("set dir", setxattr(in("dir"), "user.two", "22", 2, 0));
    show_attributes("dir");
    result("remove", removexattr(in("x"), "user.one"));
    show_attributes("x");
    int fd = open(in("dir/x"), O_RDONLY);
    result("fget", fgetxattr(fd, "user.one", value, sizeof value));
    result("fset", fsetxattr(fd, "user.three", "3", 1, 0));
    show_attributes("dir/x");
    result("fset again", fsetxattr(fd, "user.four", "4", 1, 0));
    result("fremove", fremovexattr(fd, "user.one"));
    show_attributes("dir/x");
    int other = open(in("dir/x"), O_RDONLY);
    print_names("flist", list, flistxattr(other, list, sizeof list));
    result("bad fd", fsetxattr(99, "user.three", "3", 1, 0));
    int path = open(in("dir/x"), O_PATH);
    result("path fd", fsetxattr(path, "user.three", "3", 1, 0));
}
