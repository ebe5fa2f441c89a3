# SPDX-License-Identifier: MIT
"""ovl convert: marks in another form hide the same names; Linux overlayfs mounts what it makes."""

import os
import shutil
import signal
import subprocess

import pytest

import layers
import residue
from layers import GONE, Dir

LONG = "n" * 254
LOWER = {"f": "f", "d/g": "g", "d/h": "h", "o/x": "x", "o/s/y": "y", LONG: "long", "b/x": "x", "same": "s", "w/x": "x"}
UPPER = {"f": GONE, "d/g": GONE, "o": Dir(opaque=True), "o/new": "n", "o/s/z": "z", "new": "new", "n/o": Dir(opaque=True)}
CHANGES = f"cd $1; rm f d/g {LONG}; rm -r o; mkdir -p o/s; echo n >o/new; echo z >o/s/z; chmod 500 d; rm -r w"


@pytest.fixture
def lower(tool):
    tool.layer("l", LOWER)
    return tool


def names(lines):
    """Without modes: until it is finished a closed directory is open to its owner."""
    return [line.partition(" d ")[0] for line in lines]


def marks(tool, root="u"):
    """Forms of whiteouts and opaque marks below a directory."""
    found = set()
    for folder, dirs, files in os.walk(f"{tool.base}/{root}"):
        attributes = residue.list_xattr(folder)
        found |= {f"opaque={attributes['overlay.opaque'].decode()}"} if "overlay.opaque" in attributes else set()
        for entry in os.scandir(folder):
            if entry.name == residue.OPAQUE:
                found.add("opaque")
            elif entry.name.startswith(".wh."):
                found.add("file")
            elif residue.is_device(entry):
                found.add("device")
            elif residue.has_xattr_whiteout(entry):
                found.add("attribute")
    return found


def convert(tool, form, *args):
    done = tool("convert", "--whiteout", form, *(args or tool.about()))
    assert (done.status, done.err) == (0, ""), done.err
    return done


def times(tool):
    return {f: os.stat(f).st_mtime_ns for f, _, _ in os.walk(tool.upper)}


def test_there_and_back(lower):
    lower.sh(CHANGES)
    before, folders = lower.shown(), times(lower)
    assert marks(lower) == {"file", "opaque", "attribute", "opaque=x"}
    assert convert(lower, "kernel").out == "4 whiteouts and 1 opaque directories have another form now\n"
    assert marks(lower) == {"device", "opaque=y"}
    assert (lower.shown(), times(lower)) == (before, folders)
    assert convert(lower, "oci", "--json", *lower.about()).json == {"whiteouts": 4, "opaque": 1}
    assert marks(lower) == {"file", "opaque", "attribute", "opaque=x"}
    assert (lower.shown(), times(lower)) == (before, folders)
    assert convert(lower, "oci", "--json", *lower.about()).json == {"whiteouts": 0, "opaque": 0}
    assert os.stat(f"{lower.upper}/d").st_mode & 0o777 == 0o500


@pytest.mark.parametrize("form", ["oci", "dev", "xattr"])
@pytest.mark.parametrize("to", ["oci", "kernel"])
def test_each_form(lower, role, form, to):
    if form == "dev" and not role.root:
        pytest.skip("needs root to make devices")
    layers.build(lower.upper, layers.expand(UPPER), (role.uid, role.gid), form=form)
    before = lower.shown()
    convert(lower, to)
    assert marks(lower) <= ({"file", "opaque"} if to == "oci" else {"device", "opaque=y"})
    assert lower.shown() == before


def test_a_whiteout_beside_an_object(lower):
    """Beside a directory it makes that opaque; beside a file it hides nothing that shows."""
    lower.layer("u", {"b/new": "n", ".wh.b": "", "same": "other", ".wh.same": ""}, watch=False)
    before = lower.shown()
    convert(lower, "kernel")
    assert marks(lower) == {"opaque=y"}
    assert lower.shown() == before


def test_what_is_no_whiteout_stays(lower):
    lower.layer("u", {".wh.x/": None, ".wh.x/in": "in", "f": GONE}, watch=False)
    convert(lower, "kernel")
    assert sorted(os.listdir(f"{lower.upper}/.wh.x")) == ["in"]


def test_a_mark_that_cant_be_made(lower):
    """Where devices are forbidden: the whiteout stays as it is, and why is said."""
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    lower.layer("u", {"f": GONE}, watch=False)
    done = lower.start(["strace", "-qq", "-o", "trace", "-e", "inject=mknodat:error=EPERM", lower.program, "convert",
                        "--whiteout", "kernel", "u"])
    assert (done.status, done.out, done.err) == (3, "", "ovl: .wh.f: Operation not permitted\n")
    assert marks(lower) == {"file"}


def test_directories_by_themselves(lower):
    for name in ("a", "b"):
        lower.layer(name, UPPER, watch=False)
    assert convert(lower, "kernel", "%/a", "b").out.startswith("4 whiteouts and 4 opaque directories")
    assert marks(lower, "a") == marks(lower, "b") == {"device", "opaque=y"}


def test_linux_overlayfs_mounts_it(lower, root_only, kernel_refusal):
    if kernel_refusal["root"]:
        pytest.skip(kernel_refusal["root"])
    lower.sh(CHANGES)
    before = lower.shown()
    convert(lower, "kernel")
    os.makedirs(f"{lower.base}/w")
    os.makedirs(lower.mount)
    script = f"mount -t overlay overlay -o lowerdir=l,upperdir=u,workdir=w m && echo tree {lower.mount} | {lower.world.tools.opsh}"
    done = lower.start(["unshare", "-m", "sh", "-c", script])
    assert (done.status, done.err) == (0, "")
    assert done.out.replace("\t", "\n").splitlines() == before


@pytest.mark.parametrize("form", ["kernel", "oci"])
def test_killed(lower, user_only, form):
    """Before each call that changes something: nothing appears, and the next call finishes."""
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    lower.sh(CHANGES)
    if form == "oci":
        convert(lower, "kernel")
    before = lower.shown()
    subprocess.run(["cp", "-a", lower.upper, f"{lower.base}/kept"], check=True)
    words = [w.replace("@", lower.mount).replace("%", lower.base) for w in lower.about()]
    command = [lower.program, "convert", "-w", form, *words]
    seen = 0
    for call in ("mknod", "mknodat", "renameat2", "rename", "unlink", "unlinkat", "lsetxattr", "lremovexattr", "utimensat"):
        for when in range(1, 30):
            shutil.rmtree(lower.upper)
            subprocess.run(["cp", "-a", f"{lower.base}/kept", lower.upper], check=True)
            done = lower.start(["strace", "-qq", "-o", "trace", "-e", f"inject={call}:signal=KILL:when={when}", *command])
            if done.status == 0:
                break
            assert done.status == -signal.SIGKILL, done.err
            assert names(lower.shown()) == names(before), (call, when)
            convert(lower, form)
            assert marks(lower) == ({"device", "opaque=y"} if form == "kernel" else {"file", "opaque", "attribute", "opaque=x"})
            assert lower.shown() == before, (call, when)
            seen += 1
    assert seen > 10


def test_in_use(lower):
    lower.sh("rm $1/f")
    words = [w.replace("@", lower.mount).replace("%", lower.base) for w in lower.about()]
    with subprocess.Popen([*lower.role.drop(), lower.program, "run", "-q", *words, "sh", "-c", "echo up; read x"],
                          stdout=subprocess.PIPE, stdin=subprocess.PIPE,
                          env={**os.environ, "OVL_LIBRARY": lower.library}) as user:
        assert user.stdout.readline() == b"up\n"
        done = lower("convert", "-w", "kernel", *lower.about())
        assert done.status == 3 and done.err.startswith("ovl: B/u is in use by process ")
        user.stdin.close()
    assert marks(lower) == {"file"}


REFUSED = {
    "no-form": ([], 2, "--whiteout is missing: oci or kernel"),
    "form": (["-w", "aufs"], 2, "--whiteout aufs: it is oci or kernel"),
    "both": (["-w", "oci", "-m", "@", "%/l"], 2,
             "directories are converted by themselves; leave -m, -l, -u, -x, -n and --conf out"),
    "no-directory": (["-w", "oci", "%/none"], 3, "B/none: No such file or directory"),
    "file": (["-w", "oci", "%/l/f"], 3, "B/l/f: Not a directory"),
    "nothing": (["-w", "oci"], 3, "there is no overlay to speak of; name one with -m, -n or --conf, or begin one with "
                "`ovl run -m MOUNT -- COMMAND`"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(lower, case):
    args, status, line = REFUSED[case]
    done = lower("convert", *args)
    assert done.status == status and done.err.startswith(f"ovl: {line}\n"), done.err


def test_help_and_inside(lower):
    assert lower("convert", "--help").out.startswith("usage: ovl convert ")
    done = lower("run", "-q", *lower.about(), lower.program, "convert", "-w", "oci")
    assert done.status == 3 and done.err.startswith("ovl: `ovl convert` can't be used inside an overlay")
