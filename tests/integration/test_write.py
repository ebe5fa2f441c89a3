# SPDX-License-Identifier: MIT
"""Writing: copy-up on first change, creation, truncation, append, locks, mappings (C-3.2, C-3.3, C-3.7, C-3.11)."""

import os

import pytest

from layers import GONE, OPAQUE, Dir, File, link, same

LOW = {"f": "lower content", "d/f": "in d", "d/e/f": "deep", "mode": File(content="m", mode=0o640),
       "ro": File(content="r", mode=0o444), "exec": File(content="#!/bin/sh\nexit 3\n", mode=0o755), "link": link("f"),
       "dangling": link("nothing"), "x": File(content="x", xattrs={"user.one": "1"}), "empty": "",
       "priv/": Dir(mode=0o700), "priv/f": File(content="p", mode=0o600), "sgid/": Dir(mode=0o2755)}
FLAGS = ["O_WRONLY", "O_RDWR", "O_WRONLY|O_CREAT", "O_WRONLY|O_TRUNC", "O_RDWR|O_CREAT|O_TRUNC", "O_WRONLY|O_APPEND",
         "O_WRONLY|O_CREAT|O_EXCL", "O_RDONLY|O_TRUNC", "O_RDONLY|O_CREAT", "O_WRONLY|O_NOFOLLOW", "O_RDONLY|O_APPEND"]


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("path", ["f", "d/f", "new", "d/e/new", "link", "dangling", "ro", "priv/f", "d", "x"])
def test_open_for_writing(compare, path, flags):
    compare([{}, LOW], f"""
        open 1 @/{path} {flags} 0640
        fstat 1
        write 1 new
        fstat 1
        lseek 1 0 SEEK_CUR
        close 1
        stat @/{path}
        cat @/{path}
        lstat @/link
    """)


def test_append_and_truncate(compare):
    compare([LOW], """
        append @/f +more
        cat @/f
        truncate @/f 3
        cat @/f
        truncate @/d/f 100
        stat @/d/f
        truncate @/d/e/f 0
        cat @/d/e/f
        truncate @/missing 0
        truncate @/d 0
        truncate @/ro 0
        open 1 @/x O_RDWR
        ftruncate 1 0
        fstat 1
        open 2 @/x O_RDONLY
        ftruncate 2 0
        truncate @/f -1
    """)


def test_truncating_changes_the_times(compare):
    """C-3.2: also where the copy is made without data."""
    compare([LOW], """
        truncate @/f 0
        stat @/f
        truncate @/empty 0
        stat @/empty
        open 1 @/d/f O_WRONLY|O_TRUNC
        stat @/d/f
        truncate @/d/e/f 4
        stat @/d/e/f
    """)


def test_one_file_for_all_writers(compare):
    """C-3.11: descriptors open for writing share one upper file."""
    compare([LOW], """
        open 1 @/f O_RDWR
        open 2 @/f O_RDWR|O_APPEND
        write 1 AB
        write 2 CD
        pread 1 100 0
        pread 2 100 0
        forked_put @/f other
        pread 1 100 0
        fstat 2
        flock 1 ex
        flock 2 sh
        close 1
        flock 2 sh
        open 3 @/d/f O_RDWR
        mmapput 3 ZZ
        cat @/d/f
        open 4 @/d/f O_RDONLY
        read 4
    """)


def test_creation(compare):
    compare([{"gone": GONE, "gd": GONE}, {"gone": "x", "gd/a": "1", "gd/b": "2", **LOW}], """
        put @/new n
        put @/d/e/new n
        put @/gone back
        stat @/gone
        mkdir @/gd 0755
        readdir @/gd
        stat @/gd/a
        put @/gd/c 3
        mkdir @/m 0700
        mkdir @/m/n 0777
        symlink m/n @/s
        put @/s/x y
        mkfifo @/p 0640
        mknod @/sock S_IFSOCK|0600
        mknod @/reg S_IFREG|0600
        creat 1 @/c 0604
        write 1 abc
        mkdir @/d
        symlink a @/f
        link @/f @/d/e/hard
        umask 0077
        put @/masked 1
        mkdir @/maskdir
        umask 0
        put @/open 1
        mkdir @/sgid/sub
        put @/sgid/file x
        stat @/sgid/sub
    """)


def test_remove_and_make_again(compare):
    """C-3.7: no residue."""
    compare([LOW], """
        unlink @/f
        put @/f again
        unlink @/f
        cat @/f
        unlink @/d/e/f
        rmdir @/d/e
        mkdir @/d/e
        readdir @/d/e
        put @/d/e/f 2
        unlink @/d/e/f
        rmdir @/d/e
        symlink f @/d/e
        lstat @/d/e
        unlink @/d/e
        put @/d/e file
        unlink @/x
        mkdir @/x
        rmdir @/x
        put @/new 1
        unlink @/new
        put @/new 2
    """)


def test_unnamed_and_temporary_files(compare):
    compare([LOW], """
        open 1 @/d O_TMPFILE|O_RDWR 0600
        write 1 hello
        readdir @/d
        linkfd 1 @/d/named
        cat @/d/named
        mkstemp 2 @/d/e/tmpXXXXXX
        fstat 2
        unlink @/d/named
        open 3 @/missing O_TMPFILE|O_RDWR 0600
    """, tree=False)


def test_an_unnamed_file_is_no_directory(compare):
    """It was opened by its directory's name, and is not what that name stands for."""
    compare([LOW], """
        open 1 @/d O_TMPFILE|O_RDWR 0600
        openat 2 1 new O_WRONLY|O_CREAT
        openat 2 1 f O_RDONLY
        fstatat 1 f
        fchmodat 1 f 0600
        unlinkat 1 f 0
        renameat 1 f 1 g
        mkdirat 1 sub 0755
        fchdir 1
        getdents 1
    """)


def test_stdio(compare):
    compare([LOW], """
        fopen @/f r
        fopen @/f r+ X
        fopen @/f r
        fopen @/d/f a +
        fopen @/d/f r
        fopen @/d/e/f w new
        fopen @/d/e/f r
        fopen @/n w+x 1
        fopen @/n w+x 1
        fopen @/missing r
        fopen @/d w
    """)


def test_refused_nodes(compare):
    """A whiteout can't be made as a device; what is wrong with the name is said first."""
    compare([LOW], """
        mknod @/f S_IFCHR|0600
        mknod @/new S_IFCHR|0600
        mknod @/new/ S_IFCHR|0600
        mknod @/f/x S_IFCHR|0600
    """, without={"bare": "marks"})


def test_sockets(compare):
    compare([LOW], """
        bind 1 @/d/sock
        connect 2 @/d/sock
        stat @/missing/sock
        bind 3 @/d/sock
        bind 3 @/f
        connect 3 @/f
        unlink @/d/sock
        connect 3 @/d/sock
    """)


def test_copying_between_descriptors(compare):
    compare([LOW], """
        open 1 @/f O_RDONLY
        open 2 @/d/f O_WRONLY|O_TRUNC
        copy_file_range 1 2 5
        open 3 @/d/e/f O_WRONLY
        open 4 @/f O_RDONLY
        sendfile 4 3 100
        cat @/d/f
        cat @/d/e/f
        open 5 @/empty O_RDWR
        fallocate 5 0 100
        stat @/empty
    """)


def test_copy_up_keeps_content_and_metadata(compare):
    """C-3.3: size, holes, mode, times of what is not changed, xattrs; parents with theirs."""
    compare([{}, {"a/": Dir(mode=0o750), "a/b/": Dir(mode=0o711, xattrs={"user.dir": "d"}),
                  "a/b/f": File(content="tail", hole=1 << 20, mode=0o640, xattrs={"user.k": "v"}),
                  "a/b/other": "o"}], """
        open 1 @/a/b/f O_RDWR
        fstat 1
        lseek 1 0 SEEK_DATA
        close 1
        stat @/a/b/f
        getxattr @/a/b/f user.k
        getxattr @/a/b user.dir
        stat @/a
        stat @/a/b
        pwrite 1 x 0
    """)


def test_holes_stay_holes(world):
    """C-3.3: a copied-up sparse file takes no more room than it did."""
    side = world.ovl([{"sparse": File(content="end", hole=8 << 20)}], upper={})
    side.opsh("append @/sparse x")
    st = os.stat(os.path.join(side.upper, "sparse"))
    assert st.st_size == (8 << 20) + 4
    assert st.st_blocks * 512 < 1 << 20


def test_what_stays_in_the_upper(world):
    """C-3.7: unlink of an upper-only file leaves no whiteout; C-1.5: the upper holds nothing but the result."""
    side = world.ovl([LOW], upper={})
    side.opsh("""
        put @/n 1
        unlink @/n
        mkdir @/nd
        put @/nd/x 1
        unlink @/nd/x
        rmdir @/nd
        unlink @/empty
    """)
    assert os.listdir(side.upper) == [".wh.empty"]


def test_whiteouts_in_kernel_form(world):
    """C-2.2: whiteout=kernel writes 0/0 devices and no .wh. files."""
    side = world.ovl([LOW], upper={}, options=",whiteout=kernel")
    side.opsh("""
        unlink @/f
        unlink @/d/e/f
        rmdir @/d/e
        mkdir @/d/e
    """)
    assert sorted(os.listdir(side.upper)) == ["d", "f"]
    assert os.stat(os.path.join(side.upper, "f")).st_rdev == 0
    assert os.getxattr(os.path.join(side.upper, "d/e"), "user.overlay.opaque") == b"y"


@pytest.mark.parametrize("form", ["oci", "kernel"])
def test_both_forms_show_the_same(compare, form):
    compare([{"d/": OPAQUE, "d/x": "1"}, LOW], """
        unlink @/f
        unlink @/d/x
        rmdir @/d
        mkdir @/d
        put @/d/new 1
        put @/f new
        unlink @/x
        symlink d @/x
        unlink @/priv/f
        rmdir @/priv
        put @/priv file
    """, options=f",whiteout={form}")


def test_hard_links_stay_linked(compare):
    compare([{"a": "1", "d/b": same("a"), "c": same("a")}], """
        append @/a 2
        cat @/d/b
        stat @/a
        stat @/c
        unlink @/a
        append @/c 3
        cat @/d/b
        stat @/d/b
    """, without={"kernel": "index"})


def test_new_hard_links(compare):
    compare([LOW], """
        link @/f @/hard
        stat @/hard
        append @/hard +
        cat @/f
        stat @/f
        link @/new @/x
        put @/n 1
        link @/n @/d/n
        stat @/n
        unlink @/n
        cat @/d/n
        stat @/d/n
        link @/d @/dlink
        link @/f @/x
        link @/f @/missing/x
        link @/link @/link2
        lstat @/link2
        linkat cwd @/link cwd @/followed AT_SYMLINK_FOLLOW
        lstat @/followed
        linkat cwd @/ro cwd @/d/ro
        stat @/d/ro
    """)
