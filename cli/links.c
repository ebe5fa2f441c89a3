/* SPDX-License-Identifier: MIT
 *
 * Names of hard-linked files: an open hash table of numbers, and a file of names.
 */
#include "links.h"

#include "output.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_BEGIN 64

struct link_entry {
    dev_t dev;
    ino_t ino;
    off_t at;      /* of its name, + 1; 0: free */
    size_t length; /* of that */
};

static struct link_entry *find(const struct links *links, dev_t dev, ino_t ino)
{
    uint64_t hash = ((uint64_t)ino ^ (uint64_t)dev << 40) * 0x9e3779b97f4a7c15u;
    for (size_t i = (size_t)(hash >> 20);; i++) {
        struct link_entry *e = &links->entry[i & (links->size - 1)];
        if (!e->at || (e->ino == ino && e->dev == dev))
            return e;
    }
}

static void grow(struct links *links)
{
    struct links bigger = {.size = links->size ? links->size * 2 : SIZE_BEGIN};
    bigger.entry = need(calloc(bigger.size, sizeof *bigger.entry));
    for (size_t i = 0; i < links->size; i++)
        if (links->entry[i].at)
            *find(&bigger, links->entry[i].dev, links->entry[i].ino) = links->entry[i];
    free(links->entry);
    links->entry = bigger.entry;
    links->size = bigger.size;
}

static char *read_name(const struct links *links, const struct link_entry *e)
{
    char *name = need(malloc(e->length + 1));
    if (fseeko(links->names, e->at - 1, SEEK_SET) == 0 && fread(name, 1, e->length, links->names) == e->length) {
        name[e->length] = '\0';
        return name;
    }
    free(name);
    if (!errno)
        errno = EIO;
    return NULL;
}

static void keep(struct links *links, struct link_entry *e, const struct stat *st, const char *name)
{
    size_t length = strlen(name);
    if (!links->names)
        links->names = tmpfile();
    if (!links->names || fseeko(links->names, 0, SEEK_END) < 0)
        return;
    off_t at = ftello(links->names);
    if (at < 0 || fwrite(name, 1, length, links->names) != length)
        return;
    *e = (struct link_entry){.dev = st->st_dev, .ino = st->st_ino, .at = at + 1, .length = length};
    links->count++;
    errno = 0;
}

char *links_first(struct links *links, const struct stat *st, const char *name)
{
    errno = 0;
    if (st->st_nlink < 2 || S_ISDIR(st->st_mode))
        return NULL;
    if (links->count * 2 >= links->size)
        grow(links);
    struct link_entry *e = find(links, st->st_dev, st->st_ino);
    if (e->at)
        return read_name(links, e);
    keep(links, e, st, name);
    return NULL;
}

void links_free(struct links *links)
{
    free(links->entry);
    if (links->names)
        fclose(links->names);
    *links = (struct links){.entry = NULL};
}
