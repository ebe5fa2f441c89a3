# SPDX-License-Identifier: MIT
"""Renaming directories that have lower content (C-3.6): the bare directory is the oracle, because overlayfs without
redirect_dir answers EXDEV; but it must read the upper that is left as libovl does."""

import os

import pytest

from layers import GONE, OPAQUE, Dir, File, link

LOW = {"d/x": "x", "d/y": File(content="y" * 100000, mode=0o640, xattrs={"user.k": "v"}), "d/sub/z": "z",
       "d/sub/deep/er/f": "f", "d/link": link("x"), "d/empty/": None, "d/ro/": Dir(mode=0o555), "d/ro/f": "ro",
       "e/a": "a", "void/": None, "f": "file", "d/up/l": "lower"}
MIDDLE = {"d/x": "middle", "d/sub/z": GONE, "d/sub/m": "m", "d/hidden/": OPAQUE, "d/hidden/only": "o", "e/b": "b"}
UPPER = {"d/x": "upper", "d/up/u": "u", "d/sub/m": GONE, "own/f": "own", "void2/": None}
LAYERS = [MIDDLE, {**LOW, "d/hidden/never": "n"}]
BARE = {"without": {"kernel": "directory-rename"}}


@pytest.mark.parametrize("upper", [{}, UPPER], ids=["lower", "merged"])
@pytest.mark.parametrize("to", ["new", "void", "e/moved", "own/moved", "gone"])
def test_rename(compare, to, upper):
    gone = {"gone": GONE} if to == "gone" else {}
    compare([{**MIDDLE}, {**LOW, **{"own/f": "own", "gone": "g", "d/hidden/never": "n"}}], f"""
        rename @/d @/{to}
        stat @/d
        readdir @/{to}
        cat @/{to}/x
        readdir @/{to}/sub
        getxattr @/{to}/y user.k
        put @/{to}/sub/z again
        put @/{to}/y changed
        mkdir @/d
        readdir @/d
        put @/d/x other
        cat @/{to}/x
        rename @/{to} @/back
        readdir @/{to}
        rename @/back @/d
        rename @/back @/d/sub/back
        readdir @/d
    """, upper={**upper, **gone}, **BARE)


def test_there_and_back(compare):
    compare(LAYERS, """
        rename @/d @/n
        rename @/n @/d
        readdir @/d
        readdir @/d/hidden
        readdir @/d/sub
        cat @/d/x
        unlink @/d/x
        rename @/d @/n
        stat @/n/x
        stat @/d
    """, upper=UPPER, **BARE)


def test_refusals(compare):
    compare(LAYERS, """
        rename @/d @/e
        rename @/d @/f
        rename @/f @/d
        rename @/d @/d/sub/d
        rename @/d/sub @/d
        rename @/d @/missing/d
        rename @/d @/f/d
        rename @/d @/e RENAME_NOREPLACE
        rename @/d @/void RENAME_NOREPLACE
        rename @/d @/d
        rename @/d @/e/a/
        rename @/d/. @/n
        rename @/d @/..
    """, **BARE)


@pytest.mark.parametrize("a, b", [("d", "e"), ("d", "f"), ("f", "d"), ("d/sub", "e"), ("own", "d"), ("d/hidden", "void")])
def test_exchange(compare, a, b):
    compare(LAYERS, f"""
        rename @/{a} @/{b} RENAME_EXCHANGE
        put @/e/new 1
        put @/d/new 1
        rename @/{a} @/{b} RENAME_EXCHANGE
        rename @/{a} @/n
    """, upper=UPPER, **BARE)


def test_below_and_above(compare):
    """Renames within a directory that moves, and of what has moved."""
    compare(LAYERS, """
        rename @/d/sub @/d/sub2
        rename @/d @/n
        rename @/n/sub2/deep @/deep
        rename @/n/up @/deep/er/up
        rename @/n @/deep/er/n
        rmdir @/deep/er/n/empty
        readdir @/deep/er/n
        rename @/deep @/d
        cat @/d/er/n/y
    """, upper=UPPER, **BARE)


def test_open_files_stay(compare):
    """C-3.6: no change is lost that is made through what was opened before."""
    compare(LAYERS, """
        open 1 @/d/x O_RDWR
        open 2 @/d/y O_RDONLY
        rename @/d @/n
        write 1 still
        cat @/n/x
        read 2 5
        open 3 @/n/y O_WRONLY|O_APPEND
        write 3 more
        stat @/n/y
    """, upper=UPPER, **BARE)


def test_identity_is_kept(compare):
    """C-2.6: the directory and what is in it keep their numbers; a directory made in its place has others."""
    compare(LAYERS, """
        ident 1 @/d
        ident 2 @/d/sub
        ident 3 @/d/y
        ident 4 @/d/sub/deep/er/f
        ident 5 @/d/up
        rename @/d @/n
        ident 1 @/n
        ident 2 @/n/sub
        ident 3 @/n/y
        ident 4 @/n/sub/deep/er/f
        ident 5 @/n/up
        mkdir @/d
        ident 1 @/d
    """, upper=UPPER, **BARE)


def upper_of(side):
    return sorted(os.path.relpath(os.path.join(folder, name), side.upper)
                  for folder, names, files in os.walk(side.upper) for name in names + files)


def test_nothing_is_left(world):
    """The upper holds the moved tree, one whiteout for the old name, and no mark that hides nothing."""
    side = world.ovl(LAYERS, upper={"d/sub/m": GONE})
    assert side.opsh("unlink @/d/x\nrename @/d @/n\nreaddir @/n/sub")[0] == ["ok", "ok", "ok .:d ..:d deep:d"]
    left = upper_of(side)
    assert ".wh.d" in left and not [name for name in left if ".wh." in name and name != ".wh.d"], left
    assert "n/hidden/only" in left and "n/x" not in left
    assert side.opsh("rename @/n @/d\nreaddir @/d/sub")[0] == ["ok", "ok .:d ..:d deep:d"]
    left = upper_of(side)
    assert [name for name in left if ".wh." in name] == ["d/.wh..wh..opq"], left


def test_an_unreadable_file_stops_it(world, user_only):
    """C-3.6: one file that can't be copied, and nothing has changed."""
    side = world.ovl([{"d/a": "a", "d/s/secret": File(content="s", mode=0o000), "d/z": "z"}], upper={})
    assert side.opsh("rename @/d @/n\nstat @/n\nreaddir @/d\ncat @/d/z")[0] == [
        "EACCES", "ENOENT", "ok .:d ..:d a:f s:d z:f", "ok z"]
    assert upper_of(side) == []
    assert os.listdir(f"{side.upper}.work/work") == []


def test_in_a_mount(world):
    """A directory with another overlay's mount below it can't move away from under it."""
    outer = world.ovl([{"d/in/x": "1"}], upper={})
    inner = world.ovl([{"f": "inner"}], upper={})
    outer.environment = {"OVL_CONF": f"{outer.conf};" + inner.conf.replace(f"mount={inner.mount}", f"mount={outer.mount}/d/in")}
    assert outer.opsh("rename @/d @/e\ncat @/d/in/f")[0] == ["EBUSY", "ok inner"]
