# SPDX-License-Identifier: MIT
"""ovl doctor: what it says of this machine is what happens when it is tried; its verdicts on programs are the library's."""

import os
import shutil

import pytest


def doctor(tool, *args, status=0, **how):
    done = tool("doctor", "--json", *args, **how)
    assert done.status == status, done.err
    return {check.get("name", check.get("program")): check for check in done.json["checks"]}


def test_text(tool):
    done = tool("doctor")
    assert (done.status, done.err) == (0, "")
    names = [line[:16].strip() for line in done.out.splitlines()]
    assert names == ["system", "library", "libc inside", "guard=landlock", "upper", "user xattrs", "reflink", "whiteout=kernel",
                     "user namespace", "overlayfs", "fuse-overlayfs", "proot", "fakechroot"]
    assert f"\nlibrary          yes    {tool.text(tool.library)}\n" in done.out


def test_the_file_system_is_tried(tool):
    """Each answer against the call itself, by the same user."""
    checks = doctor(tool, "-u", "%")
    tries = {"user xattrs": "setfattr -n user.overlay.x -v y .", "whiteout=kernel": "mknod d c 0 0",
             "reflink": "echo x >a; cp --reflink=always a b", "user namespace": "unshare -U true"}
    for name, script in tries.items():
        assert checks[name]["ok"] == (tool.start(["sh", "-ec", script]).status == 0), name
    assert checks["upper"]["says"] == "B can be written"


def test_overlayfs_is_tried(tool, kernel_refusal):
    assert doctor(tool)["overlayfs"]["ok"] == (not kernel_refusal[tool.role.name])


def test_the_library_is_tried(tool):
    checks = doctor(tool)
    for name, conf in (("libc inside", "patch=require"), ("guard=landlock", "guard=landlock")):
        done = tool.start(["env", f"LD_PRELOAD={tool.library}", f"OVL_CONF=mount=/etc,lowerdir=/etc,{conf}", "true"])
        assert checks[name]["ok"] == (done.status == 0)


def test_nothing_is_left(tool):
    assert doctor(tool)["upper"]["ok"]
    assert os.listdir(tool.base) == []


def test_nowhere_to_write(tool, user_only):
    os.mkdir(f"{tool.base}/closed", 0o555)
    tool.own(f"{tool.base}/closed")
    checks = doctor(tool, "-u", "%/closed")
    assert not checks["upper"]["ok"] and "can't be written: Permission denied; -u names another place" in checks["upper"]["says"]
    assert "reflink" not in checks


def test_without_a_library(tool):
    done = tool("doctor", env={"OVL_LIBRARY": "/none"})
    assert done.status == 3 and "library          BROKEN libovl.so is not found\n" in done.out
    tool.file("broken.so", "x")
    done = tool("doctor", env={"OVL_LIBRARY": f"{tool.base}/broken.so"})
    assert done.status == 3 and "library          BROKEN B/broken.so is not loaded into /usr/bin/env\n" in done.out


def test_programs(tool):
    tool.file("s.c", "int main(void) { return 0; }\n")
    assert tool.start(["gcc", "-static", "-o", "static", "s.c"]).status == 0
    for name, first in (("script", "#!/bin/sh"), ("bad", f"#!{tool.base}/static"), ("text", "text")):
        os.chmod(tool.file(name, first + "\n"), 0o755)
    checks = doctor(tool, "sh", "%/static", "%/script", "%/bad", "%/text", "%/none", "no-such-program", status=1)
    assert [(name, check["ok"]) for name, check in checks.items()] == [
        ("sh", True), ("B/static", False), ("B/script", True), ("B/bad", False), ("B/text", False), ("B/none", False),
        ("no-such-program", False)]
    assert checks["B/static"]["says"] == "statically linked: it calls no libc that could be preloaded"
    assert checks["B/script"]["says"] == "a script for /bin/sh, which is reached"
    assert checks["B/bad"]["says"] == "a script for B/static, which is " + checks["B/static"]["says"]
    assert checks["B/none"]["says"] == "B/none: No such file or directory"
    assert checks["no-such-program"]["says"] == "it is not in PATH"
    assert tool("doctor", "sh", "%/script").status == 0


def test_set_id_programs(tool, user_only):
    su = shutil.which("su", path="/usr/bin:/bin")
    if not su or not os.stat(su).st_mode & 0o4000:
        pytest.skip("needs a set-id program")
    checks = doctor(tool, "su", status=1)
    assert checks["su"]["says"] == "set-id, or with file capabilities: ld.so ignores LD_PRELOAD for it"


def test_what_is_not_reached_is_not_run(tool):
    """The verdict is that of `ovl run`."""
    tool.layer("l", {})
    tool.file("s.c", "int main(void) { return 9; }\n")
    assert tool.start(["gcc", "-static", "-o", "static", "s.c"]).status == 0
    assert tool("run", *tool.about(), "%/static").status == 126
    assert not doctor(tool, "%/static", status=1)["B/static"]["ok"]


def test_refused(tool):
    done = tool("doctor", "--nonsense")
    assert done.status == 2 and done.err.endswith("Try: ovl doctor --help\n")
    assert tool("doctor", "--help").out.startswith("usage: ovl doctor ")
