# SPDX-License-Identifier: MIT
"""Listings (C-2.4, C-2.5)."""

import pytest

from layers import GONE, Fifo, link

A = {"d/1": "a", "d/3": "a", "d/sub/x": "", "d/link": link("1"), "gone": GONE}
B = {"d/1": "b", "d/2": "b", "d/sub/y": "", "gone": "x", "d/fifo": Fifo()}
C = {"d/4": "c", "d/2/not-merged": "", "e/": None}


def test_merged(compare):
    compare([A, B, C], """
        readdir @
        readdir @/d
        readdir @/d/sub
        readdir @/e
        readdir @/missing
        readdir @/d/1
        readdir @/gone
        put @/d/5 x
        unlink @/d/1
        readdir @/d
        mkdir @/e/f
        readdir @/e
    """)


def test_streams(compare):
    compare([A, B, C], """
        opendir 1 @/d
        next 1
        next 1
        rewinddir 1
        next 1
        rewinddir 1
        count 1 3
        telldir 1
        count 1 100
        seekdir 1
        count 1 100
        dirfd 2 1
        fstatat 2 3
        fchdir 2
        getcwd
        cat 3
        closedir 1
        open 3 @/d O_RDONLY|O_DIRECTORY
        fdopendir 4 3
        next 4
        closedir 4
        fstat 3
        open 5 @/d/1 O_RDONLY
        fdopendir 6 5
        fdopendir 6 bad
        open 7 @/d O_RDONLY|O_DIRECTORY
        getdents 7
        lseek 7 0 SEEK_SET
        getdents 7
    """)


def test_rewinding_shows_changes(compare):
    compare([A, B], """
        opendir 1 @/d
        next 1
        put @/d/new 1
        unlink @/d/1
        rewinddir 1
        next 1
        unlink @/d/new
        rewinddir 1
        next 1
    """)


def test_removing_while_reading(compare):
    """What rm -r does; nothing shows twice and nothing is left."""
    names = {f"d/{i:04}": "" for i in range(100)}
    removes = "\n".join(f"unlink @/d/{i:04}" for i in range(100))
    compare([names], f"""
        opendir 1 @/d
        count 1 2
        {removes}
        rewinddir 1
        next 1
        readdir @/d
        rmdir @/d
    """)


def test_sorted_by_bytes(world):
    """C-2.5: readdir=sorted gives . and .. and the names in the order of their bytes."""
    side = world.ovl([{"b": "", "B": "", "_": "", "é": ""}, {"a": "", "aa": "", "b": "", "Z": ""}], upper={"ab": ""})
    line = side.opsh("readdir_native @")[0][0]
    names = [w.split(":")[0] for w in line.split()[1:]]
    assert [n for n in names if n not in (".", "..")] == ["B", "Z", "_", "a", "aa", "ab", "b", "\\xc3\\xa9"]
    assert {".", ".."} <= set(names)


@pytest.mark.parametrize("order", ["sorted", "native"])
def test_each_name_once(world, order):
    lower = [{f"d/{i}": "" for i in range(k, 400 + k)} for k in (0, 100, 200)]
    side = world.ovl(lower, upper={"d/up": "", "d/7": "", "d/8": GONE}, options=f",readdir={order}")
    names = [w.split(":")[0] for w in side.opsh("readdir_native @/d")[0][0].split()[1:]]
    assert len(names) == len(set(names))
    assert set(names) == {".", "..", "up"} | {str(i) for i in range(600)} - {"8"}


def test_marks_never_show(world):
    """C-2.4: not in a listing, not by name; making them fails with EINVAL."""
    lower = [{"d/.wh.hidden": "", "d/.wh.": "", "d/.wh..": "", "d/.wh...": "", "d/seen": "", "d/.wh.dir/": None},
             {"d/hidden": "x", "d/dir": "y", "d/other": "z"}]
    side = world.ovl(lower, upper={})
    assert side.opsh("""
        readdir @/d
        stat @/d/hidden
        cat @/d/dir
        stat @/d/.wh.hidden
        stat @/d/.wh..wh..opq
        unlink @/d/.wh.hidden
        put @/d/.wh.new x
        mkdir @/.wh.x
        symlink a @/.wh.x
        rename @/d/seen @/d/.wh.seen
        link @/d/seen @/d/.wh.seen
        mkfifo @/.wh.x 0600
        open 1 @/.wh.x O_RDONLY
    """)[0] == ["ok .:d ..:d dir:f other:f seen:f", "ENOENT", "ok y", "ENOENT", "ENOENT", "ENOENT", "EINVAL", "EINVAL",
                "EINVAL", "EINVAL", "EINVAL", "EINVAL", "ENOENT"]


@pytest.mark.parametrize("n", [1000])
def test_large(compare, n):
    compare([{f"d/{i}": "" for i in range(n)}, {f"d/{i}x": "" for i in range(n)}], """
        readdir @/d
        glob @/d/99*
        open 1 @/d O_RDONLY|O_DIRECTORY
    """, tree=False)


def test_walkers(compare):
    compare([A, B, C], """
        nftw @
        chdir @
        nftw d
        glob d/*
        glob */*
        glob @/[de]/*
        glob @/nothing*
    """)


@pytest.mark.parametrize("form", ["oci", "kernel"])
def test_directories_that_can_not_be_searched(compare, form):
    """C-2.4: their names are listed, and no whiteout among them."""
    compare([A, B, C], """
        unlink @/d/1
        unlink @/d/fifo
        chmod @/d 0444
        readdir @/d
        stat @/d/2
        glob @/d/*
    """, options=f",whiteout={form}")


LIST_WHILE_IT_MOVES = """
import os, sys, time
fds = [os.open(f"{sys.argv[1]}/{name}", os.O_RDONLY) for name in "de"]
os.chdir(sys.argv[1])
names = [sorted(os.listdir(fd)) for fd in fds]
end = time.monotonic() + 1.5
for reader in range(8):
    if os.fork() == 0:
        wrong = 0
        while time.monotonic() < end:
            wrong += [sorted(os.listdir(fd)) for fd in fds] != names
        os._exit(wrong > 0)
while time.monotonic() < end:
    for old, new in ("dx", "ed", "xe", "ex", "de", "xd"):
        os.rename(old, new)
print(names, [os.wait()[1] for reader in range(8)])
"""


def test_while_the_directory_moves(world):
    """What is open is listed, whatever name it has at that moment (C-2.11)."""
    side = world.ovl([{"d/1": "", "d/2": "", "e/3": ""}], {})
    said = side.run([(["/usr/bin/python3", "-c", LIST_WHILE_IT_MOVES, side.mount], "")])[0]
    assert (said.out, said.err) == ("[['1', '2'], ['3']] [0, 0, 0, 0, 0, 0, 0, 0]\n", "")
