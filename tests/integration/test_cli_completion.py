# SPDX-License-Identifier: MIT
"""Completion in bash and zsh: the commands and options that --help has, and what each option takes."""

import os
import re
import shutil

import pytest

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../completion")


@pytest.fixture
def scripts(tool):
    """Where every user can read them, and `ovl` in a folder of its own for PATH."""
    os.mkdir(f"{tool.base}/bin")
    os.symlink(tool.program, f"{tool.base}/bin/ovl")
    for name in ("ovl.bash", "_ovl"):
        shutil.copy(f"{HERE}/{name}", tool.base)
    return tool


def commands(tool):
    return re.findall(r"^  ([a-z]+)  ", tool("--help").out, re.M)


def options(tool, command):
    return re.findall(r"^ +(?:-[a-zA-Z], )?(--[a-z-]+)", tool(command, "--help").out, re.M)


# ---- bash --------------------------------------------------------------------------------------------------------------

def bash(tool, *lines):
    """What completes the last word of each line, which is split as readline splits it."""
    script = f"source {tool.base}/ovl.bash\n"
    for words in lines:
        quoted = " ".join("'" + word + "'" for word in words)
        script += f'COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; COMPREPLY=(); _ovl; echo "${{COMPREPLY[*]}}"\n'
    done = tool.start(["bash", "-c", script], env={"PATH": f"{tool.base}/bin:/usr/bin"})
    assert (done.status, done.err) == (0, "")
    return [line.split() for line in done.out.splitlines()]


def test_bash_knows_what_help_says(scripts):
    known = commands(scripts)
    assert "run" in known and "doctor" in known
    first, *each = bash(scripts, ["ovl", ""], *(["ovl", name, "-"] for name in known))
    assert first == [*known, "help", "--help", "--version"]
    for name, completed in zip(known, each):
        assert completed == options(scripts, name), name


def test_bash_takes_words_for_words(scripts):
    """The word before, a file's name perhaps, is no part of a command."""
    scripts.file("file", "")
    words = ["/usr/bin", "/x/;etouch${IFS}made;#", "--x/;etouch${IFS}made;#", "[", "\\(", "*"]
    assert bash(scripts, *(["ovl", "diff", word, "fi"] for word in words)) == [["file"]] * 6
    assert bash(scripts, ["ovl", "run", "/usr/bin/x", "fi"]) == [["file"]]
    assert "made" not in os.listdir(scripts.base)


def test_bash_values(scripts):
    tool = scripts
    for name in ("dir", "other", "state/ovl/usr", "state/ovl/opt"):
        os.makedirs(f"{tool.base}/{name}")
    tool.file("file", "")
    assert bash(tool, ["ovl", "st"], ["ovl", "help", "disc"], ["ovl", "run", "-m", "d"], ["ovl", "run", "--lower", "=", "oth"],
                ["ovl", "run", "--conf", "f"], ["ovl", "status", "--color", "=", ""], ["ovl", "status", "--color", "=", "al"],
                ["ovl", "diff", "-n", "u"], ["ovl", "diff", "fi"], ["ovl", "convert", "--whiteout", "="], ["ovl", "no"]) == [
        ["status"], ["discard"], ["dir"], ["other"], ["file"], ["auto", "always", "never"], ["always"], ["usr"], ["file"],
        ["oci", "kernel"], []]
    # The command that is run, and its arguments; not the values of options before it.
    assert bash(tool, ["ovl", "run", "mkfif"], ["ovl", "run", "-q", "-m", "dir", "--", "mkfif"],
                ["ovl", "run", "--upper", "=", "dir", "mkfif"], ["ovl", "run", "cat", "fi"], ["ovl", "run", "cat", "-"]) == [
        ["mkfifo"], ["mkfifo"], ["mkfifo"], ["file"], []]


# ---- zsh ---------------------------------------------------------------------------------------------------------------

def zsh(tool, *words):
    """What the completion gives to zsh's own functions, one argument a line."""
    if not shutil.which("zsh"):
        pytest.skip("needs zsh")
    script = """
_describe() { print -rl -- "describe $1" "${(@P)2}" }
_arguments() { print -rl -- "$@" }
compdef() { : }
words=($@) CURRENT=$#
words[-1]=${words[-1]#.}
source """ + f"{tool.base}/_ovl"
    done = tool.start(["zsh", "-f", "-c", script, "zsh", *words], env={"PATH": f"{tool.base}/bin:/usr/bin"})
    assert (done.status, done.err) == (0, "")
    return done.out.splitlines()


def test_zsh_knows_what_help_says(scripts):
    head, *described = zsh(scripts, "ovl", ".")
    assert head == "describe command" and [line.partition(":")[0] for line in described] == [*commands(scripts), "help"]
    assert "status:show what was changed" in described
    for name in commands(scripts):
        specs = zsh(scripts, "ovl", name, ".-")
        long = [re.match(r"\*?(--[a-z-]+)", spec) for spec in specs]
        assert [m.group(1) for m in long if m] == options(scripts, name), name


def test_zsh_values(scripts):
    specs = zsh(scripts, "ovl", "run", ".-")
    assert "--mount=[the path under which it is seen]:MOUNT:_files -/" in specs
    assert any(spec.startswith("*-l+[a lower directory") for spec in specs)
    assert any(spec.startswith("--quiet[") and spec.endswith("]") for spec in specs)
    assert "*::arguments: _normal" in specs
    assert "--color=[auto (on a terminal), always or never]:WHEN:(auto always never)" in zsh(scripts, "ovl", "status", ".-")


def test_zsh_takes_the_specs(scripts):
    """zsh's own completion, in a terminal of zsh's module for that."""
    if not shutil.which("zsh"):
        pytest.skip("needs zsh")
    script = f"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PROMPT=; fpath=({scripts.base} $fpath); autoload -U compinit; compinit -D -u; unsetopt ZLE_RPROMPT_INDENT'
zpty -w shell 'bindkey "^I" complete-word; zstyle ":completion:*" list-prompt ""; echo rea''dy'
zpty -r shell answer '*ready*'
zpty -w -n shell $'ovl run --tem\\t --upp\\t'
zpty -r shell answer '*--upper=*'
print -r -- $answer
zpty -w -n shell $'\\C-a\\C-k'
zpty -w shell "echo en''d"
zpty -r shell answer '*end*'
"""
    done = scripts.start(["zsh", "-f", "-c", script], env={"PATH": f"{scripts.base}/bin:/usr/bin:/bin", "TERM": "dumb"})
    assert "ovl run --temp --upper=" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r| \x08", "", done.out), "as it is drawn"
