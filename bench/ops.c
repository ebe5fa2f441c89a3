// SPDX-License-Identifier: MIT
//
// Measures one operation in a loop, so that no process start is in it: nanoseconds an operation, in the first pass over
// the objects and in the later ones.
//
//     bench_ops OPERATION absolute|relative|dirfd DIRECTORY COUNT PASSES [PROCESSES]
//     bench_ops memory                                bytes that only this process has in memory
//
// PROCESSES do the same side by side, each pass beginning together; told is what one operation takes in one of them.

#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ops.h"
#include "timing.h"

struct job {
    const struct op *op;
    const char *by, *directory;
    int count, passes, processes;
};

// What the processes share: who has come to which pass, and what each took.
struct shared {
    atomic_int arrived;
    double taken[];
};

static struct place place_of(const struct job *job, int process)
{
    struct place p = {.at = AT_FDCWD, .process = process};
    if (strcmp(job->by, "absolute") == 0) {
        snprintf(p.prefix, sizeof p.prefix, "%s/", job->directory);
        return p;
    }
    if (strcmp(job->by, "dirfd") == 0) {
        p.at = open(job->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (p.at < 0)
            timing_fail(job->directory);
        return p;
    }
    if (strcmp(job->by, "relative") != 0 || chdir(job->directory) < 0)
        timing_fail(job->directory);
    return p;
}

static char *named(const struct place *p, const struct op *op, const char *format, int number)
{
    char *name = NULL;
    char mine[32] = "";
    char text[PATH_MAX];
    if (op->is_own)
        snprintf(mine, sizeof mine, "p%d-", p->process);
    snprintf(text, sizeof text, format, number);
    if (asprintf(&name, "%s%s%s", p->prefix, mine, text) < 0)
        timing_fail("asprintf");
    return name;
}

static struct object *objects_of(const struct job *job, const struct place *p)
{
    struct object *objects = calloc((size_t)job->count, sizeof *objects);
    for (int i = 0; objects && i < job->count; i++)
        objects[i] = (struct object){i, named(p, job->op, job->op->object, i),
                                     job->op->other ? named(p, job->op, job->op->other, i) : NULL};
    if (!objects)
        timing_fail("calloc");
    return objects;
}

// Until all have come to this pass.
static void meet(struct shared *shared, const struct job *job, int pass)
{
    if (job->processes == 1)
        return;
    atomic_fetch_add(&shared->arrived, 1);
    while (atomic_load(&shared->arrived) < (pass + 1) * job->processes)
        sched_yield();
}

static void work(const struct job *job, struct shared *shared, int process)
{
    struct place p = place_of(job, process);
    struct object *objects = objects_of(job, &p);
    for (int pass = 0; pass < job->passes; pass++) {
        for (int i = 0; job->op->before && i < job->count; i++)
            job->op->before(&p, &objects[i]);
        meet(shared, job, pass);
        double start = timing_now();
        for (int i = 0; i < job->count; i++)
            job->op->run(&p, &objects[i]);
        shared->taken[process * job->passes + pass] = (timing_now() - start) / job->count;
    }
}

static int work_side_by_side(const struct job *job, struct shared *shared)
{
    for (int process = 0; process < job->processes; process++)
        if (fork() == 0) {
            work(job, shared, process);
            _exit(0);
        }
    int bad = 0, status;
    while (wait(&status) > 0)
        if (status != 0 && !bad) {
            bad = 1;
            atomic_store(&shared->arrived, 1 << 30); // nobody waits for it
        }
    return bad;
}

// The mean over the processes, pass for pass.
static void report(const struct job *job, const struct shared *shared)
{
    double *mean = calloc((size_t)job->passes, sizeof *mean);
    if (!mean)
        timing_fail("calloc");
    for (int i = 0; i < job->processes * job->passes; i++)
        mean[i % job->passes] += shared->taken[i] / job->processes;
    timing_report(mean, (size_t)job->passes);
    free(mean);
}

static int memory(void)
{
    FILE *rollup = fopen("/proc/self/smaps_rollup", "r");
    if (!rollup)
        timing_fail("/proc/self/smaps_rollup");
    char line[256];
    long bytes = 0, kilobytes;
    while (fgets(line, sizeof line, rollup))
        if (sscanf(line, "Private_Clean: %ld", &kilobytes) == 1 || sscanf(line, "Private_Dirty: %ld", &kilobytes) == 1)
            bytes += kilobytes * 1024;
    fclose(rollup);
    printf("first %ld\n", bytes);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "memory") == 0)
        return memory();
    if (argc < 6 || argc > 7 || !op_of(argv[1])) {
        fputs("usage: bench_ops OPERATION absolute|relative|dirfd DIRECTORY COUNT PASSES [PROCESSES]\n", stderr);
        return 2;
    }
    struct job job = {op_of(argv[1]), argv[2], argv[3], atoi(argv[4]), atoi(argv[5]), argc > 6 ? atoi(argv[6]) : 1};
    size_t size = sizeof(struct shared) + (size_t)(job.passes * job.processes) * sizeof(double);
    struct shared *shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        timing_fail("mmap");
    if (job.processes == 1)
        work(&job, shared, 0);
    else if (work_side_by_side(&job, shared))
        return 1;
    report(&job, shared);
    return 0;
}
