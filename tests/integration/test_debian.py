# SPDX-License-Identifier: MIT
"""The Debian packages (cmake --workflow --preset debian): lintian, their installation on a copy of this system, and their
use there by an ordinary user.

OVL_PACKAGES  the folder that they are in (default: build/debian of this tree)
"""

import glob
import os
import pathlib
import shutil
import subprocess

import pytest

FOLDER = os.environ.get("OVL_PACKAGES") or str(pathlib.Path(__file__).resolve().parents[2] / "build/debian")

# What is so for a reason.
WARNINGS = {
    "hardening-no-relro",  # shim/CMakeLists.txt: a segment less
    "maintscript-calls-ldconfig",  # cpack's
    "shared-library-lacks-prerequisites",  # libovl-audit.so needs nothing
}


@pytest.fixture(scope="module")
def packages():
    found = {os.path.basename(p).partition("_")[0]: p for p in glob.glob(f"{FOLDER}/*.deb")}
    if set(found) != {"ovl", "libovl-dev"}:
        pytest.skip("needs the packages: cmake --workflow --preset debian")
    if not shutil.which("dpkg"):
        pytest.skip("needs dpkg")
    return found


def run(*command, **how):
    return subprocess.run(command, capture_output=True, text=True, check=True, **how).stdout


def test_lintian(packages):
    if not shutil.which("lintian"):
        pytest.skip("needs lintian")
    done = subprocess.run(["lintian", "--fail-on", "error", *packages.values()], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    said = {line.split()[2] for line in done.stdout.splitlines() if line.startswith(("E: ", "W: "))}
    assert said <= WARNINGS, done.stdout


def test_unpacked_anywhere(packages, tool):
    """The tool finds its library beside itself, wherever both are."""
    root = f"{tool.base}/root"
    run("dpkg-deb", "-x", packages["ovl"], root)
    libraries = glob.glob(f"{root}/usr/lib/*/libovl.so")
    assert len(libraries) == 1 and libraries[0] == f"{root}/usr/lib/{run('gcc', '-print-multiarch').strip()}/libovl.so"
    tool.layer("l", {"f": "lower\n"})
    tool.program = f"{root}/usr/bin/ovl"
    done = tool("run", "-m", "@", "-l", "%/l", "-u", "%/u", "--", "sh", "-c", f"cat {tool.mount}/f; echo >{tool.mount}/g",
                env={"OVL_LIBRARY": ""})
    assert (done.status, done.out) == (0, "lower\n"), done.err
    assert os.listdir(f"{tool.base}/u") == ["g"]


INSTALL = """
cd "$1"
mount -t overlay -o lowerdir=/,upperdir=u,workdir=w overlay m
for folder in proc dev tmp; do mount --rbind /$folder m/$folder; done
exec chroot m sh -euc "$2"
"""

# After that, an ordinary user: the library by its name, the tool, its pages.
USE = """
dpkg -i --no-triggers {packages} >/dev/null
dpkg -V ovl libovl-dev
{drop} sh -euc '
    cd {base}
    LD_PRELOAD=libovl.so OVL_CONF=mount={base}/mount,lowerdir={base}/l sh -c "cat {base}/mount/f"
    ovl run -q -m {base}/mount -l {base}/l -- sh -c "echo more >>{base}/mount/f"
    ovl diff | tail -n 1
    ovl discard --force
    man -w 1 ovl 5 ovl.conf 7 libovl
    bash -c ". /usr/share/bash-completion/completions/ovl; complete -p ovl"
    printf "#include <ovl.h>\\nint main(void) {{ return ovl_utf8(\\"a\\") != 1; }}\\n" >main.c
    gcc main.c $(pkg-config --cflags --libs libovl) -o main && ./main
' 2>&1
dpkg -r --no-triggers ovl libovl-dev >/dev/null
! command -v ovl
"""


def test_installed(packages, tool, root_only):
    """On a copy: Linux overlayfs over this system's root, in a mount name space."""
    for name in ("m", "u", "w"):
        os.mkdir(f"{tool.base}/{name}")
    user = f"{tool.base}/user"
    os.mkdir(user)
    tool.layer("user/l", {"f": "lower\n"}, watch=False)
    for folder, _, files in os.walk(user):
        for path in [folder, *(f"{folder}/{name}" for name in files)]:
            os.chown(path, 12345, 12345)
    tool.world.watch(f"{user}/l")
    script = USE.format(packages=" ".join(packages.values()), base=user, drop="setpriv --reuid 12345 --regid 12345 "
                        f"--clear-groups env -i HOME={user} XDG_STATE_HOME={user}/state PATH=/usr/bin:/bin LC_ALL=C.UTF-8")
    tried = subprocess.run(["unshare", "-m", "sh", "-ec", INSTALL, "sh", tool.base, ":"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"needs a mount of overlayfs: {tried.stderr.strip()}")
    done = subprocess.run(["unshare", "-m", "sh", "-ec", INSTALL, "sh", tool.base, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [
        "lower", "+more", "/usr/share/man/man1/ovl.1.gz", "/usr/share/man/man5/ovl.conf.5.gz",
        "/usr/share/man/man7/libovl.7.gz", "complete -F _ovl ovl"], done.stderr
