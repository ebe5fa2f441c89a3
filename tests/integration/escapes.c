/* SPDX-License-Identifier: MIT
 *
 * Ways in which a program that means no harm comes to an object by another name than its path: through /proc and
 * /dev/fd, through descriptors of all kinds, through threads with a directory of their own; and calls made where
 * there is little room.
 *
 *   escapes SCENARIO DIRECTORY
 *
 * The same lines are to come out of a plain directory, of Linux overlayfs and of libovl.
 */
#include "escapes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *root, *base;
bool show_lowest;

static const char *error_name(void)
{
    return errno ? strerrorname_np(errno) : "0";
}

void result(const char *what, long r)
{
    printf(" %s %s", what, r < 0 ? error_name() : "ok");
    if (show_lowest) {
        int lowest = dup(STDIN_FILENO);
        printf(" %d", lowest);
        close(lowest);
    }
    errno = 0;
}

/* A path below the directory; eight of them can be in use at once. */
const char *in(const char *name)
{
    static char path[8][4096];
    static unsigned next;
    char *p = path[next++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", root, name);
    return p;
}

/* What the plain path shows in the end. */
void show(const char *name)
{
    struct stat st;
    char text[64] = "";
    int fd = open(in(name), O_RDONLY);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    for (ssize_t i = 0; i < n; i++)
        if (text[i] == '\n')
            text[i] = '$';
    if (lstat(in(name), &st) == 0)
        printf(" -> %o %s\n", st.st_mode, text);
    else
        printf(" -> %s\n", error_name());
    if (fd >= 0)
        close(fd);
    fflush(stdout);
}

int to_dir(void)
{
    return open(root, O_RDONLY | O_DIRECTORY);
}

static const struct {
    const char *name;
    void (*run)(const char *argument);
} scenarios[] = {{"route", do_route},
                 {"empty", do_empty},
                 {"fchmodat2", do_fchmodat2},
                 {"thread-cwd", do_thread_cwd},
                 {"renamed", do_renamed},
                 {"high", do_high_listing},
                 {"signal-stack", do_signal_stack},
                 {"thread", do_small_thread},
                 {"few-files", do_few_files},
                 {"few-files-moving", do_few_files_moving},
                 {"lowest", do_lowest},
                 {"any-number", do_any_number},
                 {"no-memory", do_no_memory},
                 {"cancelled", do_cancelled},
                 {"name-spaces", do_name_spaces},
                 {"sandbox", do_sandbox}};

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "count") == 0)
        return count_routes();
    if (argc < 3)
        return 2;
    root = argv[2];
    base = strrchr(root, '/') + 1;
    errno = 0;
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        if (strcmp(argv[1], scenarios[i].name) == 0) {
            scenarios[i].run(argv[3]);
            return 0;
        }
    }
    return 2;
}
