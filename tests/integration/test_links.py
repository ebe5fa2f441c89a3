# SPDX-License-Identifier: MIT
"""Names that are hard links in a lower layer stay links (C-3.5).  The bare directory is the oracle: Linux overlayfs
breaks them without its index."""

import itertools
import os
import re

import pytest

from layers import GONE, File, link, same

KERNEL = {"kernel": "index"}
LOW = {"a": "1", "b": same("a"), "d/c": same("a"), "d/e/x": same("a"), "other": "o", "up/": None, "alone": "z"}
TWO = {"p/one": "two\n", "p/two": same("p/one"), "s": link("other"), "s2": same("s")}


@pytest.fixture(params=["oci", "kernel"])
def both_forms(request, role):
    if request.param == "kernel" and not role.root:
        pytest.skip("about the form, once")
    return f",whiteout={request.param}"


def test_content_and_counts(compare, both_forms):
    compare([{**LOW, **TWO}], """
        append @/a 2
        cat @/b
        cat @/d/c
        stat @/a
        stat @/b
        append @/d/c 3
        cat @/a
        cat @/d/e/x
        truncate @/b 2
        cat @/d/c
        stat @/d/e/x
        open 1 @/d/e/x O_WRONLY|O_TRUNC
        write 1 all
        fstat 1
        cat @/a
        chmod @/b 0600
        stat @/a
        setxattr @/d/c user.k v
        getxattr @/a user.k
        ident @/a
        ident @/b
        ident @/d/c
        ident @/d/e/x
        append @/p/two x
        stat @/p/one
        cat @/p/one
    """, without=KERNEL, options=both_forms)


def test_reading_by_a_descriptor(compare):
    compare([LOW], """
        ident @/b
        append @/a 2
        open 1 @/b O_RDONLY
        read 1
        fstat 1
        fident 1
        pread 1 10 0
        fchmod 1 0640
        stat @/a
        stat @/d/c
        fgetxattr 1 user.k
        fsetxattr 1 user.k v
        getxattr @/d/c user.k
        dident @/ b
        dident @/ a
        dident @/d c
        access @/b W_OK
        open 2 @/b O_RDWR
        write 2 new
        cat @/d/e/x
        pread 1 10 0
        futimens 1 5 6
        times @/a
    """, without=KERNEL)


def test_unlinking(compare, both_forms):
    compare([LOW], """
        unlink @/b
        stat @/a
        append @/a 2
        stat @/d/c
        unlink @/a
        cat @/d/c
        stat @/d/c
        append @/d/c 3
        stat @/d/e/x
        cat @/d/e/x
        put @/a fresh
        stat @/a
        cat @/d/c
        unlink @/d/c
        stat @/d/e/x
        cat @/d/e/x
        unlink @/d/e/x
        rmdir @/d/e
        readdir @/d
        put @/d/c again
        stat @/d/c
    """, without=KERNEL, options=both_forms)


def test_open_while_the_last_name_goes(compare):
    compare([LOW], """
        append @/a 2
        open 1 @/d/c O_RDONLY
        open 2 @/b O_RDWR
        unlink @/a
        unlink @/b
        unlink @/d/c
        fstat 1
        write 2 3
        cat @/d/e/x
        unlink @/d/e/x
        fstat 1
        read 1
        fstat 2
        write 2 4
        pread 1 10 0
    """, without=KERNEL)


def test_renaming(compare, both_forms):
    compare([{}, LOW], """
        rename @/a @/b
        readdir @/
        append @/a 2
        rename @/a @/b
        readdir @/
        rename @/b @/up/b
        cat @/up/b
        stat @/up/b
        append @/up/b 3
        cat @/d/c
        rename @/other @/d/c
        stat @/d/c
        stat @/a
        rename @/d/e/x @/alone
        stat @/alone
        cat @/alone
        append @/alone 4
        cat @/a
        renameat cwd @/alone cwd @/d/c RENAME_EXCHANGE
        cat @/d/c
        stat @/d/c
        link @/a @/n
        stat @/n
        rename @/n @/a
        stat @/a
    """, without=KERNEL, options=both_forms)


def test_linking(compare):
    compare([LOW], """
        append @/a 2
        link @/b @/l
        stat @/l
        ident @/l
        ident @/a
        open 1 @/d/c O_RDONLY
        linkfd 1 @/l2
        stat @/l2
        append @/l2 3
        cat @/a
        cat @/d/e/x
        unlink @/a
        unlink @/b
        stat @/l
        link @/d/c @/a
        append @/d/e/x 4
        cat @/a
    """, without=KERNEL)


def test_directories_that_hold_names(compare):
    compare([{"d/top": "t"}, LOW, {"low/k": "k", "low/m": same("low/k"), "n": same("low/k")}], """
        append @/a 2
        rename @/d @/moved
        stat @/moved/c
        append @/moved/e/x 3
        cat @/a
        cat @/moved/c
        stat @/b
        rename @/low @/up/low
        stat @/up/low/k
        append @/up/low/m 4
        cat @/up/low/k
        cat @/n
        stat @/n
    """, without=KERNEL)


def test_layers_of_links(compare):
    """A higher layer's own file or whiteout takes a name out of the group; the layers' own groups are apart."""
    compare([{"a": "mine", "m": same("a"), "gone": GONE}, {"a": "1", "b": same("a"), "c": same("a"), "gone": same("a")}], """
        append @/a 2
        cat @/m
        cat @/b
        append @/b 3
        cat @/c
        cat @/m
    """, without=KERNEL, tree=False)


def test_symbolic_links_and_fifos(compare):
    compare([{"s": link("f"), "d/s": same("s"), "f": "x"}], """
        lstat @/s
        lchown @/s -1 -1
        lstat @/d/s
        readlink @/d/s
        unlink @/s
        lstat @/d/s
        readlink @/d/s
    """, without=KERNEL)


def test_the_paths_of_descriptors(world):
    """C-2.9: one that was opened through the index shows one of the file's names, not the work directory."""
    side = world.ovl([LOW], upper={})
    answers = side.opsh("""
        append @/a 2
        open 1 @/d/c O_RDONLY
        fdpath 1
        realpath @/d/c
    """)[0]
    assert answers[2].split()[-1] == "@/a" and answers[3].split()[-1] == "@/d/c"


def test_what_the_upper_holds(world):
    """The upper has the names that were changed, as links of one file, and reading puts none there."""
    side = world.ovl([LOW], upper={})
    side.opsh("""
        append @/a 2
        cat @/b
        append @/d/c 3
        stat @/d/e/x
    """)
    seen = {os.path.relpath(os.path.join(at, n), side.upper) for at, _, names in os.walk(side.upper) for n in names}
    assert seen == {"a", "d/c"}
    assert os.stat(f"{side.upper}/a").st_ino == os.stat(f"{side.upper}/d/c").st_ino


def test_nothing_is_left_of_a_group(world):
    side = world.ovl([LOW], upper={})
    side.opsh("""
        append @/a 2
        unlink @/b
        unlink @/a
        append @/d/c 3
        unlink @/d/e/x
        unlink @/d/c
    """)
    assert os.listdir(f"{side.upper}.work/state/link") == []
    assert os.listdir(f"{side.upper}.work/work") == []


def test_runs_one_after_another(world):
    side = world.ovl([LOW], upper={})
    first, second, third = side.opsh("append @/a 2\nunlink @/a", "append @/b 3\ncat @/d/c\nstat @/d/c",
                                     "cat @/d/e/x\nappend @/d/e/x 4\ncat @/b")
    assert second[1].split()[-1] == third[0].split()[-1] and "nlink=3" in second[2]
    assert third[2].split()[-1] != third[0].split()[-1]


def test_two_processes_two_names(world):
    """Each appends through a name of its own, all at the same time: one file, nothing lost."""
    names = {k: v for i in range(20) for k, v in ((f"a{i}", ""), (f"b/{i}", same(f"a{i}")))}
    side = world.ovl([names], upper={})
    one = 'for i in $(seq 0 19); do for n in 1 2 3; do echo line >>a$i; done; done'
    two = 'for i in $(seq 0 19); do for n in 1 2 3; do echo line >>b/$i; done; done'
    done = side.run([(["sh", "-c", f"cd {side.mount} && ({one}) & cd {side.mount} && ({two}) & wait; cd {side.mount}; "
                       "wc -l a* b/* | awk '{print $1}' | sort -u; stat -c %h a* b/* | sort -u"], "")])[0]
    assert (done.status, done.out.split(), done.err) == (0, ["240", "6", "2"], "")


TREE = {"f1": "one\n", "f2": same("f1"), "sub/f3": same("f1"), "status": "old\n", "status-old": same("status"),
        "obj/aa": "object\n", "pack/aa": same("obj/aa"), "prog": File(content="#!/bin/sh\necho run $0\n", mode=0o755),
        "prog2": same("prog"), "plain": "p\n"}
COUNTS = "find . -type f -printf '%n %p\\n' | sort; find . -type f -exec md5sum {} + | sort -k2"
SCRIPTS = {
    "tar": f"echo x >>f1; tar cf %/t.tar . && tar tvf %/t.tar | grep -c ' link to '; mkdir %/out && tar xf %/t.tar -C %/out && "
           f"cd %/out && {COUNTS}",
    "tar-over": f"tar cf %/t.tar .; echo y >>f2; tar xf %/t.tar; {COUNTS}; echo z >>f1; {COUNTS}",
    "cp": f"echo x >>f2; cp -a . %/all; {COUNTS}; cp -a sub/f3 copy; cp -l f2 hard; cp plain f1; echo y >>hard; cat sub/f3; {COUNTS}",
    "cp-inside": f"mkdir n; cp -al f1 f2 sub n; echo x >>n/f2; {COUNTS}; rm -r n; {COUNTS}",
    "rm": f"rm f1; {COUNTS}; echo x >>f2; rm sub/f3; {COUNTS}; rm f2; {COUNTS}; rm -rf obj; {COUNTS}; rm -rf ./*; ls -A",
    "sed": f"sed -i s/one/two/ f2; {COUNTS}; sed -i.bak s/one/three/ f1; cat f1 f2 sub/f3; {COUNTS}",
    "dpkg": f"for i in 1 2 3; do echo new$i >status-new; rm -f status-old; ln status status-old; mv status-new status; {COUNTS}; "
            f"done; cat status status-old",
    "dpkg-backup": f"ln -f status plain; echo n >status.dpkg-new; mv status.dpkg-new status; cat plain status-old; {COUNTS}",
    "git": "export HOME=%/ GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE='2001-01-01 00:00:00 +0000' "
           "GIT_COMMITTER_DATE='2001-01-01 00:00:00 +0000'; git config --global user.email a@b; git config --global user.name n; "
           "git init -q -b main . && git add -A && git commit -qm one; git clone -q -l . clone; "
           f"find clone/.git/objects -type f -printf '%n\\n' | sort | uniq -c; git -C clone fsck; git gc -q; git fsck; "
           f"git -C clone log --oneline | wc -l; rm -rf clone; find .git/objects -type f -printf '%n\\n' | sort -u; {COUNTS}"
           " | grep -v '[.]git/'",
    "exec": "./prog; chmod 700 prog; ./prog2; stat -c '%a %h' prog2; echo 'echo more' >>prog2; ./prog; ./prog2; rm prog; ./prog2",
    "touch": "touch -d @1000 f1; stat -c '%Y %h' f1 f2 sub/f3; chmod 640 sub/f3; stat -c '%a' f1 f2; find . -samefile f1 | sort; "
             "find . -inum $(stat -c %i f2) | sort; [ f1 -ef sub/f3 ] && echo same; ls -i f1 f2 | awk '{print $1}' | uniq | wc -l",
    "mv": f"echo x >>f1; mv f2 g2; mv sub sub2; {COUNTS}; mv f1 g2; ls; mv plain sub2/f3; {COUNTS}; mv prog prog2; ls",
    "rsync-like": f"find . -type f -links +1 | sort | cpio -o -H newc --quiet 2>/dev/null | wc -c; dd if=plain of=f2 conv=notrunc "
                  f"2>/dev/null; {COUNTS}; ln -sf x f1; {COUNTS}",
    "python": "/usr/bin/python3 -B -c 'import os, shutil\nopen(\"f1\",\"a\").write(\"x\")\nprint(os.path.samefile(\"f1\",\"f2\"))\n"
              "os.replace(\"f2\",\"g\"); print(os.stat(\"g\").st_nlink)\nwith open(\"sub/f3\",\"r+\") as f: f.write(\"ABC\")\n"
              "print(open(\"g\").read(), os.fstat(os.open(\"sub/f3\",0)).st_nlink)\nshutil.copy2(\"g\",\"h\"); os.unlink(\"f1\")\n"
              "print(os.stat(\"g\").st_nlink, os.stat(\"h\").st_nlink)'",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_programs(world, name):
    """Real programs: output, status and tree as on the bare directory."""
    base, got = world.base(), {}
    for which in ("bare", "ovl"):
        if which not in world.sides:
            pytest.skip("needs the bare side and the library under test")
        side = world.make([TREE], {}, sides=[which], base=base, letter="p")[which]
        script = SCRIPTS[name].replace("%/", side.outside + "/")
        script = f"export LC_ALL=C TZ=UTC PATH=/usr/bin:/bin; cd {side.mount} || exit 99\n{script}"
        done, tree = side.run([(["sh", "-c", script], ""), ([side.tools.opsh], side.text("tree @"))])
        entries = [re.sub(r" now| \d+\.\d{9}(?= |$)", " T", entry) for entry in tree.lines[-1].split("\t")[1:]
                   if ".git/" not in entry]
        got[which] = [done.status] + done.out.splitlines() + done.err.splitlines() + entries
        world.check()
        os.rename(side.base, f"{base}/{which}")
    problems = [f"expected {w!r}, got {r!r}" for w, r in itertools.zip_longest(got["bare"], got["ovl"]) if w != r]
    if problems:
        pytest.fail("\n".join(problems[:20]), pytrace=False)
