# SPDX-License-Identifier: MIT
"""fakeroot and faketime beside libovl, in both orders (C-1.11): faked owners and devices, and times, below the mount and
outside of it."""

import glob
import os
import re
import shutil
import subprocess

import pytest

from layers import File


def fakeroot_library():
    said = subprocess.run(["fakeroot", "cat", "/proc/self/maps"], capture_output=True, text=True, check=True)
    return next(line.split()[-1] for line in said.stdout.splitlines() if "libfakeroot" in line)


SCRIPT = """set -e
for d in @ %; do
    cd $d; touch new; chown 42:43 new; mknod null c 1 3; mkdir sub; chown 7 sub; mkfifo pipe
    stat -c '%n %u:%g %A %t,%T' new null sub pipe
    rm -r new null sub pipe
done
cd @; chown 5 f; stat -c '%n %u %h' f; cat f; ls -A"""

SAID = """new 42:43 -rw-r--r-- 0,0
null 0:0 crw-r--r-- 1,3
sub 7:0 drwxr-xr-x 0,0
pipe 0:0 prw-r--r-- 0,0
""" * 2 + """f 5 1
lower
f
"""


@pytest.mark.parametrize("first", ["fakeroot", "libovl"])
def test_both_orders(world, first):
    side = world.ovl([{"f": "lower\n"}], {}, {})
    preload = [fakeroot_library(), world.tools.library]
    preload = ":".join(preload if first == "fakeroot" else preload[::-1])
    script = SCRIPT.replace("@", side.mount).replace("%;", f"{side.outside};")
    done = subprocess.run([*side.role.drop(), "fakeroot", "--", "env", f"LD_PRELOAD={preload}", f"OVL_CONF={side.conf}",
                           "sh", "-c", script], capture_output=True, text=True, timeout=60, umask=0o022,
                          cwd=side.outside, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, SAID, "")
    assert sorted(os.listdir(f"{side.base}/u")) == ["f"]


# ---- owners are not lost ------------------------------------------------------------------------------------------------

OWNERS = {
    "append": "chown 7 a; echo more >>a; stat -c '%n %u' a",
    "after copy-up": "echo more >>a; chown 7:8 a; stat -c '%n %u:%g' a",
    "copy-up of one that was changed": "chmod 640 a; chown 7 a; chmod 600 a; touch a; echo >>a; stat -c '%n %u %a' a",
    "rename": "chown 7 a; mv a b; stat -c '%n %u' b; mv b d/b; stat -c '%n %u' d/b",
    "rename of a directory": "chown 7 d d/f d/e; chown 8 d/e/g; mv d dd; stat -c '%n %u' dd dd/f dd/e dd/e/g",
    "rename over": "chown 7 a; chown 8 c; mv a c; stat -c '%n %u' c",
    "link": "chown 7 a; ln a l; stat -c '%n %u %h' a l; rm a; stat -c '%n %u %h' l",
    "link of a lower one": "ln a l; chown 7 l; stat -c '%n %u %h' a l",
    "hard links": "chown 7 h1; stat -c '%n %u %h' h1 h2; echo >>h2; stat -c '%n %u %h' h1 h2",
    "remove and make again": "chown 7 a; rm a; touch a; stat -c '%n %u' a; rm -r d; mkdir d; stat -c '%n %u' d",
    "copy": "chown 7:8 a; chown 9 d; cp -a a b; cp -a d dd; stat -c '%n %u:%g' b dd",
    "tar": "chown 7:8 a; chown 9 d/f; tar cf t.tar a d; mkdir x; tar xf t.tar -C x; stat -c '%n %u:%g' x/a x/d/f",
    "in a child of another": "chown 7 a; (cd d; sh -c 'chown 8 f; mv f ../g'); env -i /bin/stat -c '%n %u' a g; env -i /bin/mv g h",
    "later": "chown -R 7:8 .; find . -printf '%p %U:%G\\n' | LC_ALL=C sort",
}
LINKED = File(content="h\n")
LOW = {"a": "a\n", "c": "c\n", "d/f": "f\n", "d/e/g": "g\n", "h1": LINKED, "h2": LINKED}
ORDERS = ["fakeroot", "libovl"]


def fake(side, first, library, script):
    """Run a shell script as root that is none, with both libraries, in the directory that the side shows."""
    words = []
    if first:
        preload = [fakeroot_library(), library]
        preload = ":".join(preload if first == "fakeroot" else preload[::-1])
        words = ["env", f"LD_PRELOAD={preload}", f"OVL_CONF={side.conf}"]
    return subprocess.run([*side.role.drop(), "fakeroot", "--", *words, "sh", "-c", f"cd {side.mount} && {script}"], capture_output=True,
                          text=True, timeout=100, umask=0o022, cwd=side.outside, check=False)


@pytest.mark.parametrize("first", ORDERS)
def test_owners_are_not_lost(world, first, user_only):
    """C-3.3, C-3.6: what a faked root has given away stays so through copy-up, rename, links: as on the bare directory."""
    for name, script in OWNERS.items():
        made = world.make([LOW], {}, sides=["bare", "ovl"])
        if len(made) < 2:
            pytest.skip("needs both sides")
        want, have = fake(made["bare"], None, None, script), fake(made["ovl"], first, world.tools.library, script)
        assert (have.returncode, have.stdout, have.stderr) == (0, want.stdout, ""), name
        assert want.stdout and (want.returncode, want.stderr) == (0, ""), name


# ---- a package ------------------------------------------------------------------------------------------------------------

RULES = """#!/usr/bin/make -f
build build-arch build-indep:
\techo built >built
binary: binary-indep
binary-arch:
binary-indep:
\tmkdir -p debian/tmp/DEBIAN debian/tmp/srv/owned debian/tmp/srv/moved
\tcp built debian/tmp/srv/owned/first
\tcp payload debian/tmp/srv/payload
\tchown 42:43 debian/tmp/srv/owned/first debian/tmp/srv/moved
\tchown 7:8 given
\tmv given debian/tmp/srv/moved/given
\tln debian/tmp/srv/moved/given debian/tmp/srv/linked
\tmv debian/tmp/srv/owned debian/tmp/srv/renamed
\tmknod debian/tmp/srv/null c 1 3
\tchmod 4755 debian/tmp/srv/payload
\tdpkg-gencontrol
\tdpkg-deb -b debian/tmp ..
clean:
\trm -rf built debian/tmp debian/files
.PHONY: build build-arch build-indep binary binary-arch binary-indep clean
"""
PACKAGE = {
    "ovl-1/debian/rules": File(content=RULES, mode=0o755), "ovl-1/payload": "payload\n", "ovl-1/given": "given\n",
    "ovl-1/debian/control": "Source: ovl\nMaintainer: Nobody <nobody@example.org>\nSection: misc\nPriority: optional\n"
                            "Rules-Requires-Root: binary-targets\nStandards-Version: 4.6.2\n\n"
                            "Package: ovl\nArchitecture: all\nDescription: owners\n of files\n",
    "ovl-1/debian/changelog": "ovl (1) unstable; urgency=low\n\n  * First.\n\n -- Nobody <nobody@example.org>  Tue, 14 Nov 2023 22:13:20 +0000\n",
    "ovl-1/debian/source/format": "3.0 (native)\n",
}
LISTED = {"./srv/moved/": "42/43", "./srv/moved/given": "7/8", "./srv/linked": "7/8", "./srv/renamed/": "0/0",
          "./srv/renamed/first": "42/43", "./srv/payload": "0/0", "./srv/null": "0/0", "./": "0/0"}


def test_a_package_that_is_built(world, user_only):
    """C-1.11: dpkg-buildpackage calls fakeroot for its binary targets; the owners are those in the package."""
    if not shutil.which("dpkg-buildpackage"):
        pytest.skip("needs dpkg-dev")
    side = world.ovl([PACKAGE], {})
    build, listing = side.run([(["sh", "-c", f"cd {side.mount}/ovl-1 && HOME={side.outside} dpkg-buildpackage -b -us -uc -d"], ""),
                               (["sh", "-c", f"dpkg-deb --fsys-tarfile {side.mount}/ovl_1_all.deb | tar --numeric-owner -tv"], "")])
    assert build.status == 0, build
    rows = [line.split() for line in listing.lines]
    owners = {row[5]: row[1] for row in rows}
    for name, owner in LISTED.items():
        assert owners.get(name) == owner, listing
    assert any(row[0] == "-rwsr-xr-x" and row[5] == "./srv/payload" for row in rows), listing
    assert any(row[0].startswith("crw") and row[2] == "1,3" and row[5] == "./srv/null" for row in rows), listing


# ---- faketime ---------------------------------------------------------------------------------------------------------------

TIMES = """date '+%Y-%m-%d'; touch new; stat -c '%n %y' new f; touch -d '2010-01-01 00:00 UTC' f; stat -c '%n %Y' f
echo more >>f; find . -newermt 2000-01-01 -printf '%p\n' | sort; sh -c 'date +%Y'; env -i /bin/cat f"""


@pytest.mark.parametrize("first", ["faketime", "libovl"])
def test_faketime(world, first, user_only):
    """C-1.11: a library that changes what stat answers, before and behind ours."""
    library = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
    if not library:
        pytest.skip("needs libfaketime")
    made = world.make([{"f": "f\n", "d/g": "g\n"}], {}, sides=["bare", "ovl"])
    if len(made) < 2:
        pytest.skip("needs both sides")
    said = {}
    for name, side in made.items():
        preload = library if name == "bare" else [*library, world.tools.library]
        preload = preload if first == "faketime" else preload[::-1]
        words = [f"OVL_CONF={side.conf}"] if name == "ovl" else []
        done = subprocess.run([*side.role.drop(), "env", f"LD_PRELOAD={':'.join(preload)}", "FAKETIME=@2001-02-03 12:00:00", "TZ=UTC",
                               "NO_FAKE_STAT=", *words, "sh", "-c", f"cd {side.mount} && {TIMES}"], capture_output=True, text=True,
                              timeout=60, umask=0o022, cwd=side.outside, check=False)
        said[name] = (done.returncode, re.sub(r" \d\d:\d\d:\d\d\.\d+", "", done.stdout), done.stderr)
    assert said["ovl"] == said["bare"]
    assert said["bare"][1].startswith("2001-02-03\n") and "\n2001\n" in said["bare"][1] and said["bare"][2] == ""
