/* SPDX-License-Identifier: MIT
 *
 * Walks of a directory and prints what libc's walkers say: scandir, glob, ftw, nftw, fts.
 *
 *   walks SCENARIO DIRECTORY [ARGUMENT ...]
 *
 * What depends on the order of a directory is printed so that it can be sorted, one line a visit.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *root;
static char **arguments; /* after the directory */

static const char *error_name(void)
{
    return errno ? strerrorname_np(errno) : "0";
}

/* ---- scandir ------------------------------------------------------------------------------------- */

static int no_dots(const struct dirent *d)
{
    errno = EDOM; /* a filter's errno is no error of scandir */
    return d->d_name[0] != '.';
}

static int backwards(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*b)->d_name, (*a)->d_name);
}

static void print_list(const char *what, int n, struct dirent ***found)
{
    struct dirent **list = *found;
    printf("%s %d %s:", what, n, n < 0 ? error_name() : "-");
    for (int i = 0; i < n; i++) {
        printf(" %s/%d", list[i]->d_name, list[i]->d_type);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    puts("");
}

static void do_scandir(void)
{
    struct dirent **list = NULL;
    char path[4096];
    print_list("all", scandir(root, &list, NULL, alphasort), &list);
    print_list("filter", scandir(root, &list, no_dots, alphasort), &list);
    print_list("backwards", scandir(root, &list, no_dots, backwards), &list);
    snprintf(path, sizeof path, "%s/missing", root);
    print_list("missing", scandir(path, &list, NULL, alphasort), &list);
    snprintf(path, sizeof path, "%s/file", root);
    print_list("file", scandir(path, &list, NULL, alphasort), &list);
    int fd = open(root, O_RDONLY | O_DIRECTORY);
    print_list("at", scandirat(fd, "sub", &list, no_dots, alphasort), &list);
    print_list("at missing", scandirat(fd, "missing", &list, no_dots, alphasort), &list);
    print_list("at bad", scandirat(99, "sub", &list, no_dots, alphasort), &list);
    close(fd);
}

/* ---- glob ---------------------------------------------------------------------------------------- */

static int glob_error(const char *path, int error)
{
    printf("  error at %s: %s\n", path, strerrorname_np(error));
    return 0;
}

static void print_glob(const char *pattern, int flags, const char *name)
{
    glob_t g = {0};
    int r = glob(pattern, flags, glob_error, &g);
    printf("%s [%s] %d%s:", pattern, name, r, r == 0 && g.gl_flags & GLOB_MAGCHAR ? " magic" : "");
    for (size_t i = 0; r == 0 && i < g.gl_pathc; i++)
        printf(" %s", g.gl_pathv[i]);
    puts("");
    globfree(&g);
}

static void do_glob(void)
{
    static const char *const patterns[] = {
        "*",    "*.c",     "?ile",   "*/",       "*/*",   "s*/[a-m]*", "{file,sub,none}", ".*",   "sub/.h*",
        "file", "missing", "link/*", "dangling", "dang*", "noread/*",  "\\file",          "gone*"};
    char path[4096];
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        snprintf(path, sizeof path, "%s/%s", root, patterns[i]);
        print_glob(path, 0, "0");
        print_glob(path, GLOB_MARK | GLOB_PERIOD | GLOB_BRACE, "mark period brace");
        print_glob(path, GLOB_NOCHECK | GLOB_NOESCAPE | GLOB_ONLYDIR, "nocheck noescape onlydir");
    }
    if (chdir(root) != 0)
        return;
    print_glob("sub/*", 0, "relative");
    glob_t g = {.gl_offs = 2};
    glob("f*", GLOB_DOOFFS, NULL, &g);
    glob("sub/a*", GLOB_DOOFFS | GLOB_APPEND, NULL, &g);
    printf("append:");
    for (size_t i = 0; i < g.gl_pathc; i++)
        printf(" %s", g.gl_pathv[g.gl_offs + i]);
    puts("");
    globfree(&g);
}

/* ---- ftw and nftw -------------------------------------------------------------------------------- */

static int answer; /* what the callback gives back at `answer_at` */
static const char *answer_at;

static bool show_cwd;

static int visit(const char *path, const struct stat *st, int type, struct FTW *at)
{
    char cwd[4096] = "-";
    if (show_cwd && !getcwd(cwd, sizeof cwd))
        strcpy(cwd, "?");
    printf("%d %s level=%d base=%s mode=%o size=%ld cwd=%s\n", type, path, at->level, path + at->base,
           type == FTW_NS ? 0 : st->st_mode, S_ISREG(st->st_mode) && type == FTW_F ? (long)st->st_size : -1, cwd);
    return answer_at && strcmp(path + at->base, answer_at) == 0 ? answer : 0;
}

static int visit_old(const char *path, const struct stat *st, int type)
{
    printf("%d %s mode=%o\n", type, path, type == FTW_NS ? 0 : st->st_mode);
    return 0;
}

/* ARGUMENT: flags in decimal, path below the directory, name, answer. */
static void do_nftw(void)
{
    char path[4096], cwd[4096];
    int flags = atoi(arguments[0]);
    snprintf(path, sizeof path, "%s%s", arguments[1][0] == '=' ? "" : root, arguments[1] + (arguments[1][0] == '='));
    if (arguments[2]) {
        answer_at = arguments[2];
        answer = atoi(arguments[3]);
    }
    show_cwd = flags & FTW_CHDIR;
    if (arguments[1][0] == '=' && chdir(root) != 0)
        return;
    errno = 0;
    int r = nftw(path, visit, 3, flags);
    printf("result %d %s cwd=%s\n", r, r == -1 ? error_name() : "-", getcwd(cwd, sizeof cwd));
}

static void do_ftw(void)
{
    int r = ftw(root, visit_old, 3);
    printf("result %d\n", r);
}

/* ---- fts ----------------------------------------------------------------------------------------- */

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static const char *const infos[] = {"0", "D",    "DC", "DEFAULT", "DNR", "DOT",    "DP", "ERR",
                                    "F", "INIT", "NS", "NSOK",    "SL",  "SLNONE", "W"};

static void print_entry(const FTSENT *p, bool stats)
{
    struct stat st;
    bool has_stat = stats && p->fts_info != FTS_NS && p->fts_info != FTS_NSOK && p->fts_info != FTS_DNR;
    bool reached = lstat(p->fts_accpath, &st) == 0;
    printf("%s %s name=%s level=%d length=%d/%d errno=%s reached=%d mode=%o number=%ld cycle=%s\n", infos[p->fts_info],
           p->fts_path, p->fts_name, p->fts_level, p->fts_pathlen, p->fts_namelen,
           p->fts_errno ? strerrorname_np(p->fts_errno) : "0", reached, has_stat ? p->fts_statp->st_mode : 0,
           p->fts_number, p->fts_info == FTS_DC ? p->fts_cycle->fts_name : "-");
}

static void steer(FTS *fts, FTSENT *p)
{
    if (strcmp(p->fts_name, "skip") == 0 && p->fts_info == FTS_D)
        printf("  skip: %d\n", fts_set(fts, p, FTS_SKIP));
    if (strcmp(p->fts_name, "link") == 0 && p->fts_info == FTS_SL)
        printf("  follow: %d\n", fts_set(fts, p, FTS_FOLLOW));
    if (strcmp(p->fts_name, "again") == 0 && p->fts_info != FTS_DP && !p->fts_number++)
        printf("  again: %d\n", fts_set(fts, p, FTS_AGAIN));
}

static void print_children(FTS *fts, int instruction)
{
    errno = 0;
    FTSENT *p = fts_children(fts, instruction);
    printf("  children(%d) %s:", instruction, p ? "-" : error_name());
    for (; p; p = p->fts_link)
        printf(" %s/%s", p->fts_name, infos[p->fts_info]);
    puts("");
}

/* ARGUMENT: options in decimal, s or -, c, n or -, roots below the directory. */
static void do_fts(void)
{
    int options = atoi(arguments[0]);
    bool steered = arguments[1][0] == 's';
    char children = arguments[2][0];
    if (chdir(root) != 0)
        return;
    errno = 0;
    FTS *fts = fts_open(arguments + 3, options, by_name);
    if (!fts) {
        printf("fts_open: %s\n", error_name());
        return;
    }
    if (children != '-')
        print_children(fts, 0);
    FTSENT *p;
    while ((p = fts_read(fts)) != NULL) {
        print_entry(p, !(options & FTS_NOSTAT));
        if (steered)
            steer(fts, p);
        if (children != '-')
            print_children(fts, children == 'n' ? FTS_NAMEONLY : 0);
    }
    printf("end %s\n", error_name());
    errno = 0;
    printf("bad instruction %d %s\n", fts_set(fts, NULL, 99), error_name());
    printf("close %d\n", fts_close(fts));
    FTS *unread = fts_open(arguments + 3, options, NULL);
    if (unread) {
        fts_read(unread);
        fts_read(unread);
        printf("close early %d\n", fts_close(unread));
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } scenarios[] = {{"scandir", do_scandir}, {"glob", do_glob}, {"nftw", do_nftw}, {"ftw", do_ftw}, {"fts", do_fts}};
    if (argc < 3)
        return 2;
    root = argv[2];
    arguments = argv + 3;
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        if (strcmp(argv[1], scenarios[i].name) == 0) {
            scenarios[i].run();
            return 0;
        }
    }
    return 2;
}
