# SPDX-License-Identifier: MIT
"""A directory that is current or open while one above it may not be searched any more: the kernel asks only for the
directory itself, in every call.  (C-2.8, C-2.11, C-3.13.)"""

import pytest

from layers import File

LOWER = [{"low/d/f": "lower\n", "low/d/sub/g": "lower g\n", "mer/d/f": "merged\n", "mer/d/sub/g": "merged g\n",
         "hid/d/f": "hidden\n"}]
UPPER = {"up/a/d/f": "upper\n", "up/a/d/sub/g": "upper g\n", "up/a/d/prog": File(content="#!/bin/cat\n", mode=0o755), "up/a/beside": "beside\n",
         "mer/d/u": "u\n"}

# The upper's directory hides the lower one: by an opaque mark of its own, or of the one above.
HIDING = {**UPPER, "hid/d/u": "u\n", "hid/.wh..wh..opq": ""}

# The grandparent of the cwd is shut, or its parent, or both.
SHUT = {"parent": ["a"], "grandparent": [""], "both": ["a", ""]}

ASK = """
    getcwd
    stat .
    stat f
    lstat sub
    stat missing
    cat f
    cat sub/g
    cat f/x
    readdir .
    readdir sub
    next 0
    stat ..
    readdir ..
    cat ../beside
    stat ../d
    stat ../d/f
    stat ../..
    stat @/up/a/d/f
    realpath .
    realpath ..
    realpath sub
    realpath ../d
    readlink /proc/self/cwd
    access f R_OK
    access . W_OK
    fstat 0
    fstatat 0 f
    fstatat 1 g
    fstatat 0 ../beside
    fstatat 4 sub/g
    openat 2 0 f O_RDONLY
    read 2
    open 2 . O_RDONLY|O_DIRECTORY
    fstatat 2 sub/g
    open 2 .. O_PATH
    put new x
    append new y
    cat new
    append f more
    cat f
    truncate f 3
    cat f
    openat 3 1 made O_WRONLY|O_CREAT|O_EXCL 0640
    write 3 text
    cat sub/made
    openat 3 1 made O_WRONLY|O_CREAT|O_EXCL 0640
    mkdir dir 0755
    mkdir dir/in 0700
    mkdir ../dir 0755
    mkdirat 0 made 0755
    symlink sub/g link
    cat link
    symlink ../d/f up
    cat up
    symlink @/up/a/d/f whole
    cat whole
    unlink whole
    readlinkat 0 link
    link f hard
    link f ../hard
    rename new sub/newer
    cat sub/newer
    rename sub/newer ../newer
    renameat 1 newer 0 newest
    rename dir moved
    stat moved/in
    renameat2 cwd f cwd hard RENAME_EXCHANGE
    chmod f 0600
    chmod . 0700
    chmod sub 0711
    utimens f 1000000000 1000000001
    setxattr f user.a b
    getxattr f user.a
    mkfifo fifo 0600
    lstat fifo
    nftw sub
    statvfs f
    run ./prog
    unlink hard
    unlink missing
    unlinkat 0 link 0
    rmdir moved
    rmdir moved/in
    rmdir moved
    rmdir made
    rmdir ../d
    readdir .
"""

PASSED_ON = """
    other getcwd
    other cat f
    other put forked x
    program getcwd
    program cat f
    program put programmed x
    program fstatat 0 sub/g
    program chdir sub
    program cat ../f
    vforked cat f
    vforked getcwd
    vforked put vforked x
    pass 0 5
    fstatat 5 f
    pass 1 6
    fstatat 6 g
    readdir .
"""

AROUND = """
    chdir sub
    getcwd
    cat g
    program cat g
    cat ../f
    put ../from-sub x
    chdir ..
    getcwd
    readdir .
    fchdir 1
    getcwd
    cat g
    cat ../../beside
    fchdir 0
    chdir ../d
    chdir ..
    getcwd
    readdir .
    cat beside
    chdir d
    getcwd
"""


def script(shut, ask):
    return (["chdir @/up/a/d", "open 0 . O_RDONLY|O_DIRECTORY", "open 1 sub O_RDONLY|O_DIRECTORY", "opendir 0 .",
             "pass 0 4"] +
            [f"other chmod @/up/{name} 0" for name in shut] + ask.split("\n") +
            [f"chmod @/up/{name} 0755" for name in reversed(shut)])


@pytest.mark.parametrize("shut", SHUT, ids=list(SHUT))
@pytest.mark.parametrize("ask", [ASK, PASSED_ON, AROUND], ids=["ask", "passed-on", "around"])
def test_below(compare, user_only, shut, ask):
    compare(LOWER, "\n".join(script(SHUT[shut], ask)), upper=UPPER)


UNCERTAIN = """
    getcwd
    cat f
    cat u
    stat sub
    readdir .
    fstatat 0 f
    put new x
    stat new
    mkdir dir 0755
    unlink f
    stat f
    program getcwd
    program cat f
    program cat u
    vforked readdir .
    chdir sub
    chdir ..
"""


@pytest.mark.parametrize("place", ["low", "mer", "hid"])
def test_where_lower_layers_may_have_a_part(world, user_only, place):
    """It can't be seen what takes part: refused, or as it is; nothing hidden is shown and nothing is hidden."""
    script = "\n".join([f"chdir @/{place}/d", "open 0 . O_RDONLY|O_DIRECTORY", f"other chmod @/{place} 0"] +
                       UNCERTAIN.strip().split("\n") + [f"chmod @/{place} 0755"])
    sides = world.make(LOWER, HIDING, sides=["bare", "ovl"])
    answers = {name: side.opsh(script)[0] for name, side in sides.items()}
    right_ones, *others = answers.values()
    for operation, right, ours in zip(script.split("\n"), right_ones, *others or [right_ones]):
        assert ours == right or (ours == "EACCES" and "getcwd" not in operation), f"{operation}: {right}, but {ours}"


PROGRAMS = r"""
    cd "$1" && mkdir -p p/d/sub p/c && cd p/d && cp /usr/bin/env own && cp /bin/sh sub/sh
    printf '#!/bin/sh\necho "$0 $*"; cat f\n' >script && printf '#!./sub/sh\necho by $0\n' >relative
    chmod +x script relative && echo text >f && chmod 0 ..
    pwd -P; ls; cat f; find . | sort; cp -r sub copy; mv copy moved; ls -R moved; rm -r moved; ln -s f s; cat s; ln f h; stat -c %h f
    ./own -i ./own -i /bin/echo own; ./script a b; sh script; sh ./script c; ./relative; . ./f 2>&1 | sed 's/.*: //'
    env -i ./script; env -C sub ../script 2>&1; (cd sub && ./sh -c 'cat ../f; pwd -P; cd ..; ls ../c'); ls ../c; cat ../d/f; cd .. ; cd d
    tar cf t sub && tar tf t && tar xf t; sed -i s/text/changed/ f; cat f; touch new; rm new; mktemp -p . tXXXXXX | wc -c; rm t?*
    perl -e 'open F, "f" or die; print <F>; opendir D, "."; print join(" ", sort readdir D), "\n"; mkdir "x"; chdir "x"; print `cat ../f`'
    python3 -Bc 'import os, subprocess as s; print(sorted(os.listdir())); print(s.check_output(["./script"], close_fds=True))
print(s.check_output(["cat", "../f"], cwd="sub")); os.posix_spawn("./script", ["s"], os.environ); os.wait()
fd = os.open("sub", 0); print(os.listdir(fd), os.stat("sh", dir_fd=fd).st_mode); print(os.open("f", 0), os.getcwd())
try: print(os.stat(os.getcwd()))
except OSError as e: print(e.strerror)'
    ( ulimit -n 8; cat f; chmod 600 f; ls sub; mkdir few; rmdir few; sh -c 'cat f' )
    chmod 755 ..; find .. | sort
"""


def test_programs(world, user_only):
    said = {name: side.run([(["sh", "-c", PROGRAMS, "sh", "@"], "")])[0] for name, side in world.make([{}], {}).items()}
    right, *others = said.values()
    assert "Permission denied" in right.out, "nothing is barred"
    for other in others:
        assert other.out.split("\n") == right.out.split("\n")
        assert other.err.split("\n") == right.err.split("\n")
