# SPDX-License-Identifier: MIT
"""What reaches the kernel (C-3.1): with a mount that is not on disk, no system call names a path below
it, and none opens a lower layer for writing or changes what is in it."""

import shutil

import pytest

import tracing
from layers import GONE, Dir, File, link

LOW = {"f": "1\n", "d/g": "2\n", "d/e/h": "3\n", "s": link("f"), "abs": link("@/d/g"), "bin/run": File(
    content="#!/bin/sh\necho $0 $1\n", mode=0o755), "src/a.c": "int main(void) { return 0; }\n", "x/": Dir(mode=0o711),
    "x/y": File(content="y", mode=0o600), "hidden": "x"}
WORK = {
    "opsh": None,
    "shell": "cd @ || exit 99; cat f d/g abs; echo x >new; echo y >>f; rm d/g; mkdir n; mv f n/f; ls -lR . >/dev/null; "
             "find . >/dev/null; cp -a d d2; rm -r d; ln -s n l; cat l/f; chmod 600 x/y; touch x; pwd; bin/run a; "
             "sed -i s/2/3/ d2/g; tar cf - . | tar tf - >/dev/null; grep -r int . ; (cd src; ls ..); rm -rf bin; "
             "for i in *; do test -e $i; done; ln new hard; truncate -s 3 new; mkfifo p; realpath s; install -m 755 new i; ./i; true",
    "gcc": "cd @/src && gcc -o prog a.c && ./prog && make -v >/dev/null; ar rc l.a prog; rm prog",
    "python": "cd @ && /usr/bin/python3 -c \"import os, shutil, glob; print(os.listdir('.'), glob.glob('*/*')); "
              "shutil.copytree('d', 'c'); shutil.rmtree('d'); os.rename('f', 'g'); print(os.getcwd()); "
              "open('w', 'w').write('x'); os.replace('w', 'g'); os.stat('s')\"; true",
    "git": "cd @ && export HOME=@ && git init -q . && git config user.email a && git config user.name b && "
           "git add -A && git commit -qm m && git status && git gc -q && git mv f f2 && git commit -qm n && git log -p >/dev/null",
}
OPS = """
    cat @/f
    put @/f x
    unlink @/d/g
    rename @/d/e/h @/h
    mkdir @/n
    rmdir @/n
    symlink a @/b
    link @/h @/h2
    chmod @/x 0700
    utimens @/x/y 1.0 1.0
    setxattr @/x/y user.a b
    truncate @/x/y 0
    open 1 @/src O_RDONLY|O_DIRECTORY
    openat 2 1 a.c O_RDWR
    write 2 x
    open 3 @/s O_RDONLY
    fchmod 3 0600
    readdir @
    chdir @/src
    getcwd
    readdir .
    realpath a.c
    glob @/*
    nftw @
    access @/f W_OK
    statvfs @
    rename @/src/a.c @/src/b.c
    mknod @/q S_IFREG|0600
    exec @/bin/run x
    creat 4 @/new 0600
    open 5 @/bin/run O_RDONLY
    futimens 5 1.0 1.0
"""

@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
@pytest.mark.parametrize("name", WORK)
def test_system_calls(world, name):
    side = world.ovl([{"f": "top\n", "hidden": GONE, "d/new": "n\n"}, LOW], upper={"u": "u\n"})
    side.trace()
    if WORK[name] is None:
        side.opsh(OPS)
    else:
        result = side.run([(["sh", "-c", WORK[name].replace("@", side.mount)], "")])[0]
        assert result.status == 0, result.err
    calls = tracing.read(side.calls)
    assert len(calls) > 100
    found = side.offences()
    if found:
        pytest.fail("\n".join(found[:30]), pytrace=False)
    touched = sum(any(tracing.below(s, side.upper) for s in tracing.strings(call)) for call in calls)
    assert touched > 10, "nothing was done in the upper"


@pytest.mark.parametrize("call, wrong", [
    ('openat(AT_FDCWD, "/m/f", O_RDONLY) = 3', True), ('openat(AT_FDCWD, "/l0/f", O_RDONLY) = 3</l0/f>', False),
    ('openat(AT_FDCWD, "/l0/f", O_RDWR) = 3</l0/f>', True), ('openat(4</l0/d>, "f", O_WRONLY) = -1 ENOENT (x)', True),
    ('unlinkat(4</u>, "f", 0) = 0', False), ('unlink("/l0/f") = 0', True), ('symlink("/m/f", "/u/s") = 0', False),
    ('symlink("x", "/l0/s") = 0', True), ('execve("/l0/run", ["/m/run"], 0x7 /* 9 vars */) = 0', False),
    ('execve("/m/run", ["x"], 0x7 /* 9 vars */) = 0', True), ('fchmod(5</l0/f>, 0600) = 0', True),
    ('write(1</u/f>, "/m/f", 4) = 4', False), ('readlink("/u/s", "/m/f", 4096) = 4', False),
    ('readlink("/m/s", 0x7, 4096) = -1 ENOENT (x)', True), ('link("/l0/f", "/u/f") = 0', True),
    ('copy_file_range(3</l0/f>, NULL, 4</w/t>, NULL, 9, 0) = 9', False)])
def test_the_check_itself(call, wrong):
    assert bool(list(tracing.offences([call], "/m", ["/l0"]))) == wrong
