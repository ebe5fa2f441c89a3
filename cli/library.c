/* SPDX-License-Identifier: MIT
 *
 * libovl.so: where it lies, and what it says when a program is started with it.
 */
#include "library.h"

#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIBRARY "libovl.so"
#define PREFIX "libovl: "

/* The directory of this program, with a '/' at its end; the caller's to free, or NULL. */
static char *own_folder(void)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(path, '/');
    if (!slash)
        return NULL;
    slash[1] = '\0';
    return need(strdup(path));
}

/* Relative to this program, so that a tree that was moved works. */
static char *find_beside(void)
{
    static const char *const places[] = {OVL_LIBRARY_INSTALLED, "../shim/", ""};
    char *folder = own_folder(), *found = NULL;
    for (size_t i = 0; folder && !found && i < sizeof places / sizeof *places; i++) {
        char *path = text("%s%s" LIBRARY, folder, places[i]);
        found = realpath(path, NULL);
        free(path);
    }
    free(folder);
    return found;
}

char *library_find(void)
{
    const char *named = getenv("OVL_LIBRARY");
    bool is_named = named && *named;
    char *library = is_named ? realpath(named, NULL) : find_beside();
    if (!library && is_named)
        complain("OVL_LIBRARY=%s: %s; name libovl.so there, or unset it", named, strerror(errno));
    else if (!library)
        complain(LIBRARY " is not where it was installed; set OVL_LIBRARY to its path");
    if (!library || !strpbrk(library, " :$"))
        return library;
    complain(
        "%s: ld.so loads no library with a blank, a ':' or a '$' in its path; put it elsewhere and set OVL_LIBRARY",
        library);
    free(library);
    return NULL;
}

/* ---- starting -------------------------------------------------------------------------------------- */

/* The first line that comes out of a pipe; all is read. */
static char *read_line(int fd)
{
    char buf[4096];
    size_t length = 0;
    for (ssize_t n = 1; n > 0;) {
        char more[512];
        n = read(fd, more, sizeof more);
        size_t room = sizeof buf - 1 - length, taken = n > 0 ? (size_t)n : 0;
        taken = taken < room ? taken : room;
        memcpy(buf + length, more, taken);
        length += taken;
    }
    buf[length] = '\0';
    buf[strcspn(buf, "\n")] = '\0';
    bool has_prefix = strncmp(buf, PREFIX, strlen(PREFIX)) == 0;
    return need(strdup(has_prefix ? buf + strlen(PREFIX) : buf));
}

static int spawn(char *const *env, int to, pid_t *pid)
{
    char program[] = LIBRARY_STARTER;
    char *argv[] = {program, NULL};
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&files, to, STDERR_FILENO);
    int error = posix_spawn(pid, program, &files, NULL, argv, env);
    posix_spawn_file_actions_destroy(&files);
    return error;
}

int library_start(const char *library, const char *conf, char **line)
{
    char *preload = text("LD_PRELOAD=%s", library), *variable = text("OVL_CONF=%s", conf);
    char *env[] = {preload, variable, NULL};
    int ends[2], how = 0;
    pid_t pid;
    if (pipe2(ends, O_CLOEXEC) < 0)
        no_memory();
    int error = spawn(env, ends[1], &pid);
    close(ends[1]);
    char *said = read_line(ends[0]);
    close(ends[0]);
    bool ended = error == 0 && waitpid(pid, &how, 0) == pid && WIFEXITED(how);
    free(preload);
    free(variable);
    if (line)
        *line = said;
    else
        free(said);
    return ended ? WEXITSTATUS(how) : -1;
}

bool library_is_loaded(const char *library)
{
    /* Loaded, libovl refuses what is no configuration before the program begins. */
    return library_start(library, "=", NULL) == STATUS_REFUSED;
}
