# SPDX-License-Identifier: MIT
"""Things that go wrong: full disks, missing permissions, layers that vanish (C-1.14, C-3.3, C-3.4, C-3.13)."""

import os

import pytest

from layers import Dir, File
from overlay import OUTSIDE

BIG = "x" * (3 << 20)
LOW = {"big": File(content=BIG, mode=0o640), "small": "s", "d/f": "1", "d/e/big": File(content=BIG), "g": "2"}


def on_tmpfs(side, size, options=""):
    """Put the side's upper and work directory on a small tmpfs; gives its path, seen by the side's run only."""
    folder = f"{side.base}/t"
    os.makedirs(folder)
    owner = f",uid={side.role.uid},gid={side.role.gid}" if side.role.root else ""
    side.setup = f"mount -t tmpfs -o size={size},mode=755{owner}{options} tmpfs {folder} && mkdir {folder}/u &&"
    side.environment = {"OVL_CONF": side.conf.replace(side.upper, f"{folder}/u")}
    return folder


def outside(*argv):
    return ([OUTSIDE, *argv], "")


def find(folder):
    return outside("sh", "-c", f"cd {folder}/u; find . -mindepth 1 | sort")


def leftovers(folder):
    """Files of size in the work directory that are no part of its cache or state."""
    return outside("sh", "-c", f"cd {folder}/u.work && find . -size +1000k")


@pytest.mark.parametrize("change", ["append @/big x", "chmod @/big 0600", "truncate @/big 100000000", "rename @/big @/g",
                                    "rename @/big @/new", "link @/big @/new", "utimens @/big 1.0 1.0",
                                    "setxattr @/big user.a b", "open 1 @/big O_RDWR", "append @/d/e/big x"])
def test_full_disk_at_copy_up(world, change):
    """ENOSPC, the lower file seen as before, nothing half-made."""
    side = world.ovl([LOW], upper={})
    folder = on_tmpfs(side, "1m")
    script = f"""
        {change}
        stat @/big
        stat @/d/e/big
        stat @/new
        cat @/g
        readdir @
        readdir @/d/e
        put @/small after
        cat @/small
    """
    first, files, left, again = side.run([([side.tools.opsh], side.text(script)), find(folder), leftovers(folder),
                                          ([side.tools.opsh], side.text("stat @/big\nput @/n 1"))])
    lines = first.lines
    assert lines[0] == ("EFBIG" if "truncate" in change and lines[0] == "EFBIG" else "ENOSPC"), first.err
    assert lines[1].startswith(f"ok f 0640 nlink=1 size={len(BIG)} ") and "now" not in lines[1]
    assert lines[2].startswith(f"ok f 0644 nlink=1 size={len(BIG)} ")
    assert lines[3:5] == ["ENOENT", "ok 2"]
    assert lines[5:] == ["ok .:d ..:d big:f d:d g:f small:f", "ok .:d ..:d big:f", "ok", "ok after"]
    assert set(files.lines) <= {"./small", "./d", "./d/e"}
    assert left.lines == []
    assert again.lines[0].startswith(f"ok f 0640 nlink=1 size={len(BIG)} ") and again.lines[1] == "ok"


def test_disk_full_at_writing(world):
    side = world.ovl([LOW], upper={})
    folder = on_tmpfs(side, "1m")
    lines = side.opsh("""
        fill @/n 5000000
        readdir @
        unlink @/n
        put @/n fits
        append @/small x
        cat @/small
        unlink @/g
        stat @/g
    """)[0]
    assert lines == ["ENOSPC", "ok .:d ..:d big:f d:d g:f n:f small:f", "ok", "ok", "ok", "ok sx", "ok", "ENOENT"]
    assert folder


def test_no_inodes_left(world):
    """Neither whiteout nor copy can be made: nothing changes."""
    side = world.ovl([LOW], upper={})
    folder = on_tmpfs(side, "4m", ",nr_inodes=40")
    script = "\n".join(f"put @/d/n{i} x" for i in range(60)) + """
        unlink @/g
        stat @/g
        append @/small x
        cat @/small
        mkdir @/new
        stat @/new
        rename @/small @/moved
        stat @/small
        stat @/moved
        unlink @/d/n0
        unlink @/d/n1
        unlink @/d/n2
        unlink @/g
        stat @/g
    """
    lines = side.opsh(script)[0]
    assert "ENOSPC" in lines[:60]
    rest = lines[60:]
    assert rest[0] == "ENOSPC" and rest[1].startswith("ok f")
    assert rest[2:6] == ["ENOSPC", "ok s", "ENOSPC", "ENOENT"]
    assert rest[6] == "ENOSPC" and rest[7].startswith("ok f") and rest[8] == "ENOENT"
    assert rest[9:] == ["ok", "ok", "ok", "ok", "ENOENT"]
    assert folder


def test_unreadable_lower_file(world, user_only):
    side = world.ovl([{"secret": File(content="s", mode=0o200), "none": File(content="n", mode=0),
                       "closed/": Dir(mode=0o300), "closed/f": "1", "nox/": Dir(mode=0o600), "nox/f": "1"}], upper={})
    assert side.opsh("""
        cat @/none
        append @/none x
        rename @/none @/n
        stat @/n
        readdir @/closed
        cat @/closed/f
        readdir @/nox
        stat @/nox/f
        unlink @/nox/f
        append @/nox/f x
    """)[0] == ["EACCES", "EACCES", "EACCES", "ENOENT", "EACCES", "ok 1", "ok .:d ..:d f:f", "EACCES", "EACCES", "EACCES"]
    assert os.listdir(side.upper) == []


def test_upper_without_write_permission(world, user_only):
    """A mode of the merged directory as on any file system: its files can be written, its names not changed."""
    side = world.ovl([LOW], upper={"u": "1"})
    lines = side.opsh(f"""
        run chmod 555 {side.upper}
        cat @/small
        append @/small x
        put @/new 1
        unlink @/g
        mkdir @/x
        readdir @
        cat @/g
    """)[0]
    assert lines == ["ok 0", "ok s", "ok", "EACCES", "EACCES", "EACCES", "ok .:d ..:d big:f d:d g:f small:f u:f", "ok 2"]
    assert sorted(os.listdir(side.upper)) == ["small", "u"]
    assert os.stat(side.upper).st_mode & 0o7777 == 0o555


def test_work_directory_out_of_reach_later(world, root_only):
    """C-1.14: a process that drops its ids works without the cache and gets EACCES on changes."""
    side = world.ovl([LOW], upper={"u": "1"})
    results = side.run([(["sh", "-c", f"echo x >{side.mount}/made; echo 'cat {side.mount}/small\nput {side.mount}/new 1\n"
                          f"append {side.mount}/small x\nunlink {side.mount}/g\nreaddir {side.mount}\nstat {side.mount}/g'"
                          f" | setpriv --reuid 12345 --regid 12345 --clear-groups {side.tools.opsh}"], "")])
    assert results[0].err == ""
    lines = results[0].lines
    assert lines[:5] == ["ok s", "EACCES", "EACCES", "EACCES", "ok .:d ..:d big:f d:d g:f made:f small:f u:f"]
    assert lines[5].startswith("ok f")


@pytest.mark.untraced("it removes a lower layer")
def test_a_lower_layer_that_is_removed(world):
    """C-1.13: old or new answers, never a wrong write or a crash."""
    side = world.ovl([{"f": "1", "d/g": "2"}, {"h": "3", "d/i": "4"}], upper={})
    lower = side.lowers[0]
    lines = side.opsh(f"""
        cat @/f
        run env OVL_CONF= rm -rf {lower}
        stat @/f
        cat @/h
        put @/new 1
        cat @/new
        put @/d/g again
        cat @/d/g
        cat @/d/i
        append @/h x
        cat @/h
        unlink @/d/i
        readdir @
    """)[0]
    assert lines[0:2] == ["ok 1", "ok 0"]
    assert lines[3:6] == ["ok 3", "ok", "ok 1"]
    assert lines[6:12] == ["ok", "ok again", "ok 4", "ok", "ok 3x", "ok"]
    assert not os.path.exists(lower)


def test_killed_at_copy_up(world):
    """C-3.4: killed at some instant of a copy-up, nothing partial shows."""
    size = 64 << 20
    side = world.ovl([{"big": File(content="", hole=size), "small": "s"}], upper={})
    with open(f"{side.lowers[0]}/big", "r+b") as f:
        f.write(os.urandom(1 << 20) * 64)
    world.watch(side.lowers[0])
    script = (f"for t in 0.002 0.005 0.01 0.015 0.02 0.03 0.05; do "
              f"timeout -s KILL $t sh -c 'exec 3>>{side.mount}/big; exit 0'; "
              f"stat -c %s {side.mount}/big; ls {side.mount}; done; true")
    result = side.run([(["sh", "-c", script], "")])[0]
    sizes = {line for line in result.lines if line.isdigit()}
    assert sizes == {str(size)}
    assert {line for line in result.lines if not line.isdigit()} == {"big", "small"}


def test_two_processes_copy_up_the_same(world):
    """C-3.4: both succeed and share one upper file."""
    side = world.ovl([{f"f{i}": "0123456789" * 5000 for i in range(20)}], upper={})
    script = f"""
        for i in $(seq 0 19); do
            sh -c 'printf a >>{side.mount}/f'$i & sh -c 'printf b >>{side.mount}/f'$i & sh -c 'printf c >>{side.mount}/f'$i &
            wait
        done
        for i in $(seq 0 19); do stat -c %s {side.mount}/f$i; tail -c 3 {side.mount}/f$i | fold -w1 | sort | tr -d '\\n'; echo; done
    """
    result = side.run([(["sh", "-c", script], "")])[0]
    assert result.err == ""
    assert result.lines == ["50003", "abc"] * 20


def test_exclusive_creation_has_one_winner(world):
    """C-3.7."""
    side = world.ovl([{"d/gone": "x"}], upper={})
    script = f"""
        cd {side.mount}/d || exit 99; rm gone
        for i in $(seq 0 19); do
            for p in 1 2 3 4; do ( set -C; echo $p >n$i && echo won ) 2>/dev/null & done; wait
        done
    """
    result = side.run([(["sh", "-c", script], "")])[0]
    assert result.lines == ["won"] * 20


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_core_file_falls_into_the_upper(world, when):
    """C-3.1: the kernel writes it into the current directory, which must not be a lower layer's then."""
    with open("/proc/sys/kernel/core_pattern") as f:
        pattern = f.read()
    if pattern[0] in "|/":
        pytest.skip(f"cores do not go into the current directory here, but to {pattern.strip()}")
    side = world.ovl([{"d/f": "1"}], upper={})
    limit = "ulimit -c unlimited || exit 77;"
    script = f"{limit if when == 'before' else ''} cd @/d; {limit} sh -c 'kill -SEGV $$'; echo core*"
    result = side.run([(["sh", "-c", script.replace("@", side.mount)], "")])[0]
    assert result.out.startswith("core") and "*" not in result.out, result
    assert [name for name in os.listdir(f"{side.upper}/d") if name.startswith("core")]
