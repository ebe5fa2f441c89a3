# SPDX-License-Identifier: MIT
"""The cwd and directory descriptors follow their directory through what other processes do, and give ENOENT after its
removal (C-2.11).  One process holds them; others rename and remove.  Linux overlayfs can't be asked: without
redirect_dir it renames no directory that has lower content."""

import pytest

from layers import File, link

LOWER = {"p/low/f": "lower\n", "p/low/sub/g": "lower g\n", "p/mer/f": "merged\n", "p/mer/sub/g": "merged g\n",
         "p/beside": "beside\n", "x/other": "x\n", "x/d/f": "of another\n", "x/d/sub/g": "of another\n", "empty/": None}
UPPER = {"p/mer/u": "u\n", "p/mer/sub/u": "u\n", "p/up/f": "upper\n", "p/up/sub/g": "upper g\n", "y/h": "y\n"}
KINDS = ["low", "mer", "up"]
WITHOUT = {"kernel": "directory-rename"}

HOLD = """
    chdir @/p/D
    open 0 @/p/D O_RDONLY|O_DIRECTORY
    open 1 sub O_RDONLY|O_DIRECTORY
    open 9 sub O_PATH
    opendir 0 @/p/D
    pass 0 4
"""

MOVES = {
    "itself": "other rename @/p/D @/q",
    "into another": "other rename @/p/D @/x/deeper",
    "over an empty one": "other rename @/p/D @/empty",
    "ancestor": "other rename @/p @/q",
    "ancestor into another": "other rename @/p @/y/p",
    "exchange": "other rename @/p/D @/x/d RENAME_EXCHANGE",
    "exchange, the other way": "other rename @/x/d @/p/D RENAME_EXCHANGE",
    "exchange with a file": "other rename @/x/other @/p/D RENAME_EXCHANGE",
    "exchange of ancestors": "other rename @/x @/p RENAME_EXCHANGE",
    "twice": "other rename @/p/D @/q\nother rename @/q @/x/r",
    "by two names": "other rename @/p/D @/p/q\nother rename @/p @/x/r",
    "and back": "other rename @/p/D @/q\nother rename @/q @/p/D",
    "ancestor and back": "other rename @/p @/q\nother rename @/q @/p",
    "another takes the name": "other rename @/p/D @/q\nother rename @/x/d @/p/D",
    "a new one takes the name": "other rename @/p/D @/q\nother mkdir @/p/D 0700\nother put @/p/D/f new",
    "by itself": "rename @/p/D @/q",
    "by a relative name": "rename ../D ../q",
    "by a new program": "program rename @/p/D @/q",
    "copied up before": "other put @/p/D/sub/more x\nother rename @/p/D @/q",
    "a sibling goes": "other unlink @/x/other\nother rmdir @/empty\nother rename @/p/D @/q",
    "the name is used again and goes": "other rename @/p/D @/q\nother mkdir @/p/D 0755\nother rmdir @/p/D",
}

ASK = """
    getcwd
    fdpath 0
    fdpath 1
    cat f
    cat sub/g
    readdir .
    next 0
    cat ../beside
    cat ../other
    readdir ..
    realpath .
    realpath sub
    readlink /proc/self/cwd
    cat /proc/self/cwd/f
    readdir /proc/self/fd/0/sub
    fstatat 0 f
    fstatat 1 g
    fstatat 9 g
    fstatat 4 sub/g
    openat 2 4 f O_RDONLY
    read 2
    openat 3 1 made O_WRONLY|O_CREAT 0640
    write 3 text
    cat sub/made
    put new x
    mkdirat 0 made 0755
    mkdirat 4 made2 0755
    symlinkat t 1 link
    readlinkat 1 link
    renameat 0 new 1 newer
    cat sub/newer
    unlinkat 0 f 0
    append sub/g more
    cat sub/g
    program getcwd
    program cat sub/newer
    program fstatat 0 sub/newer
    program fstatat 4 sub
    vforked getcwd
    vforked fstatat 1 newer
    pass 1 5
    fstatat 5 newer
    pass 9 6
    fstatat 6 newer
    fchmodat 5 newer 0600
    other getcwd
    chdir sub
    getcwd
    chdir ..
    getcwd
    fchdir 1
    getcwd
    readdir ..
    fchdir 4
    getcwd
    chdir ..
    getcwd
    fchdir 9
    getcwd
    rmdir ../made
    readdir @/p/D
    readdir @
"""

EMPTIED = """
    other unlink @/p/D/f
    other unlink @/p/D/sub/g
    other remove @/p/D/sub/u
    other remove @/p/D/u
    other rmdir @/p/D/sub
"""

REMOVALS = {
    "removed": "other rmdir @/p/D",
    "removed by itself": "rmdir @/p/D",
    "removed by a relative name": "rmdir ../D",
    "made again": "other rmdir @/p/D\nother mkdir @/p/D 0755\nother put @/p/D/f new\nother mkdir @/p/D/sub 0755",
    "replaced": "other rename @/x/d @/p/D",
    "replaced by an upper one": "other rename @/y @/p/D",
    "renamed before": "other rename @/p/D @/q\nother rmdir @/q",
    "the parent moves": "other rmdir @/p/D\nother rename @/p @/q",
    "another has its old name": "other rename @/p/D @/q\nother rmdir @/q\nother rename @/x/d @/p/D",
}

ASK_REMOVED = """
    getcwd
    access . F_OK
    access ./. R_OK
    stat f
    stat sub
    stat f/x
    stat ./f
    open 2 f O_RDONLY
    put new x
    mkdir new 0755
    symlink a new
    mkfifo new 0600
    link @/p/beside new
    rename @/p/beside new
    rename f g
    unlink f
    rmdir f
    rmdir .
    rmdir ..
    readlink f
    truncate f 0
    chmod f 0600
    chdir f
    chdir sub
    realpath .
    realpath f
    readdir .
    next 0
    access .. F_OK
    cat ../beside
    readdir ..
    fstatat 0 f
    fstatat 1 g
    fstatat 4 f
    mkdirat 0 new 0755
    mkdirat 4 new 0755
    mkdirat 1 new 0755
    openat 2 4 new O_WRONLY|O_CREAT 0600
    faccessat 0 . F_OK
    faccessat 0 ../beside F_OK
    faccessat 4 ../beside F_OK
    open 3 . O_RDONLY|O_DIRECTORY
    fstatat 3 f
    fstatat 3 sub
    openat 3 3 . O_RDONLY|O_DIRECTORY
    fstatat 3 f
    getdents 3
    mkdirat 3 new 0755
    openat 3 4 . O_RDONLY|O_DIRECTORY
    fstatat 3 f
    pass 0 5
    fstatat 5 f
    faccessat 5 ../beside F_OK
    fchdir 3
    getcwd
    chdir .
    getcwd
    stat f
    program getcwd
    program stat f
    program put new x
    program access .. F_OK
    program cat ../beside
    program fstatat 0 f
    program mkdirat 4 new 0755
    vforked getcwd
    vforked stat f
    vforked access . F_OK
    other stat f
    fchdir 0
    getcwd
    fchdir 4
    getcwd
    stat f
    chdir ..
    getcwd
    cat beside
    fchdir 0
    stat f
    chdir ../..
    getcwd
    readdir @/p
    readdir @
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("move", MOVES)
def test_renamed(compare, kind, move):
    """Remembered, duplicated behind our back, inherited and received ones."""
    compare(LOWER, (HOLD + MOVES[move] + ASK).replace("/D", f"/{kind}"), upper=UPPER, without=WITHOUT)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("move", REMOVALS)
def test_removed(compare, kind, move):
    compare(LOWER, (HOLD + EMPTIED + REMOVALS[move] + ASK_REMOVED).replace("/D", f"/{kind}"), upper=UPPER,
            without=WITHOUT)


UP = """
    realpath .
    realpath ..
    realpath ../beside
    realpath ./../beside
    realpath ../missing
    realpath f
    realpath @/p/beside
    stat ..
    stat ../beside
    stat ../missing
    stat ../..
    stat ../../p/beside
    stat ../D
    stat f/..
    stat ./..
    cat ../beside
    open 2 ../beside O_RDONLY
    open 2 .. O_RDONLY|O_DIRECTORY
    open 2 ../made O_WRONLY|O_CREAT 0644
    readlink ../beside
    mkdir ../dir 0755
    rename ../made ../moved
    unlink ../moved
    rmdir ../dir
    fstatat 0 ../beside
    fstatat 0 ..
    openat 2 0 ../beside O_RDONLY
    program realpath ../beside
    program stat ../beside
    vforked realpath ../beside
    vforked stat ../beside
    chdir ..
    getcwd
    realpath beside
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["rmdir @/p/D", "rmdir ../D", "other rmdir @/p/D", "rmdir @/p/D\nmkdir @/p/D 0755"],
                         ids=["itself", "relative", "other", "made-again"])
def test_up_from_a_removed_one(compare, kind, how):
    """The way up stays for the kernel, on every file system; realpath(3) has no cwd to begin with."""
    script = "\n".join(["chdir @/p/D", "open 0 . O_RDONLY|O_DIRECTORY", EMPTIED, how, UP])
    compare(LOWER, script.replace("/D", f"/{kind}"), upper=UPPER)


def test_outside(compare):
    """A directory outside has no log: the kernel knows where it is when a path leads up, or through a link."""
    compare(LOWER, """
        chdir %/a/b
        open 0 . O_RDONLY|O_DIRECTORY
        cat ../f
        other rename %/a/b %/c/d
        cat ../f
        cat in/p/beside
        openat 1 0 ../f O_RDONLY
        read 1
        openat 1 0 ../in/p/beside O_RDONLY
        read 1
        getcwd
        put ../new x
        other rmdir %/c/d
        other unlink %/c/d/in
        other rmdir %/c/d
        getcwd
        put new x
        access . F_OK
        cat ../f
        chdir ..
        getcwd
        readdir .
    """, outside={"a/f": "f of a", "a/b/in": link("@"), "c/f": "f of c", "c/in": link("@")}, without=WITHOUT)


def test_removed_lower_ones_stay(world):
    """C-3.1: descriptors of a lower directory that was removed, and of a file that was in it, change nothing there."""
    side = world.ovl([{"d/f": File(content="f\n", mode=0o640), "d/sub/": None}], upper={})
    side.opsh("""
        open 0 @/d O_RDONLY|O_DIRECTORY
        open 1 @/d/f O_RDONLY
        open 2 @/d/sub O_RDONLY|O_DIRECTORY
        unlink @/d/f
        rmdir @/d/sub
        rmdir @/d
        fchmod 0 0700
        fchmod 1 0600
        fchmod 2 0700
        futimens 0 1 2
        futimens 1 1 2
        futimens 2 1 2
        fsetxattr 1 user.a b
        fchmod 1 0600
    """)
