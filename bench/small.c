// SPDX-License-Identifier: MIT
//
// A program as short as those that a build starts by the thousand: it opens some headers and ends.
//
//     bench_small DIRECTORY COUNT      DIRECTORY/h0.h, h1.h ...

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef BENCH_NEEDED
int bench_needed(void);
#else
static int bench_needed(void)
{
    return 0;
}
#endif

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    for (int i = 0; i < atoi(argv[2]); i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/h%d.h", argv[1], i);
        int fd = open(path, O_RDONLY);
        if (fd < 0) {
            perror(path);
            return 1;
        }
        close(fd);
    }
    return bench_needed();
}
