/* SPDX-License-Identifier: MIT
 *
 * Calls libc's less common path functions in a directory and prints what they answer.
 *
 *   families SCENARIO DIRECTORY
 *
 * The same lines are to come out of a plain directory, of Linux overlayfs and of libovl.
 */
#include "families.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *root;

const char *error_name(void)
{
    return errno ? strerrorname_np(errno) : "0";
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

void result(const char *what, long r)
{
    printf("%s: %ld %s\n", what, r, r == -1 ? error_name() : "-");
}

void show_file(const char *name)
{
    struct stat st;
    char text[256] = "";
    int fd = open(in(name), O_RDONLY);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (lstat(in(name), &st) == 0)
        printf("  %s: mode %o size %ld [%.*s]\n", name, st.st_mode, S_ISDIR(st.st_mode) ? 0L : (long)st.st_size,
               n > 0 ? (int)n : 0, text);
    else
        printf("  %s: %s\n", name, error_name());
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } scenarios[] = {{"fopen", do_fopen},
                     {"freopen", do_freopen},
                     {"mntent", do_mntent},
                     {"temp", do_temp},
                     {"xattr", do_xattr},
                     {"stream", do_stream_socket},
                     {"socket-errors", do_socket_errors},
                     {"datagram", do_datagram_socket},
                     {"limits", do_limits},
                     {"inotify", do_inotify},
                     {"compat", do_compat},
                     {"openat2", do_openat2},
                     {"syscall", do_syscall},
                     {"words", do_words},
                     {"catalog", do_catalog},
                     {"login", do_login},
                     {"library", do_library},
                     {"newer", do_newer}};
    if (argc < 3)
        return 2;
    root = argv[2];
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        if (strcmp(argv[1], scenarios[i].name) == 0) {
            scenarios[i].run();
            return 0;
        }
    }
    return 2;
}
