# SPDX-License-Identifier: MIT
"""CPython's own tests (Debian's libpython3.11-testsuite), test by test, outside and inside (C-4.1 to C-4.7).

Fast tier: /usr/bin/python3, with an overlay in place over its library tree and one for temporary files.  Long tier:
a Python of its own, program and library tree and temporary files all below one mount, of three lower layers.
"""

import collections
import os
import pathlib
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import pytest

from twice import FETCHED, Twice

LIBRARY = pathlib.Path("/usr/lib/python3.11")
PROGRAM = pathlib.Path("/usr/bin/python3.11")

FAST = ["test_fileio", "test_glob", "test_posix"]
LONG = ["test_compileall", "test_ctypes", "test_dbm", "test_distutils", "test_fcntl", "test_fileio", "test_glob",
        "test_import", "test_importlib", "test_io", "test_mailbox", "test_mmap", "test_os", "test_pathlib",
        "test_posix", "test_runpy", "test_shutil", "test_sqlite3", "test_subprocess", "test_tarfile", "test_tempfile",
        "test_venv", "test_zipfile", "test_zipimport"]
FEWEST = 10  # tests that the smallest of these modules has


class Python(Twice):
    """A place p with a directory tmp, in which a Python runs its tests."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        os.makedirs(f"{self.src}/tmp/old")
        pathlib.Path(self.src, "tmp/old/file").write_text("of a lower layer\n")
        self.build()
        os.rename(self.src, self.outside)
        self.own()
        for lower in self.lowers:
            self.guard.add(lower)

    def outcomes(self, module, inside, only=()):
        """What became of each test of a module, by its name."""
        report = os.path.join(self.base, f"{module}.{'inside' if inside else 'outside'}.xml")
        chosen = " ".join(f"-m '{name}'" for name in only)
        if not inside:
            os.rename(self.outside, self.place)
        log = self.sh(f"""
            mkdir -p tmp/{module} && cd tmp/{module}
            TMPDIR=$PWD exec {self.program} -m test -u cpu,largefile,subprocess --junit-xml {report} {chosen} {module}
            """, self.place, inside=inside, check=False)
        if not inside:
            os.rename(self.place, self.outside)
        assert not os.path.lexists(self.place), "the real file system was reached below the mount"
        assert os.path.exists(report), f"{module} did not come to its end: {log[-6000:]}"
        found = read(report)
        os.unlink(report)
        return found

    def differences(self, module, only=()):
        outside, inside = (self.outcomes(module, inside, only) for inside in (False, True))
        assert only or len(outside) >= FEWEST, f"{module}: {len(outside)} tests outside"
        for side, found in (("outside", outside), ("inside", inside)):
            print(module, side, dict(collections.Counter(outcome.split()[0] for outcome in found.values())))
        return {name: (outside.get(name), inside.get(name)) for name in outside.keys() | inside.keys()
                if outside.get(name) != inside.get(name)}


class InPlace(Python):
    """The machine's Python; a layer over its library tree has some of its files again, adds one and removes one."""

    program = "/usr/bin/python3"

    def build(self):
        self.layer = pathlib.Path(self.base, "layer")
        for name in ("os.py", "tempfile.py", "test/test_glob.py", "test/support/os_helper.py", "unittest/case.py"):
            (self.layer / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(LIBRARY / name, self.layer / name)
        (self.layer / "only_inside.py").write_text("")
        (self.layer / ".wh.this.py").touch()
        shutil.copytree(self.src, f"{self.base}/lower")
        self.lowers = [f"{self.base}/lower", str(self.layer)]

    @property
    def configuration(self):
        return (f"mount={LIBRARY},lowerdir={self.layer}:{LIBRARY},upperdir={self.base}/library;"
                f"mount={self.place},lowerdir={self.base}/lower,upperdir={self.upper}")


class Whole(Python):
    """A Python of the place's own; inside, every directory of it is merged of three."""

    @property
    def program(self):
        return f"{self.place}/usr/bin/python3.11"

    def build(self):
        make_tree(pathlib.Path(self.src))
        self.spread(3)


def make_tree(root):
    """A place with a Python of its own."""
    shutil.copytree(LIBRARY, root / "usr/lib/python3.11", symlinks=True,
                    ignore=shutil.ignore_patterns("__pycache__", "*.a"))
    shutil.copytree("/usr/include/python3.11", root / "usr/include/python3.11")
    (root / "usr/bin").mkdir()
    shutil.copy2(PROGRAM, root / "usr/bin")
    (root / "usr/bin/python3").symlink_to("python3.11")
    # Debian's package of the tests lacks this one: it comes from the source package.
    found = sorted(FETCHED.glob("source/python3.11_*.orig.tar.*"))
    assert found, f"no source of python3.11 in {FETCHED}: run tests/tools/fetch.sh {FETCHED} python3.11"
    subprocess.run(["tar", "-C", root / "usr/lib/python3.11/test", "--strip-components=3", "--wildcards", "-xf",
                    found[0], "*/Lib/test/test_sqlite3"], check=True)


def read(report):
    found = {}
    for case in ET.parse(report).iter("testcase"):
        # A test of which only a part failed has no name here; so it is missed on one side.
        kinds = [child.tag for child in case if child.tag in ("skipped", "error", "failure", "output")]
        outcome = kinds[0] if kinds else case.get("outcome", "ok")
        reason = re.sub(r"test_\d+_tmp", "test_PID_tmp", case.find("skipped").text) if outcome == "skipped" else ""
        found[case.get("name", "(without a name)")] = f"{outcome} {reason}".rstrip()
    return found


MADE = {}  # one place a role, for all modules


@pytest.fixture
def python(request, world, role, tools, guard):
    if not {"bare", "ovl"} <= set(world.sides):
        pytest.skip("compares outside and inside")
    key = request.param, role
    if key not in MADE:
        MADE[key] = request.param(world, role, tools, guard)
    return MADE[key]


def same(python, module):
    found = python.differences(module)
    # A test that came out differently by chance does not do so twice.
    found = found and python.differences(module, found)
    python.guard.check(python.lowers)
    assert not found, "\n".join(f"{name}: outside {o}, inside {i}" for name, (o, i) in sorted(found.items()))


def modules(tree):
    """The machine's own library tree, but for what any Python of root's writes into __pycache__."""
    return {path: (st.st_ino, st.st_size, st.st_ctime_ns) for path in tree.rglob("*.py") for st in [path.lstat()]}


in_place = pytest.mark.parametrize("python", [InPlace], indirect=True, ids=["in-place"])


@in_place
def test_the_library_tree_is_the_overlay(python):
    python.sh("""/usr/bin/python3 -c '
import importlib.util, only_inside
assert only_inside.__file__ == "/usr/lib/python3.11/only_inside.py" and not importlib.util.find_spec("this")'""",
              "/", inside=True)


@in_place
@pytest.mark.parametrize("module", FAST)
def test_fast(python, module):
    before = modules(LIBRARY)
    same(python, module)
    assert modules(LIBRARY) == before


@pytest.mark.long
@pytest.mark.parametrize("python", [Whole], indirect=True, ids=["whole"])
@pytest.mark.parametrize("module", LONG)
def test_long(python, module):
    same(python, module)
