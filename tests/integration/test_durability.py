# SPDX-License-Identifier: MIT
"""C-3.12: what is on disk when, by the order of the calls that reach the kernel."""

import os
import re

import pytest

import tracing
from layers import Dir

TREE = {"f": "text\n", "big": "x" * 100000, "d/g": "1\n", "secret/": Dir(mode=0o755)}
NAMED = re.compile(r"^(linkat|renameat2|renameat|rename|link)\(")
WRITTEN = re.compile(r"^(write|pwrite64|copy_file_range|sendfile|ioctl)\((.*)\) = \d")
SYNCED = re.compile(r"^(fsync|fdatasync|syncfs)\(\d+<([^>]*)>\) = 0")

pytestmark = pytest.mark.untraced("it is traced here")


@pytest.fixture
def calls(world):
    """The calls of a shell script, or of a Python program, in an overlay over TREE."""
    def run(script, options="", python=False):
        side = world.ovl([TREE], {}, options=options)
        side.trace()
        script = script.replace("@", side.mount)
        result, = side.run([((["/usr/bin/python3", "-c"] if python else ["sh", "-ec"]) + [script], "")])
        assert (result.status, result.err) == (0, ""), result
        return side, [call for call in tracing.read(side.calls)]
    return run


def synced(side, made):
    """What was put on disk, with '^' for the side's folder."""
    return [(m[1], m[2].replace(side.base, "^")) for m in map(SYNCED.match, made) if m]


CHANGES = {"append": "echo more >>@/f", "large": "echo more >>@/big", "metadata": "chmod 600 @/f", "rename": "mv @/f @/e",
           "link": "ln @/f @/e", "directory": "mv @/d @/e"}


@pytest.mark.parametrize("change", CHANGES)
def test_data_before_the_name(calls, change):
    """The copy's data are on disk before it is linked or renamed into the upper, and nothing is written to it in between."""
    side, made = calls(CHANGES[change])
    copied = [i for i, call in enumerate(made) if SYNCED.match(call) and f"{side.upper}.work/" in call]
    assert copied, "no copy was put on disk"
    for at in copied:
        place = SYNCED.match(made[at])[2]
        descriptor = made[at].partition("(")[2].partition("<")[0]
        before, after = made[:at], made[at + 1:]
        assert any(WRITTEN.match(c) and f"<{place}>" in c for c in before), f"nothing was written before {made[at]}"
        closed = next(i for i, c in enumerate(after) if c.startswith(f"close({descriptor}<"))
        assert not any(WRITTEN.match(c) and f"({descriptor}<" in c for c in after[:closed]), "written after the sync"
    first_name = next(i for i, c in enumerate(made) if NAMED.match(c) and side.upper + "/" in c and not c.endswith("ENOENT"))
    assert copied[0] < first_name, "the name was there before the data"


@pytest.mark.parametrize("change", CHANGES)
def test_volatile_puts_nothing_on_disk(calls, change):
    """volatile=on: no copy is flushed, and a program's own fsync is none (as in overlayfs)."""
    side, made = calls(CHANGES[change] + "; sync @/d @/e 2>/dev/null || true", options=",volatile=on")
    assert synced(side, made) == []


OLDER_VIEWS = """
import os
views = [os.open(p, os.O_RDONLY) for p in ("@/f", "@", "@/d")]
with open("@/f", "a") as f: f.write("more")
with open("@/d/new", "w") as f: f.write("new")
for view in views: {call}(view)
"""


@pytest.mark.parametrize("call", ["os.fsync", "os.fdatasync"])
def test_older_descriptors_mean_the_copy(calls, call):
    """fsync of a descriptor from before the copy-up puts the copy on disk, as it does on the bare file system."""
    side, made = calls(OLDER_VIEWS.format(call=call), python=True)
    name = call.removeprefix("os.")
    own = [path for which, path in synced(side, made) if which == name and ".work" not in path]
    assert [path for path in own if path.startswith("^/u")] == ["^/u/f", "^/u", "^/u/d"], own


def test_own_descriptors_are_synced_once(calls):
    """A descriptor of an upper file, or of one outside, needs no second look."""
    side, made = calls("""
        import os
        for path in ("@/new", "%/out"):
            fd = os.open(path.replace("%", os.getcwd()), os.O_RDWR | os.O_CREAT)
            os.write(fd, b"x")
            os.fsync(fd)
        """.replace("        ", ""), python=True)
    assert [which for which, _ in synced(side, made)] == ["fsync", "fsync"]


def test_sync_of_a_file_that_is_write_only(calls):
    """A copy that the caller may not read is put on disk all the same."""
    side, made = calls("""
import os
view = os.open("@/f", os.O_RDONLY)
with open("@/f", "a") as f: f.write("more")
os.chmod("@/f", 0)
os.fsync(view)
""", python=True)
    found = [entry for entry in synced(side, made) if ".work" not in entry[1]]
    root = os.geteuid() == 0 and side.role.root
    assert found[0] == (("fsync", "^/u/f") if root else ("syncfs", "^/u")), found


@pytest.mark.parametrize("call", ["fsync", "fdatasync", "syncfs"])
def test_bad_descriptors(compare, call):
    """C-3.13: descriptors that can't be synced answer as ever."""
    compare([TREE], f"""
        {call} 9
        open 1 @/f O_RDONLY
        {call} 1
        open 2 @/d O_RDONLY|O_DIRECTORY
        {call} 2
        open 3 @/f O_PATH
        {call} 3
        mknod @/p S_IFIFO|0600
        open 4 @/p O_RDWR|O_NONBLOCK
        {call} 4
        """)
