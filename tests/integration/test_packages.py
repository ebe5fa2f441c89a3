# SPDX-License-Identifier: MIT
"""The main job on real input: Debian packages are built in an overlay and come out byte for byte.

Each test does the same thing twice, as twice.py says.  (C-1.1, C-1.8, C-1.11, C-3.1, C-4.2, C-4.3.)
"""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

from twice import results, sha256

def debs(folder):
    return {p.name: p for p in pathlib.Path(folder).glob("*.deb")}


# sed's tests that skip themselves where valgrind does not work: its tools are static programs, which an overlay
# refuses to start (C-1.12).
NEED_VALGRIND = {f"testsuite/{name}.sh" for name in ("bug32082", "bug32271-2", "newline-dfa-bug")}


@pytest.mark.parametrize("package", ["hello", "lua5.4", "sed"])
def test_debian_package_is_the_same_byte_for_byte(twice, package):
    twice.unpack(package)
    outside, inside = twice.run("DEB_BUILD_OPTIONS=parallel=2 dpkg-buildpackage -b -us -uc",
                                f"{twice.place}/{package}")
    wanted, got = debs(twice.outside), debs(twice.upper)
    assert wanted and wanted.keys() == got.keys()
    for name in wanted:
        if sha256(wanted[name]) != sha256(got[name]):
            pytest.fail(f"{name} differs\n{describe(wanted[name], got[name])}", pytrace=False)
    differ = {line for line in set(results(inside)) ^ set(results(outside)) if line.split()[1] not in NEED_VALGRIND}
    assert not differ, f"{package}'s own tests: {sorted(differ)}"
    if package == "sed":
        passed = [line for line in results(inside) if line.startswith("PASS")]
        assert len(passed) > 100 and not re.search("^(FAIL|ERROR): ", inside, re.M), f"{len(passed)} of sed's own tests"


def describe(wanted, got):
    """How two packages differ: the listings, and the control files."""
    text = []
    for how in ("-c", "-I"):
        a, b = (subprocess.run(["dpkg-deb", how, str(p)], capture_output=True, text=True).stdout.splitlines()
                for p in (wanted, got))
        text += [f"outside: {line}" for line in a if line not in b] + [f"inside:  {line}" for line in b if line not in a]
    return "\n".join(text) or "same listings, other content"


GIT = """
export GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000' GIT_CONFIG_NOSYSTEM=1
git config --global user.name User; git config --global user.email user@example.org
git config --global init.defaultBranch main; git config --global gc.auto 0
"""


def test_git(twice):
    """clone, status, commit, merge, gc: the same answers and the same objects."""
    first = GIT + """
        git init -q origin
        cd origin
        for i in $(seq 200); do mkdir -p d$((i % 10)); echo $i >d$((i % 10))/f$i; done
        git add . && git commit -qm first
        for i in $(seq 20); do echo $i >>d1/f1; git commit -qam "change $i"; done
    """
    twice.own()
    twice.sh(first, twice.src)
    outside, inside = twice.run(GIT + """
        git -C origin status
        cd origin
        git mv d2/f2 d2/g2 && rm d3/f3 && echo more >>d4/f4 && git add -A && git status --short && git commit -qm second
        git checkout -q -b side HEAD~5 && echo side >side && git add side && git commit -qm side
        git checkout -q main && git merge -q -m merged side && git rebase -q side 2>&1
        git gc -q --prune=now && git fsck --full --strict
        git log --format='%H %s' && git stash list && git status
        cd .. && git clone -q origin clone && cd clone && git status && git log -3 --format=%H
        git switch -q -c work && rm -r d5 && git commit -qam work && git push -q origin work
        cd ../origin && git branch -v && find .git -type f -name '*.lock'
        """, twice.place)
    assert inside == outside
    index = r"/\.git/(index|logs/|objects/(pack|info)/|ORIG_HEAD)"  # hold times, or the order of packing
    assert twice.tree(True, but=index) == twice.tree(False, but=index)


def test_python_venv(twice):
    """A virtual environment, and a package put into it without pip."""
    os.makedirs(f"{twice.src}/dist/pkg")
    pathlib.Path(f"{twice.src}/dist/pkg/__init__.py").write_text("VALUE = 42\n")
    pathlib.Path(f"{twice.src}/dist/pkg/__main__.py").write_text(
        "import sys, pkg\nprint(pkg.VALUE, pkg.__file__, sys.prefix, sys.executable)\n")
    outside, inside = twice.run("""
        /usr/bin/python3 -m venv --without-pip venv
        site=$(venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
        venv/bin/python -c 'import shutil, sys; shutil.copytree("dist/pkg", sys.argv[1] + "/pkg")' "$site"
        venv/bin/python -m compileall -q --invalidation-mode unchecked-hash "$site"
        cd / && "$OLDPWD/venv/bin/python" -m pkg
        . "$OLDPWD/venv/bin/activate" && python -c 'import pkg, sys; print(pkg.__cached__, sys.path)'
        """, twice.place)
    assert inside == outside
    assert "42 " in inside
    assert twice.tree(True) == twice.tree(False)


def test_cmake_project(twice):
    """configure, build, install and run with cmake and make: out of a read-only source."""
    root = pathlib.Path(twice.src)
    (root / "CMakeLists.txt").write_text("""cmake_minimum_required(VERSION 3.25)
project(p C)
add_library(l STATIC l.c)
add_executable(e e.c)
target_link_libraries(e PRIVATE l)
install(TARGETS l e)
""")
    (root / "l.c").write_text("int l(void) { return 42; }\n")
    (root / "e.c").write_text('#include <stdio.h>\nint l(void);\nint main(void) { printf("%d\\n", l()); return 0; }\n')
    outside, inside = twice.run("""
        cmake -S . -B build >/dev/null && cmake --build build -j 2 >/dev/null && build/e
        cmake --install build --prefix "$PWD/usr" && usr/bin/e
        touch l.c && cmake --build build >/dev/null && cmake --build build | grep -c Building || true
        """, twice.place)
    assert inside == outside
    assert twice.tree(True, "usr") == twice.tree(False, "usr")


FILES = {f"t/d{i % 100:02}/e{i % 7}/f{i}": f"{i}\n" for i in range(20000)}


def plain(upper, kernel):
    """What an upper holds, whiteout form aside: path to type, mode and content."""
    found = {}
    for folder, names, files in os.walk(upper):
        relative = os.path.relpath(folder, upper)
        for name in names + files:
            path = os.path.join(folder, name)
            key = os.path.normpath(os.path.join(relative, name))
            st = os.lstat(path)
            if os.path.isdir(path) and not os.path.islink(path):
                found[key] = f"dir {st.st_mode:o}"
                if kernel and b"y" in [os.getxattr(path, x) for x in os.listxattr(path) if x.endswith("overlay.opaque")]:
                    found[os.path.join(key, ".wh..wh..opq")] = "opaque"
            elif kernel and os.path.stat.S_ISCHR(st.st_mode) and st.st_rdev == 0:
                found[key] = "whiteout"
            elif not kernel and name == ".wh..wh..opq":
                found[key] = "opaque"
            elif not kernel and name.startswith(".wh."):
                found[os.path.normpath(os.path.join(relative, name[4:]))] = "whiteout"
            else:
                found[key] = f"{st.st_mode:o} {st.st_size} {int(st.st_mtime)}"
    return found


def test_twenty_thousand_files(world, role):
    """tar -x of a tree, rm -rf of it, and rm -rf of a lower one leave what Linux overlayfs leaves."""
    made = world.make([{**{f"l/{path}": text for path, text in FILES.items()}, "old/a/b": "1", "keep/x": "2"}], {},
                      sides=["kernel", "ovl"])
    if "ovl" not in made:
        pytest.skip("needs the library under test")
    if "kernel" not in made:
        pytest.skip("Linux overlayfs can't be mounted here")
    archive = os.path.join(world.base(), "t.tar")
    make_tar(archive)
    left = {}
    for name, side in made.items():
        left[name] = []
        for argv in (["tar", "-C", "@", "-xf", archive], ["tar", "-C", "@/old", "-xf", archive], ["rm", "-rf", "@/t"],
                     ["rm", "-rf", "@/old"], ["rm", "-rf", "@/l"], ["tar", "-C", "@", "-xf", archive, "t/d00"],
                     ["mkdir", "@/l"]):
            result, = side.run([(argv, "")])
            left[name].append((argv, result.status, result.out, result.err, plain(f"{side.base}/u", name == "kernel")))
    for kernel, ovl in zip(left["kernel"], left["ovl"]):
        assert ovl[:4] == kernel[:4]
        changed = {k: (kernel[4].get(k), ovl[4].get(k)) for k in kernel[4].keys() | ovl[4].keys()
                   if kernel[4].get(k) != ovl[4].get(k)}
        assert not changed, f"after {kernel[0]}: {len(changed)} differences (kernel, libovl), {list(changed.items())[:5]}"


def make_tar(archive):
    folder = archive + ".d"
    for path, text in FILES.items():
        os.makedirs(os.path.dirname(f"{folder}/{path}"), exist_ok=True)
        pathlib.Path(f"{folder}/{path}").write_text(text)
    subprocess.run(["tar", "-C", folder, "--mtime=@1000000000", "--sort=name", "-cf", archive, "t"], check=True)
    shutil.rmtree(folder)
    os.chmod(archive, 0o644)
