/* SPDX-License-Identifier: MIT
 *
 * ovl diff: what was changed, as text.  Unified diffs are made by diff(1); what is no text is said in a line of words,
 * which patch(1) skips.
 */
#include "changes.h"
#include "commands.h"
#include "output.h"
#include "space.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char help[] =
    "usage: ovl diff [OPTION]... [PATH]...\n"
    "\n"
    "Shows what the upper directory changes against the lower ones, of all, or of the paths and what is below them: a\n"
    "unified diff of text files, `binary files differ` with sizes of others, a line for all else.  Nothing is "
    "changed.\n"
    "\n" SPACE_HELP "\n"
    "  -U, --unified N        lines of context (default: 3)\n"
    "      --exit-code        exit with 1 when there are changes\n" RESULT_HELP "\n"
    "Of a deleted directory only its name is shown.  A file with a NUL in its first 8000 bytes is binary.\n"
    "\n"
    "Exit status: 0; 1 with --exit-code when there are changes; 2 for a wrong option; 3 when something can't be read "
    "or\n"
    "there is no such overlay; 125 when the configuration is wrong.\n";

#define BINARY_BYTES 8000
/* Where diff(1) finds the two files. */
enum { FD_BEFORE = 3, FD_AFTER = 4 };

struct diffing {
    const char *context;
    bool differs, failed;
};

/* ---- lines of words ------------------------------------------------------------------------------------ */

static void begin_line(const char *path)
{
    fputs(color_begin(COLOR_HEAD), stdout);
    print_path(stdout, path);
    fputs(": ", stdout);
}

static void end_line(void)
{
    puts(color_end());
}

static void print_target(const char *real)
{
    char target[OVL_REAL_MAX];
    ssize_t n = readlink(real, target, sizeof target - 1);
    target[n < 0 ? 0 : n] = '\0';
    print_path(stdout, target);
}

static void print_metadata(const struct change *c)
{
    const struct stat *before = &c->lower.st, *after = &c->upper.st;
    const char *comma = "";
    begin_line(c->path);
    if (c->differs & DIFFERS_MODE) {
        printf("mode %04o -> %04o", before->st_mode & 07777, after->st_mode & 07777);
        comma = ", ";
    }
    if (c->differs & DIFFERS_OWNER) {
        printf("%sowner %u:%u -> %u:%u", comma, before->st_uid, before->st_gid, after->st_uid, after->st_gid);
        comma = ", ";
    }
    if (c->differs & DIFFERS_XATTRS) {
        printf("%sextended attributes differ", comma);
        comma = ", ";
    }
    if (!*comma)
        printf("time of change differs");
    end_line();
}

static void print_link_change(const struct change *c)
{
    begin_line(c->path);
    fputs("a symbolic link to ", stdout);
    print_target(c->lower.real);
    fputs(" -> ", stdout);
    print_target(c->upper.real);
    end_line();
}

/* What has no content to compare. */
static void print_event(const struct change *c, const char *what, const struct stat *st, const char *real)
{
    begin_line(c->path);
    printf("%s, a %s", what, kind_name(st->st_mode));
    if (S_ISLNK(st->st_mode)) {
        fputs(" to ", stdout);
        print_target(real);
    }
    end_line();
}

/* ---- files --------------------------------------------------------------------------------------------- */

/* A side of a comparison: a regular file of a layer, or nothing. */
static int open_side(bool exists, const char *real, const struct stat *st)
{
    if (!exists || !S_ISREG(st->st_mode))
        return open("/dev/null", O_RDONLY | O_CLOEXEC);
    int fd = open(real, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat now;
    if (fd >= 0 && (fstat(fd, &now) < 0 || !S_ISREG(now.st_mode))) {
        close(fd);
        errno = ESTALE;
        return -1;
    }
    return fd;
}

static bool is_binary(int fd)
{
    char buf[BINARY_BYTES];
    ssize_t n = pread(fd, buf, sizeof buf, 0);
    return n > 0 && memchr(buf, 0, (size_t)n);
}

static off_t size_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? st.st_size : 0;
}

/* A path as a label: one line, without the slash at its beginning. */
static char *label(const char *side, bool exists, const char *path)
{
    char *made = NULL;
    size_t size;
    FILE *to = need(open_memstream(&made, &size));
    fputs(exists ? side : "/dev/null", to);
    if (exists)
        print_path(to, path);
    if (fclose(to) != 0)
        no_memory();
    return made;
}

static int run_diff(const struct diffing *d, char *before, char *after, int a, int b)
{
    char program[] = "diff", as_text[] = "-a", name_label[] = "--label", file_a[] = "/dev/fd/3", file_b[] = "/dev/fd/4";
    char *unified = text("-U%s", d->context), *color = text("--color=%s", *color_end() ? "always" : "never");
    char *argv[] = {program, as_text, unified, name_label, before, name_label, after, color, file_a, file_b, NULL};
    posix_spawn_file_actions_t files;
    pid_t pid;
    int how = 0;
    /* Out of the way of their places first. */
    int from = fcntl(a, F_DUPFD_CLOEXEC, 10), to = fcntl(b, F_DUPFD_CLOEXEC, 10);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, from, FD_BEFORE);
    posix_spawn_file_actions_adddup2(&files, to, FD_AFTER);
    fflush(stdout);
    int error = posix_spawnp(&pid, program, &files, NULL, argv, environ);
    if (error == 0 && waitpid(pid, &how, 0) != pid)
        error = errno;
    posix_spawn_file_actions_destroy(&files);
    close(from);
    close(to);
    free(unified);
    free(color);
    if (error)
        complain("diff(1) can't be started: %s; it is in Debian's diffutils", strerror(error));
    return !error && WIFEXITED(how) && WEXITSTATUS(how) < 2 ? 0 : -1;
}

static void compare_open(struct diffing *d, const struct change *c, int a, int b, bool had, bool has)
{
    char *before = label("a", had, c->from ? c->from : c->path), *after = label("b", has, c->path);
    if (is_binary(a) || is_binary(b))
        printf("Binary files %s and %s differ (%lld and %lld bytes)\n", before, after, (long long)size_of(a),
               (long long)size_of(b));
    else if (size_of(a) == 0 && size_of(b) == 0)
        print_event(c, has ? "added" : "deleted", has ? &c->upper.st : &c->lower.st, NULL);
    else
        d->failed |= run_diff(d, before, after, a, b) < 0;
    free(before);
    free(after);
}

static void compare_files(struct diffing *d, const struct change *c)
{
    bool had = c->lower.exists && S_ISREG(c->lower.st.st_mode), has = c->upper.exists && S_ISREG(c->upper.st.st_mode);
    int a = open_side(had, c->lower.real, &c->lower.st), error = errno, b = open_side(has, c->upper.real, &c->upper.st);
    if (a >= 0 && b >= 0) {
        compare_open(d, c, a, b, had, has);
    } else {
        complain("%s: %s", c->path, strerror(a < 0 ? error : errno));
        d->failed = true;
    }
    if (a >= 0)
        close(a);
    if (b >= 0)
        close(b);
}

/* ---- changes --------------------------------------------------------------------------------------------- */

static void show_side(struct diffing *d, const struct change *c, bool after)
{
    struct change one = *c;
    one.upper.exists = after;
    one.lower.exists = !after;
    const struct stat *st = after ? &c->upper.st : &c->lower.st;
    if (S_ISREG(st->st_mode))
        compare_files(d, &one);
    else
        print_event(c, after ? "added" : "deleted", st, after ? c->upper.real : c->lower.real);
}

static void show_modified(struct diffing *d, const struct change *c)
{
    if (S_ISREG(c->upper.st.st_mode))
        compare_files(d, c);
    else if (S_ISLNK(c->upper.st.st_mode))
        print_link_change(c);
    else
        print_event(c, "another number", &c->upper.st, NULL);
    if (c->differs & (DIFFERS_MODE | DIFFERS_OWNER | DIFFERS_XATTRS))
        print_metadata(c);
}

static int show(const struct change *c, void *arg)
{
    struct diffing *d = arg;
    d->differs = true;
    switch (c->kind) {
    case CHANGE_ADDED:
        show_side(d, c, true);
        break;
    case CHANGE_DELETED:
        show_side(d, c, false);
        break;
    case CHANGE_REPLACED:
        show_side(d, c, false);
        show_side(d, c, true);
        break;
    case CHANGE_MODIFIED:
        show_modified(d, c);
        break;
    case CHANGE_OPAQUE:
        print_event(c, "removed and made again", &c->upper.st, NULL);
        break;
    default:
        print_metadata(c);
    }
    return 0;
}

static int diff_overlay(struct diffing *d, struct space *space, struct ovl *o, char *const *paths)
{
    struct changes_visitor visitor = {.each = show, .arg = d, .flags = CHANGES_GO_ON};
    return space_changes(space, o, &visitor, paths);
}

/* ---- the subcommand --------------------------------------------------------------------------------------- */

enum { OPTION_EXIT_CODE = OPTION_OWN };

static int diff_all(struct diffing *d, struct space *space, char *const *paths, bool exit_code)
{
    for (unsigned i = 0; i < ovl_space_count(space->space); i++)
        d->failed |= diff_overlay(d, space, ovl_space_at(space->space, i), paths) != 0;
    int status = finish_output(d->failed ? STATUS_FAILED : STATUS_DONE);
    return status == STATUS_DONE && d->differs && exit_code ? STATUS_DIFFERS : status;
}

static bool is_number(const char *word)
{
    return *word && strlen(word) < 10 && strspn(word, "0123456789") == strlen(word);
}

static int take_options(int argc, char **argv, struct options *options, struct diffing *d, bool *exit_code)
{
    static const struct option table[] = {
        SPACE_LONG,
        {"color", required_argument, NULL, OPTION_COLOR},
        {"unified", required_argument, NULL, 'U'},
        {"exit-code", no_argument, NULL, OPTION_EXIT_CODE},
        HELP_LONG,
    };
    for (int option; (option = getopt_long(argc, argv, "U:" SPACE_SHORT, table, NULL)) != -1;) {
        int taken = options_take(options, option, help);
        if (ENDS(taken))
            return taken;
        *exit_code |= option == OPTION_EXIT_CODE;
        if (option == 'U' && !is_number(optarg))
            return usage_error("diff", "-U %s: not a number of lines", optarg) + 1;
        if (option == 'U')
            d->context = optarg;
    }
    return 0;
}

int cmd_diff(int argc, char **argv)
{
    static struct options options = {.command = "diff"};
    struct diffing d = {.context = "3"};
    struct space space;
    bool exit_code = false;
    int taken = take_options(argc, argv, &options, &d, &exit_code);
    if (ENDS(taken))
        return END_STATUS(taken);
    int status = space_open(&space, &options, NEEDS_UPPER);
    char **paths = status == STATUS_DONE ? space_paths(&space, argv + optind, &status) : NULL;
    if (status == STATUS_DONE)
        status = diff_all(&d, &space, paths, exit_code);
    space_free_paths(paths);
    space_close(&space);
    return status;
}
