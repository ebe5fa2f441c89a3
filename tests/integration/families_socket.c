/* SPDX-License-Identifier: MIT
 *
 * Scenarios of unix sockets.
 */
#include "families.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- unix sockets ---------------------------------------------------------------------------------- */

static struct sockaddr_un address;

static socklen_t set_address(const char *path)
{
    address.sun_family = AF_UNIX;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
}

static int bind_to(int type, const char *name)
{
    int fd = socket(AF_UNIX, type, 0);
    socklen_t n = set_address(in(name));
    int r = bind(fd, (struct sockaddr *)&address, n);
    printf("bind %s: %s\n", name, r == 0 ? "-" : error_name());
    return fd;
}

static int connect_to(int type, const char *name)
{
    int fd = socket(AF_UNIX, type, 0);
    socklen_t n = set_address(in(name));
    int r = connect(fd, (struct sockaddr *)&address, n);
    printf("connect %s: %s\n", name, r == 0 ? "-" : error_name());
    return fd;
}

static void print_address(const char *what, const struct sockaddr_un *un, socklen_t n, socklen_t room)
{
    size_t shown = (n < room ? n : room) > 2 ? (n < room ? n : room) - 2 : 0;
    printf("%s: length %s [%.*s]\n", what,
           n == 2                                                            ? "none"
           : n == 2 + strlen(root) + 1 + strlen(un->sun_path + strlen(root)) ? "full"
                                                                             : "other",
           (int)shown, un->sun_path);
}

void do_stream_socket(void)
{
    struct sockaddr_un un;
    struct stat st = {0};
    socklen_t n = sizeof un;
    int server = bind_to(SOCK_STREAM, "dir/socket");
    listen(server, 5);
    stat(in("dir/socket"), &st);
    printf("mode %o\n", st.st_mode);
    memset(&un, 0, sizeof un);
    getsockname(server, (struct sockaddr *)&un, &n);
    print_address("own", &un, n, sizeof un);
    memset(&un, 0, sizeof un);
    n = 5;
    getsockname(server, (struct sockaddr *)&un, &n);
    printf("short [%s] %d\n", un.sun_path, n > 5);
    int client = connect_to(SOCK_STREAM, "dir/socket");
    n = sizeof un;
    int there = accept4(server, (struct sockaddr *)&un, &n, SOCK_CLOEXEC);
    printf("accepted %d length %d\n", there >= 0, (int)n);
    memset(&un, 0, sizeof un);
    n = sizeof un;
    getpeername(client, (struct sockaddr *)&un, &n);
    print_address("peer", &un, n, sizeof un);
    char text[4] = "";
    printf("sent %zd", send(client, "abc", 3, 0));
    printf(" received %zd %s\n", recv(there, text, 3, 0), text);
    int named = bind_to(SOCK_STREAM, "client");
    set_address(in("dir/socket"));
    result("named connect", connect(named, (struct sockaddr *)&address, sizeof address));
    memset(&un, 0, sizeof un);
    n = sizeof un;
    result("accept", accept(server, (struct sockaddr *)&un, &n) >= 0);
    print_address("client", &un, n, sizeof un);
}

void do_socket_errors(void)
{
    bind_to(SOCK_STREAM, "again");
    bind_to(SOCK_STREAM, "again");
    bind_to(SOCK_STREAM, "file");
    bind_to(SOCK_STREAM, "dangling");
    bind_to(SOCK_STREAM, "missing/socket");
    bind_to(SOCK_STREAM, "file/socket");
    unlink(in("again"));
    bind_to(SOCK_STREAM, "again");
    unlink(in("dir/file"));
    bind_to(SOCK_STREAM, "dir/file");
    bind_to(SOCK_STREAM, "gone");
    connect_to(SOCK_STREAM, "missing");
    connect_to(SOCK_STREAM, "file");
    connect_to(SOCK_STREAM, "again");
    connect_to(SOCK_STREAM, "missing/socket");
    connect_to(SOCK_DGRAM, "dir/file");
    show_file("gone");
    unlink(in("gone"));
    show_file("gone");
}

void do_datagram_socket(void)
{
    struct sockaddr_un from[2];
    char text[2][8] = {"", ""};
    int a = bind_to(SOCK_DGRAM, "a"), b = bind_to(SOCK_DGRAM, "dir/b");
    socklen_t n = set_address(in("dir/b"));
    result("sendto", sendto(a, "one", 3, 0, (struct sockaddr *)&address, n));
    memset(from, 0, sizeof from);
    n = sizeof from[0];
    result("recvfrom", recvfrom(b, text[0], 8, 0, (struct sockaddr *)&from[0], &n));
    print_address("from", &from[0], n, sizeof from[0]);
    struct iovec out = {"two", 3}, in_to[2] = {{text[0], 8}, {text[1], 8}};
    struct msghdr message = {
        .msg_name = &address, .msg_namelen = set_address(in("dir/b")), .msg_iov = &out, .msg_iovlen = 1};
    result("sendmsg", sendmsg(a, &message, 0));
    struct msghdr got = {.msg_name = &from[0], .msg_namelen = sizeof from[0], .msg_iov = in_to, .msg_iovlen = 1};
    result("recvmsg", recvmsg(b, &got, 0));
    print_address("from", &from[0], got.msg_namelen, sizeof from[0]);
    struct mmsghdr many[2] = {{.msg_hdr = message}, {.msg_hdr = message}};
    result("sendmmsg", sendmmsg(a, many, 2, 0));
    printf("lengths %u %u\n", many[0].msg_len, many[1].msg_len);
    for (int i = 0; i < 2; i++)
        many[i].msg_hdr =
            (struct msghdr){.msg_name = &from[i], .msg_namelen = sizeof from[i], .msg_iov = &in_to[i], .msg_iovlen = 1};
    result("recvmmsg", recvmmsg(b, many, 2, 0, NULL));
    for (int i = 0; i < 2; i++)
        print_address("from", &from[i], many[i].msg_hdr.msg_namelen, sizeof from[i]);
    set_address(in("missing"));
    result("to nobody", sendto(a, "x", 1, 0, (struct sockaddr *)&address, sizeof address));
    result("message to nobody", sendmsg(a, &message, 0));
}
