# SPDX-License-Identifier: MIT
"""Test-suites that we did not write: GNU packages are configured, built and checked inside an overlay, gnulib's own tests
among them. Each single test says there what it says outside. (C-1.1, C-1.11, C-1.12, C-3.1, C-4.1 to C-4.7.)
"""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

# Tests that say something else inside, and why.
VALGRIND = "needs valgrind, whose tools are static programs (C-1.12)"
ENVIRONMENT = "shows the whole environment of a program that was given one of its own: ours is kept in it (C-1.11)"
ADDRESS_SPACE = "looks for the least address space in which a program starts: there ld.so does without preloaded libraries"
DEEP = "a merged path longer than 8191 bytes is refused with ENAMETOOLONG (docs/design.md)"
BEHIND = "puts a library behind libovl.so that waits for a certain call of the program's: readdir is ours, fopen of " \
         "/proc/self/mountinfo is passed on as /proc/PID/mountinfo"
SYSTEM_CALLS = "counts system calls"
EXPLAINED = {
    "coreutils": {
        "tests/cp/copy-FMR": VALGRIND, "tests/misc/sort-u-FMR": VALGRIND, "tests/misc/env-S": ENVIRONMENT,
        "tests/misc/cut-huge-range": ADDRESS_SPACE, "tests/misc/printf-surprise": ADDRESS_SPACE,
        "tests/du/long-from-unreadable": DEEP, "tests/misc/pwd-long": DEEP, "tests/rm/deep-2": DEEP,
        "tests/df/no-mtab-status": BEHIND, "tests/df/skip-duplicates": BEHIND, "tests/rm/rm-readdir-fail": BEHIND,
        "tests/ls/stat-free-symlinks": SYSTEM_CALLS,
    },
}
# How many tests must pass outside: fewer, and the suite was not really run.
PASSING = {"coreutils": 800, "findutils": 700, "grep": 240}
BUILD = "./configure -q --disable-nls CFLAGS=-O0 >configure.out 2>&1 && make -s -j2 >make.out 2>&1"
TRIES = 3  # of a test alone
CHECK = "make -k -j2 check >check.out 2>&1 || echo failed"


def verdicts(folder):
    """Each test's name to what its suite wrote down of it."""
    said = {}
    for trs in pathlib.Path(folder).rglob("*.trs"):
        said[str(trs.relative_to(folder).with_suffix(""))] = ",".join(
            re.findall(r"^:test-result: (\w+)", trs.read_text(errors="replace"), re.M))
    for sums in pathlib.Path(folder).rglob("*.sum"):
        for verdict, name in re.findall(r"^([A-Z]+): (.*)$", sums.read_text(errors="replace"), re.M):
            said[f"{sums.relative_to(folder)}: {name}"] = verdict
    return said


def again(twice, package, name, inside):
    """One test alone, on a machine with other work to do: tests that wait for each other's time are not differences."""
    place = f"{twice.place}/{package}"
    folder = pathlib.PurePath(name).parent
    built = pathlib.Path(twice.outside, package)
    while not (built / folder / "Makefile").exists():
        folder = folder.parent
    log = os.path.relpath(name, folder)
    return twice.sh(f"cd {folder} && rm -f {log}.trs {log}.log; make {log}.log >/dev/null 2>&1 || true; "
                    f"sed -n 's/^:test-result: //p' {log}.trs", place, inside=inside).split(" ")[0].strip()


def outside_again(twice, *args):
    os.rename(twice.outside, twice.place)
    try:
        return again(twice, *args, inside=False)
    finally:
        os.rename(twice.place, twice.outside)


@pytest.mark.long
@pytest.mark.parametrize("package", sorted(PASSING))
def test_suite(twice, package):
    twice.unpack(package)
    # All of one age, else patched files make autotools run again.
    subprocess.run(["find", twice.src, "-exec", "touch", "-hd", "@1700000000", "{}", "+"], check=True)
    twice.run(f"{BUILD}\n{CHECK}", f"{twice.place}/{package}", timeout=7200)
    outside = verdicts(f"{twice.outside}/{package}")
    inside = verdicts(f"{twice.upper}/{package}")
    passed = sum(verdict == "PASS" for verdict in outside.values())
    assert passed >= PASSING[package], f"only {passed} passed outside"
    differences = []
    for name in sorted(outside.keys() | inside.keys()):
        if name in EXPLAINED.get(package, {}) or outside.get(name) == inside.get(name):
            continue
        a, b = outside.get(name), inside.get(name)
        for _ in range(TRIES if ": " not in name and a and b else 0):
            b = again(twice, package, name, inside=True)
            a = a if a == b else outside_again(twice, package, name)
            if a == b:
                break
        else:
            differences.append(f"{name}: {a} outside, {b} inside")
    print(f"{package}: {len(outside)} tests, {passed} passed, {sum(v == 'SKIP' for v in outside.values())} skipped outside; "
          f"{sum(outside[n] == inside.get(n) for n in outside)} the same inside at once")
    assert not differences, "\n".join(differences)


# ---- a small part, with the system's own coreutils ---------------------------------------------------------------------

SCRIPTS = """
    cp/abuse cp/backup-is-src cp/cp-HL cp/cp-parents cp/existing-perm-dir cp/into-self cp/link-preserve cp/parent-perm
    cp/same-file cp/sparse cp/thru-dangling install/basic-1 mv/atomic mv/dir2dir mv/hard-3 mv/mv-n mv/trailing-slash
    rm/dir-no-w rm/inaccessible rm/rm2 rm/unread3 ln/hard-to-sym ln/relative ls/inode ls/removed-directory
    ls/stat-vs-dirent du/hard-link du/inodes mkdir/p-3 mkdir/p-acl mkdir/parents chmod/thru-dangling
    touch/dangling-symlink readlink/can-e chown/deref
""".split()
ENVIRONMENT_OF_TESTS = """
    export LC_ALL=C srcdir=. top_srcdir=. abs_srcdir=$PWD abs_top_srcdir=$PWD abs_top_builddir=$PWD VERSION=9.1 fail=0
    export CONFIG_HEADER=/dev/null SHELL=/bin/sh PERL=perl AWK=awk host_os=linux-gnu host_triplet=x86_64-pc-linux-gnu
    export built_programs="ginstall $(cd /usr/bin && echo *)" TMPDIR=/tmp
"""


@pytest.mark.untraced("run twice by itself")
def test_some_of_coreutils_tests(twice):
    """coreutils' test scripts, run with the programs that are installed."""
    twice.unpack("coreutils")
    place = pathlib.Path(twice.src, "coreutils")
    for entry in place.iterdir():
        if entry.name not in ("tests", "init.cfg"):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    (place / "src").mkdir()
    for built, installed in ("ginstall", "install"), ("dd", "dd"):
        (place / "src" / built).symlink_to(f"/usr/bin/{installed}")
    script = ENVIRONMENT_OF_TESTS + f"""
        for t in {' '.join(SCRIPTS)}; do
            s=0
            sh tests/$t.sh 9>&2 >log 2>&1 || s=$?
            echo $t $s
        done
    """
    outside, inside = twice.run(script, f"{twice.place}/coreutils")
    assert inside == outside
    assert len(re.findall(r" 0$", outside, re.M)) >= 0.9 * len(SCRIPTS), outside
