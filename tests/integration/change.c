/* SPDX-License-Identifier: MIT
 *
 * Tries to change what a directory holds, by system calls that no preloaded library sees, and tells what each answers.
 *
 *   change DIR OUTSIDE     DIR has a file f, a directory d and an empty directory e; OUTSIDE is writable
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void tell(const char *what, int result)
{
    printf("%s: %s\n", what, result < 0 ? strerrorname_np(errno) : "done");
}

int main(int argc, char **argv)
{
    char outside[4096];
    if (argc != 3 || chdir(argv[1]) < 0)
        return 2;
    snprintf(outside, sizeof outside, "%s/moved", argv[2]);
    tell("write", open("f", O_WRONLY));
    tell("truncate", truncate("f", 0));
    tell("create", open("new", O_WRONLY | O_CREAT, 0600));
    tell("mkdir", mkdir("newdir", 0700));
    tell("symlink", symlink("target", "newlink"));
    tell("mkfifo", mkfifo("newfifo", 0600));
    tell("link", link("f", "d/linked"));
    tell("rename", rename("f", "d/renamed"));
    tell("rename out", rename("d", outside));
    tell("rename in", rename(outside, "d"));
    tell("unlink", unlink("d/renamed"));
    tell("rmdir", rmdir("e"));
    return 0;
}
