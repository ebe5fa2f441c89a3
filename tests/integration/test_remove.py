# SPDX-License-Identifier: MIT
"""unlink, rmdir, remove: whiteouts and emptiness (C-2.2, C-3.7)."""

import os

import pytest

from layers import GONE, OPAQUE, Dir, File, link

LOW = {"f": "1", "d/a": "1", "d/b": "2", "empty/": None, "s": link("f"), "sd": link("d"), "x/y/z": "deep",
       "onlywh/f": "1"}
UP = {"u": "1", "ud/f": "1", "d/c": "3", "onlywh/f": GONE, "uempty/": None, "op/": OPAQUE}


def test_unlink(compare):
    compare([LOW], """
        unlink @/f
        stat @/f
        unlink @/f
        unlink @/u
        stat @/u
        unlink @/s
        lstat @/s
        unlink @/sd
        unlink @/d
        unlink @/d/a
        readdir @/d
        unlink @/d/c
        readdir @/d
        unlink @/missing/x
        unlink @/d/b/x
        unlink @/x/y/z
        readdir @/x/y
        unlink @/op
        readdir @
    """, upper=UP)


def test_rmdir(compare):
    compare([LOW], """
        rmdir @/d
        rmdir @/empty
        stat @/empty
        rmdir @/uempty
        rmdir @/onlywh
        stat @/onlywh
        rmdir @/op
        rmdir @/f
        rmdir @/s
        rmdir @/sd
        rmdir @/missing
        rmdir @/x/y
        unlink @/x/y/z
        rmdir @/x/y
        rmdir @/x
        unlink @/d/a
        rmdir @/d
        unlink @/d/b
        rmdir @/d
        unlink @/d/c
        rmdir @/d
        stat @/d
        rmdir @/ud/
        unlink @/ud/f
        rmdir @/ud/
        readdir @
    """, upper=UP)


def test_remove_and_unlinkat(compare):
    compare([LOW], """
        remove @/f
        remove @/empty
        remove @/d
        open 1 @/d O_RDONLY|O_DIRECTORY
        unlinkat 1 a 0
        unlinkat 1 b AT_REMOVEDIR
        unlinkat 1 b 0
        unlinkat 1 c 0
        unlinkat cwd @/d AT_REMOVEDIR
        unlinkat 1 a 0
        unlinkat cwd @/x AT_REMOVEDIR
        unlinkat cwd @/s 0
        unlinkat cwd @/sd/x 0
        unlinkat bad x 0
        unlinkat cwd @/u 512
    """, upper=UP)


def test_open_files_live_on(compare):
    compare([LOW], """
        open 1 @/f O_RDONLY
        open 2 @/u O_RDWR
        open 3 @/d/a O_RDWR
        unlink @/f
        unlink @/u
        unlink @/d/a
        read 1
        fstat 2
        write 2 more
        pread 2 10 0
        write 3 xx
        pread 3 10 0
        fstat 3
        put @/f new
        pread 1 10 0
        cat @/f
    """, upper=UP)


def test_whiteouts_over_every_lower(compare):
    compare([{"d/1": "a"}, {"d/2": GONE}, {"d/1": "b", "d/2": "c", "d/3": "d"}, {"d/": OPAQUE, "d/4": "e"},
             {"d/5": "never"}], """
        readdir @/d
        unlink @/d/1
        unlink @/d/3
        readdir @/d
        unlink @/d/4
        rmdir @/d
        mkdir @/d
        readdir @/d
        rmdir @/d
        stat @/d
    """)


@pytest.mark.parametrize("length", [250, 251, 252, 255])
def test_long_names_can_be_removed(compare, length):
    """C-2.2: a name too long for .wh. is hidden all the same, for this and later processes."""
    name, other = "n" * length, "o" * length
    compare([{name: "1", f"d/{name}": "2", other: "3", f"dir{name[3:]}/f": "4"}], f"""
        unlink @/{name}
        stat @/{name}
        unlink @/d/{name}
        readdir @/d
        rmdir @/d
        put @/{name} again
        cat @/{name}
        unlink @/{name}
        rename @/{other} @/short
        stat @/{other}
        rename @/short @/{other}
        cat @/{other}
        unlink @/dir{name[3:]}/f
        rmdir @/dir{name[3:]}
        readdir @
    """)


def test_many_in_one_directory(compare):
    n = 300
    compare([{f"d/{i}": "" for i in range(n)}], "\n".join(f"unlink @/d/{i}" for i in range(n)) + """
        readdir @/d
        rmdir @/d
        stat @/d
    """)


def test_directory_removed_under_a_process(compare):
    """C-2.11: a removed cwd gives ENOENT; what the kernel still shows of it, "." itself, is not shown."""
    compare([LOW], """
        chdir @/empty
        rmdir @/empty
        put x y
        mkdir z
        getcwd
    """, tree=False)


def test_whiteout_is_a_valid_oci_one(world):
    side = world.ovl([LOW], upper={})
    side.opsh("unlink @/f")
    st = os.lstat(os.path.join(side.upper, ".wh.f"))
    assert st.st_size == 0 and st.st_nlink >= 1 and os.path.isfile(os.path.join(side.upper, ".wh.f"))


def test_opaque_marker_is_a_valid_oci_one(world):
    side = world.ovl([LOW], upper={})
    side.opsh("""
        unlink @/d/a
        unlink @/d/b
        rmdir @/d
        mkdir @/d
    """)
    assert sorted(os.listdir(side.upper)) == ["d"]
    assert os.listdir(os.path.join(side.upper, "d")) == [".wh..wh..opq"]


def test_unreadable_directory(world, user_only):
    """Nobody can tell whether it is empty: EACCES, and nothing removed (the kernel's mounter can)."""
    side = world.ovl([{"closed/": Dir(mode=0o000), "w": File(content="w", mode=0o200)}], upper={})
    assert side.opsh("rmdir @/closed\naccess @/w W_OK\nopen 1 @/w O_WRONLY")[0] == ["EACCES"] * 3
    assert os.listdir(side.upper) == []


def test_directory_of_another_mode(compare):
    compare([{"ro/": Dir(mode=0o555), "ro/f": "1", "closed/": Dir(mode=0o000)}], """
        unlink @/ro/f
        put @/ro/new x
        mkdir @/ro/d
        stat @/ro/f
    """)


@pytest.mark.parametrize("form", ["oci", "kernel"])
@pytest.mark.parametrize("mode", ["0555", "0500", "0444", "0311", "0"])
def test_modes_that_keep_the_owner_out(compare, mode, form):
    """C-3.7: such a directory can be made where a lower one was, replaced, removed and made again; its marks go with it."""
    long = "n" * 255
    compare([{"d/f": "1", "e/f": "1", f"{long}/f": "1", "gone/f": "1", "deep/d/f": "1"}], f"""
        unlink @/d/f
        chmod @/d {mode}
        rmdir @/d
        mkdir @/d {mode}
        stat @/d
        rmdir @/d
        stat @/d
        mkdir @/d {mode}
        mkdir @/empty 0755
        rename @/empty @/d
        stat @/d
        mkdir @/gone {mode}
        readdir @/gone
        unlink @/e/f
        chmod @/e {mode}
        remove @/e
        put @/e file
        unlink @/{long}/f
        chmod @/{long} {mode}
        rmdir @/{long}
        mkdir @/{long} {mode}
        stat @/{long}
        rmdir @/{long}
        mkdir @/new {mode}
        rmdir @/new
        unlink @/deep/d/f
        chmod @/deep/d {mode}
        rmdir @/deep/d
        rmdir @/deep
        chmod @/gone 0755
        readdir @/gone
    """, upper={"gone": GONE}, options=f",whiteout={form}")


@pytest.mark.parametrize("mode", ["0666", "0444"])
def test_an_opaque_directory_that_can_not_be_searched(compare, mode):
    """C-2.3: nothing that it hides is listed either."""
    compare([{"d/f": "1", "d/sub/": None}], f"""
        unlink @/d/f
        rmdir @/d/sub
        rmdir @/d
        mkdir @/d {mode}
        readdir @/d
        stat @/d/f
        ident @/d
        chmod @/d 0755
        ident @/d
    """)
