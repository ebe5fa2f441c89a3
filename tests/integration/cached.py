#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Processes that change names, and others that look at them, in one tree: run by test_cache.py inside an overlay.

    cached.py change TREE SECONDS SEED work|kill      then: tell how many answers were judged, and wait for a line
    cached.py tell TREE                               everything that can be asked of every name, a line each

A slot is a name, or two, that one process at a time changes from one known state into the other.  It has a counter in
shared memory, odd while it changes: an answer that began and ended at the same even number must be that state's.
"""

import ctypes
import itertools
import mmap
import os
import random
import signal
import stat
import sys
import time

DIRECTORIES = ("p0", "p1", "p2/deep", "p3")
KINDS = ("file", "link", "directory", "swap", "moved", "moved_directory", "closed")
EACH = 2  # slots of a kind in a directory
WRITERS, READERS = 2, 2


def names_of(kind, number):
    base = f"{kind}{number}"
    return (base, base + "b") if kind.startswith("moved") else (base,)


def slots():
    return list(itertools.product(DIRECTORIES, KINDS, range(EACH)))


def ignoring(*errors):
    class Ignoring:
        def __enter__(self):
            return self

        def __exit__(self, kind, error, _):
            return kind is not None and issubclass(kind, errors)
    return Ignoring()


def put(path, text):
    aside = f"{os.path.dirname(path)}/aside-{os.path.basename(path)}"
    with open(aside, "w") as f:
        f.write(text)
    os.rename(aside, path)


def remove(path):
    with ignoring(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            os.chmod(path, 0o755)
            for name in os.listdir(path):
                os.unlink(f"{path}/{name}")
            os.rmdir(path)
        else:
            os.unlink(path)


def make_directory(path):
    with ignoring(FileExistsError):
        os.mkdir(path)
    if not os.path.lexists(f"{path}/in"):
        put(f"{path}/in", "in")


class Slot:
    def __init__(self, tree, where, kind, number):
        self.kind = kind
        self.folder = f"{tree}/{where}"
        self.paths = [f"{self.folder}/{name}" for name in names_of(kind, number)]

    def found(self):
        """The state that the layers begin with."""
        path = self.paths[0]
        if self.kind == "swap":
            return os.path.isdir(path)
        if self.kind == "closed":
            return True
        return os.path.lexists(path)

    def change(self, to):
        """Whatever a killed process has left."""
        path = self.paths[0]
        if self.kind.startswith("moved"):
            old, new = self.paths if not to else self.paths[::-1]
            if os.path.lexists(old):
                remove(new)
                os.rename(old, new)
            elif not os.path.lexists(new):
                make_directory(new) if self.kind == "moved_directory" else put(new, "moved")
        elif self.kind == "swap":
            if to != os.path.isdir(path):
                remove(path)
            make_directory(path) if to else put(path, "swap")
        elif self.kind == "closed":
            with ignoring(FileExistsError):
                os.mkdir(path)
            if to:
                os.chmod(path, 0o755)
                make_directory(path)
            else:
                os.chmod(path, 0)
        elif not to:
            remove(path)
        elif self.kind == "file":
            put(path, "file")
        elif self.kind == "link":
            with ignoring(FileExistsError):
                os.symlink("target", path)
        else:
            make_directory(path)

    def expected(self, state, at):
        """What path number `at` is in that state: its type or None."""
        if self.kind.startswith("moved"):
            return (stat.S_IFDIR if self.kind == "moved_directory" else stat.S_IFREG) if state != bool(at) else None
        if self.kind == "swap":
            return stat.S_IFDIR if state else stat.S_IFREG
        if self.kind == "closed":
            return stat.S_IFDIR
        types = {"file": stat.S_IFREG, "link": stat.S_IFLNK, "directory": stat.S_IFDIR}
        return types[self.kind] if state else None


def error_of(act, *arguments):
    try:
        return act(*arguments)
    except OSError as error:
        return type(error)


def read(path):
    with open(path) as f:
        return f.read()


def ask(slot, at, how):
    """An answer about a path, as judged() wants it."""
    path = slot.paths[at]
    if how == "lstat":
        answer = error_of(os.lstat, path)
        return answer if isinstance(answer, type) else stat.S_IFMT(answer.st_mode)
    if how == "list":
        return os.path.basename(path) in os.listdir(slot.folder)
    if how == "access":
        return os.access(path, os.F_OK)
    return error_of({"read": read, "readlink": os.readlink, "in": lambda p: read(f"{p}/in")}[how], path)


def judged(slot, at, how, state):
    """The right answer."""
    kind = slot.expected(state, at)
    if how == "lstat":
        return kind or FileNotFoundError
    if how in ("list", "access"):
        return kind is not None and (how == "list" or kind != stat.S_IFLNK)
    if how == "readlink":
        return FileNotFoundError if not kind else "target" if kind == stat.S_IFLNK else OSError
    if how == "read":
        return (FileNotFoundError if kind in (None, stat.S_IFLNK) else
                IsADirectoryError if kind == stat.S_IFDIR and (slot.kind != "closed" or state or not os.geteuid()) else
                (PermissionError, IsADirectoryError) if kind == stat.S_IFDIR else
                slot.kind if slot.kind != "moved" else "moved")
    if kind == stat.S_IFDIR:
        return "in" if slot.kind != "closed" or state or not os.geteuid() else PermissionError
    return FileNotFoundError if kind in (None, stat.S_IFLNK) else NotADirectoryError


def reader(all_slots, counter, until, seed, out):
    chance = random.Random(seed)
    count = 0
    while time.monotonic() < until:
        i = chance.randrange(len(all_slots))
        slot = all_slots[i]
        at, how = chance.randrange(len(slot.paths)), chance.choice(("lstat", "list", "access", "read", "readlink", "in"))
        before = counter[i]
        answer = ask(slot, at, how)
        if before & 1 or counter[i] != before:
            continue
        count += 1
        wanted = judged(slot, at, how, bool(before & 2))
        if answer != wanted and not (isinstance(wanted, tuple) and answer in wanted):
            out.write(f"{how} {slot.paths[at]}: {answer}, not {wanted} (state {before & 3}, change {before >> 2})\n")
            out.flush()
            os._exit(1)
    out.write(f"{count}\n")
    out.flush()
    os._exit(0)


def writer(all_slots, counter, share, until, seed):
    chance = random.Random(seed)
    # What a killed one was at comes first.
    while time.monotonic() < until:
        mine = range(share, len(all_slots), WRITERS)
        odd = [i for i in mine if counter[i] & 1]
        i = odd[0] if odd else chance.choice(mine)
        to = chance.random() < 0.5
        number = counter[i] >> 2
        counter[i] = number + 1 << 2 | 1
        all_slots[i].change(to)
        counter[i] = number + 2 << 2 | to << 1
    os._exit(0)


def start(act, *arguments):
    pid = os.fork()
    if pid == 0:
        try:
            act(*arguments)
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(2)
    return pid


def change(tree, seconds, seed, how):
    all_slots = [Slot(tree, *slot) for slot in slots()]
    memory = mmap.mmap(-1, 8 * len(all_slots))
    counter = (ctypes.c_uint64 * len(all_slots)).from_buffer(memory)
    for i, slot in enumerate(all_slots):
        counter[i] = slot.found() << 1
    until = time.monotonic() + seconds
    readers = [start(reader, all_slots, counter, until, seed + i, sys.stdout) for i in range(READERS)]
    numbers = itertools.count(seed + 100)
    writers = [start(writer, all_slots, counter, i, until, next(numbers)) for i in range(WRITERS)]
    chance = random.Random(seed)
    while how == "kill" and time.monotonic() < until:
        time.sleep(chance.random() * 0.02 + 0.001)
        i = chance.randrange(WRITERS)
        os.kill(writers[i], signal.SIGKILL)
        os.waitpid(writers[i], 0)
        writers[i] = start(writer, all_slots, counter, i, until, next(numbers))
    status = [os.waitpid(pid, 0)[1] for pid in readers + writers]
    for i, slot in enumerate(all_slots):  # what the last killed ones were at
        if counter[i] & 1:
            slot.change(True)
    print("ended", *status, flush=True)
    sys.stdin.readline()


def tell(tree):
    for where in DIRECTORIES:
        print(where, *sorted(os.listdir(f"{tree}/{where}")))
    for slot in (Slot(tree, *slot) for slot in slots()):
        for at, path in enumerate(slot.paths):
            answers = [ask(slot, at, how) for how in ("lstat", "list", "access", "read", "readlink", "in")]
            st = error_of(os.lstat, path)
            print(path, *answers, "" if isinstance(st, type) else (oct(st.st_mode), st.st_size, st.st_ino, st.st_nlink))
            print(path, error_of(os.listdir, path))


if __name__ == "__main__":
    if sys.argv[1] == "tell":
        tell(sys.argv[2])
    else:
        change(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
