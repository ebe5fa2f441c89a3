# SPDX-License-Identifier: MIT
"""fakeroot beside libovl, in both orders (C-1.11): faked owners and devices below the mount and outside of it."""

import os
import subprocess

import pytest


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
