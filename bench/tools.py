# SPDX-License-Identifier: MIT
"""What is measured with: the library, and the programs of bench/, which are built where they are missing."""

import glob
import os
import pathlib
import subprocess

SOURCE = pathlib.Path(__file__).resolve().parent.parent
# What the peers are called in Debian.
PEERS = ("fuse-overlayfs", "unionfs-fuse", "proot", "fakechroot", "cowdancer", "valgrind")


class Tools:
    """source: the tree of libovl; build: where the programs are; fetched: what tests/tools/fetch.sh got."""

    def __init__(self, build=None, library=None):
        self.source = SOURCE
        self.build = pathlib.Path(build or SOURCE / "build/bench").resolve()
        self.fetched = pathlib.Path(os.environ.get("OVL_FETCHED") or SOURCE / "build/fetched")
        self.library = os.path.realpath(library or self.build / "shim/libovl.so")

    def program(self, name):
        return str(self.build / "bench" / name)

    @property
    def valgrind(self):
        """valgrind's own program, which is a static one, or ''."""
        return next(iter(glob.glob("/usr/libexec/valgrind/callgrind-*-linux")), "")

    def make(self):
        """As a distribution builds it."""
        configure = ["cmake", "-S", SOURCE, "-B", self.build, "-DCMAKE_BUILD_TYPE=Release", "-DOVL_TESTS=OFF"]
        for argv in (configure, ["cmake", "--build", self.build, "-j2"]):
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)

    def install_peers(self):
        subprocess.run(["sh", SOURCE / "tests/tools/packages.sh", *PEERS], check=True)
