# SPDX-License-Identifier: MIT
"""The tool `ovl`, run as one of the roles, in a folder of its own with a state directory of its own.

OVL_TOOL  the program (default: beside the library under test, or where the build puts it)
"""

import json
import os
import subprocess
from dataclasses import dataclass

import pytest

import layers


def find_tool(library):
    folder = os.path.dirname(library)
    places = [os.environ.get("OVL_TOOL"), f"{folder}/ovl", f"{folder}/../cli/ovl"]
    found = [place for place in places if place and os.path.exists(place)]
    return os.path.abspath(found[0]) if found else None


@dataclass
class Done:
    status: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


class Tool:
    """Lower layers l and l2 under base; B stands for that folder in what is printed."""

    def __init__(self, world):
        self.world, self.role = world, world.role
        self.library = world.tools.library
        self.program = find_tool(self.library)
        if not self.program:
            pytest.skip("needs the tool ovl: build it, or set OVL_TOOL")
        self.base = world.base()
        self.mount, self.upper, self.state = f"{self.base}/m", f"{self.base}/u", f"{self.base}/state"
        self.kept = f"{self.state}/ovl"
        self.own(self.base)

    def own(self, path):
        if os.geteuid() == 0:
            os.chown(path, self.role.uid, self.role.gid, follow_symlinks=False)

    def layer(self, name, tree, watch=True):
        """A directory with the tree that layers.py describes."""
        layers.build(f"{self.base}/{name}", layers.expand(tree), (self.role.uid, self.role.gid))
        if watch:
            self.world.watch(f"{self.base}/{name}")
        return f"{self.base}/{name}"

    def file(self, name, content):
        path = f"{self.base}/{name}"
        with open(path, "w") as f:
            f.write(content)
        self.own(path)
        return path

    def __call__(self, *args, env=None, stdin="", cwd=None):
        """ovl ARGS...; a word that begins with '@' begins with the mount's path, with '%' with the folder's."""
        words = [self.mount + w[1:] if w.startswith("@") else self.base + w[1:] if w.startswith("%") else w for w in args]
        return self.start([self.program, *words], env, stdin, cwd)

    def start(self, argv, env=None, stdin="", cwd=None):
        full = {k: v for k, v in os.environ.items() if not k.startswith("OVL_")}
        full.update({"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "XDG_STATE_HOME": self.state, "HOME": self.base,
                     "OVL_LIBRARY": self.library, **(env or {})})
        done = subprocess.run([*self.role.drop(), *argv], capture_output=True, text=True, timeout=60, umask=0o022,
                              cwd=cwd or self.base, env=full, input=stdin, errors="surrogateescape")
        return Done(done.returncode, self.text(done.stdout), self.text(done.stderr))

    def text(self, s):
        return s.replace(self.base, "B")

    def sh(self, script, *options):
        """A shell script inside, over l and l2 (which are there) with the upper u; the mount is $1."""
        lower = [word for name in ("l", "l2") if os.path.isdir(f"{self.base}/{name}") for word in ("-l", f"%/{name}")]
        done = self("run", "-m", "@", *lower, "-u", "%/u", *options, "--", "sh", "-ec", script, "sh", self.mount)
        assert done.status == 0, done.err
        return done.out

    def about(self, *lower):
        """The options that name the overlay of sh()."""
        names = lower or [name for name in ("l", "l2") if os.path.isdir(f"{self.base}/{name}")]
        return ["-m", "@", *[word for name in names for word in ("-l", f"%/{name}")], "-u", "%/u"]

    def shown(self, *about):
        """Everything that an overlay shows, in lines: that of about(), or the one that these options name."""
        done = self("run", "-q", *(about or self.about()), "--", self.world.tools.opsh, stdin=f"tree {self.mount}\n")
        assert done.status == 0, done.err
        return done.out.replace("\t", "\n").splitlines()

    def tree(self, name):
        """Everything about a tree that a look must not change."""
        root = f"{self.base}/{name}"
        return layers.fingerprint(root) if os.path.isdir(root) else None
