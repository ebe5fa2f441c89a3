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


def strings(call):
    return re.findall(r'"((?:[^"\\]|\\.)*)"', call)


def below(path, folder):
    return folder is not None and (path == folder or path.startswith(folder + "/"))


def descriptor_below(call, folder):
    """A descriptor argument (strace -y shows its path) that is the folder or in it."""
    return any(below(path, folder) for path in re.findall(r"\d+<([^>]*)>", call.split(") = ")[0]))


def offences(calls, mount, lowers, starts=1):
    """mount None: it is on disk.  starts: how many first processes there were."""
    for call in calls:
        name = call.partition("(")[0]
        if starts and name == "newfstatat" and strings(call)[:1] == [mount]:
            starts -= 1  # each start looks once whether the mount is a file (C-1.6)
            continue
        if not NO_PATH.match(call) and any(below(s, mount) for s in strings(call)):
            yield f"names a path below the mount: {call}"
        elif name in ("execve", "execveat") and below((strings(call) or [""])[0], mount):
            yield f"executes a path below the mount: {call}"
        elif name in ("readlink", "readlinkat") and any(below(s, mount) for s in strings(call)[:1]):
            yield f"reads a link below the mount: {call}"
        for lower in lowers:
            paths = [below(s, lower) for s in strings(call)]
            if OPEN.match(call) and WRITES.search(call) and (any(paths) or relative_below(call, lower)):
                yield f"opens a lower layer for writing: {call}"
            elif CHANGES.match(call) and changed(name, paths, call, lower):
                yield f"changes a lower layer: {call}"
            elif name in ("fchmod", "fchown", "ftruncate", "fsetxattr", "fremovexattr", "fallocate", "pwrite64", "write",
                          "copy_file_range", "sendfile") and written_descriptor(name, call, lower):
                yield f"changes a lower layer: {call}"


def relative_below(call, lower):
    return any(not s.startswith("/") for s in strings(call)[:1]) and descriptor_below(call, lower)


def changed(name, paths, call, lower):
    """A link's target and a source that is only read are no changes; but nothing may link a lower file."""
    if name in ("symlink", "symlinkat"):
        paths = paths[1:]
    return any(paths) or relative_below(call, lower)


def written_descriptor(name, call, lower):
    described = re.findall(r"\d+<([^>]*)>", call.split(") = ")[0])
    index = {"copy_file_range": 1}.get(name, 0)
    return len(described) > index and below(described[index], lower)


def read(path):
    with open(path, errors="surrogateescape") as f:
        return list(system_calls(f.read()))
