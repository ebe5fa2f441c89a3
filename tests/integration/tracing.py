# SPDX-License-Identifier: MIT
"""What reaches the kernel, as strace tells it, and what must not (C-3.1): with a mount that is not on disk, no system
call names a path below it, and none opens a lower layer for writing or changes what is in it."""

import re

STRACE = ["strace", "-f", "--seccomp-bpf", "-y", "-s", "5000", "-e", "trace=%file,%desc,getcwd", "-A", "-o"]

# Arguments that are no paths for the kernel to follow: what a program runs with, a link's target.
NO_PATH = re.compile(r"^(execve|execveat|symlink|symlinkat|readlink|readlinkat|getcwd|write|pwrite64|read|pread64)\(")
CHANGES = re.compile(r"^(unlink|unlinkat|rmdir|rename|renameat|renameat2|link|linkat|symlink|symlinkat|mkdir|mkdirat|mknod|"
                     r"mknodat|chmod|fchmodat|fchmodat2|chown|lchown|fchownat|truncate|utimensat|utime|utimes|futimesat|"
                     r"setxattr|lsetxattr|removexattr|lremovexattr|creat|mount|bind)\(")
BY_DESCRIPTOR = re.compile(r"^(write|pwrite64|ftruncate|fallocate|copy_file_range|sendfile|fchmod|fchown|fsetxattr|"
                           r"fremovexattr)\(")
# What the kernel answers where the descriptor is open for reading (data) or as a path (metadata), and to an empty path.
REFUSED = re.compile(r" = -1 EBADF |^ftruncate\(.* = -1 EINVAL |, \"\".* = -1 ENOENT ")
OPEN = re.compile(r"^(open|openat|openat2)\(")
WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_TMPFILE")


def system_calls(text):
    """Calls as 'name(arguments) = result', joined where strace split them over lines, without the pid."""
    unfinished = {}
    for line in text.splitlines():
        pid, _, call = line.partition(" ")
        call = call.lstrip()
        if call.endswith("<unfinished ...>"):
            unfinished[pid] = call[:-len("<unfinished ...>")]
            continue
        resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", call)
        yield unfinished.pop(pid, "") + resumed.group(1) if resumed else call


STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
DESCRIBED = re.compile(r"\d+<([^>]*)>")


def strings(call):
    return STRING.findall(call)


def below(path, folder):
    return path == folder or path.startswith(folder + "/")


def offences(calls, mount, lowers):
    """mount None: it is on disk."""
    for call in calls:
        name, paths = call.partition("(")[0], strings(call)
        if name == "newfstatat" and paths[:1] == [mount]:
            continue  # the start looks whether the mount is a file (C-1.6)
        if mount and names_mount(call, name, paths, mount):
            yield f"names a path below the mount: {call}"
        elif (CHANGES.match(call) or BY_DESCRIPTOR.match(call) or OPEN.match(call)) and not REFUSED.search(call):
            # strace -y shows the path of a descriptor argument.
            descriptors = DESCRIBED.findall(call.split(") = ")[0])
            if any(changes(call, name, paths, descriptors, lower) for lower in lowers):
                yield f"changes a lower layer: {call}"


def names_mount(call, name, paths, mount):
    if NO_PATH.match(call):
        return name in ("execve", "execveat", "readlink", "readlinkat") and below((paths or [""])[0], mount)
    return any(below(path, mount) for path in paths)


def changes(call, name, paths, descriptors, lower):
    """Whether a call that may change something changes this layer."""
    if BY_DESCRIPTOR.match(call):
        index = 1 if name == "copy_file_range" else 0
        return len(descriptors) > index and below(descriptors[index], lower)
    if OPEN.match(call) and not WRITES.search(call):
        return False
    if name in ("symlink", "symlinkat"):
        paths = paths[1:]  # the target is only text
    relative = any(not path.startswith("/") for path in paths[:1]) and any(below(d, lower) for d in descriptors)
    return relative or any(below(path, lower) for path in paths)


def read(path):
    with open(path, errors="surrogateescape") as f:
        return list(system_calls(f.read()))
