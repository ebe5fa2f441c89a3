# SPDX-License-Identifier: MIT
"""Running a case on its sides: the bare merged tree, Linux overlayfs, libovl.

Starting programs and name spaces would take longer than the operations.  So each side has one shell that stays, the
kernel's in a mount name space of its own, and runs a case there by a few lines.
"""

import contextlib
import os
import shutil
import stat
import subprocess
import tempfile
from types import SimpleNamespace

import layers
import overlay
from residue import residue

SECONDS = 60  # after which an executor is ended
TREE = "tree @"
FOLDER = "_"  # of a side, which a path that leads up and out must not find
NOTHING = "lseek 31 0 SEEK_SET"  # no operation uses slot 31


class Shell:
    """A shell that runs lines until it is closed."""

    def __init__(self, argv):
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, umask=0o022,
                                        env={**os.environ, "OPSH_PATIENCE": "3"})

    def run(self, line):
        """The status of the line, which must print nothing."""
        self.process.stdin.write(f"({line}); echo $?\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Sides:
    """The three sides of one role, for case after case."""

    def __init__(self, role, library, opsh, folder, names=("bare", "kernel", "ovl")):
        self.role, self.names = role, names
        self.tools = SimpleNamespace(opsh=opsh, library=library)
        self.base = tempfile.mkdtemp(prefix="d", dir=folder)
        os.chmod(self.base, 0o755)
        plain = role.drop() + ["sh"]
        space = ["unshare", "-m", "sh"] if role.root else role.drop() + ["unshare", "-Urm", "sh"]
        self.shell = {"bare": Shell(plain), "ovl": Shell(plain), "kernel": Shell(space)}
        self.number = 0
        self.nodev = ",nodev" if os.statvfs(folder).f_flag & os.ST_NODEV else ""

    def close(self):
        for shell in self.shell.values():
            shell.close()
        self.remove(self.base)

    @staticmethod
    def remove(folder):
        subprocess.run(["chmod", "-R", "u+rwx", folder], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)

    def run(self, case, without=()):
        """The answers of each side: name to Outcome."""
        return {name: self.run_side(name, case) for name in self.names if name not in without}

    @contextlib.contextmanager
    def fresh_folder(self):
        """One that no other side has used: a path that leads out of the mount may have changed that.  All have names of one
        length, on which the size of a symbolic link hangs."""
        self.number += 1
        folder = os.path.join(self.base, f"{self.number:07}")
        os.mkdir(folder)
        try:
            yield folder
        finally:
            self.remove(folder)

    def make(self, name, case, base):
        kinds = {"bare": overlay.Bare, "kernel": overlay.Kernel}
        if name in kinds:
            side = kinds[name](base, self.role, self.tools, FOLDER)
        else:
            side = overlay.Ovl(base, self.role, self.tools, FOLDER, form=case.form, prefix=case.prefix,
                               options=case.options, lower_owner=(0, 0) if case.foreign else None)
        if name == "kernel":
            index = self.role.root and case.upper is not None
            side.options = self.nodev + (",index=on,redirect_dir=on" if index else "")
        lowers, upper = case.expanded()
        side.make(lowers, upper, {})
        return side

    def run_side(self, name, case):
        with self.fresh_folder() as base:
            side = self.make(name, case, base)
            return self.checked(side, name, case)

    def checked(self, side, name, case):
        """Its answers, and what is wrong with its layers afterwards."""
        roots = [os.path.join(side.base, lower) for lower in side.lowers]
        before = [kept(layers.fingerprint(root), case) for root in roots]
        old_marks = marks_over_nothing(side) if name == "ovl" and case.upper is not None else {}
        outcome = self.answers(side, name, case)
        outcome.locked_out = self.is_closed(side.base) or self.is_closed(side.outside)
        after = [kept(layers.fingerprint(root), case) for root in roots]
        if before != after:
            outcome.problems.append(f"C-3.1: a lower layer was changed: {changes(before, after)}")
        if name == "ovl" and case.upper is not None:
            outcome.closed = self.is_closed(side.upper)
            outcome.problems += [f"C-3.7: {mark}" for about, mark in marks_over_nothing(side).items()
                                 if about not in old_marks]
            if "kernel" in self.names and not case.has_links and not case.foreign:
                with self.fresh_folder() as base:
                    self.view(case, base, side, outcome)
        return outcome

    def is_closed(self, folder):
        """Whether an ordinary user whose it is may not write to it or search it any more."""
        try:
            return not self.role.root and os.stat(folder).st_mode & 0o300 != 0o300
        except PermissionError:
            return True

    def command(self, side, name, i):
        """The shell's words that run one executor in the view of the side."""
        inside = ""
        if name == "ovl":
            inside = f"OVL_CONF='{side.conf}' LD_PRELOAD={self.tools.library} "
        elif name == "kernel" and not self.role.root:
            inside = f"unshare -U --map-user={self.role.uid} --map-group={self.role.gid} "
        words = f"timeout {SECONDS} {self.tools.opsh}" if name != "ovl" else self.tools.opsh
        return f"{inside}{words} <{side.base}/{i}.in >{side.base}/{i}.out 2>{side.base}/{i}.err"

    def answers(self, side, name, case):
        scripts = [*case.scripts, [TREE]]
        for i, script in enumerate(scripts):
            lines = [for_side(line, name) for line in script] + ([TREE] if i == 0 else [])
            with open(f"{side.base}/{i}.in", "w", errors="surrogateescape") as f:
                f.write(side.text("\n".join(lines)))
        all_at_once = " & ".join(self.command(side, name, i) + f"; echo $? >{side.base}/{i}.status"
                                 for i in range(len(scripts) - 1))
        last = len(scripts) - 1
        # What is made by a path that leads up and out stays in a folder of the side's own.
        surroundings = os.path.join(side.outside, "cwd")
        os.mkdir(surroundings)
        line = f"cd {surroundings}; {all_at_once} & wait; {self.command(side, name, last)}; echo $?"
        line = f"{line} >{side.base}/{last}.status"
        if name == "kernel":
            line = f"{side.mount_command()} {line}; cd /; umount -l {side.mount}"
        for folder in (side.base, side.outside, surroundings) if not self.role.root else ():
            os.chmod(folder, 0o777)
        self.shell[name].run(line)
        return self.read(side, len(scripts))

    @staticmethod
    def read(side, count):
        outcome = SimpleNamespace(answers=[], problems=[])
        for i in range(count):
            text = {}
            for suffix in ("out", "err", "status"):
                try:
                    with open(f"{side.base}/{i}.{suffix}", errors="surrogateescape") as f:
                        text[suffix] = f.read()
                except FileNotFoundError:
                    text[suffix] = "?"
            if text["status"] != "0\n":
                outcome.problems.append(f"executor {i}: status {text['status'].strip()} {text['err']}")
            around = os.path.dirname(side.base)  # each side has another number
            outcome.answers.append(side.untext(text["out"]).replace(around, "(around)").split("\n")[:-1])
        return outcome

    def view(self, case, base, side, outcome):
        """What the kernel shows of the upper that libovl left, over the same layers."""
        kernel = self.make("kernel", case, base)
        copy = f"{kernel.base}/u2"
        subprocess.run(["cp", "-a", side.upper, copy], check=True)
        layers.to_kernel_form(copy, kernel.prefix)
        kernel.build("w2", {})
        with open(f"{kernel.base}/0.in", "w") as f:
            f.write(kernel.text(TREE))
        os.chmod(kernel.base, 0o777)
        line = f"{kernel.mount_command('u2', 'w2')} {self.command(kernel, 'kernel', 0)}; echo $? >{kernel.base}/0.status"
        self.shell["kernel"].run(f"{line}; cd /; umount -l {kernel.mount}")
        seen = self.read(kernel, 1)
        outcome.problems += [f"view: {problem}" for problem in seen.problems]
        outcome.view = side.untext(seen.answers[0][-1]) if seen.answers[0] else ""


def for_side(line, name):
    """A line that one side must not run (an annotation '!not-SIDE') is one that fails alike there."""
    return NOTHING if f"!not-{name}" in line else line


def kept(facts, case):
    """What a layer must keep: in a read-only overlay a FIFO is used where it is, which changes its times (design.md)."""
    for fact in facts.values() if case.upper is None else ():
        if stat.S_ISFIFO(fact[0]):
            fact[7:9] = []  # mtime, ctime
    return facts


def changes(before, after):
    return [(i, path) for i, (old, new) in enumerate(zip(before, after)) for path in old.keys() | new.keys()
            if old.get(path) != new.get(path)]


def marks_over_nothing(side):
    """Marks of the upper that hide nothing, by the last names that they are about: a directory may have been moved with
    those in it, and one that is made over a whiteout is opaque.

    That a directory may hold whiteouts in the form of attributes stays marked, as by overlayfs.
    """
    found = [] if side.read_only else residue(side.upper, side.lowers)
    paths = {mark: mark.rpartition(": ")[0] for mark in found if ": marked for " not in mark}
    return {os.path.basename(path).removeprefix(".wh."): mark for mark, path in paths.items()}
