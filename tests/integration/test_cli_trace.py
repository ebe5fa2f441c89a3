# SPDX-License-Identifier: MIT
"""ovl run --trace, ovl trace: the inputs and outputs of a build are those that strace tells of the same build outside;
a line is JSON whatever is in a name."""

import json
import os
import re
import shutil
import subprocess

import pytest

import layers
import tracing

BUILD = {
    "Makefile": """
all: out/prog lib.a
gen: gen.c
\tgcc -o $@ $<
gen.h: gen
\t./gen >gen.h.tmp && mv gen.h.tmp gen.h
main.o: main.c inc/a.h gen.h
\tgcc -Iinc -I. -Iempty -c -o $@ main.c
other.o: other.c
\tgcc -c -o $@ other.c
lib.a: other.o
\tar crs $@ $^
out/prog: main.o lib.a script.sh
\tmkdir -p out
\tgcc -o $@ main.o lib.a
\tsh script.sh
\trm -f gen old
""",
    "gen.c": '#include <stdio.h>\nint main(void) { puts("#define G 1"); }\n',
    "main.c": '#include <a.h>\n#include <gen.h>\nint other(void);\nint main(void) { return A + G + other(); }\n',
    "other.c": "int other(void) { return 1; }\n",
    "inc/a.h": "#define A 2\n", "unused": "unused\n", "old": "old\n", "log": "begun\n",
    "script.sh": "echo built >>log; mv out/prog out/tmp; ln out/tmp out/prog; rm out/tmp; [ -e nothing ] || :\n",
    "empty/.keep": "",
}


@pytest.fixture
def lower(tool):
    tool.layer("l", BUILD)
    return ["-m", "@", "-l", "%/l", "-u", "%/u"]


def trace(tool, script, lower, **how):
    """What `ovl trace` says of a shell script in the mount, by path below it."""
    done = tool("run", *lower, "--trace", "%/trace", "--", "sh", "-ec", f"cd {tool.mount}; {script}", **how)
    assert done.status == 0, done.err
    return summed_up(tool)


def summed_up(tool):
    done = tool("trace", "--json", "%/trace")
    assert (done.status, done.err) == (0, "")
    return {f["path"].removeprefix("B/m/"): f for f in done.json["files"]}


def lines(tool):
    with open(f"{tool.base}/trace", "rb") as f:
        return [json.loads(line) for line in f]


def those(files, what):
    return {path for path, file in files.items() if file[what]}


# ---- a build ---------------------------------------------------------------------------------------------------

class Told:
    """What strace tells of a build, as the kernel saw it."""

    def __init__(self, text, root):
        self.root, self.made = root, set()
        self.input, self.output, self.removed, self.missed = set(), set(), set(), set()
        for call in tracing.system_calls(text):
            self.take(call)
        self.missed -= self.output | self.made

    def path(self, text):
        full = os.path.normpath(os.path.join(self.root, text))
        return full[len(self.root) + 1:] if full.startswith(self.root + "/") else None

    def use(self, path):
        if path and path not in self.made:
            self.input.add(path)

    def make(self, path, new=True):
        if path:
            self.output.add(path)
            self.removed.discard(path)
            if new:
                self.made.add(path)

    def drop(self, path):
        if path:
            self.output.discard(path)
            if path not in self.made:
                self.removed.add(path)

    def take(self, call):
        name = call.partition("(")[0]
        paths = [self.path(p) for p in tracing.strings(call.rpartition(" = ")[0])]
        if " = -1 ENOENT" in call or " = -1 ENOTDIR" in call:
            if paths and paths[0] and name not in ("execve", "unlink", "unlinkat"):
                self.missed.add(paths[0])
        elif " = -1 " in call or not paths:
            return
        elif name in ("open", "openat", "creat"):
            if "O_DIRECTORY" in call or "O_PATH" in call:
                return
            if "O_WRONLY" not in call and "O_TRUNC" not in call and "O_EXCL" not in call:
                self.use(paths[0])
            if tracing.WRITES.search(call):
                self.make(paths[0], "O_TRUNC" in call or "O_EXCL" in call)
        elif name == "execve":
            self.use(paths[0])
        elif name in ("rename", "renameat", "renameat2"):
            self.use(paths[0])
            self.make(paths[1])
            self.drop(paths[0])
        elif name in ("link", "linkat"):
            self.use(paths[0])
            self.make(paths[1])
        elif name in ("unlink", "unlinkat"):
            self.drop(paths[0])
        elif name in ("chmod", "fchmodat"):
            self.make(paths[0], False)


def test_a_build_against_strace(tool, lower):
    """The same build outside, by make and gcc that libovl knows nothing of."""
    outside = f"{tool.base}/outside"
    shutil.copytree(f"{tool.base}/l", outside, copy_function=shutil.copy2)
    for folder, _, names in os.walk(outside):
        for path in [folder, *(f"{folder}/{name}" for name in names)]:
            tool.own(path)
    done = tool.start(["strace", "-f", "-s", "5000", "-e", "trace=%file", "-o", f"{tool.base}/strace", "make"], cwd=outside)
    assert done.status == 0, done.err
    with open(f"{tool.base}/strace") as f:
        told = Told(f.read(), outside)

    files = trace(tool, "make", lower)
    assert those(files, "input") == told.input
    assert {"main.c", "inc/a.h", "Makefile", "script.sh"} <= told.input and "unused" not in told.input
    assert those(files, "output") == told.output
    assert {"out/prog", "lib.a", "gen.h", "log"} <= told.output
    assert those(files, "removed") == told.removed == {"old"}
    assert {"gen", "gen.h.tmp", "out/tmp"} <= those(files, "temporary")
    missed = those(files, "missed")
    assert missed == {path for path in told.missed if path not in told.output}
    assert {"nothing", "empty/a.h"} & missed


# ---- what is in a line ------------------------------------------------------------------------------------------------

def test_any_bytes_in_a_name(tool, lower):
    names = [bytes([c]) + b"x" for c in range(1, 256) if c != ord("/")] + [b"\xed\xa0\x80", b"\xc0\xaf", "é€𝄞".encode()]
    script = tool.file("names.py", "import os\n" + f"for name in {names!r}: open(name, 'w').close()\n")
    trace(tool, f"python3 {script}", lower)
    made = {bytes.fromhex(line["path_hex"]) if "path_hex" in line else line["path"].encode()
            for line in lines(tool) if line["call"] == "open" and "O_CREAT" in line["flags"]}
    assert made == {tool.mount.encode() + b"/" + name for name in names}
    done = tool("trace", "--json", "%/trace")
    shown = {bytes.fromhex(f["path_hex"]) if "path_hex" in f else f["path"].replace("B/", tool.base + "/").encode()
             for f in done.json["files"] if f["output"]}
    assert shown == made


def test_the_longest_names(tool, lower):
    """A line that the call's own memory has no room for."""
    script = tool.file("deep.py", """
import os
for _ in range(28):
    os.mkdir(b'\\xff' * 250)
    os.chdir(b'\\xff' * 250)
open(b'a' * 250, 'w').close()
os.rename(b'a' * 250, b'\\xfe' * 250)
""")
    trace(tool, f"python3 {script}", lower)
    longest = [line for line in lines(tool) if line["call"] == "renameat2"]
    below = b"/" + b"/".join([b"\xff" * 250] * 28)
    assert [bytes.fromhex(line["path_hex"]) for line in longest] == [tool.mount.encode() + below + b"/" + b"\xfe" * 250]
    assert bytes.fromhex(longest[0]["from_hex"]) == tool.mount.encode() + below + b"/" + b"a" * 250


def test_what_lines_tell(tool, lower):
    trace(tool, "cat inc/a.h inc/none none/x 2>e || :; mkdir d; echo >>log; ln -s log s; cat s; env -i /bin/cat other.c", lower)
    seen = [(line["call"], line["path"].removeprefix(tool.mount + "/"), line) for line in lines(tool)]
    first = {}
    for call, path, line in seen:
        first.setdefault((call, path), line)
    read = first["open", "inc/a.h"]
    assert (read["layer"], read["type"]) == (f"{tool.base}/l/inc/a.h", "file") and "errno" not in read
    assert read["flags"].startswith("O_RDONLY") and read["result"] >= 0 and read["ns"] > 0 and read["pid"] > 1
    missing = first["open", "inc/none"]
    assert missing["errno"] == 2 and not {"layer", "type", "result"} & set(missing)
    assert first["open", "none/x"]["errno"] == 2
    made = first["open", "e"]
    assert made["layer"] == f"{tool.base}/u/e" and "type" not in made
    assert first["open", "log"]["flags"] == "O_WRONLY|O_CREAT|O_APPEND"
    assert first["mkdirat", "d"]["layer"] == f"{tool.base}/u/d"
    assert first["open", "other.c"]["result"] >= 0, "a process with an empty environment writes lines too"
    assert all(path.startswith("/") is False or path == tool.mount for _, path, _ in seen), "nothing from outside"


def test_programs_and_libraries(tool):
    source = tool.file("lib.c", "int f(void) { return 0; }\n")
    program = tool.file("main.c", "int f(void);\nint main(void) { return f(); }\n")
    script = layers.File(mode=0o755, content=f"#!{tool.mount}/prog\n")
    tool.layer("l", {"lib/x": "", "script": script}, watch=False)
    for command in (["gcc", "-shared", "-fPIC", "-o", f"{tool.base}/l/lib/libf.so", source],
                    ["gcc", "-o", f"{tool.base}/l/prog", program, f"-L{tool.base}/l/lib", "-lf", "-Wl,-rpath,$ORIGIN/lib"]):
        subprocess.run(command, check=True)
    tool.world.watch(f"{tool.base}/l")
    files = trace(tool, "./script", ["-m", "@", "-l", "%/l", "-u", "%/u"])
    assert those(files, "input") == {"script", "prog", "lib/libf.so"}


def test_short_cuts_are_not_taken(tool, lower):
    """What the directory cache answers before a call begins stands in the trace all the same."""
    script = tool.file("look.py", "import os\nfor _ in range(50): os.path.exists('%s/inc/none')\n" % tool.mount)
    files = trace(tool, f"python3 {script}", lower, env={"OVL_CACHE": "eager"})
    assert files["inc/none"]["calls"] == 50 and files["inc/none"]["missed"]


def test_lines_of_many_processes_are_whole(tool, lower):
    script = tool.file("many.py", f"""
import os, sys
for i in range(200):
    open('{tool.mount}/' + sys.argv[1] * 100 + str(i), 'w').close()
""")
    trace(tool, f"for c in a b c d; do python3 {script} $c & done; wait", lower)
    assert sum(line["call"] == "open" and "O_CREAT" in line["flags"] for line in lines(tool)) == 800


# ---- sums ---------------------------------------------------------------------------------------------------------------

def test_moves(tool, lower):
    files = trace(tool, "mkdir d; echo >d/x; mv d e; cat e/x; mv inc new; mv log l2; rm other.c; echo >t; rm t", lower)
    assert those(files, "output") == {"e/x", "new", "l2"}
    assert those(files, "removed") == {"inc", "log", "other.c"}
    assert those(files, "temporary") == {"d/x", "t"}
    assert those(files, "input") == {"log"}


def test_an_exchange(tool, lower):
    script = tool.file("exchange.py", "import ctypes\n"
                       "assert ctypes.CDLL(None).renameat2(-100, b'log', -100, b'old', 2) == 0\n")
    files = trace(tool, f"python3 {script}", lower)
    assert those(files, "output") == {"log", "old"} and not those(files, "removed")


def test_for_people(tool, lower):
    trace(tool, "cat log; echo >'n\n'; rm old; [ -e none ] || :", lower)
    done = tool("trace", "--slowest", "1", "%/trace")
    assert done.status == 0
    head, *sections = done.out.split("\n\n")
    assert re.fullmatch(r"\d+ calls by \d+ processes in \d+\.\d{3} s", head)
    assert sections[:4] == ["inputs (read, and there before)\n  B/m/log", "outputs (made or changed)\n  B/m/n\\012",
                            "removed (there before, and gone)\n  B/m/old", "missed (looked for, and not there)\n  B/m/none"]
    assert re.fullmatch(r"slowest calls\n +\d+\.\d{3} ms  \w+ +B/m\S*(  E\w+)?\n", sections[4])
    assert "\033[1minputs" in tool("trace", "--color", "always", "%/trace").out
    assert "slowest" not in tool("trace", "--slowest", "0", "%/trace").out


def test_an_installation_of_many_files(tool):
    """Each of them renamed into its place; the time is not that of all pairs (which were half a minute)."""
    line = {"time": 1.5, "ns": 1, "pid": 1, "result": 0}
    with open(f"{tool.base}/trace", "w") as f:
        for n in range(40000):
            new, name = f"/m/doc/{n}.new", f"/m/doc/{n}"
            for more in ({"call": "openat", "path": new, "flags": "O_WRONLY|O_CREAT"},
                         {"call": "renameat2", "from": new, "from_type": "file", "path": name, "flags": ""}):
                f.write(json.dumps(line | more) + "\n")
    done = tool.start(["prlimit", "--cpu=10", tool.program, "trace", "--json", "trace"])
    assert done.status == 0, done.err
    assert sum(f["output"] for f in done.json["files"]) == 40000


# ---- refusals ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("file, why", [
    ("%/l/t", "it lies in a lower layer"), ("%/u/t", "it lies in the upper or the work directory"),
    ("%/u.work/t", "it lies in the upper or the work directory"), ("@/t", "it lies in the overlay"),
    ("%/none/t", "No such file or directory"), ("%", "Is a directory"),
])
def test_places_for_a_trace(tool, lower, file, why):
    for folder in (tool.upper, f"{tool.upper}.work"):
        os.mkdir(folder)
        tool.own(folder)
    done = tool("run", *lower, "--trace", file, "--", "touch", f"{tool.mount}/f")
    assert done.status == 3 and why in done.err and done.err.startswith("ovl: --trace B")
    assert not os.path.exists(f"{tool.base}/u/f"), "nothing was run"


def test_no_state_is_left_by_a_refusal(tool, lower):
    assert tool("run", "-m", "@", "-l", "%/l", "--trace", "@/t", "--", "true").status == 3
    assert not os.path.exists(tool.kept) or not os.listdir(tool.kept)


@pytest.mark.parametrize("file, why", [
    ("t", "not an absolute path; it begins with '/'"), ("B/m/t", "lies in an overlay; name a file outside of all, "
     "where a path that is excluded is one"), ("B/l/t", "lies in a lower layer or a read-only overlay; name a file elsewhere"),
    ("B/none/t", "can't be made there; name a file in a directory that you may write to"),
])
def test_the_library_refuses_too(tool, lower, file, why):
    file = file.replace("B", tool.base)
    conf = f"mount={tool.mount},lowerdir={tool.base}/l,upperdir={tool.base}/u"
    done = tool.start(["touch", f"{tool.mount}/f"], env={"LD_PRELOAD": tool.library, "OVL_CONF": conf, "OVL_TRACE": file})
    assert (done.status, done.out, done.err) == (125, "", f"libovl: OVL_TRACE: {tool.text(file)}: {why}\n")


def test_wrong_files_and_options(tool, lower):
    assert tool("trace").status == 2
    assert tool("trace", "%/a", "%/b").status == 2
    assert tool("trace", "--slowest", "x", "%/a").status == 2
    assert tool("trace", "%/none").err == "ovl: B/none: No such file or directory\n"
    trace(tool, "cat log", lower)
    with open(f"{tool.base}/trace") as f:
        good = f.read()
    odd = [{"call": "\x1b[31m"}, {"ns": -1}]
    tool.file("trace", good + '{"call":"open","path":"relative"}\n' + "no JSON\n" + "".join(
        json.dumps({"time": 1.5, "ns": 1, "pid": 1, "call": "open", "path": "/a", "errno": 2} | more) + "\n" for more in odd))
    done = tool("trace", "%/trace")
    count = len(good.splitlines()) + 1
    assert done.status == 3 and "B/m/log" in done.out
    assert done.err == f"ovl: B/trace: line {count} is no line of a trace (of 4 such lines); see `ovl run --trace`\n"
