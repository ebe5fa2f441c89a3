# SPDX-License-Identifier: MIT
"""The README's overlay in a minute: each of its commands does what stands beside it, with a tree of one's own for /usr."""

import os
import pathlib
import re

README = pathlib.Path(__file__).resolve().parents[2] / "README.md"


def commands():
    section = README.read_text().partition("## An overlay in a minute\n")[2].partition("\n## ")[0]
    return re.findall(r"^    (ovl \S.*?) *(?:#.*)?$", section, re.M)


def test_each_command(tool):
    usr = tool.layer("usr", {"bin/prog": "old\n", "share/gone": "x\n"}, watch=False)
    tool.file("Makefile", f"install:\n\t@echo new >{usr}/bin/prog; rm {usr}/share/gone\n")
    os.mkdir(f"{tool.base}/bin")
    os.symlink(tool.program, f"{tool.base}/bin/ovl")
    before = tool.tree("usr")

    def run(command):
        if command.startswith("ovl discard"):
            command += " --force"  # there is nobody to ask
        done = tool.start(["sh", "-c", command.replace("/usr", usr)], env={"PATH": f"{tool.base}/bin:/usr/bin:/bin"})
        assert done.status == 0, f"{command}: {done.err}"
        return done

    install, status, diff, again, discard, commit, export = commands()
    run(install)
    assert "modified:   B/usr/bin/prog" in run(status).out and tool.tree("usr") == before
    assert "-old\n+new\n" in run(diff).out
    assert run(again).out.split() == ["bin", "share"]
    run(discard)
    assert tool.tree("usr") == before and "ovl: " in tool("status").err
    run(install)
    digest = run(export).out
    assert digest.startswith("digest ") and os.path.getsize(f"{tool.base}/layer.tar.gz")
    run(commit)
    with open(f"{usr}/bin/prog") as f:
        assert f.read() == "new\n"
    assert os.listdir(f"{usr}/share") == []
