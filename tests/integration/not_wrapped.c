/* SPDX-License-Identifier: MIT
 *
 * Calls functions of libc by their names, each in a process of its own, between two marks that strace shows: what a
 * function asks of the kernel is its reason not to be wrapped (shim/not_wrapped.def, test_not_wrapped.py).
 *
 *   not_wrapped <TABLE    a line a function: NAME ARGUMENT ...
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <locale.h>
#include <pthread.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <wordexp.h>

#define MARK_FD 999 /* that is not open */
#define SIZE 8192

union room {
    char bytes[SIZE];
    struct tm tm;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    glob_t glob;
    wordexp_t words;
    void *pointer;
};

static FILE *made_stream(void)
{
    FILE *stream = tmpfile();
    fputs("root:x:0:0:root:/root:/bin/sh\n", stream);
    rewind(stream);
    return stream;
}

static int made_fd(void)
{
    int fd = fileno(made_stream());
    return fd;
}

/* What an argument stands for: a number, 'text', or something to work on. */
static intptr_t value_of(const char *word, union room *room)
{
    if (strcmp(word, "room") == 0) /* zeros */
        return (intptr_t)room;
    if (strcmp(word, "pointer") == 0) { /* a pointer to room */
        room->pointer = room[1].bytes;
        return (intptr_t)room;
    }
    if (strcmp(word, "time") == 0) {
        *(time_t *)room->bytes = 1000000000;
        return (intptr_t)room;
    }
    if (strcmp(word, "tm") == 0) {
        room->tm.tm_mday = 1;
        return (intptr_t)room;
    }
    if (strcmp(word, "stream") == 0)
        return (intptr_t)made_stream();
    if (strcmp(word, "fd") == 0)
        return made_fd();
    if (strcmp(word, "actions") == 0) {
        posix_spawn_file_actions_init(&room->actions);
        return (intptr_t)room;
    }
    if (strcmp(word, "attributes") == 0) {
        posix_spawnattr_init(&room->attributes);
        return (intptr_t)room;
    }
    if (strcmp(word, "self") == 0)
        return (intptr_t)pthread_self();
    if (strcmp(word, "locale") == 0)
        return (intptr_t)newlocale(LC_ALL_MASK, "C", NULL);
    if (strcmp(word, "handle") == 0)
        return (intptr_t)dlopen(NULL, RTLD_LAZY);
    if (strcmp(word, "addresses") == 0) {
        room->pointer = (void *)(uintptr_t)value_of;
        return (intptr_t)room;
    }
    if (*word == '\'')
        return (intptr_t)strndup(word + 1, strlen(word) - 2);
    return (intptr_t)strtoll(word, NULL, 0);
}

static void mark(const char *text)
{
    if (write(MARK_FD, text, strlen(text)) >= 0)
        abort();
}

/* What the first call of anything costs once is no business of the function's. */
static void warm_up(void)
{
    char text[64];
    snprintf(text, sizeof text, "%f", 1.0);
    free(malloc(100000));
    stdin = freopen("/dev/null", "r", stdin);
}

/* Those for old programs alone have no default version. */
static void *find(const char *name)
{
    static const char *const versions[] = {"GLIBC_2.2.5", "GLIBC_2.17", "GLIBC_2.3.2", "GLIBC_2.9"};
    void *found = dlsym(RTLD_DEFAULT, name);
    for (size_t i = 0; !found && i < sizeof versions / sizeof *versions; i++)
        found = dlvsym(RTLD_DEFAULT, name, versions[i]);
    return found;
}

static int call(const char *name, char **words, int count)
{
    static union room room[8][2];
    intptr_t a[8] = {0};
    intptr_t (*function)(intptr_t, intptr_t, intptr_t, intptr_t, intptr_t, intptr_t, intptr_t, intptr_t);
    for (int i = 0; i < count; i++)
        a[i] = value_of(words[i], room[i]);
    *(void **)&function = find(name);
    if (!function)
        return 3;
    mark(name);
    errno = 0;
    int r = (int)function(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
    int error = errno;
    mark("end");
    return r == -1 && error == ENOSYS ? 4 : 0;
}

static void probe(char *line)
{
    char *words[10];
    int count = 0;
    for (char *word = strtok(line, " \n"); word && count < 10; word = strtok(NULL, " \n"))
        words[count++] = word;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(10);
        warm_up();
        _exit(call(words[0], words + 1, count - 1));
    }
    int status;
    waitpid(pid, &status, 0);
    printf("%s %d\n", words[0], WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

int main(void)
{
    char lines[1000][128];
    int count = 0;
    while (count < 1000 && fgets(lines[count], sizeof lines[0], stdin))
        count++;
    for (int i = 0; i < count; i++)
        probe(lines[i]);
    return 0;
}
