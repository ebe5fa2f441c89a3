# SPDX-License-Identifier: MIT
"""rename and its flags (C-3.6, C-3.10)."""

import os

import pytest

from layers import GONE, Dir, File, link

LOW = {"a": "file a", "b": "file b", "d/x": "1", "d/y": "2", "e/": None, "s": link("a"), "sd": link("d"),
       "full/f": "1", "deep/d/f": "deep"}
UP = {"u": "upper file", "ud/f": "in upper dir", "a2": "x", "d/up": "merged", "b": "upper over lower"}


def test_files(compare):
    compare([LOW], """
        rename @/a @/new
        stat @/a
        cat @/new
        rename @/b @/d/x
        cat @/d/x
        stat @/b
        rename @/d/y @/deep/d/f
        cat @/deep/d/f
        readdir @/d
        rename @/s @/s2
        readlink @/s2
        lstat @/s
        rename @/sd @/e/sd
        lstat @/e/sd
        put @/b again
        rename @/new @/a
        cat @/a
        readdir @
    """)


def test_upper_files_and_directories(compare):
    compare([LOW], """
        rename @/u @/v
        rename @/ud @/vd
        cat @/vd/f
        stat @/ud
        rename @/vd @/e
        rename @/b @/bb
        stat @/b
        rename @/v @/b
        cat @/b
        rename @/a @/a2
        cat @/a2
        mkdir @/nd
        put @/nd/f 1
        rename @/nd @/e/nd
        rename @/e/nd @/nd2
        readdir @/e
        readdir @
    """, upper=UP)


def test_errors(compare):
    compare([LOW], """
        rename @/missing @/x
        rename @/a @/missing/x
        rename @/a/x @/y
        rename @/a @/b/x
        rename @/a @/d
        rename @/nd @/a
        mkdir @/nd
        rename @/nd @/a
        rename @/nd @/full
        rename @/nd @/nd/sub
        rename @/a @/a
        rename @/u @/u
        rename @/a @/.
        rename @/a @/..
        rename @/d/. @/x
        rename @/d/.. @/x
        rename @/a/ @/x
        rename @/a @/x/
        rename @/nd/ @/nd2/
        rename @/nd2 @/e
        rename "" @/x
        rename @/a ""
        rename @ @/x
        rename @/a @/s/x
        readdir @
    """, upper={"u": "u"})


def test_noreplace(compare):
    compare([LOW], """
        rename @/a @/b RENAME_NOREPLACE
        rename @/a @/new RENAME_NOREPLACE
        rename @/missing @/z RENAME_NOREPLACE
        rename @/u @/d RENAME_NOREPLACE
        rename @/u @/gone RENAME_NOREPLACE
        cat @/gone
        rename @/new @/new RENAME_NOREPLACE
        rename @/ud @/vd RENAME_NOREPLACE
    """, upper={"gone": GONE, **UP})


def test_exchange(compare):
    compare([LOW], """
        rename @/a @/u RENAME_EXCHANGE
        cat @/a
        cat @/u
        rename @/a @/missing RENAME_EXCHANGE
        rename @/a @/d/x RENAME_EXCHANGE
        cat @/a
        cat @/d/x
        rename @/ud @/a RENAME_EXCHANGE
        cat @/a/f
        cat @/ud
        rename @/s @/a2 RENAME_EXCHANGE
        readlink @/a2
        rename @/b @/b RENAME_EXCHANGE
        rename @/u @/a RENAME_EXCHANGE|RENAME_NOREPLACE
        rename @/a @/u 64
    """, upper=UP)


def test_exchange_of_directories(compare):
    compare([{}], """
        rename @/p @/q RENAME_EXCHANGE
        readdir @/p
        readdir @/q
        rename @/p @/q/in RENAME_EXCHANGE
        rename @/q @/q/in RENAME_EXCHANGE
    """, upper={"p/1": "1", "q/2": "2", "q/in/3": "3"})


def test_over_whiteouts(compare):
    compare([{"w": GONE, "wd": GONE}, {"w": "x", "wd/f": "x", **LOW}], """
        rename @/a @/w
        cat @/w
        mkdir @/nd
        put @/nd/n 1
        rename @/nd @/wd
        readdir @/wd
        rename @/w @/back
        stat @/w
        unlink @/d/x
        rename @/b @/d/x
        cat @/d/x
        rename @/d/x @/b
        stat @/d/x
        unlink @/deep/d/f
        rmdir @/deep/d
        mkdir @/nd
        rename @/nd @/deep/d
        readdir @/deep/d
        rename @/deep/d @/nd3
        stat @/deep/d
        readdir @/nd3
    """)


def test_with_descriptors(compare):
    compare([LOW], """
        open 1 @/d O_RDONLY|O_DIRECTORY
        open 2 @/e O_RDONLY|O_DIRECTORY
        renameat 1 x 2 x2
        cat @/e/x2
        renameat 2 x2 1 x
        chdir @/d
        rename x ../moved
        rename ../moved ./z
        open 3 y O_RDWR
        rename y y2
        write 3 still
        cat y2
        unlink y2
        fstat 3
        renameat bad x 1 y
        renameat 3 x 1 y
    """)


def test_across_the_border(compare):
    """C-3.10. A bare directory lies on the file system of its surroundings and gives no EXDEV."""
    compare([LOW], """
        rename @/a %/a
        rename %/out @/out
        link @/a %/a
        link %/out @/out
        rename @/missing %/x
        rename %/missing @/x
        rename @/d %/d
        rename @/a %/out RENAME_NOREPLACE
        cat @/a
        cat %/out
    """, outside={"out": "outside"}, without={"bare": "border"})


def test_what_is_refused_leaves_no_trace(compare):
    """No times of a directory change, and nothing is copied up."""
    compare([LOW], """
        rename @/a @/closed/new
        rename @/closed/f @/new
        link @/d/x @/closed/new
        rename @/fixed @/d/new
        rename @/fixed @/ud/new
        rename @/ud @/fixed RENAME_EXCHANGE
        rename @/d/up @/fixed RENAME_EXCHANGE
        stat @/a
        stat @/d/x
        stat @/closed
        stat @
        stat @/d
    """, upper={"closed/": Dir(mode=0o555), "closed/f": "1", "fixed/": Dir(mode=0o555), **UP})


def test_sticky_directory(compare):
    compare([{"t/": Dir(mode=0o1777), "t/f": "1", "t/g": "2"}], """
        rename @/t/f @/t/h
        unlink @/t/g
        rename @/t/h @/out
    """)


@pytest.mark.parametrize("source", ["a", "u"])
def test_whiteout_flag_leaves_a_whiteout(compare, source, role):
    """RENAME_WHITEOUT below an overlay: what the kernel's overlayfs answers (C-3.6)."""
    compare([LOW], f"""
        rename @/{source} @/new RENAME_WHITEOUT
        rename @/{source} @/d RENAME_WHITEOUT
        rename @/{source} @/missing/x RENAME_WHITEOUT
        rename @/missing @/new RENAME_WHITEOUT
        rename @/d @/{source} RENAME_WHITEOUT
        rename @/{source} @/{source} RENAME_WHITEOUT
        rename @/{source} @/b RENAME_WHITEOUT|RENAME_NOREPLACE
        rename @/{source} @/b RENAME_WHITEOUT|RENAME_EXCHANGE
        stat @/{source}
        stat @/new
    """, upper=UP, without={"bare": "marks"})


def test_lower_file_keeps_everything(compare):
    compare([{"m/": Dir(mode=0o750), "m/f": File(content="z" * 10000, mode=0o640, xattrs={"user.k": "v"})}], """
        rename @/m/f @/f
        stat @/f
        getxattr @/f user.k
        mkdir @/m/sub
        rename @/f @/m/sub/f
        stat @/m/sub/f
    """)


def test_leaves_no_residue(world):
    side = world.ovl([LOW], upper={})
    side.opsh("""
        put @/n 1
        rename @/n @/n2
        rename @/a @/a2
        rename @/a2 @/a
        unlink @/n2
    """)
    assert sorted(os.listdir(side.upper)) == ["a"]
