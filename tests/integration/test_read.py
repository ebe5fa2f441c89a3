# SPDX-License-Identifier: MIT
"""Reading: look-up through layers, merged directories, whiteouts, descriptors (C-2.1, C-2.2, C-2.7)."""

from layers import GONE, OPAQUE, Dir, Fifo, File, link, same

TOP = {"a/f": "top", "only-top": "t", "d/x": "1", "hidden": GONE, "file-over-dir": "now a file",
       "dir-over-file/in": "now a directory", "opaque/": OPAQUE, "opaque/new": "n"}
LOW = {"a/f": "low", "a/g": "low g", "d/y": "2", "hidden": "x", "file-over-dir/in": "lost", "dir-over-file": "lost",
       "opaque/old": "o", "mode": File(content="m", mode=0o600), "exec": File(content="#!/bin/sh\n", mode=0o755),
       "empty": "", "fifo": Fifo(mode=0o640), "sub/": Dir(mode=0o700), "link": link("a/g"), "h1": "hard",
       "h2": same("h1"), "x": File(content="x", xattrs={"user.one": "1", "user.two": "2"})}


def test_files_and_directories(compare):
    compare([TOP, LOW], """
        stat @
        stat @/a
        cat @/a/f
        cat @/a/g
        stat @/a/f
        stat @/a/g
        cat @/only-top
        cat @/hidden
        stat @/hidden
        cat @/file-over-dir
        stat @/file-over-dir/in
        cat @/dir-over-file/in
        stat @/dir-over-file
        stat @/opaque/old
        cat @/opaque/new
        stat @/mode
        stat @/exec
        stat @/empty
        stat @/fifo
        stat @/sub
        stat @/h1
        stat @/h2
        lstat @/link
        stat @/link
        readlink @/link
        readlink @/a/f
        stat @/x
        statx cwd @/x
    """)


def test_upper_wins_over_lowers(compare):
    compare([TOP, LOW], """
        cat @/a/f
        cat @/only-top
        cat @/new
        cat @/a/g
        readdir @
        readdir @/a
        readdir @/d
        stat @/d
    """, upper={"a/f": "upper", "new": "u", "only-top": GONE, "d/z": "3", "a/g": GONE})


def test_three_lowers_merge_down_to_what_is_not_a_directory(compare):
    """C-2.1: directories merge down to the first layer in which the name is something else."""
    compare([{"d/one": "1"}, {"d": "a file"}, {"d/three": "3", "e": "e"}], """
        readdir @/d
        stat @/d/one
        stat @/d/three
        cat @/e
    """)


def test_reading_copies_nothing(world):
    """C-3.2: opening for reading leaves the upper as empty as it was."""
    import os
    side = world.ovl([LOW], upper={})
    side.opsh("""
        cat @/a/f
        readdir @/a
        stat @/x
        getxattr @/x user.one
        open 1 @/a/g O_RDONLY
        read 1
        access @/a/f W_OK
        run cat @/a/f
    """)
    assert os.listdir(side.upper) == []


def test_descriptors(compare):
    compare([TOP, LOW], """
        open 1 @/a/g O_RDONLY
        fstat 1
        read 1
        read 1
        pread 1 3 1
        lseek 1 0 SEEK_SET
        lseek 1 0 SEEK_END
        write 1 no
        close 1
        read 1
        open 2 @/a O_RDONLY|O_DIRECTORY
        fstat 2
        fstatat 2 g
        openat 3 2 f O_RDONLY
        read 3
        openat 4 2 ../only-top O_RDONLY
        read 4
        fstatat 2 nothing
        open 5 @/a/f O_RDONLY|O_DIRECTORY
        open 6 @/a O_RDONLY
        read 6
        open 7 @/a O_WRONLY
        open 8 @/link O_RDONLY|O_NOFOLLOW
        open 9 @/link O_PATH|O_NOFOLLOW
        fstat 9
        readlinkat 9 ""
        open 10 @/a/g O_PATH
        fstat 10
        read 10
        fstatat 10 "" AT_EMPTY_PATH
        dup 11 2
        fstatat 11 g
        fdpath 2
        fdpath 10
    """)


def test_working_directory(compare):
    compare([TOP, LOW], """
        chdir @/a
        getcwd
        cat f
        cat ./g
        cat ../only-top
        readdir .
        chdir ../d
        getcwd
        stat x
        stat y
        chdir ..
        getcwd
        stat hidden
        chdir a/f
        chdir nowhere
        getcwd
        open 1 @/a O_RDONLY|O_DIRECTORY
        fchdir 1
        getcwd
        cat g
        openat 2 cwd f O_RDONLY
        read 2
        chdir @/..
        stat m/a/f
        chdir m
        getcwd
        chdir /
        getcwd
    """)


def test_paths_that_come_back(compare):
    """C-2.9."""
    compare([TOP, LOW], """
        realpath @/a/../a/f
        realpath @/link
        realpath @/nothing
        realpath @/a/f/
        realpath @/hidden
        realpath @
        chdir @/a
        realpath f
        realpath ../link
        realpath ..
        open 1 @/a/f O_RDONLY
        fdpath 1
        readlink /proc/self/cwd
        glob @/a/*
        glob @/*/x
        glob *
        glob @/h*
        nftw @
    """)


def test_access(compare):
    compare([{"r": File(mode=0o444, content="r"), "w": File(mode=0o200, content="w"), "x": File(mode=0o755, content="x"),
              "none": File(mode=0, content="n"), "dir/": Dir(mode=0o555), "dir/f": "f", "closed/": Dir(mode=0o600),
              "closed/f": "f"}], """
        access @/r F_OK
        access @/r R_OK
        access @/r W_OK
        access @/r X_OK
        access @/w R_OK
        access @/x X_OK
        access @/none R_OK
        access @/none W_OK
        access @/dir W_OK
        access @/dir X_OK
        access @/dir/f W_OK
        access @/closed/f F_OK
        stat @/closed/f
        cat @/closed/f
        readdir @/closed
        cat @/none
        cat @/w
        access @/missing F_OK
        access @/r/x F_OK
        faccessat cwd @/r W_OK AT_EACCESS
        faccessat cwd @/x R_OK|X_OK
        open 1 @/r O_RDWR
        open 1 @/w O_RDWR
    """)


def test_xattrs(compare):
    compare([LOW], """
        listxattr @/x
        getxattr @/x user.one
        getxattr @/x user.three
        getxattr @/missing user.one
        listxattr @/a
        open 1 @/x O_RDONLY
        fgetxattr 1 user.two
    """)


def test_statfs(compare):
    compare([LOW], """
        statfs @/a/f
        statfs @/missing
        statvfs @
        pathconf @/a
    """)


def test_big_file(compare):
    compare([{"big": "0123456789abcdef" * 20000}], """
        stat @/big
        open 1 @/big O_RDONLY
        pread 1 20 319990
        lseek 1 0 SEEK_HOLE
    """)
