# SPDX-License-Identifier: MIT
"""Locks between processes (C-3.11): all descriptors that are open for writing, and all that were opened after the copy-up,
lock one file; what an older read-only one locks is the lower file (the README's table of older views)."""

import pytest

# Two processes: the first opens, locks and waits; the second tries.  Each line is the answer of the second's try.
PROGRAM = """
import fcntl, os, sys

def taken(how, fd):
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB) if how == "flock" else fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True

how, first, between, second = sys.argv[2:6]
path = sys.argv[1]
flags = {"read": os.O_RDONLY, "write": os.O_RDWR}
ready, go = os.pipe(), os.pipe()
if os.fork() == 0:
    fd = os.open(path, flags[first])
    taken(how, fd)
    os.write(ready[1], b"x")
    os.read(go[0], 1)
    os._exit(0)
os.read(ready[0], 1)
if between == "copied":
    with open(path, "a") as f: f.write("more")
fd = os.open(path, flags[second])
print("excluded" if taken(how, fd) else "free")
os.write(go[1], b"x")
os.wait()
"""


def try_lock(side, *words):
    result, = side.run([(["/usr/bin/python3", "-c", PROGRAM, "@/f", *words], "")])
    assert (result.status, result.err) == (0, ""), result
    return result.out.strip()


CASES = [(how, first, between, second)
         for how in ("flock", "fcntl") for first in ("read", "write") for between in ("as it is", "copied")
         for second in ("read", "write") if how == "flock" or (first, second) == ("write", "write")]


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_two_processes(world, case):
    """On the bare file system and on Linux overlayfs the second is always excluded; here, unless an older view is locked."""
    how, first, between, second = case
    older = first == "read" and (between == "copied" or second == "write")
    for name, side in world.make([{"f": "text"}], {}).items():
        assert try_lock(side, *case) == ("free" if name == "ovl" and older else "excluded"), name


def test_read_only_overlay(world):
    """Without an upper there is one file only."""
    side = world.ovl([{"f": "text"}])
    assert try_lock(side, "flock", "read", "as it is", "read") == "excluded"
