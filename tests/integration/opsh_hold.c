/* SPDX-License-Identifier: MIT
 *
 * opsh's directory streams that are held open while their directory changes.  POSIX leaves open whether a change
 * shows in such a stream, and each file system has an order of its own.  So an answer says only what must hold on all
 * of them: each name that was there all the time comes, and none comes twice (C-2.5).  What was there is asked of a
 * second stream, when the first is opened and when it ends.
 */
#include "opsh.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAMES = 1024 };

struct names {
    struct {
        char *name;
        ino_t ino;
    } entry[NAMES];
    size_t count;
};

static struct held {
    DIR *stream;
    struct names before, seen;
    long position; /* -1: none that is valid */
    size_t seen_at_position;
} held[SLOTS];

static struct held *held_of(const char *word)
{
    struct held *h = &held[number(word) % SLOTS];
    errno = EBADF;
    return h;
}

static void cut(struct names *n, size_t count)
{
    while (n->count > count)
        free(n->entry[--n->count].name);
}

static void add(struct names *n, const struct dirent *e)
{
    if (n->count == NAMES)
        return;
    n->entry[n->count].name = strdup(e->d_name);
    n->entry[n->count++].ino = e->d_ino;
}

static size_t times_in(const struct names *n, const char *name)
{
    size_t times = 0;
    for (size_t i = 0; i < n->count; i++)
        times += strcmp(n->entry[i].name, name) == 0;
    return times;
}

/* Whether the object is still there, and not another one of its name. */
static bool is_still_in(const struct names *n, const char *name, ino_t ino)
{
    for (size_t i = 0; i < n->count; i++)
        if (n->entry[i].ino == ino && strcmp(n->entry[i].name, name) == 0)
            return true;
    return false;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* What a new stream of the same directory has now. */
static void list_now(int fd, struct names *n)
{
    int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = own < 0 ? NULL : fdopendir(own);
    cut(n, 0);
    for (struct dirent *e; d && (e = readdir(d));)
        add(n, e);
    if (d)
        closedir(d);
    else if (own >= 0)
        close(own);
}

static void begin(struct held *h)
{
    cut(&h->seen, 0);
    h->position = -1;
    list_now(dirfd(h->stream), &h->before);
    qsort(h->before.entry, h->before.count, sizeof *h->before.entry, by_name);
}

static void end(struct held *h)
{
    if (h->stream)
        closedir(h->stream);
    cut(&h->seen, 0);
    cut(&h->before, 0);
    h->stream = NULL;
}

/* hold SLOT PATH */
static void do_hold(char **a)
{
    struct held *h = held_of(a[1]);
    end(h);
    h->stream = opendir(a[2]);
    int saved = errno;
    if (h->stream)
        begin(h);
    errno = saved;
    say(h->stream ? 0 : -1);
}

static bool read_entries(struct held *h, size_t most)
{
    struct dirent *e = NULL;
    while (most-- > 0 && (e = readdir(h->stream)))
        add(&h->seen, e);
    return e;
}

/* hold_some SLOT N: read at most so many entries. */
static void do_hold_some(char **a)
{
    struct held *h = held_of(a[1]);
    if (h->stream)
        read_entries(h, (size_t)number(a[2]));
    say(h->stream ? 0 : -1);
}

static void do_hold_tell(char **a)
{
    struct held *h = held_of(a[1]);
    if (h->stream) {
        h->position = telldir(h->stream);
        h->seen_at_position = h->seen.count;
    }
    say(h->stream ? 0 : -1);
}

static void do_hold_seek(char **a)
{
    struct held *h = held_of(a[1]);
    if (h->stream && h->position >= 0) {
        seekdir(h->stream, h->position);
        cut(&h->seen, h->seen_at_position);
    }
    say(h->stream ? 0 : -1);
}

static void do_hold_rewind(char **a)
{
    struct held *h = held_of(a[1]);
    if (h->stream) {
        rewinddir(h->stream);
        begin(h);
    }
    say(h->stream ? 0 : -1);
}

/* hold_rest SLOT: read to the end, and say what is wrong with all that came. */
static void do_hold_rest(char **a)
{
    struct held *h = held_of(a[1]);
    struct names after = {.count = 0};
    if (!h->stream) {
        say(-1);
        return;
    }
    while (read_entries(h, NAMES)) {
    }
    list_now(dirfd(h->stream), &after);
    fputs("ok", stdout);
    for (size_t i = 0; i < h->before.count; i++) {
        const char *name = h->before.entry[i].name;
        size_t times = times_in(&h->seen, name);
        if (times != 1 && is_still_in(&after, name, h->before.entry[i].ino)) {
            printf(times ? " twice:" : " missing:");
            put_escaped(name, strlen(name));
        }
    }
    putchar('\n');
    cut(&after, 0);
}

static void do_hold_end(char **a)
{
    struct held *h = held_of(a[1]);
    bool open = h->stream;
    end(h);
    errno = EBADF;
    say(open ? 0 : -1);
}

const struct op hold_ops[] = {
    {"hold", 2, do_hold},
    {"hold_some", 2, do_hold_some},
    {"hold_tell", 1, do_hold_tell},
    {"hold_seek", 1, do_hold_seek},
    {"hold_rewind", 1, do_hold_rewind},
    {"hold_rest", 1, do_hold_rest},
    {"hold_end", 1, do_hold_end},
    {NULL, 0, NULL},
};
