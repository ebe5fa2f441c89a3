/* SPDX-License-Identifier: MIT
 *
 * How far long work is.
 */
#include "progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define EVERY 0.1       /* seconds between two lines */
#define ESTIMATE_FROM 1 /* seconds that must have gone by */

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

bool progress_is_wanted(void)
{
    return isatty(STDERR_FILENO);
}

void progress_begin(struct progress *p, const char *doing, uint64_t files_all, uint64_t bytes_all)
{
    *p = (struct progress){.doing = doing, .files_all = files_all, .bytes_all = bytes_all};
    p->began = p->told = progress_is_wanted() ? now() : 0;
}

static void print_bytes(uint64_t bytes)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double n = (double)bytes;
    unsigned i = 0;
    for (; n >= 1024 && i + 1 < sizeof unit / sizeof *unit; i++)
        n /= 1024;
    fprintf(stderr, i ? "%.1f %s" : "%.0f %s", n, unit[i]);
}

/* The part that is done, a file counting as some bytes; below 0 where it is not known. */
static double part_done(const struct progress *p)
{
    const double file = 4096;
    double all = (double)p->bytes_all + file * (double)p->files_all;
    double done = (double)p->bytes + (p->files_all ? file * (double)p->files : 0);
    return all > 0 ? done / all : -1;
}

static void print(const struct progress *p, double since)
{
    double part = part_done(p);
    fprintf(stderr, "\r\033[K%s: %llu", p->doing, (unsigned long long)p->files);
    if (p->files_all)
        fprintf(stderr, " of %llu", (unsigned long long)p->files_all);
    fputs(" files, ", stderr);
    print_bytes(p->bytes);
    if (part > 0 && part <= 1) {
        fprintf(stderr, ", %.0f %%", part * 100);
        if (since > ESTIMATE_FROM)
            fprintf(stderr, ", %.0f s left", since / part - since);
    }
    fflush(stderr);
}

void progress_add(struct progress *p, uint64_t files, uint64_t bytes)
{
    p->files += files;
    p->bytes += bytes;
    if (p->began <= 0)
        return;
    double time = now();
    if (time - p->told < EVERY)
        return;
    p->told = time;
    p->shown = true;
    print(p, time - p->began);
}

void progress_end(struct progress *p)
{
    if (p->shown)
        fputs("\r\033[K", stderr);
    p->shown = false;
}
