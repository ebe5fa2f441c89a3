# SPDX-License-Identifier: MIT
"""Real programs, their output, status and what they leave, against the same on the bare directory (C-4.1 to C-4.3)."""

import itertools
import os
import re

import pytest

import differences
from layers import GONE, Dir, File, Fifo, link, same

TREE = {"README": "read me\n", "src/a.c": "int a(void) { return 1; }\n", "src/main.c":
        '#include "a.h"\n#include <stdio.h>\nint main(void) { printf("%d\\n", a() + B); return 0; }\n',
        "src/a.h": "int a(void);\n#define B 41\n", "src/sub/deep/x": "x\n", "bin/run": File(content="#!/bin/sh\n"
        'echo "$0 $* $(pwd)"\n', mode=0o755), "link": link("src"), "abs": link("@/src/a.c"), "empty/": None,
        "priv": File(content="p\n", mode=0o600), "h1": "hard\n", "h2": same("h1"), "fifo": Fifo(),
        "list": "".join(f"line {i}\n" for i in range(200)), "with space": "s\n", "x": File(content="x\n",
        xattrs={"user.k": "v"})}
TOP = {"src/b.c": "int b;\n", "src/sub/new": "n\n", "gone": GONE, "README": "newer\n", "d/e/f/g": "g\n"}
LOW = {**TREE, "gone": "old\n"}

SCRIPTS = {
    "ls": "ls -A; ls -la --time-style=+ src | grep -v ^total; ls -R; ls -i1 src | sed 's/^ *[0-9]* //'; ls nothing",
    "cat": "cat README src/a.c abs link/a.h; cat gone; cat src; head -3 list; tail -2 list; wc -l list",
    "cp": "cp README copy; cp -a src src2; cp -r link/. there; cp -a . %/all && ls -A %/all; cp -p priv p2; cp nothing x; "
          "cp README src/a.c empty/; cp --sparse=always list l2; cp -l list l3; cp -s README l4; cp -u list l2",
    "cp-n": "cp -n README priv; cp --remove-destination README priv; cp -f src/a.c README; cp --backup README list",
    "mv": "mv README R2; mv R2 src/; mv src/a.c src/b.c; mkdir n; mv n n2; mv list priv x empty/; mv empty/x .; mv -n x h1; "
          "mv nothing y; mv h1 h1; mv -f h1 h2",
    "mv-dir": "mv src source && ls -R source; mv d/e e2; find . | sort",
    "rm": "rm README; rm -r src/sub; rm -f nothing; rm nothing; rm src; rmdir empty; rm -rf src d; rm -d empty; ls -A",
    "rm-all": "rm -rf ./* && ls -A && mkdir again && ls -A",
    "rm-and-again": "rm -rf src && mkdir src && touch src/new && ls src && rm -rf src && mkdir -p src/sub && ls -R src",
    "ln": "ln README hard; ln -s README soft; ln -sf src/a.c soft; ln -sfn empty link; ln README hard; ln -f list hard; "
          "readlink soft link; ln -sr src/sub/new rel; cat rel",
    "install": "install -d a/b/c; install -m 755 README a/b/c/prog; install -D src/a.c z/y/x; install -t empty list; "
               "install -m 4711 README suid; stat -c '%a %n' suid a/b/c/prog",
    "chmod": "chmod -R g+w src; chmod 700 empty; chmod -R u=rwX,go= d; chmod a-w README; chmod +x list; "
             "find . -printf '%m %p\\n' | sort",
    "touch": "touch -d '2001-02-03 04:05:06.789' README src; touch -r list priv; touch new; touch -c no; "
             "stat -c '%y %n' README src priv; touch -h -d @5 link; stat -c %Y link src",
    "du": "du -al --apparent-size . | sed 's/^[0-9]*//' | sort; du -sb src | cut -f2; du -l h1 h2 | cut -f2",
    "find": "find . | sort; find . -type f | sort; find -L . -name 'a*' | sort; find . -newer list -type d | wc -l | tr -d ' '; "
            "find src -depth | sort; find . -empty | sort; find . -perm 600; find . -links +1 -type f | sort; "
            "find . -name '*.c' -exec echo {} + | tr ' ' '\\n' | sort; find d -delete; find src -name '*.c' -execdir pwd \\;",
    "xargs": "find . -type f -print0 | sort -z | xargs -0 cat | wc -c; ls src/*.c | xargs -n1 basename; echo README | xargs -I{} cp {} {}.b",
    "grep": "grep -r int . | sort; grep -rl stdio | sort; grep -c line list; grep nothing README; grep -rn g d",
    "sed": "sed -i s/line/LINE/ list; head -1 list; sed -i.bak 1d README src/a.h; ls src; sed -n 3p list; sed -i s/x/y/ nothing; "
           "sed -i s/p/q/ priv; stat -c %a priv; sed -e 'w out' README; cat out",
    "sort": "sort -r list -o list; head -1 list; sort -u -T . list list | wc -l; split -l 50 list part; ls part*; cat part* | cmp - list; "
            "tac list >t2; paste list t2 | tail -1; comm -12 list list | wc -l; diff README src/a.c; cmp list t2",
    "tar": "tar cf %/t.tar . && tar tf %/t.tar | sort; mkdir out && tar xf %/t.tar -C out && find out | sort; "
           "tar czf s.tgz src && tar xzf s.tgz -C empty && ls -R empty; tar cf - src | (cd out && tar xf -); "
           "tar df %/t.tar README list; tar --delete -f %/t.tar ./list; tar rf %/t.tar list; "
           "tar cf x.tar --xattrs x && mkdir xx && tar xf x.tar --xattrs -C xx",
    "tar-over": "tar cf %/o.tar src d && rm -r src && tar xf %/o.tar && tar xf %/o.tar --unlink-first && "
                "tar xf %/o.tar --recursive-unlink; ls -R src d; tar xpf %/o.tar --overwrite; tar xf %/o.tar -k 2>&1 | sort; ls src",
    "cpio-like": "find src -type f | sort | tar cf - -T - | tar tf -; truncate -s 100000 hole; dd if=list of=dd bs=100 count=3 2>&1 | head -2; "
                 "dd if=dd of=list bs=10 seek=2 conv=notrunc 2>/dev/null; head -c 100 list; stat -c %s hole dd list; shred -u dd; ls dd; mktemp -d tmpXXXXXX | wc -c; rmdir tmp??????; "
                 "mkfifo p; (cat p & echo through >p; wait); sync; cksum README; md5sum list; stat -c '%A %h %s' h1; truncate -s 0 list; tee t1 <README; readlink -f abs link; realpath link/a.c ./d/..; basename $(pwd)",
    "dash": "cd src; pwd; cd sub/deep; pwd; cd ../..; pwd; cd ../link; pwd; pwd -P; cd -; cd ..; for f in *; do echo \"$f\"; done; "
            "echo src/*.c; echo */*; echo nothing*; echo new >src/f; echo more >>src/f; cat <src/f; cat <nothing; : >README; "
            "echo x >src; echo x >no/such; [ -f list ] && echo f; [ -d src ] && echo d; [ -L link ] && echo l; [ -e gone ] || echo gone; "
            "[ -w README ] && echo w; [ -x bin/run ] && echo x; [ list -nt README ] || echo older; bin/run a b; ./bin/run; . ./README; umask 077; echo u >um; stat -c %a um; exec 3<list; read l <&3; echo $l; (cd d && echo in >here); cat d/here; set -C; echo x >um",
    "bash": "bash -c 'cd src; echo $PWD $OLDPWD; echo *.{c,h}; shopt -s globstar; echo **; cat <(echo a) <<<b; echo x &>both; cat both; "
            "pushd sub; dirs; popd; type -P run; PATH=$PWD/../bin:$PATH; type -P run; run via path; mapfile -t a <../list; echo ${#a[@]}; [[ a.c -ef ../abs ]] && echo same; cd ..; "
            "exec 5<>README; read -u5 l; echo $l; echo app >&5; cat README; compgen -f src/; echo /nothing/* d/*/*; cd -P link; pwd; hash -r; ulimit -n >/dev/null'",
    "exec": "bin/run x; cp /bin/true t; ./t; echo $?; cp bin/run r2; ./r2; chmod -x r2; ./r2; echo $?; sh r2; bin/nothing; echo $?; PATH=bin run p; "
            "(cd bin; ./run); (cd src; ../bin/run); env -C bin ./run; nice bin/run; timeout 5 bin/run; echo 'echo sourced' >s; sh ./s; printf '#!@\\n' >bad; chmod +x bad; ./bad; echo $?",
    "make": "cd src; printf 'prog: main.o a.o\\n\\tgcc -o prog main.o a.o\\n%.o: %.c a.h\\n\\tgcc -c $<\\nclean:\\n\\trm -f *.o prog\\n' >Makefile; "
            "make && ./prog && make && touch a.h && make -n && make -j2 && make clean && ls; make nothing; cd .. && make -C src prog >/dev/null && src/prog",
    "gcc": "gcc -Isrc -o prog src/main.c src/a.c && ./prog; gcc -g -O2 -save-temps -c src/a.c && ls; ar rc liba.a a.o && gcc -Isrc src/main.c -L. -la -o p2 && ./p2; "
           "gcc -shared -fPIC -o liba.so src/a.c && gcc -Isrc src/main.c ./liba.so -o p3 && ./p3; gcc -MM -Isrc src/main.c; gcc nothing.c; strip p2; nm liba.a; objcopy p2 p4; "
           "gcc -pipe -Isrc -E src/main.c | grep -c '^int a'; as --version >/dev/null; ld -r -o r.o a.o; size r.o | wc -l",
    "perl": "perl -e 'opendir D,\".\"; print join(\" \",sort readdir D),\"\\n\"; open F,\">pf\" or die; print F \"p\"; close F; rename \"pf\",\"pg\"; print -s \"pg\",\"\\n\"; "
            "chmod 0600,\"README\"; utime 1,2,\"README\"; printf \"%o %d\\n\",(stat \"README\")[2,9]; mkdir \"pd\"; chdir \"pd\"; use Cwd; print getcwd,\"\\n\"; "
            "symlink \"a\",\"b\"; print readlink \"b\"; unlink \"b\"; chdir \"..\"; rmdir \"pd\"; print \"ok\\n\" unless -e \"pd\"; print join \" \",glob \"src/*\"; unlink \"gone\" or print $!;'; perl -pi -e s/line/L/ list; head -1 list; perl -MFile::Find -e 'find(sub{push @a,$File::Find::name},\".\");print join \"\\n\",sort @a'",
    "git": "export HOME=$PWD GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE='2001-01-01 00:00:00 +0000' GIT_COMMITTER_DATE='2001-01-01 00:00:00 +0000'; "
           "git config --global user.email a@b; git config --global user.name n; git init -q -b main . && rm fifo && git add -A && git commit -qm one && git status --short; "
           "git ls-files; echo change >>README; git status --short; git diff --stat; git checkout -q -b other; git rm -q src/b.c; git mv list l2; git commit -qam two; git log --format=%s; "
           "git checkout -q main; ls src; git merge -q other; git stash list; git clone -q . %/clone && ls -A %/clone; git clone -q . inner && git -C inner log --format=%s; git gc -q; git fsck; git tag v1; git archive v1 | tar t | sort; git clean -n; git reset -q --hard HEAD~1; git status --short; git rev-parse --show-toplevel HEAD",
    "dpkg-like": "mkdir -p pkg/DEBIAN pkg/usr/bin; printf 'Package: p\\nVersion: 1\\nArchitecture: all\\nMaintainer: m <m@m>\\nDescription: d\\n' >pkg/DEBIAN/control; "
                 "cp bin/run pkg/usr/bin; dpkg-deb --root-owner-group -b pkg p.deb; dpkg-deb -c p.deb | awk '{print $1,$6}'; dpkg-deb -x p.deb out; find out | sort",
}

PYTHON = r'''
import os, shutil, pathlib, tempfile, glob, stat, sys, subprocess, filecmp, zipfile, fnmatch
p = pathlib.Path(".")
print(sorted(str(x) for x in p.rglob("*")))
print(sorted(e.name + str(e.is_dir()) + str(e.is_symlink()) for e in os.scandir(".")))
print([e.inode() == e.stat(follow_symlinks=False).st_ino for e in os.scandir("src")])
shutil.copytree("src", "copied", symlinks=True)
shutil.copy2("README", "r2"); print(os.stat("r2").st_mtime_ns == os.stat("README").st_mtime_ns)
shutil.move("list", "moved"); print(os.path.exists("list"))
shutil.move("moved", "empty"); print(os.listdir("empty"))
shutil.rmtree("src/sub"); print(sorted(os.listdir("src")))
shutil.rmtree("d"); print(p.joinpath("d").exists())
os.makedirs("d/e/f"); print(list(os.walk("d")))
os.replace("r2", "README"); os.rename("README", "r3")
fd = os.open("src", os.O_RDONLY); print(sorted(os.listdir(fd))); print(os.stat("a.c", dir_fd=fd).st_size)
os.unlink("a.c", dir_fd=fd); os.mkdir("made", dir_fd=fd); os.fchdir(fd); print(os.getcwd()); os.chdir("..")
print(os.path.realpath("abs"), os.path.realpath("link/a.h"), os.path.samefile("link", "src"))
with tempfile.TemporaryDirectory(dir=".") as t: open(t + "/x", "w").write("x"); print(os.listdir(t))
with tempfile.NamedTemporaryFile(dir=".") as t: t.write(b"x"); print(os.path.exists(t.name))
with tempfile.TemporaryFile(dir=".") as t: t.write(b"x")
print(sorted(glob.glob("**/*.h", recursive=True)))
os.chmod("priv", 0o640); print(oct(os.stat("priv").st_mode)); os.utime("priv", (1, 2)); print(os.stat("priv").st_mtime)
os.link("x", "h3"); print(os.stat("x").st_ino == os.stat("h3").st_ino); os.symlink("x", "sy"); print(os.readlink("sy"))
os.setxattr("x", "user.z", b"1"); print(sorted(os.listxattr("x")))
for f in ("nothing", "src/x/y", "h1/z"):
    try: open(f)
    except OSError as e: print(e)
print(subprocess.run(["bin/run", "sub"], capture_output=True, text=True, cwd=".").stdout)
print(subprocess.run(["./run"], capture_output=True, text=True, cwd="bin").stdout)
print(subprocess.run("ls src; pwd", shell=True, capture_output=True, text=True).stdout)
with zipfile.ZipFile("z.zip", "w") as z: z.write("h1")
shutil.unpack_archive("z.zip", "unzipped"); print(filecmp.cmp("h1", "unzipped/h1"))
shutil.make_archive("arch", "tar", "copied"); print(os.path.getsize("arch.tar") > 0)
open("mod.py", "w").write("v = 5\n"); sys.path.insert(0, os.getcwd()); import mod; print(mod.v, mod.__file__)
print(sorted(os.listdir("."))); os.truncate("with space", 1); print(p.joinpath("with space").read_text())
print(os.access("priv", os.W_OK), os.statvfs(".").f_namemax, pathlib.Path.cwd())
'''
SCRIPTS["python"] = f"cat >%/prog.py <<'EOF'\n{PYTHON}EOF\n/usr/bin/python3 -B %/prog.py"

# Output that a run can't repeat: a temporary name, a time, a directory's size.
UNSTABLE = [(re.compile(r"tmp\w{6,8}"), "tmpX"), (re.compile(r"/tmp/cc\w+"), "/tmp/cc"),
            (re.compile(r"\bsed\w{6}\b"), "sedX"), (re.compile(r"^(d\S{9}) +\d+ ", re.M), r"\1 N ")]


def stable(text):
    for pattern, word in UNSTABLE:
        text = pattern.sub(word, text)
    return text


def comparable(result):
    tree = [re.sub(r" now| \d+\.\d{9}(?= |$)", " T", entry) for entry in result[1].lines[-1].split("\t")[1:]
            if not volatile(entry)]
    return {"status": [result[0].status], "out": stable(result[0].out).splitlines(),
            "err": stable(result[0].err).splitlines(), "tree": tree}


def volatile(entry):
    """What no two runs make alike: git's index and packs hold inode numbers and times, archives times."""
    return re.search(r"^\S*(\.git/|\.tgz |\.tar |\.zip |\.deb |__pycache__|prog |\.a |clone/|inner/)", entry)


@pytest.mark.parametrize("name", SCRIPTS)
def test_programs(world, name):
    """The views have one path, one after the other, because programs write paths into files.  Without libovl
    the kernel's overlayfs takes its place, which tests the scripts."""
    base, got = world.base(), {}
    other = "ovl" if "ovl" in world.sides else "kernel"
    if other == "kernel" and name == "python" and not world.role.root:
        pytest.skip(differences.find(("ident",), "", "").why)
    for which in [name for name in ("bare", other) if name in world.sides]:
        side = world.make([TOP, LOW], {}, sides=[which], base=base, letter="p")[which]
        script = SCRIPTS[name].replace("%/", side.outside + "/").replace("@", side.mount)
        script = f"export LC_ALL=C TZ=UTC PATH=/usr/bin:/bin; unset CDPATH; cd {side.mount} || exit 99\n{script}"
        results = side.run([(["sh", "-c", script], ""), ([side.tools.opsh], side.text("tree @"))])
        got[which] = comparable(results)
        world.check()
        os.rename(side.base, f"{base}/{which}")
    wanted, *_, real = (*got.values(), *got.values())  # traced, one side is run alone
    problems = [f"{part}: expected {w!r}, got {r!r}" for part in wanted
                for w, r in itertools.zip_longest(wanted[part], real[part]) if w != r]
    if problems:
        pytest.fail("\n".join(problems[:20]), pytrace=False)
