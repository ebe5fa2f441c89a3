// SPDX-License-Identifier: MIT
//
// Starts a program again and again, as make and shells do, by vfork and exec, and tells how long one takes from the
// vfork until it has ended.  What the program prints on stdout is dropped.
//
//     bench_launch COUNT PROGRAM [ARGUMENT...]      PROGRAM: a path with a slash

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "timing.h"

static double one(char **argv, int nowhere)
{
    double start = timing_now();
    pid_t child = vfork();
    if (child == 0) {
        dup2(nowhere, STDOUT_FILENO);
        execv(argv[0], argv);
        _exit(127);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) < 0)
        timing_fail(argv[0]);
    double taken = timing_now() - start;
    if (status != 0) {
        fprintf(stderr, "%s: wait status %#x\n", argv[0], (unsigned)status);
        exit(1);
    }
    return taken;
}

int main(int argc, char **argv)
{
    long count = argc > 2 ? atol(argv[1]) : 0;
    double *taken = count > 0 ? calloc((size_t)count, sizeof *taken) : NULL;
    if (!taken)
        return 2;
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    for (long i = 0; i < count; i++)
        taken[i] = one(argv + 2, nowhere);
    timing_report(taken, (size_t)count);
    return 0;
}
