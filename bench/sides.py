# SPDX-License-Identifier: MIT
"""The sides: each shows the layers of a case as one tree in its own way, and runs a script in that view.

    side.lacks(case)         why this side can't do this work at all, or ''
    side.open(case)          makes the view afresh, from layers that are there; sets side.view
    side.enter(case, script) the command that runs a shell script in the view
    side.close()             removes what open made

A plain side has no layers of its own: it works on a copy of the merged tree, and what it costs is that of interception.
"""

import glob
import os
import shlex
import shutil
import subprocess

VIEW = "m"


class Side:
    name = ""
    variant_of = ""  # the side of which this is a variant
    program = ""  # what has to be installed
    copies_up = True  # whether the first write to a lower file copies it
    view = ""
    base = ""

    def __init__(self, tools):
        self.tools = tools

    def lacks(self, case):
        """Why this side can't do the work of this case."""
        return "" if self.installed() else f"{self.program} is not installed"

    def installed(self):
        return not self.program or shutil.which(self.program)

    def open(self, case):
        self.base = os.path.join(case.base, "side", self.name)
        self.view = os.path.join(self.base, VIEW)
        os.makedirs(self.base)
        self.make(case)

    def close(self):
        subprocess.run(["rm", "-rf", self.base], check=True)

    def make(self, case):
        raise NotImplementedError

    def enter(self, case, script):
        return ["sh", script]


# The plain ones.


class Plain(Side):
    """A copy of the merged tree, or the tree itself where the work changes nothing."""
    copies_up = False

    def make(self, case):
        if case.workload.changes:
            subprocess.run(["cp", "-a", case.merged(), self.view], check=True)
        else:
            self.view = case.merged()


class Native(Plain):
    name = "native"


class Preloaded(Plain):
    """The bare file system below a preloaded library."""

    def library(self):
        raise NotImplementedError

    def environment(self):
        return {}

    def installed(self):
        return bool(self.library())

    def enter(self, case, script):
        env = {"LD_PRELOAD": self.library(), **self.environment()}
        return ["env", *(f"{key}={value}" for key, value in env.items()), "sh", script]


class Empty(Preloaded):
    name = "empty"

    def library(self):
        return self.tools.program("libbench_empty.so")


class Fakechroot(Preloaded):
    """Everything but the view is excluded from the rewriting of paths, so that programs are the real ones."""
    name = "fakechroot"
    program = "fakechroot"
    VIEW = "/bench-view"

    def library(self):
        found = glob.glob("/usr/lib/*/fakechroot/libfakechroot.so")
        return found[0] if found else ""

    def make(self, case):
        os.mkdir(f"{self.base}/root")
        root = f"{self.base}/root{self.VIEW}"
        if case.workload.changes:
            subprocess.run(["cp", "-a", case.merged(), root], check=True)
        else:
            # The tree itself, under another name: fakechroot's root has to contain it.
            self.lent = case.merged()
            os.rename(self.lent, root)
        self.view = self.VIEW

    lent = ""

    def close(self):
        if self.lent:
            os.rename(f"{self.base}/root{self.VIEW}", self.lent)
            self.lent = ""
        super().close()

    def environment(self):
        real = ":".join(f"/{name}" for name in sorted(os.listdir("/")))
        return {"FAKECHROOT": "true", "FAKECHROOT_BASE": f"{self.base}/root", "FAKECHROOT_EXCLUDE_PATH": real}


class Proot(Plain):
    """Binds the tree, as it has no union; ptrace stops every call."""
    name = "proot"
    program = "proot"

    def make(self, case):
        super().make(case)
        self.bound, self.view = self.view, os.path.join(self.base, "bound")
        os.mkdir(self.view)

    def enter(self, case, script):
        return ["proot", "-b", f"{self.bound}:{self.view}", "sh", script]


class Cowdancer(Side):
    """cow-shell: hard links to the lower files, which a preloaded library breaks before a file is written."""
    name = "cowdancer"
    program = "cow-shell"

    def make(self, case):
        os.mkdir(self.view)
        for lower in reversed(case.lowers):
            # --remove-destination, as a link can't be made over a file.
            subprocess.run(["cp", "-al", "--remove-destination", f"{lower}/.", self.view], check=True)

    def enter(self, case, script):
        return ["sh", "-c", f"cd {shlex.quote(self.view)} && exec cow-shell sh {shlex.quote(script)}"]


# The unions.


class Union(Side):
    def make(self, case):
        for name in (VIEW, "upper", "work"):
            os.mkdir(os.path.join(self.base, name))

    def lowerdir(self, case):
        """The layers, highest first, relative to the case's folder: mount options have room for one page."""
        return ":".join(os.path.relpath(lower, case.base) for lower in case.lowers)

    def own(self, name):
        return os.path.join("side", self.name, name)

    def in_namespace(self, case, shell):
        """A command that runs shell text with mount rights of its own, from the case's folder."""
        rights = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
        return [*rights, "sh", "-c", f"cd {shlex.quote(case.base)} || exit 97; {shell}"]


class Overlayfs(Union):
    name = "overlayfs"
    options = ""

    def enter(self, case, script):
        options = f"lowerdir={self.lowerdir(case)},upperdir={self.own('upper')},workdir={self.own('work')}"
        options += self.options if os.geteuid() == 0 else f"{self.options},userxattr"
        mount = f"mount -t overlay overlay -o {options} {self.own(VIEW)}"
        return self.in_namespace(case, f"{mount} && exec sh {shlex.quote(script)}")

    def close(self):
        # The kernel leaves directories without any permission, which keep an ordinary user from removing them.
        subprocess.run(["chmod", "-R", "u+rwx", f"{self.base}/work"], check=False)
        super().close()


class OverlayfsVolatile(Overlayfs):
    name = "overlayfs-volatile"
    variant_of = "overlayfs"
    options = ",volatile"


class Fuse(Union):
    """A daemon that stays in our process group, so that a script that hangs can be ended with it."""

    def daemon(self, case):
        raise NotImplementedError

    def lacks(self, case):
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            return "/dev/fuse can't be opened" if os.path.exists("/dev/fuse") else "there is no /dev/fuse"
        return super().lacks(case)

    def enter(self, case, script):
        view = self.own(VIEW)
        return self.in_namespace(case, f"""
            {self.daemon(case)} >{self.own('said')} 2>&1 &
            tries=0
            until mountpoint -q {view}; do
                tries=$((tries + 1))
                if [ $tries -gt 500 ] || ! kill -0 $! 2>/dev/null; then
                    cat {self.own('said')} >&2; exit 97
                fi
                sleep 0.02
            done
            sh {shlex.quote(script)}
            status=$?
            umount {view} || umount -l {view}
            wait
            exit $status""")


class FuseOverlayfs(Fuse):
    name = program = "fuse-overlayfs"

    def daemon(self, case):
        options = f"lowerdir={self.lowerdir(case)},upperdir={self.own('upper')},workdir={self.own('work')}"
        return f"fuse-overlayfs -f -o {options} {self.own(VIEW)}"


class UnionfsFuse(Fuse):
    name = "unionfs-fuse"
    program = "unionfs"

    def daemon(self, case):
        branches = [f"{self.own('upper')}=RW", *(f"{lower}=RO" for lower in self.lowerdir(case).split(":"))]
        return f"unionfs -f -o cow {':'.join(branches)} {os.path.join(case.base, self.own(VIEW))}"


class Libovl(Union):
    """The mount need not exist on disk, and does not."""
    name = "libovl"
    options = ""

    def make(self, case):
        os.mkdir(os.path.join(self.base, "upper"))

    def lacks(self, case):
        return "" if os.path.exists(self.tools.library) else f"there is no {self.tools.library}"

    def enter(self, case, script):
        conf = f"mount={self.view},lowerdir={':'.join(case.lowers)},upperdir={self.base}/upper{self.options}"
        if self.tools.valgrind:
            conf += f",static-allow={self.tools.valgrind}"
        return ["env", f"OVL_CONF={conf}", f"LD_PRELOAD={self.tools.library}", "sh", script]


class LibovlVolatile(Libovl):
    name = "libovl-volatile"
    variant_of = "libovl"
    options = ",volatile=on"


class LibovlPatched(Libovl):
    """libc patched, though nothing that it reads by itself is in the overlay."""
    name = "libovl-patched"
    variant_of = "libovl"
    options = ",patch=require"


# In the order of the tables.
SIDES = (Native, Empty, Libovl, LibovlVolatile, LibovlPatched, Overlayfs, OverlayfsVolatile, FuseOverlayfs, UnionfsFuse,
         Proot, Fakechroot, Cowdancer)
