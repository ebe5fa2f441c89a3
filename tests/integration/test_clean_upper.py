# SPDX-License-Identifier: MIT
"""The upper is what was changed and nothing else, and the same work gives the same upper (C-2.2, C-3.7)."""

import hashlib
import os
import shutil
import stat
import subprocess

import pytest

from layers import File, link
from residue import residue
from shuffled import shuffled_lower

HERE = os.path.dirname(os.path.abspath(__file__))
FORMS = {"oci": {}, "kernel": {"form": "dev", "options": ",whiteout=kernel"}}
LOW = {"conf": File(content="one\ntwo\n", mode=0o640), "other": "other\n", "s": link("conf"), "d/f": "f\n", "d/g": "g\n",
       "tree/a/b/c": "c\n", "tree/x": "x\n", "void/": None}
ENVIRONMENT = "export HOME=$PWD GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE='2001-01-01 00:00 +0000' LC_ALL=C;" \
    " export GIT_COMMITTER_DATE=\"$GIT_AUTHOR_DATE\" PATH=$PATH:/usr/sbin:/sbin; umask 022; set -e; cd @; "


def work(side, script):
    words = (ENVIRONMENT + script).replace("@", side.mount).replace("%", side.outside)
    result = side.run([(["sh", "-c", words], "")])[0]
    assert result.status == 0, result.err + result.out
    return result


def check_clean(side):
    found = residue(side.upper, side.lowers)
    assert not found, "\n".join(found)
    assert os.listdir(f"{side.upper}.work/work") == []


def contents(root):
    """All that a layer is: path, type, mode, owner, size, content, attributes; marks are among them."""
    lines = []
    for folder, dirs, files in os.walk(root):
        for name in dirs + files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            is_file, is_link = stat.S_ISREG(st.st_mode), stat.S_ISLNK(st.st_mode)
            data = open(path, "rb").read() if is_file else os.fsencode(os.readlink(path)) if is_link else b""
            size = st.st_size if is_file or is_link else 0
            marks = [(n, os.getxattr(path, n, follow_symlinks=False)) for n in
                     sorted(os.listxattr(path, follow_symlinks=False))]
            lines.append((os.path.relpath(path, root), oct(st.st_mode), st.st_uid, st.st_gid, size, st.st_rdev,
                          hashlib.sha256(data).hexdigest(), marks))
    return sorted(lines)


def names(root):
    return sorted(os.path.relpath(os.path.join(folder, name), root)
                  for folder, dirs, files in os.walk(root) for name in dirs + files)


SAVES = {
    "sed": ("sed -i s/one/1/ conf", ["conf"]),
    "sed-backup": ("sed -i.bak s/one/1/ conf d/f", ["conf", "conf.bak", "d", "d/f", "d/f.bak"]),
    "sed-link": ("sed -i --follow-symlinks s/one/1/ s", ["conf"]),
    "perl": ("perl -i -pe s/one/1/ conf", ["conf"]),
    "perl-backup": ("perl -i.orig -pe s/one/1/ conf", ["conf", "conf.orig"]),
    "vim": ("vim -es -u NONE -i NONE -c 'set backup backupskip= backupdir=. directory=. writebackup' -c 1s/one/1/ -c wq conf",
            ["conf", "conf~"]),
    "vim-rename": ("vim -es -u NONE -i NONE -c 'set backupcopy=no swapfile directory=.' -c 1s/one/1/ -c wq conf",
                   ["conf"]),
    "emacs": ("ln -s me .#conf; cp -p conf conf.tmp; mv conf conf~; mv conf.tmp conf; echo 3 >>conf; rm .#conf",
              ["conf", "conf~"]),
    "ed": ("printf '1s/one/1/\\nw\\nq\\n' | ed -s conf", ["conf"]),
    "install": ("install -m 600 other conf; install -b other d/f; install -D other new/x/y",
                ["conf", "d", "d/f", "d/f~", "new", "new/x", "new/x/y"]),
    "cp": ("cp --remove-destination other conf; cp -l conf c2; cp -a tree copy; rm -r copy", ["c2", "conf"]),
    "mv": ("cp conf new; mv -b new conf; mv other o; mv o other", ["conf", "conf~", "other"]),
    "ln": ("ln -sf other s; ln -sfn other new; ln -f other d/g; rm new", ["d", "d/g", "other", "s"]),
    "rsync": ("for f in conf d/f tree/a/b/c; do t=$(dirname $f)/.$(basename $f).Xy12; cp $f $t; chmod 600 $t; mv -f $t $f;"
              " done", ["conf", "d", "d/f", "tree", "tree/a", "tree/a/b", "tree/a/b/c"]),
    "tar": ("tar cf % --exclude=./new . 2>%/log || tar cf %/t.tar .; tar xf %/t.tar; rm -r tree; tar xf %/t.tar ./tree",
            None),
    "locks": ("mkdir lock; rmdir lock; : >d/lock; rm d/lock; mktemp -p d >%/name; rm $(cat %/name); (set -C; : >pid); rm pid",
              ["d"]),
    "there-and-back": ("mv d e; mv e d; mv tree void/; mv void/tree .; mv void v; mv v void", None),
    "made-again": ("rm conf; echo new >conf; rm -r d; mkdir d; echo f >d/f; rm -r d; rm s; mkdir s; rmdir s; ln -s conf s",
                   None),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how", SAVES)
def test_save(world, how, form):
    if how.startswith("vim") and not shutil.which("vim") or how == "ed" and not shutil.which("ed"):
        pytest.skip("no such program here")
    script, left = SAVES[how]
    side = world.ovl([LOW], upper={}, **FORMS[form])
    work(side, script)
    check_clean(side)
    if left is not None:
        assert names(side.upper) == left


GIT = """
    git init -q -b main new; cd new; git config user.email a; git config user.name a; git config gc.auto 0
    for i in 1 2 3 4 5 6; do mkdir -p d$i; echo $i >d$i/f; echo $i >f$i; done; git add .; git commit -qm one
    git checkout -qb other; git rm -rq d1 f1; echo x >f2; mkdir f3.d; git mv f3 f3.d/f; git commit -qam two
    git checkout -q main; git checkout -q other; git checkout -q main; git merge -q other; git gc -q --prune=now
    git branch -d other; git stash -q 2>/dev/null || :; git clean -qfdx; cd ..
    git clone -q new clone; cd clone; git checkout -q HEAD~1; git checkout -q -; git fsck; cd ..; rm -rf new
"""


@pytest.mark.parametrize("form", FORMS)
def test_git_in_the_upper(world, form):
    side = world.ovl([LOW], upper={}, **FORMS[form])
    work(side, GIT)
    check_clean(side)
    marks = [name for name in names(side.upper) if ".wh." in name or "new" in name.split("/")]
    assert not marks


@pytest.mark.parametrize("form", FORMS)
def test_git_over_a_lower_repository(world, role, form):
    side = world.ovl([{"x": "x"}], upper={}, **FORMS[form])
    lower = side.lowers[0]
    script = ENVIRONMENT.replace("cd @", f"cd {lower}") + GIT.split("git checkout -q main")[0]
    subprocess.run(role.drop() + ["sh", "-c", script], check=True, cwd=lower, capture_output=True)
    world.watch(lower)
    work(side, """cd new; git status -s; git checkout -q main; git checkout -q other; git checkout -q main
        git merge -q other; git gc -q --prune=now; git reset -q --hard HEAD~1; git checkout -qf main; git status -s
        git rm -rq .; git reset -q --hard; git fsck""")
    check_clean(side)


def make_package(folder, version, files):
    os.makedirs(f"{folder}/DEBIAN")
    with open(f"{folder}/DEBIAN/control", "w") as f:
        f.write(f"Package: clean\nVersion: {version}\nArchitecture: all\nMaintainer: a <a@b>\nDescription: test\n")
    with open(f"{folder}/DEBIAN/conffiles", "w") as f:
        f.write("/etc/clean.conf\n")
    for path, text in files.items():
        os.makedirs(os.path.dirname(f"{folder}/{path}"), exist_ok=True)
        with open(f"{folder}/{path}", "w") as f:
            f.write(text)


@pytest.mark.skipif(not shutil.which("dpkg"), reason="no dpkg here")
@pytest.mark.parametrize("form", FORMS)
def test_dpkg(world, role, form):
    """A package of the lower layer is upgraded, removed and installed again."""
    side = world.ovl([{"x": "x"}], upper={}, **FORMS[form])
    lower = side.lowers[0]
    for version, files in ((1, {"usr/share/clean/a": "1", "usr/share/clean/old": "1", "etc/clean.conf": "1"}),
                           (2, {"usr/share/clean/a": "2", "usr/share/clean/new/b": "2", "etc/clean.conf": "2"})):
        make_package(f"{side.outside}/{version}", version, files)
    os.makedirs(f"{lower}/var/lib/dpkg/updates")
    os.makedirs(f"{lower}/var/lib/dpkg/info")
    open(f"{lower}/var/lib/dpkg/status", "w").close()
    for root in (side.outside, lower):
        subprocess.run(["chown", "-R", f"{role.uid}:{role.gid}", root], check=True)
    dpkg = f"dpkg --force-not-root --log={side.outside}/log --root="
    native = f"{ENVIRONMENT.replace('cd @', 'cd ' + side.outside)} dpkg-deb -b 1 1.deb; dpkg-deb -b 2 2.deb; {dpkg}{lower} -i 1.deb"
    subprocess.run(role.drop() + ["sh", "-c", native], check=True, capture_output=True)
    world.watch(lower)
    work(side, f"""{dpkg}@ --unpack %/2.deb; {dpkg}@ --configure clean; test $(cat usr/share/clean/a) = 2
        test ! -e usr/share/clean/old; {dpkg}@ -P clean; test ! -e etc/clean.conf; {dpkg}@ -i %/1.deb
        test $(cat usr/share/clean/a) = 1; {dpkg}@ -i %/2.deb; {dpkg}@ --verify clean""")
    check_clean(side)


PROJECT = {"Makefile": """
objects = $(patsubst %.c,%.o,$(sort $(wildcard *.c)))
all: prog liball.a doc/list
prog: main.o liball.a
\t$(CC) -o $@ $^
liball.a: $(filter-out main.o,$(objects))
\trm -f $@; ar rcs $@.tmp $^ && mv $@.tmp $@
%.o: %.c gen.h
\t$(CC) -g0 -O1 -MMD -c -o $@ $<
gen.h: gen.in
\tsed s/@N@/12/ $< >$@.tmp && mv $@.tmp $@
doc/list: $(objects)
\tmkdir -p doc; ls *.o >$@
install: all
\tfor i in *.o; do install -D -m 644 $$i inst/$$i; done; install prog inst/prog; rm -rf old
clean:
\trm -rf *.o *.d prog liball.a doc gen.h
""", "gen.in": "#define N_MAX @N@\n", "old/x": "x", "old/y/z": "z", "prog": "of an older build", "a1.o": "of an older build",
           "main.c": '#include "gen.h"\nint f1(void);int main(void){return f1() != N_MAX + 1;}\n',
           **{f"a{i}.c": f'#include "gen.h"\nint f{i}(void){{return N_MAX+{i};}}\n' for i in range(1, 13)}}


def same_each_time(world, lower, script, times):
    """Run it on fresh uppers: `script` with N for the number of the run."""
    found = []
    for n in range(times):
        side = world.ovl([lower], upper={})
        work(side, script.replace("#N", str(n)))
        check_clean(side)
        found.append(contents(side.upper))
        assert found[0], "nothing was done"
        differ = set(map(str, found[0])) ^ set(map(str, found[-1]))
        assert not differ, "\n".join(sorted(differ)[:20])


MAKE = "make -s -j4 all; touch gen.in; make -s -j4 install; ./prog"


def test_make(world):
    same_each_time(world, PROJECT, MAKE, 3)


@pytest.mark.long
def test_make_often(world):
    same_each_time(world, PROJECT, MAKE + "; make -s clean; make -s -j8 install", 20)


@pytest.mark.parametrize("times", [4, pytest.param(60, marks=pytest.mark.long)])
def test_any_order(world, times):
    same_each_time(world, shuffled_lower(), f"python3 {HERE}/shuffled.py #N", times)
