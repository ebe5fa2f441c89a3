# SPDX-License-Identifier: MIT
"""The same work outside and inside, on real input.

It is done twice at the same path, as an ordinary user: first in a plain directory, which is then moved away; then in
an overlay mounted where that directory was, with the pristine tree as its lower layer.

OVL_FETCHED  where tests/tools/fetch.sh has put the source packages (default: build/fetched of this tree)
"""

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import zlib

import pytest

import layers

FETCHED = pathlib.Path(os.environ.get("OVL_FETCHED") or pathlib.Path(__file__).parents[2] / "build/fetched")
EPOCH = "1700000000"


class Twice:
    """One place, used outside and inside.

    p: the place; src: the pristine tree; lowers: the overlay's, by default that tree; outside: what the plain run left
    there; upper."""

    def __init__(self, world, role, tools, guard):
        self.base = world.base()
        self.place = os.path.join(self.base, "p")
        self.src = os.path.join(self.base, "src")
        self.outside = os.path.join(self.base, "outside")
        self.upper = os.path.join(self.base, "upper")
        self.home = os.path.join(self.base, "home")
        self.lowers = [self.src]
        self.role, self.tools, self.guard = role, tools, guard
        for path in (self.src, self.home):
            os.mkdir(path)

    @property
    def configuration(self):
        return f"mount={self.place},lowerdir={':'.join(self.lowers)},upperdir={self.upper}"

    def environment(self, conf):
        env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": self.home,
               "LC_ALL": "C.UTF-8", "TZ": "UTC", "SOURCE_DATE_EPOCH": EPOCH, "LOGNAME": "user", "USER": "user"}
        if conf:
            env["OVL_CONF"] = conf
            env["LD_PRELOAD"] = self.tools.library
            env["OVL_LOG_FILE"] = os.path.join(self.base, "ovl.log")
        return env

    def sh(self, script, cwd, inside=False, conf="", timeout=3600, check=True):
        """What the script prints, stdout and stderr.  conf: inside another overlay than the place's."""
        conf = conf or (self.configuration if inside else "")
        # The overlay begins behind setpriv: its work directory is its first process's.
        variables = [f"{k}={v}" for k, v in self.environment(conf).items()]
        argv = self.role.drop() + ["env", "-i", *variables, "sh", "-ec", f"cd {cwd}\n{script}"]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd="/",
                              umask=0o022, timeout=timeout, text=True, errors="surrogateescape")
        if check and done.returncode != 0:
            pytest.fail(f"{'inside' if conf else 'outside'}: status {done.returncode}\n{done.stdout[-6000:]}",
                        pytrace=False)
        return done.stdout

    def own(self):
        """Everything so far is the ordinary user's: nothing but libovl protects the lower layer."""
        subprocess.run(["chown", "-hR", f"{self.role.uid}:{self.role.gid}", self.base], check=True)

    def run(self, script, cwd, timeout=3600):
        """The script's output outside and inside. No lower layer may change."""
        self.own()
        subprocess.run(["cp", "-a", self.src, self.place], check=True)
        before = [layers.fingerprint(lower) for lower in self.lowers]
        outside = self.sh(script, cwd, timeout=timeout)
        os.rename(self.place, self.outside)
        inside = self.sh(script, cwd, inside=True, timeout=timeout)
        assert not os.path.exists(self.place), "the real file system was reached below the mount"
        assert [layers.fingerprint(lower) for lower in self.lowers] == before, "a lower layer was changed (C-3.1)"
        return outside, inside

    def tree(self, inside, below=".", but="^$"):
        """The listing of a directory of the place."""
        if not inside:
            os.rename(self.outside, self.place)
        found = self.listing(os.path.join(self.place, below), inside, but)
        if not inside:
            os.rename(self.place, self.outside)
        return found

    def listing(self, root, inside=False, but="^$"):
        """path, type, mode, size or link target, content hash of everything below a directory."""
        out = self.sh(r"""
            find . -type f -printf '%p\t%y %m %s\n' -o -printf '%p\t%y %m %l\n'
            find . -type f -exec sha256sum {} +
            """, root, inside=inside)
        hashes = {path: digest for digest, path in re.findall(r"^\\?([0-9a-f]{64})  (.*)$", out, re.M)}
        lines = [f"{path} {what} {hashes.get(path, '')}" for path, what in re.findall(r"^(\./.*|\.)\t(.*)$", out, re.M)]
        return sorted(line for line in lines if not re.search(but, line))

    def spread(self, count):
        """The pristine tree out of so many lower layers: each file is in one of them, in the next is a whiteout of it,
        in the one after that a stale file."""
        self.lowers = [os.path.join(self.base, f"l{number}") for number in range(count)]
        for folder, _, files in os.walk(self.src):
            relative = os.path.relpath(folder, self.src)
            for name in files:
                of = zlib.crc32(os.path.join(relative, name).encode()) % count
                at = [os.path.normpath(os.path.join(lower, relative)) for lower in self.lowers[of:of + 3]]
                for parent in at:
                    os.makedirs(parent, exist_ok=True)
                shutil.copy2(os.path.join(folder, name), os.path.join(at[0], name), follow_symlinks=False)
                for parent in at[1:2]:
                    pathlib.Path(parent, f".wh.{name}").touch()
                for parent in at[2:]:
                    pathlib.Path(parent, name).write_text("stale\n")
            for lower in self.lowers:
                if os.path.isdir(os.path.join(lower, relative)):
                    shutil.copystat(folder, os.path.join(lower, relative))

    def unpack(self, package, name=None):
        """A Debian source package becomes a directory of the lower layer."""
        unpack(package, f"{self.src}/{name or package}")


def unpack(package, to):
    """A Debian source package becomes a directory."""
    found = sorted(FETCHED.glob(f"source/{package}_*.dsc"))
    assert found, f"no source of {package} in {FETCHED}: run tests/tools/fetch.sh {FETCHED} {package}"
    subprocess.run(["dpkg-source", "--no-check", "-x", str(found[0]), to], check=True, capture_output=True)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def results(log):
    """What a test suite of automake's or autotest's says of each of its tests."""
    automake = re.findall(r"^(?:PASS|SKIP|XFAIL|FAIL|XPASS|ERROR): .*$", log, re.M)
    autotest = re.findall(r"^ *\d+: .* (?:ok|skipped|FAILED|expected failure)\b.*$", log, re.M)
    return sorted({*automake, *autotest})
