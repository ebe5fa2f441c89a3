# SPDX-License-Identifier: MIT
"""Which combinations of operation, kind of object and state of the layers there are, how often each was met, and which
comes next.

An operation is tried on what it can be done to, and on names that are not there.  What is left out, and why, stands in
BY_PATH, BY_FD and IMPOSSIBLE and nowhere else.  It may be tried all the same, but is not counted.
"""

import collections

WANTED = 100  # in a million operations

FOUR = ("lower0", "lower", "copied", "upper")
STATES = {kind: FOUR for kind in ("file", "linked", "link", "fifo", "device", "socket")}
STATES["dir"] = ("lower0", "lower", "merged", "opaque", "upper", "moved")
STATES["none"] = ("none", "whiteout")

DATA = ("file", "linked")
OBJECTS = tuple(kind for kind in STATES if kind not in ("dir", "none"))
EVERY = (*OBJECTS, "dir")
OPENED = ("file", "linked", "fifo", "device", "dir")  # not only by O_PATH


def group(operations, *kinds):
    return {operation: kinds for operation in operations.split()}


# By path.  Kinds that are not here: the operation always says the same of them (ENOTDIR, EISDIR, EINVAL, EEXIST,
# EPERM), or it waits for another process (reading and writing a FIFO).
BY_PATH = {
    **group("stat lstat fstatat statx ident lident xident dident blocks realpath access faccessat", *EVERY, "none"),
    **group("getxattr lgetxattr listxattr llistxattr setxattr lsetxattr removexattr lremovexattr", *EVERY, "none"),
    **group("chmod fchmodat fchmodat2 chown lchown fchownat utimens utimensat setacl", *EVERY, "none"),
    **group("open openat openat2", *EVERY, "none"),
    **group("creat", *DATA, "none"),
    **group("sum put append", *DATA, "link", "device", "none"),
    **group("truncate", *DATA, "link", "none"),
    **group("readlink readlinkat", "link", "none"),
    **group("readdir nftw tree hold chdir opendir tmpfile setdefault", "dir"),
    **group("mkdir mkdirat mkfifo mkfifoat mknod mknodat symlink symlinkat bind link> linkat> linkfd", "none"),
    **group("link linkat unlink unlinkat", *OBJECTS, "none"),
    **group("remove rename renameat renameat2 rename> renameat> renameat2>", *EVERY, "none"),
    **group("renameat2:RENAME_NOREPLACE", *EVERY, "none"),
    **group("renameat2:RENAME_NOREPLACE>", "none"),
    **group("renameat2:RENAME_EXCHANGE renameat2:RENAME_EXCHANGE>", *EVERY),
    **group("rmdir rmdirat", "dir", "none"),
}

# By a descriptor, which may have lost its name; "none" is one that is not open.
READS = "read pread fsum mmapsum sendfile copy_file_range"
WRITES = "write pwrite ftruncate fallocate mmapput"
BY_FD = {
    **group(f"{READS} {WRITES} lseek fsync flock", *DATA),
    **group("fchmod fchown futimens fsetxattr fremovexattr fsetacl fgetxattr flistxattr", *OPENED),
    **group("fstat fident dup close fstatat:fd statx:fd", *EVERY),
    **group("fdpath", *EVERY),
    **group("fchdir getdents getcwd hold_some hold_rest hold_tell hold_seek hold_rewind hold_end", "dir"),
}

IMPOSSIBLE = [
    ("an ordinary user can make no device",
     lambda op, kind, state, user: user and kind == "device"),
    ("what is open for writing was copied up by that; a lock on a lower file is a known limit",
     lambda op, kind, state, user: op in (*WRITES.split(), "flock") and state in ("lower0", "lower")),
    ("a path of what has several names may be any of them, and what has none has no path",
     lambda op, kind, state, user: op == "fdpath" and (kind == "linked" or kind != "dir" and state == "unlinked")),
    ("a removed directory can't be begun to be listed; the kernel has no path for it",
     lambda op, kind, state, user: kind == "dir" and state == "unlinked" and op in ("getcwd", "fdpath", "getdents")),
    ("an O_PATH descriptor is what is left of a link, a device or a socket that has no name",
     lambda op, kind, state, user: state == "unlinked" and kind in ("link", "device", "socket")),
    ("only the number of a file that is in the upper tells it when it has no name",
     lambda op, kind, state, user: op == "fident" and state == "unlinked" and kind in ("linked", "fifo")),
    ("a file that has no name is no longer linked",
     lambda op, kind, state, user: state == "unlinked" and kind == "linked"),
]


def why_impossible(operation, kind, state, user):
    for why, applies in IMPOSSIBLE:
        if applies(operation, kind, state, user):
            return why
    return None


def combinations(user):
    """All (operation, kind, state) that can be met."""
    found = [(op, kind, state) for op, kinds in BY_PATH.items() for kind in kinds for state in STATES[kind]]
    found += [(op, kind, state) for op, kinds in BY_FD.items() for kind in kinds
              for state in (*STATES[kind], "unlinked")]
    return [key for key in found if not why_impossible(*key, user)]


class Tally:
    """How often each combination was met in the cases of one worker."""

    def __init__(self, user):
        self.counts, self.tries = collections.Counter(), collections.Counter()
        self.every = combinations(user)
        self.of = collections.defaultdict(list)  # of a kind and state: the combinations
        for key in self.every:
            self.of[key[1:]].append(key)

    def met(self, operation, kind, state):
        self.counts[operation, kind, state] += 1

    def tried(self, key):
        """A combination was aimed at, whether or not it was met: others' turn."""
        self.tries[key] += 1

    def weight(self, key):
        return self.counts[key] + self.tries[key] / 3

    def rarest(self, dice, objects):
        """Of the combinations with these (kind, state), one that was met seldom; or None."""
        some = [key for what in objects for key in dice.sample(self.of[what], min(6, len(self.of[what])))]
        return min(some, key=self.weight) if some else None

    def subject(self, dice):
        """The kind and state that a case should be about."""
        return min(dice.sample(self.every, min(len(self.every), 200)), key=self.weight)[1:]


def rare(counts, operations, user):
    """(times met, combination) of those that were met too seldom, the rarest first."""
    return sorted((counts.get(key, 0), key) for key in combinations(user)
                  if counts.get(key, 0) * 1_000_000 < WANTED * operations)
