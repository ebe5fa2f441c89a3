/* SPDX-License-Identifier: MIT
 *
 * opsh: other processes, beside the one that keeps its cwd and its descriptors.
 */
#include "opsh.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void flush_and_leave(void)
{
    fflush(stdout);
    _exit(0);
}

static void reap(pid_t pid)
{
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
        printf("(process failed)\n");
}

/* other OPERATION...: done by a forked process. */
static void do_other(char **a)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        run_words(a + 1);
        flush_and_leave();
    }
    reap(pid);
}

/* A pipe that holds the operation for a new program, and what tells that one which descriptor is in which slot. */
static int prepare_program(char **words, char **argv)
{
    static char line[4096], slots[SLOTS][32];
    int ends[2], n = 0;
    line[0] = '\0';
    argv[n++] = "opsh";
    for (; *words; words++)
        strcat(strcat(line, *words), " ");
    for (int i = 0; i < SLOTS; i++)
        if (slot[i] >= 0) {
            sprintf(slots[i], "%d=%d", i, slot[i]);
            argv[n++] = slots[i];
        }
    argv[n] = NULL;
    if (pipe(ends) || write(ends[1], line, strlen(line)) < 0)
        exit(2);
    close(ends[1]);
    fflush(stdout);
    return ends[0];
}

static void become(int in, char **argv)
{
    dup2(in, 0);
    execv("/proc/self/exe", argv);
    _exit(1);
}

/* program OPERATION...: done by a new program, which has inherited cwd and descriptors. */
static void do_program(char **a)
{
    char *argv[SLOTS + 2];
    int in = prepare_program(a + 1, argv);
    pid_t pid = fork();
    if (pid == 0)
        become(in, argv);
    close(in);
    reap(pid);
}

/* vforked OPERATION...: the same, started from a child that shares memory. */
static void do_vforked(char **a)
{
    char *argv[SLOTS + 2];
    int in = prepare_program(a + 1, argv);
    pid_t pid = vfork();
    if (pid == 0)
        become(in, argv);
    close(in);
    reap(pid);
}

/* pass FROM TO: a descriptor comes back from another process, over a socket. */
static void do_pass(char **a)
{
    int ends[2], fd = fd_of(a[1]);
    char byte = 'x';
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof fd)];
    } control;
    struct iovec io = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &io, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
        exit(2);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
        _exit(sendmsg(ends[1], &message, 0) != 1);
    }
    fd = -1;
    if (recvmsg(ends[0], &message, 0) == 1 && CMSG_FIRSTHDR(&message))
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    close(ends[0]);
    close(ends[1]);
    reap(pid);
    keep(a[2], fd);
}

const struct op process_ops[] = {
    {"other", 1, do_other}, {"program", 1, do_program}, {"vforked", 1, do_vforked}, {"pass", 2, do_pass},
    {NULL, 0, NULL},
};
