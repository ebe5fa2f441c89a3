/* SPDX-License-Identifier: MIT
 *
 * Unix sockets: names that go to the kernel become layer paths, names that come back merged ones.
 *
 * A socket is made in the upper under its layer path, so that every process inside can turn the
 * name that the kernel remembers back.  Where that path does not fit sun_path, the kernel gets
 * it as a name below a descriptor's directory in /proc: it works, but such a name can't be turned back.
 * Only names in an upper are: a socket that lies in a lower was bound by somebody outside.
 */
#define _GNU_SOURCE
#include "boundary.h"
#include "real.h"
#include "sys.h"
#include "wrap.h"

#include <pthread.h>
#include <string.h>
#include <sys/un.h>

#define PATH_AT offsetof(struct sockaddr_un, sun_path)
#define MESSAGES_MAX 1024 /* the kernel takes no more at once (UIO_MAXIOV) */
#define PATH_ROOM sizeof(((struct sockaddr_un *)0)->sun_path)

/* An address as the kernel is to get it. */
struct target {
    struct sockaddr_un un;
    socklen_t length;
    int dir; /* descriptor that the path goes through, or -1 */
};

/* ---- names that go to the kernel ---------------------------------------------------------------- */

/* Whether an address is a file name, put into path (PATH_ROOM + 1 bytes). */
static bool is_file_name(const struct sockaddr *address, socklen_t length, char *path)
{
    if (!address || length <= PATH_AT || length > sizeof(struct sockaddr_un) || address->sa_family != AF_UNIX)
        return false;
    const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)address;
    size_t n = length - PATH_AT;
    memcpy(path, un->sun_path, n);
    path[n] = '\0';
    return path[0];
}

/* "/proc/self/fd/N/" + name in place of a path that is too long. */
static int through_directory(struct ovl_ctx *ctx, struct target *to, const char *real)
{
    static const char prefix[] = "/proc/self/fd/";
    const char *slash = strrchr(real, '/');
    size_t mark = ctx->used;
    char *dir = ovl_ctx_alloc(ctx, OVL_REAL_MAX);
    if (!dir)
        return -ENOMEM;
    memcpy(dir, real, (size_t)(slash - real));
    dir[slash - real] = '\0';
    to->dir = ovl_ops_kernel.open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    ovl_ctx_reset(ctx, mark);
    if (to->dir < 0)
        return to->dir;

    char number[24], *digit = number + sizeof number;
    int rest = to->dir;
    do
        *--digit = (char)('0' + rest % 10);
    while ((rest /= 10) > 0);
    size_t prefix_length = sizeof prefix - 1, digits = (size_t)(number + sizeof number - digit);
    if (prefix_length + digits + strlen(slash) >= PATH_ROOM)
        return -ENAMETOOLONG;
    memcpy(to->un.sun_path, prefix, prefix_length);
    memcpy(to->un.sun_path + prefix_length, digit, digits);
    memcpy(to->un.sun_path + prefix_length + digits, slash, strlen(slash) + 1);
    return 0;
}

static void close_target(const struct target *to)
{
    if (to->dir >= 0)
        ovl_sys_close(to->dir);
}

static int set_target(struct ovl_ctx *ctx, struct target *to, const char *real)
{
    int r = 0;
    size_t length = strlen(real);
    to->un.sun_family = AF_UNIX;
    to->dir = -1;
    if (length < PATH_ROOM)
        memcpy(to->un.sun_path, real, length + 1);
    else
        r = through_directory(ctx, to, real);
    if (r < 0)
        close_target(to);
    else
        to->length = (socklen_t)(PATH_AT + strlen(to->un.sun_path) + 1);
    return r;
}

/* The address of an existing socket: SHIM_INSIDE with *to set, SHIM_OUTSIDE when the caller's is right
 * as it is, or an error. */
static int find_target(struct shim_call *call, const struct sockaddr *address, socklen_t length, struct target *to)
{
    char given[PATH_ROOM + 1];
    const char *path = given;
    int dirfd = AT_FDCWD;
    struct ovl_node *node;
    if (!is_file_name(address, length, given))
        return SHIM_OUTSIDE;
    int r = shim_find(call, &dirfd, &path, OVL_FOLLOW, &node);
    if (r == SHIM_OUTSIDE && path == given)
        return r;
    if (r == SHIM_INSIDE && !node->exists)
        return -ENOENT;
    if (r < 0)
        return r;
    r = set_target(&call->ctx, to, r == SHIM_INSIDE ? node->real : path);
    return r < 0 ? r : SHIM_INSIDE;
}

/* What core calls to make the socket, with the lock of the directory held. */
struct binding {
    struct ovl_ctx *ctx;
    int fd;
};

static int bind_at(void *arg, const char *real)
{
    const struct binding *binding = arg;
    struct target to;
    int r = set_target(binding->ctx, &to, real);
    if (r < 0)
        return r;
    r = (int)shim_result(REAL(bind)(binding->fd, (const struct sockaddr *)&to.un, to.length));
    close_target(&to);
    return r;
}

int wrap_bind(int fd, const struct sockaddr *address, socklen_t length)
{
    struct shim_call call;
    char given[PATH_ROOM + 1];
    if (!is_file_name(address, length, given) || !shim_enter(&call))
        return REAL(bind)(fd, address, length);
    const char *path = given;
    int dirfd = AT_FDCWD;
    struct ovl_node *node;
    struct binding binding = {&call.ctx, fd};
    int r = shim_find(&call, &dirfd, &path, OVL_CHANGE, &node);
    if (r == SHIM_OUTSIDE && path == given)
        r = (int)shim_result(REAL(bind)(fd, address, length));
    else if (r == SHIM_OUTSIDE)
        r = bind_at(&binding, path);
    else if (r == SHIM_INSIDE)
        r = ovl_make_with(&call.ctx, node, bind_at, &binding);
    if (r == -EEXIST)
        r = -EADDRINUSE;
    return (int)shim_leave(&call, r);
}

int wrap_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    struct shim_call call;
    struct target to;
    pthread_testcancel();
    if (!address || length <= PATH_AT || address->sa_family != AF_UNIX || !shim_enter(&call))
        return REAL(connect)(fd, address, length);
    long r = find_target(&call, address, length, &to);
    if (r == SHIM_OUTSIDE) {
        r = shim_result(REAL(connect)(fd, address, length));
    } else if (r == SHIM_INSIDE) {
        r = shim_result(REAL(connect)(fd, (const struct sockaddr *)&to.un, to.length));
        close_target(&to);
    }
    return (int)shim_leave(&call, r);
}

ssize_t wrap_sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *address, socklen_t length)
{
    struct shim_call call;
    struct target to;
    pthread_testcancel();
    if (!address || length <= PATH_AT || address->sa_family != AF_UNIX || !shim_enter(&call))
        return REAL(sendto)(fd, buf, n, flags, address, length);
    long r = find_target(&call, address, length, &to);
    if (r == SHIM_OUTSIDE) {
        r = shim_result(REAL(sendto)(fd, buf, n, flags, address, length));
    } else if (r == SHIM_INSIDE) {
        r = shim_result(REAL(sendto)(fd, buf, n, flags, (const struct sockaddr *)&to.un, to.length));
        close_target(&to);
    }
    return shim_leave(&call, r);
}

/* Whether a message names a receiver that could be a file. */
static bool has_file_name(const struct msghdr *message)
{
    const struct sockaddr *address = message->msg_name;
    return address && message->msg_namelen > PATH_AT && address->sa_family == AF_UNIX;
}

ssize_t wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct shim_call call;
    struct target to;
    pthread_testcancel();
    if (!message || !has_file_name(message) || !shim_enter(&call))
        return REAL(sendmsg)(fd, message, flags);
    long r = find_target(&call, message->msg_name, message->msg_namelen, &to);
    if (r == SHIM_OUTSIDE) {
        r = shim_result(REAL(sendmsg)(fd, message, flags));
    } else if (r == SHIM_INSIDE) {
        struct msghdr changed = *message;
        changed.msg_name = &to.un;
        changed.msg_namelen = to.length;
        r = shim_result(REAL(sendmsg)(fd, &changed, flags));
        close_target(&to);
    }
    return shim_leave(&call, r);
}

/* One by one where a name is in it: the kernel does no more than that. */
int wrap_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    unsigned i = 0;
    while (i < count && !has_file_name(&messages[i].msg_hdr))
        i++;
    if (i == count || !shim_is_active())
        return REAL(sendmmsg)(fd, messages, count, flags);
    int before = errno;
    for (i = 0; i < count; i++) {
        ssize_t r = wrap_sendmsg(fd, &messages[i].msg_hdr, flags);
        if (r == -1 && i == 0)
            return -1;
        if (r == -1)
            break;
        messages[i].msg_len = (unsigned)r;
    }
    errno = before;
    return (int)i;
}

/* ---- names that come back ----------------------------------------------------------------------- */

/* Turn the name that the kernel gave into a merged one, in the caller's buffer of `room` bytes; `got`
 * is the whole address, which may be cut off in that buffer. */
static void turn_back(struct shim_call *call, const struct sockaddr_un *got, socklen_t got_length,
                      struct sockaddr *address, socklen_t room, socklen_t *length)
{
    char real[PATH_ROOM + 1];
    if (!is_file_name((const struct sockaddr *)got, got_length, real) || real[0] != '/' ||
        ovl_is_protected(call->ctx.space, real))
        return;
    char *merged = ovl_ctx_alloc(&call->ctx, OVL_PATH_MAX);
    ssize_t n = merged ? ovl_merged_path(call->ctx.space, real, merged, OVL_PATH_MAX) : -1;
    if (n < 0)
        return;
    size_t space = room > PATH_AT ? room - PATH_AT : 0;
    memcpy((char *)address + PATH_AT, merged, (size_t)n + 1 < space ? (size_t)n + 1 : space);
    *length = (socklen_t)(PATH_AT + (size_t)n + 1);
}

/* The call that gives an address once more, for one that the caller's buffer cut off. */
typedef int again(int fd, struct sockaddr *address, socklen_t *length);

static void name_back(int fd, struct sockaddr *address, socklen_t room, socklen_t *length, again *ask)
{
    struct shim_call call;
    struct sockaddr_un whole;
    if (!address || room < sizeof(sa_family_t) || *length <= PATH_AT || address->sa_family != AF_UNIX ||
        !shim_begin(&call, "unix name"))
        return;
    socklen_t got = *length;
    if (got <= room && got <= sizeof whole) {
        memcpy(&whole, address, got);
        turn_back(&call, &whole, got, address, room, length);
    } else if (ask) {
        got = sizeof whole;
        if (ask(fd, (struct sockaddr *)&whole, &got) == 0)
            turn_back(&call, &whole, got, address, room, length);
    }
    shim_leave(&call, 0);
}

static int real_peer(int fd, struct sockaddr *address, socklen_t *length)
{
    return REAL(getpeername)(fd, address, length);
}

static int real_own(int fd, struct sockaddr *address, socklen_t *length)
{
    return REAL(getsockname)(fd, address, length);
}

static socklen_t room_of(const struct sockaddr *address, const socklen_t *length)
{
    return address && length ? *length : 0;
}

int wrap_getsockname(int fd, struct sockaddr *address, socklen_t *length)
{
    socklen_t room = room_of(address, length);
    int r = REAL(getsockname)(fd, address, length);
    if (r == 0)
        name_back(fd, address, room, length, real_own);
    return r;
}

int wrap_getpeername(int fd, struct sockaddr *address, socklen_t *length)
{
    socklen_t room = room_of(address, length);
    int r = REAL(getpeername)(fd, address, length);
    if (r == 0)
        name_back(fd, address, room, length, real_peer);
    return r;
}

int wrap_accept(int fd, struct sockaddr *address, socklen_t *length)
{
    socklen_t room = room_of(address, length);
    int r = REAL(accept)(fd, address, length);
    if (r >= 0)
        name_back(r, address, room, length, real_peer);
    return r;
}

int wrap_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    socklen_t room = room_of(address, length);
    int r = REAL(accept4)(fd, address, length, flags);
    if (r >= 0)
        name_back(r, address, room, length, real_peer);
    return r;
}

ssize_t wrap_recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *address, socklen_t *length)
{
    socklen_t room = room_of(address, length);
    ssize_t r = REAL(recvfrom)(fd, buf, n, flags, address, length);
    if (r >= 0)
        name_back(fd, address, room, length, NULL);
    return r;
}

ssize_t wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
    socklen_t room = message && message->msg_name ? message->msg_namelen : 0;
    ssize_t r = REAL(recvmsg)(fd, message, flags);
    if (r >= 0 && room)
        name_back(fd, message->msg_name, room, &message->msg_namelen, NULL);
    return r;
}

/* The kernel overwrites msg_namelen, so what room each name has is noted before. */
static int receive_named(struct shim_call *call, int fd, struct mmsghdr *messages, unsigned count, int flags,
                         struct timespec *timeout)
{
    if (count > MESSAGES_MAX)
        count = MESSAGES_MAX;
    socklen_t *room = ovl_ctx_alloc(&call->ctx, count * sizeof *room);
    if (!room)
        return -ENOMEM;
    for (unsigned i = 0; i < count; i++)
        room[i] = messages[i].msg_hdr.msg_name ? messages[i].msg_hdr.msg_namelen : 0;
    int r = (int)shim_result(REAL(recvmmsg)(fd, messages, count, flags, timeout));
    for (int i = 0; i < r; i++)
        name_back(fd, messages[i].msg_hdr.msg_name, room[i], &messages[i].msg_hdr.msg_namelen, NULL);
    return r;
}

int wrap_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
    struct shim_call call;
    bool named = false;
    for (unsigned i = 0; i < count && !named; i++)
        named = messages[i].msg_hdr.msg_name != NULL;
    if (!named || !shim_enter(&call))
        return REAL(recvmmsg)(fd, messages, count, flags, timeout);
    return (int)shim_leave(&call, receive_named(&call, fd, messages, count, flags, timeout));
}

#define SHIM_FILE_socket
#include "export.h"
