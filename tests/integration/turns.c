/* SPDX-License-Identifier: MIT
 *
 *   turns DIRECTORY name|directory SECONDS
 *
 * A name, or a directory on the way to one, is what it was and a symbolic link in turn, because another process makes
 * it so all the time, while this one uses it in every way.  Whatever it is at the moment, what is seen is one of two
 * files that this program has written ("new"), never the one that a lower layer has below the link's target ("old"),
 * and no error that only a link can give.  Goes on for so many seconds, and for ROUNDS rounds at least (a directory
 * that turns all the time makes a call begin anew many times).  Status 0, or a line for the first wrong answer.
 *
 * DIRECTORY has "turns/" with "d/t", "far/t" and "far/only", with old content.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 20 };

static char target[4096]; /* of the link: absolute, as the kernel would follow it outside */
static const char *file;  /* what turns, or what lies in what turns */
static bool of_directory;

static void wrong(const char *what, const char *seen)
{
    printf("%s: %s (%s)\n", what, seen, strerrorname_np(errno));
    exit(1);
}

static void must(const char *what, bool holds)
{
    if (!holds)
        wrong(what, "must not be");
}

/* A name that is made in one directory may be looked for in the other one. */
static void may_miss(const char *what, long result)
{
    must(what, result >= 0 || errno == ENOENT || errno == EEXIST);
}

static void must_be_new(const char *what, const char *text)
{
    if (strncmp(text, "new", 3) != 0)
        wrong(what, text);
}

/* ---- what turns ------------------------------------------------------------------------------------------------- */

static void write_new(const char *path)
{
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    must("writing a new file", fd >= 0 && write(fd, "new\n", 4) == 4 && close(fd) == 0);
}

static void turn_name(void)
{
    unlink("turns/aside");
    must("turning into a link", symlink(target, "turns/aside") == 0 && rename("turns/aside", file) == 0);
    write_new("turns/aside");
    must("turning into a file", rename("turns/aside", file) == 0);
}

static void turn_directory(void)
{
    must("turning", renameat2(AT_FDCWD, "turns/aside", AT_FDCWD, "turns/d", RENAME_EXCHANGE) == 0);
}

static pid_t start_turning(void)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;)
        of_directory ? turn_directory() : turn_name();
}

/* ---- looking ---------------------------------------------------------------------------------------------------- */

static void read_by_open(void)
{
    char text[16] = "";
    int fd = open(file, O_RDONLY);
    must("open", fd >= 0 && read(fd, text, sizeof text - 1) >= 0 && close(fd) == 0);
    must_be_new("open", text);
}

static void read_by_path_descriptor(void)
{
    struct stat st;
    int fd = open(file, O_PATH);
    must("open O_PATH", fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && close(fd) == 0);
}

static void read_by_stream(void)
{
    static FILE *reopened;
    char text[16] = "";
    FILE *stream = fopen(file, "r");
    must("fopen", stream != NULL);
    must("reading a stream", fgets(text, sizeof text, stream) && fclose(stream) == 0);
    must_be_new("fopen", text);
    reopened = reopened ? freopen(file, "r", reopened) : fopen(file, "r");
    must("freopen", reopened && fgets(text, sizeof text, reopened));
    must_be_new("freopen", text);
}

static void look(void)
{
    struct stat st;
    struct statx stx;
    must("stat", stat(file, &st) == 0 && S_ISREG(st.st_mode) && st.st_size < 8);
    must("statx", statx(AT_FDCWD, file, 0, STATX_BASIC_STATS, &stx) == 0 && S_ISREG(stx.stx_mode) && stx.stx_size < 8);
    must("access", access(file, R_OK | W_OK) == 0);
    char *path = realpath(file, NULL);
    must("realpath", path != NULL);
    free(path);
    must("getxattr", getxattr(file, "user.old", NULL, 0) == -1 && errno == ENODATA);
}

/* "only" was removed from the target's directory. */
static void look_for_what_is_removed(void)
{
    char text[16];
    struct stat st;
    must("access of what is removed", access("turns/d/only", F_OK) == -1 && errno == ENOENT);
    must("lstat of what is removed", lstat("turns/d/only", &st) == -1 && errno == ENOENT);
    must("readlink of what is removed", readlink("turns/d/only", text, sizeof text) == -1 && errno == ENOENT);
    DIR *dir = opendir("turns/d");
    must("opendir", dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        must("a listing with what is removed", strcmp(entry->d_name, "only") != 0);
    closedir(dir);
}

static void go_there(void)
{
    static int here = -1;
    char text[16] = "";
    if (here < 0)
        here = open(".", O_PATH | O_DIRECTORY);
    must("chdir", chdir("turns/d") == 0);
    int fd = open("t", O_RDONLY);
    must("open from the cwd", fd >= 0 && read(fd, text, sizeof text - 1) >= 0 && close(fd) == 0);
    must_be_new("open from the cwd", text);
    must("chdir back", fchdir(here) == 0);
}

/* ---- changing --------------------------------------------------------------------------------------------------- */

static void change(unsigned round)
{
    const struct timespec times[2] = {{round, 0}, {round, 0}};
    must("chmod", chmod(file, round % 2 ? 0644 : 0640) == 0);
    must("chown", chown(file, getuid(), getgid()) == 0);
    must("utimensat", utimensat(AT_FDCWD, file, times, 0) == 0);
    must("setxattr", setxattr(file, "user.turn", "y", 1, 0) == 0);
    must("truncate", truncate(file, 3 + round % 4) == 0);
    int fd = open(file, O_WRONLY);
    must("open for writing", fd >= 0 && pwrite(fd, "new", 3, 0) == 3 && close(fd) == 0);
}

static void change_names(void)
{
    int fd = open("turns/d/made", O_WRONLY | O_CREAT | O_EXCL, 0644);
    may_miss("create", fd);
    close(fd);
    may_miss("rename", rename("turns/d/made", "turns/d/moved"));
    may_miss("unlink", unlink("turns/d/moved"));
    may_miss("link", link("turns/d/t", "turns/d/linked"));
    may_miss("unlink of a link", unlink("turns/d/linked"));
    may_miss("mkdir", mkdir("turns/d/sub", 0755));
    may_miss("rmdir", rmdir("turns/d/sub"));
    may_miss("symlink", symlink("t", "turns/d/link"));
    may_miss("unlink of a symbolic link", unlink("turns/d/link"));
}

static void work(time_t end)
{
    for (unsigned round = 0; round < ROUNDS || time(NULL) < end; round++) {
        read_by_open();
        read_by_path_descriptor();
        read_by_stream();
        look();
        change(round);
        if (of_directory) {
            look_for_what_is_removed();
            change_names();
            go_there();
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 4 || chdir(argv[1]) < 0)
        return 2;
    of_directory = strcmp(argv[2], "directory") == 0;
    file = of_directory ? "turns/d/t" : "turns/f";
    snprintf(target, sizeof target, of_directory ? "%s/turns/far" : "%s/turns/far/t", argv[1]);
    write_new("turns/d/t");
    write_new("turns/far/t");
    write_new("turns/f");
    must("removing", unlink("turns/far/only") == 0);
    must("the link", !of_directory || symlink(target, "turns/aside") == 0);
    pid_t turning = start_turning();
    work(time(NULL) + atoi(argv[3]));
    int status;
    must("turning to the end", waitpid(turning, &status, WNOHANG) == 0);
    kill(turning, SIGKILL);
    return 0;
}
