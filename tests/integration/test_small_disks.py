# SPDX-License-Identifier: MIT
"""Uppers on file systems that are full: of data, of inodes, of what a quota lets a user have (C-3.4, C-3.6, C-3.13).

Each change is tried with a little more room every time.  As long as it fails it fails with ENOSPC (EDQUOT), and the
merged tree, in this process and in a new one, and what lies in the upper and the work directory are as before; once
there is room it succeeds.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from layers import File, link
from overlay import OUTSIDE

BIG = "x" * 300_000
LOW = {"big": File(content=BIG, mode=0o640), "d/e/big": File(content=BIG), "d/f": "1", "small": "s", "g": "2",
       "empty/": None, "tree/a": "a" * 90_000, "tree/b": "b" * 90_000, "tree/s/c": "c" * 90_000,
       "tree/s/d": "d" * 90_000, "again/x": "x", "ln": link("g")}
BLOCKS = (0, 4, 40, 120, 250)  # KiB of room
INODES = range(5)

# Limits of blocks and inodes of an ordinary user; the numbers are Linux' (quotactl(2)).
SET_QUOTA = """
import ctypes, os, struct, sys
path, user, kib, inodes = sys.argv[1], *map(int, sys.argv[2:])
device = [line.split()[0] for line in open("/proc/self/mounts") if line.split()[1] == path][0]
limits = struct.pack("8QI4x", kib, kib, 0, inodes, inodes, 0, 0, 0, 5)
libc = ctypes.CDLL(None, use_errno=True)
if libc.quotactl(0x800008 << 8, device.encode(), user, limits):
    sys.exit("quotactl: " + os.strerror(ctypes.get_errno()))
"""


# The next run begins with a cache of its own: what it frees of the last one is no room that was left.
NO_CACHE = "rm -f u.work/cache/*"


class Disk:
    """A side's upper and work directory on a file system of their own, which only the side's runs see."""

    def __init__(self, side):
        self.side = side
        self.folder = f"{side.base}/t"
        self.error = "ENOSPC"
        os.makedirs(self.folder)
        os.chown(side.base, side.role.uid, side.role.gid)
        side.environment = {"OVL_CONF": side.conf.replace(side.upper, f"{self.folder}/u")}

    def tmpfs(self, size="4m", inodes=400):
        side = self.side
        owner = f",uid={side.role.uid},gid={side.role.gid}" if side.role.root else ""
        side.setup = (f"mount -t tmpfs -o size={size},nr_inodes={inodes},mode=755{owner} tmpfs {self.folder} && "
                      f"mkdir {self.folder}/u &&")
        return self

    def ext4(self, quota=False):
        """An image mounted by root, whoever runs then; skips where that can't be done."""
        side, image = self.side, f"{self.side.base}/image"
        if os.geteuid() != 0:
            pytest.skip("needs root to mount an image")
        if not shutil.which("mkfs.ext4"):
            pytest.skip("needs mkfs.ext4")
        with open(image, "wb") as f:
            f.truncate(8 << 20)
        features = ["-O", "quota", "-E", "quotatype=usrquota"] if quota else []
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-N", "400", *features, image], check=True)
        option = "loop,usrquota" if quota else "loop"
        setup = f"mount -o {option} {image} {self.folder} && cd {self.folder} && rmdir lost+found && mkdir u && " \
                f"chown {side.role.uid}:{side.role.gid} . u"
        if quota:
            limits = [sys.executable, "-c", SET_QUOTA, self.folder, str(side.role.uid), "3000", "300"]
            setup += " && " + shlex.join(limits)
            self.error = "EDQUOT"
        tried = subprocess.run(["unshare", "-m", "sh", "-c", setup], capture_output=True, text=True, check=False)
        if tried.returncode:
            what = "with user quota " if quota else ""
            needs = f"no ext4 image {what}can be mounted here (loop devices{', CONFIG_QFMT_V2' if quota else ''})"
            pytest.skip(f"{needs}: {tried.stderr.splitlines()[0]}")
        again = setup.replace("rmdir lost+found", "rm -r u")
        side.enter = lambda script: ["unshare", "-m", "sh", "-c",
                                     f"{again} && exec {shlex.join([*side.role.drop(), 'sh', script])}"]
        return self

    def opsh(self, script):
        return ([self.side.tools.opsh], self.side.text(script))

    def outside(self, script):
        return ([OUTSIDE, "sh", "-ec", f"cd {self.folder}; {script}"], "")

    def leave_blocks(self, kib):
        """Fill the file system up to a rest; by writing, because a quota is not in what statfs says."""
        if self.error == "EDQUOT":
            return self.outside(f"{NO_CACHE}; dd if=/dev/zero of=ballast bs=1k 2>ballast.err || true; rm ballast.err; "
                                f"truncate -s -{kib}k ballast; [ -s ballast ]")
        return self.outside(f"{NO_CACHE}; n=$(( $(stat -f -c '%a * %S / 1024' .) - {kib} )); [ $n -gt 0 ]; "
                            f"fallocate -l ${{n}}k ballast")

    def leave_inodes(self, number):
        return self.outside(f"{NO_CACHE}; n=$(( $(stat -f -c %d .) - 1 - {number} )); mkdir ballast; [ $n -gt 0 ]; "
                            f"cd ballast; seq $n | xargs touch")

    def make_room(self):
        return self.outside("rm -r ballast")

    def listing(self, then=":"):
        """What there is of the upper, and of the work directory but for its cache and its logs."""
        return self.outside("find u -printf '%y %m %s %D-%i %p\\n' | sort -k 5; cd u.work; "
                            f"find work state/link state/origin -printf '%y - - - %p\\n' | sort -k 5; cd ..; {then}")


def names(listing):
    return {line.split(" ", 4)[4]: line.split(" ", 4)[0] for line in listing.lines}


def check_nothing_half_made(before, after):
    """There may be more whole copies, which look like what they are copied from (the tree is compared), and what is
    known of the identity of those; no marks, nothing in the work directory, no identity of what is gone."""
    old, new = names(before), names(after)
    assert old.keys() <= new.keys()
    more = {path: kind for path, kind in new.items() if path not in old}
    assert not [path for path, kind in more.items() if kind == "c" or "/.wh." in path], more
    assert not [path for path in more if path.startswith(("work/", "state/link/"))], more
    alive = {line.split(" ")[3] for line in after.lines if line.split(" ", 4)[4].startswith("u")}
    origins = [path for path in more if path.startswith("state/origin/")]
    assert not [path for path in origins if path.rpartition("/")[2] not in alive], (origins, alive)


def climb(disk, change, leave, steps, before=""):
    """Try the change with more and more room; gives the answers until it succeeded."""
    commands = [disk.opsh(f"put @/state-made 1\nunlink @/state-made\n{before}"), disk.listing()]
    for room in steps:
        commands += [leave(room), disk.opsh(f"tree @\n{change}\ntree @"), disk.listing(then="rm -r ballast")]
    results = disk.side.run([*commands, disk.opsh(f"tree @\n{change}\ntree @")])
    for (argv, _), result in zip(commands, results):
        assert result.status == 0, (argv, result)
    first, there, answers = None, results[1], []
    for at in range(2, len(commands), 3):
        _, tried, after = results[at:at + 3]
        old, answer, new = tried.lines
        first = first or old
        assert old == first, "a new process sees something else"
        answers.append(answer.split(" ")[0])
        if answers[-1] == "ok":
            assert new != old
            return answers
        assert answer == disk.error
        assert new == old
        check_nothing_half_made(there, after)
    old, answer, new = results[-1].lines
    assert old == first and answer.split(" ")[0] == "ok" and new != old, "there is room, but"
    return [*answers, "ok"]


COPY_UPS = ["append @/big x", "chmod @/big 0600", "truncate @/big 10", "truncate @/big 100000000",
            "link @/big @/new", "rename @/big @/new", "rename @/big @/g", "utimens @/d/e/big 1.0 1.0"]


@pytest.mark.parametrize("change", COPY_UPS)
def test_copy_up_without_room(world, change):
    disk = Disk(world.ovl([LOW], upper={})).tmpfs()
    answers = climb(disk, change, disk.leave_blocks, BLOCKS)
    assert answers == ["ENOSPC"] * len(BLOCKS) + ["ok"]


@pytest.mark.parametrize("before", ["", "put @/tree/own u\nunlink @/tree/a\nput @/tree/s/own u"],
                         ids=["lower", "merged"])
@pytest.mark.parametrize("leave", ["blocks", "inodes"])
def test_rename_of_a_directory_without_room(world, before, leave):
    """C-3.6: it ends somewhere in the middle, and all is undone."""
    disk = Disk(world.ovl([LOW], upper={})).tmpfs()
    steps = BLOCKS if leave == "blocks" else range(10)
    leave = disk.leave_blocks if leave == "blocks" else disk.leave_inodes
    answers = climb(disk, "rename @/tree @/moved", leave, steps, before)
    assert answers.count("ENOSPC") >= 4


NAMES = ["unlink @/g", "rmdir @/empty", "symlink target @/new", "mkdir @/new", "mkfifo @/new 0644",
         "link @/small @/new", "rename @/small @/moved", "rename @/ln @/moved", "rename @/small @/g RENAME_EXCHANGE",
         "mkdir @/again", "rename @/dir @/again"]


@pytest.mark.parametrize("form", ["oci", "kernel"])
def test_names_without_inodes(world, form):
    """Whiteouts, opaque directories, links: with none left, one, two and so on, for each change from the start."""
    for change in NAMES:
        disk = Disk(world.ovl([LOW], upper={}, options=f",whiteout={form}")).tmpfs()
        before = "mkdir @/dir 0755\nput @/dir/f 1\nunlink @/again/x\nrmdir @/again" if "again" in change else ""
        answers = climb(disk, change, disk.leave_inodes, INODES, before)
        assert answers[0] == "ENOSPC", change


def test_many_small_files(world):
    disk = Disk(world.ovl([LOW], upper={})).tmpfs("1m")
    count, content = 250, "y" * 6000
    puts = "\n".join(f"put @/d/n{i} {content}" for i in range(count))
    cats = "\n".join(f"cat @/d/n{i}" for i in range(count))
    made, seen, freed = disk.side.opsh(puts, f"{cats}\ncat @/d/f",
                                       "unlink @/d/n0\nunlink @/d/n1\nput @/d/more 1\ncat @/d/more")
    full = made.index("ENOSPC")
    assert 50 < full and set(made[full:]) == {"ENOSPC"} and set(made[:full]) == {"ok"}
    assert seen[:full] == [f"ok {content}"] * full and seen[-1] == "ok 1"
    assert set(seen[full + 1:-1]) <= {"ok", "ok ", "ENOENT", 'ok ""'}
    assert freed == ["ok", "ok", "ok", "ok 1"]


def test_write_after_copy_up(world):
    """The limit is met at the same write as on the bare file system, which takes a part of it first."""
    disk = Disk(world.ovl([LOW], upper={})).tmpfs()
    piece = "z" * 3000

    def writes(path):
        return f"open 1 {path} O_WRONLY|O_APPEND\n" + f"write 1 {piece}\n" * 25 + f"close 1\nstat {path}\nfsum {path} 1"
    bare = f"{disk.folder}/bare"
    _, _, inside, _, _, _, outside = disk.side.run([
        disk.opsh("append @/big x"), disk.leave_blocks(40), disk.opsh(writes("@/big")), disk.make_room(),
        disk.outside(f"rm u/big; {{ cat {disk.side.lowers[0]}/big; printf x; }} >bare; chmod 640 bare"),
        disk.leave_blocks(40), ([OUTSIDE, disk.side.tools.opsh], writes(bare))])
    assert "ENOSPC" in inside.lines and inside.lines.count("ok 3000") > 10
    assert inside.lines == outside.lines


@pytest.mark.parametrize("change", ["append @/big x", "rename @/big @/new", "rename @/tree @/moved"])
@pytest.mark.parametrize("kind", ["full", "quota"])
def test_ext4(world, role, kind, change):
    """Blocks that are given at the end of a copy only (delayed allocation); EDQUOT for a user with a quota."""
    if kind == "quota" and role.root:
        pytest.skip("root has no quota")
    disk = Disk(world.ovl([LOW], upper={})).ext4(quota=kind == "quota")
    answers = climb(disk, change, disk.leave_blocks, BLOCKS)
    assert answers.count(disk.error) >= 3


@pytest.mark.untraced("strace is what makes the calls fail")
@pytest.mark.parametrize("call, change", [("copy_file_range", change) for change in COPY_UPS] +
                         [("copy_file_range", "rename @/tree @/moved"), ("symlinkat", "rename @/small @/moved")])
def test_quota_by_strace(world, call, change):
    """EDQUOT from one call, for machines whose kernel has no quota."""
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    disk = Disk(world.ovl([LOW], upper={})).tmpfs()
    side = disk.side
    side.before = ["strace", "-f", "-o", f"{side.base}/calls", "-e", f"inject={call}:error=EDQUOT"]
    results = side.run([disk.opsh("put @/n 1"), disk.listing(), disk.opsh(f"tree @\n{change}\ntree @"), disk.listing()])
    old, answer, new = results[2].lines
    assert answer == "EDQUOT" and new == old
    check_nothing_half_made(results[1], results[3])


# ---- the start of a run ---------------------------------------------------------------------------------------------

WORK = """
    cat @/small
    readdir @/d
    append @/small x
    unlink @/g
    rename @/tree @/moved
    mkdir @/new
    cat @/small
    unlink @/own
    stat @/moved
"""


def test_first_run_on_a_disk_without_blocks(world):
    """No room for the shared state file: what reads works, what changes says so, even where it would make room; later
    all works."""
    disk = Disk(world.ovl([LOW], upper={})).tmpfs()
    disk.side.setup += f" echo 1 >{disk.folder}/u/own &&"
    log = disk.side.environment["OVL_LOG_FILE"] = f"{disk.side.base}/log"
    _, full, program, _, later = disk.side.run([
        disk.leave_blocks(0), disk.opsh(WORK),
        (["sh", "-c", f"cat {disk.side.mount}/small; ls {disk.side.mount}/d"], ""), disk.make_room(), disk.opsh(WORK)])
    assert full.status == 0
    assert full.lines == ["ok s", "ok .:d ..:d e:d f:f", *["ENOSPC"] * 4, "ok s", "ENOSPC", "ENOENT"]
    assert (program.status, program.out, program.err) == (0, "se\nf\n", "")
    with open(log) as f:
        assert re.fullmatch(r"(libovl: workdir=.*/u\.work: no room for the lock, so nothing can be changed\n)+", f.read())
    assert later.lines[2:8] == [*["ok"] * 4, "ok sx", "ok"] and later.lines[8].startswith("ok d")


def test_first_run_on_a_disk_without_inodes(world):
    """The work directory can't be made: one line says why."""
    disk = Disk(world.ovl([LOW], upper={})).tmpfs()
    _, refused, _, works = disk.side.run([disk.leave_inodes(0), disk.opsh(WORK), disk.make_room(),
                                          disk.opsh("append @/small x")])
    assert refused.status > 0 and refused.status < 128 and refused.out == ""
    assert re.fullmatch(r"libovl: .*no space left on the device; make room there, or set workdir=.*\n", refused.err), refused.err
    assert works.lines == ["ok"]


def test_later_run_on_a_full_disk(world):
    """What needs no room works, and can make room; the log of moves has a gap, and directories are followed."""
    disk = Disk(world.ovl([LOW], upper={})).tmpfs()
    results = disk.side.run([
        disk.opsh("mkdir @/dir\nput @/dir/f 1\nfill @/mine 100000"), disk.leave_blocks(0),
        disk.outside("rm u.work/state/moves"),
        disk.opsh("""
            append @/small x
            chdir @/dir
            run mv -T @/dir @/moved
            getcwd
            cat f
            stat @/dir
            unlink @/mine
            append @/small x
        """)])
    assert results[-1].lines == ["ENOSPC", "ok", "ok 0", "ok @/moved", "ok 1", "ENOENT", "ok", "ok"]
