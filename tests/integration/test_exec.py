# SPDX-License-Identifier: MIT
"""Making processes: exec, spawn, vfork, popen and what a new program sees, on all sides; and, for libovl alone, that
the new program stays inside or is refused (C-1.7, C-1.11, C-1.12, C-4.3, C-4.5, C-4.6)."""

import os
import pathlib
import shutil
import subprocess
from types import SimpleNamespace

import pytest

from layers import File, link

HERE = pathlib.Path(__file__).resolve().parent

GO_NOTE = r'''
__asm__(".section .note.go.buildid,\"a\",@note\n .long 4, 4, 4\n .ascii \"Go\\0\\0\"\n .long 1\n .text\n");
int main(void) { return 0; }
'''
GO_SECTION = r'''
__attribute__((section(".go.buildinfo"), used)) static char info[32] = "\xff Go buildinf:";
int main(void) { return 0; }
'''


def gcc(folder, name, source, *flags):
    path = os.path.join(folder, name)
    subprocess.run(["gcc", "-O1", "-w", "-x", "c", "-", "-o", path, *flags], input=source, text=True, check=True)
    with open(path, "rb") as f:
        return f.read()


@pytest.fixture(scope="session")
def programs(workspace):
    """The programs that layers hold, as bytes."""
    folder = os.path.join(workspace, "programs")
    os.makedirs(folder)
    proc = gcc(folder, "proc", (HERE / "proc.c").read_text(), "-pthread")
    plain = "int main(void) { return 0; }"
    foreign = bytearray(proc)
    foreign[18:20] = (8).to_bytes(2, "little")  # e_machine: MIPS
    narrow = bytearray(proc)
    narrow[4] = 1  # ELFCLASS32
    return SimpleNamespace(
        proc=proc, foreign=bytes(foreign), narrow=bytes(narrow),
        static=gcc(folder, "static", plain, "-static"), static_pie=gcc(folder, "static-pie", plain, "-static-pie"),
        go_note=gcc(folder, "go-note", GO_NOTE), go_section=gcc(folder, "go-section", GO_SECTION),
        musl=gcc(folder, "musl", plain, "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1"))


def program(content, mode=0o755, **how):
    return File(content=content, mode=mode, **how)


def script(*lines, mode=0o755):
    return File(content="\n".join(lines) + "\n", mode=mode)


def tree(programs):
    """A lower and a second one below it; the scripts' interpreters are in either."""
    high = {
        "bin/script": script("#!/bin/sh", 'echo "$0|$*|$(pwd)"'),
        "bin/bash-script": script("#!@/bin/mybash -e", 'echo "$0|$*"; shopt -q extglob; echo "bash $BASH_VERSINFO"'),
        "bin/with-argument": script("#!@/bin/show  one two\t "),
        "bin/one": script("#!@/bin/show"), "bin/two": script("#!@/bin/one  a b "), "bin/three": script("#!@/bin/two"),
        "bin/four": script("#!@/bin/three"), "bin/five": script("#!@/bin/four x"), "bin/six": script("#!@/bin/five"),
        "bin/seven": script("#!@/bin/six"), "bin/loop": script("#!@/bin/loop"),
        "bin/no-interpreter": script("#!@/nothing"), "bin/to-folder": script("#!@/bin"),
        "bin/to-plain": script("#!@/plain"), "bin/relative": script("#!bin/show"), "bin/no-x": script("#!/bin/sh", mode=0o644),
        "bin/text": program("echo text $0 $1\n"), "bin/empty": program(""), "plain": "not a program\n",
        "bin/link": link("script"), "bin/dangling": link("nowhere"),
        "sub/show": link("../bin/show"), "bin/out": link("/bin/echo"), "bin/ls": script("#!/bin/sh", "echo my ls"),
        "noexec/ls": script("#!/bin/sh", "echo not me", mode=0o644),
    }
    low = {"bin/show": program(programs.proc), "bin/proc": program(programs.proc), "bin/count": program(programs.proc),
           "bin/mybash": program(pathlib.Path("/bin/bash").read_bytes()), "dir/f": "f\n", "dir/out": "old\n",
           "garbage": program(b"\x7fELF garbage"), "short": program(b"\x7f"), "zeros": program(bytes(100))}
    return [high, low]


@pytest.fixture
def sides(world, programs):
    """Run shell commands in the view of each side; all must answer as the bare directory does."""
    def run(*commands, layers=None, outside=None, environment=None, only=None):
        __tracebackhide__ = True
        names = only or world.sides
        base, got = world.base(), {}
        for which in names:
            made = world.make([at(layer, f"{base}/p/m") for layer in layers or tree(programs)], {}, sides=[which],
                              base=base, letter="p", outside=at(outside or {}, f"{base}/p/m"))
            side = made[which]
            if which == "ovl":
                side.environment = environment or {}
            texts = [c.replace("@", side.mount).replace("%", side.outside) for c in commands]
            results = side.run([(["sh", "-c", f"export LC_ALL=C; cd {side.mount} && {t}"], "") for t in texts])
            # The kernel names what execveat finds below a descriptor /dev/fd/N/NAME; here it is the merged path.
            got[which] = [(c, r.status, r.out.replace("/dev/fd/9/", "@/bin/").splitlines(), r.err.splitlines())
                          for c, r in zip(commands, results)]
            world.check()
            os.rename(side.base, f"{base}/{which}")
        wanted = next(iter(got.values()))
        for which, answers in got.items():
            for want, have in zip(wanted, answers):
                assert have == want, f"{which} side"
        return wanted
    return run


def at(layer, mount):
    """The layer with '#!@' made a path of the mount."""
    made = {}
    for path, item in layer.items():
        if isinstance(item, File) and isinstance(item.content, str) and item.content.startswith("#!@"):
            item = File(content=item.content.replace("#!@", "#!" + mount, 1), mode=item.mode)
        made[path] = item
    return made


HOW = ["execve", "execv", "execvp", "execvpe", "execl", "execlp", "execle", "execveat", "execveat-nofollow", "fexecve",
       "fexecve-path", "fexecve-cloexec", "empty-environment", "null-environment"]
TARGETS = ["bin/show", "bin/script", "bin/with-argument", "bin/five", "bin/link", "bin/text", "bin/no-x", "bin/nothing",
           "bin/dangling", "bin/out", "bin", "plain/x", "garbage", "short", "zeros", "bin/empty"]


@pytest.mark.parametrize("how", HOW)
def test_exec_family(sides, how):
    """C-4.2, C-4.3: each function, each kind of target: what runs, with which arguments, or which error."""
    sides(*[f"bin/proc exec {how} {prefix}{target} zero one two" for target in TARGETS for prefix in ("@/", "./")])


@pytest.mark.parametrize("how", ["posix_spawn", "posix_spawnp"])
def test_spawn(sides, how):
    """C-4.2: the same through posix_spawn; no shell is tried for what the kernel doesn't know."""
    sides(*[f"bin/proc spawn {how} {prefix}{target} zero one two" for target in TARGETS for prefix in ("@/", "./")])


@pytest.mark.parametrize("how", ["execvp", "execvpe", "execlp", "posix_spawnp"])
def test_search(sides, how):
    """C-4.3: PATH is searched in the merged view: an entry without x bit is passed over, an empty one is the cwd."""
    verb = "spawn" if how == "posix_spawnp" else "exec"
    run = f"@/bin/proc {verb} {how}"
    sides(f"PATH=@/nothing:@/noexec:@/bin:/bin {run} ls ls", f"PATH=@/noexec {run} ls ls", f"cd bin; PATH=:/bin {run} ls ls",
          f"cd bin; PATH=/bin: {run} show s", f"PATH=bin {run} show s", f"unset PATH; {run} true t", f"PATH= {run} show s",
          f"PATH=@/plain:@/bin {run} show s", f"PATH=@/bin {run} text t 1", f"PATH=@/bin {run} nothing n",
          f"PATH=@/bin {run} '' n", f"PATH=@/bin {run} {'n' * 256} n", f"PATH={'p' * 5000}:@/bin {run} show s",
          f"PATH=@/bin {run} no-x n", f"cd sub; PATH=../bin {run} script s t", f"PATH=/bin {run} bin/show s")


def test_scripts(sides):
    """C-4.3: nested interpreters, in other layers too; five levels, then ELOOP; $0 and argv[0]."""
    names = ["script", "bash-script", "with-argument", "one", "two", "three", "four", "five", "six", "seven", "loop",
             "no-interpreter", "to-folder", "to-plain", "no-x", "relative"]
    sides(*[f"@/bin/{n} a 'b c' ''" for n in names], *[f"bin/proc exec execve bin/{n} z a" for n in names],
          "cd bin; ./script", "cd sub; ../bin/script", "cd sub; ../bin/relative", "PATH=@/bin; script x", "sub/show x",
          "cd dir; /bin/sh ../bin/script y", "bin/link x", ". bin/script", "bin/proc exec null-arguments bin/one",
          "env -i bin/script x", "env -i bin/bash-script x", "exec -a other bin/script 2>/dev/null || bash -c 'exec -a other bin/show x'")


def test_comm(sides):
    """C-4.3: the process's name is that which was asked for, a link's or a script's, not a layer file's."""
    say = "read name </proc/$$/comm; echo $name"
    high, low = {"bin/l": link("mybash"), "sub/out": link("/bin/bash"), "bin/s": script("#!@/bin/l", say),
                 "bin/with-sh": script("#!/bin/sh", say), "bin/ls": link("with-sh")}, {
                     "bin/mybash": program(pathlib.Path("/bin/bash").read_bytes())}
    answers = sides(f"bin/l -c '{say}'", f"@/sub/out -c '{say}'", f"PATH=@/bin; l -c '{say}'", "bin/s", "cd sub; ../bin/s",
                    "bin/with-sh", "bin/ls", f"bash -c 'exec -a other bin/l -c \"$1\"' x '{say}'", f"bin/mybash -c '{say}'",
                    layers=[high, low])
    assert [out for _, _, out, _ in answers] == [["l"], ["out"], ["l"], ["s"], ["s"], ["with-sh"], ["ls"], ["l"], ["mybash"]]


LINES = ["#!", "#!\n", "#! \n", "#!  ", "#!\0", "#!\t\n", "#!\n/bin/sh\n", "#!/bin/echo", "#!/bin/echo\n", "#! /bin/echo \t a  b \t\n",
         "#!\t/bin/echo\ta\n", "#!/bin/echo \n", "#!/bin/echo\0 x\n", "#!/bin/echo a\0b\n", "#!/bin/echo a\r\n",
         "#!/bin/echo " + "a" * 240 + "\n", "#!/bin/echo " + "a" * 243 + "\n", "#!/bin/echo " + "a" * 244 + "\n",
         "#!/bin/echo " + "a" * 300 + "\n", "#!/bin/echo" + " " * 300 + "a\n", "#!" + " " * 300 + "/bin/echo\n",
         "#!/bin/echo " + " a" * 150 + "\n", "#!/" + "b" * 251 + "\n", "#!/" + "b" * 252 + "\n", "#!/" + "b" * 253 + "\n",
         "#!/" + "b" * 300 + "\n", "#!" + "/" * 243 + "bin/echo\nx", "#!" + "/" * 244 + "bin/echo x\n",
         "#!" + "/" * 245 + "bin/echo\n", "#!" + "/" * 246 + "bin/echo", "#!" + "/" * 246 + "bin/echo\n",
         "#!" + "/" * 247 + "bin/echo\n", "# !/bin/echo\n", " #!/bin/echo\n", "#!/bin/echo a", "#!/bin/echo a "]


def test_first_lines(sides, programs):
    """C-4.3: a script's first line by the kernel's rules: blanks, the one argument, 256 bytes, a cut name."""
    sides(*[f"%/proc exec {how} s{i:02} zero one" for i in range(len(LINES)) for how in ("execve", "execvp")],
          layers=[{f"s{i:02}": program(text) for i, text in enumerate(LINES)}], outside={"proc": program(programs.proc)})


def test_interpreter_outside_and_script_inside(sides):
    """A script outside whose interpreter is inside, and the other way round, by absolute and relative names."""
    sides("%/in a", "%/env-in a", "cd %; ./in b", "cd %; @/bin/script c", "%/nested d", "%/link e", "cd %; ./link f",
          outside={"in": script("#!@/bin/show x"), "env-in": script("#!/usr/bin/env -S @/bin/show"),
                   "nested": script("#!@/bin/two"), "link": link("@/bin/script")})


def test_arguments(sides):
    """C-4.3: many arguments and variables pass; too many are E2BIG."""
    sides("bin/proc large 10 @/bin/count", "bin/proc large 20000 @/bin/count", "bin/proc large 5000000 @/bin/count")


@pytest.mark.parametrize("command", [
    "bin/proc vfork-chdir @/dir @/bin/show plain", "bin/proc vfork-chdir dir ../bin/show plain",
    "bin/proc vfork-chdir / @/bin/show plain", "cd %; @/bin/proc vfork-chdir @/dir @/bin/show .",
    "bin/proc vfork-many @/bin/count", "bin/proc vfork-many @/bin/script", "bin/proc vfork-threads @/bin/count",
    "bin/proc vfork-jump dir", "bin/proc clone @/dir @/bin/count", "bin/proc clone / @/bin/count",
    "bin/proc daemon @/plain; sleep 1", "bin/proc handler @/bin/show a", "bin/proc handler @/bin/five a",
    "bin/proc few-files @/bin/show a", "bin/proc few-files @/bin/two a"])
def test_children(sides, command):
    """C-4.5, C-4.6: a vfork child's chdir changes nothing in its parent; signal handlers, low limits."""
    sides(command)


def test_file_actions(sides):
    """C-4.2: actions in their order, relative to earlier chdir actions, the mode of new files, copy-up of old ones."""
    sides("bin/proc actions dir bin/show; cat dir/out; stat -c %a dir/out",
          "bin/proc actions sub bin/show; cat sub/out; stat -c %a sub/out", "bin/proc actions @/nothing bin/show",
          "bin/proc actions dir nothing; ls dir", "cd /; @/bin/proc actions @/dir bin/show; cat @/dir/out",
          "bin/proc action-errors @/nothing @/bin/count", "bin/proc action-errors @/plain @/bin/count")


@pytest.mark.parametrize("flags", ["0", "0x04", "0x08", "0x0c", "0x02", "0x80", "0x20", "0x30", "0x3f", "0xff"])
def test_spawn_attributes(sides, flags):
    """C-4.2: each attribute that a child of posix_spawn can be given shows in it."""
    sides(f"bin/proc attributes {flags} @/bin/proc status; true")


def test_system_and_popen(sides):
    """C-4.2: system and popen start their shell inside, and keep POSIX' rules about signals and streams."""
    sides("bin/proc system @/bin/script 'bin/script a; exit 3' 'kill -9 $$' 'cd dir; pwd; ls' 'bin/nothing' 'kill -INT $$'",
          "bin/proc popen 'bin/script p; ls dir; exit 5' 'cat; cd dir; pwd; exit 6'", "bin/proc popen-closed 'bin/script'",
          "cd dir; ../bin/proc system pwd ../bin/script", "cd dir; ../bin/proc popen ../bin/script cat")


def test_system_without_a_shell(sides):
    """C-4.2: a program may have been asked to ignore the signals already."""
    sides("trap '' INT QUIT; bin/proc system 'kill -INT $$; echo alive' 'kill -QUIT $$; echo alive'")


PYTHON = r'''
import os, subprocess, sys
def show(*a, **k):
    r = subprocess.run(*a, capture_output=True, text=True, **k); print(r.returncode, r.stdout, r.stderr)
show(["bin/script", "1"]); show(["./script"], cwd="bin"); show("bin/script 2", shell=True); show(["ls"], cwd="dir")
show(["bin/show"], close_fds=False); show(["script"], env={"PATH": "bin"}); show(["bin/script"], env={})
show(["bin/show"], executable="bin/proc"); show(["pwd"], cwd="dir", preexec_fn=lambda: os.chdir(".."))
show(["bin/show"], start_new_session=True); print(os.popen("bin/script p; cat plain").read())
print(os.system("bin/script s") , os.getcwd()); sys.stdout.flush()
print(os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn("bin/script", ["a", "b"], os.environ), 0)[1]))
print(os.spawnvp(os.P_WAIT, "bin/show", ["argv0", "x"]))
for bad in (["bin/nothing"], ["bin/no-x"], ["dir"], ["bin/text"], ["bin/loop"]):
    try: show(bad)
    except OSError as e: print(e)
sys.stdout.flush()
os.execvp("bin/bash-script", ["ignored", "last"])
'''


def test_python(sides):
    """C-4.2: subprocess (vfork with chdir in the child), os.popen, os.system, os.posix_spawn."""
    sides("/usr/bin/python3 -c '" + PYTHON.replace("'", "'\"'\"'") + "'")


SHELLS = ["bin/script a | cat", "(cd dir; ../bin/script b)", "echo $(bin/script c)", "bin/script & wait", "exec bin/script d",
          "env -i @/bin/script e", "env -i PATH=@/bin script f", "env -C dir ../bin/script g", "nice bin/script h",
          "setsid -w bin/script i", "timeout 5 bin/script j", "xargs bin/script </dev/null", "find dir -exec bin/script {} +",
          "find dir -name f -execdir ../bin/script {} ';'", "perl -e 'exec \"bin/script\", \"k\"'",
          "perl -e 'system \"bin/script l; cat plain\"; print `bin/script m`; open F, \"bin/script n|\"; print <F>'",
          "awk 'BEGIN { system(\"bin/script o\"); \"bin/script p\" | getline x; print x }'", "bash -c 'bin/script q; cat <(bin/script r)'",
          "make -s -f - </dev/null; printf 'x:\\n\\tbin/script s\\n\\tcd dir; ../bin/script t\\n' | make -s -f -", "which ls; PATH=@/bin:$PATH which ls",
          "script=1 sh -c 'bin/script u'", "sh bin/text v", "bin/text w", "time -p true 2>/dev/null; command bin/script x"]


def test_shells(sides):
    """C-4.1, C-4.3: programs that start programs."""
    sides(*SHELLS)


# ---- libovl alone --------------------------------------------------------------------------------------------------


@pytest.fixture
def inside(world, programs):
    """Run shell commands below the mount of one libovl side; '@' and '%' are replaced in options and variables too."""
    def run(*commands, layers=None, options="", environment=None, **how):
        __tracebackhide__ = True
        base = world.base()
        mount, outside = f"{base}/o/m", f"{base}/o/x"

        def place(text):
            return text.replace("@", mount).replace("%", outside)
        side = world.ovl([at(layer, mount) for layer in layers or tree(programs)], {}, base=base, options=place(options), **how)
        side.environment = {name: place(value) for name, value in (environment or {}).items()}
        return side, side.run([(["sh", "-c", f"export LC_ALL=C; cd {mount} && {place(c)}"], "") for c in commands])
    return run


CLEARED = ["env -i /bin/cat @/dir/f", "env -i /bin/sh -c 'cat dir/f'", "env -u LD_PRELOAD cat dir/f", "env -u OVL_CONF cat dir/f",
           "env -u OVL_RUN cat dir/f", "env -u OVL_RUN -u OVL_CONF -u OVL_CWD -u LD_PRELOAD sh -c 'cat dir/f'",
           "unset LD_PRELOAD; cat dir/f", "LD_PRELOAD= cat dir/f", "LD_PRELOAD=libnothing.so cat dir/f 2>/dev/null",
           "LD_PRELOAD=libovl.so cat dir/f", "LD_PRELOAD=/elsewhere/libovl.so cat dir/f", "OVL_CWD=/ cat dir/f", "OVL_CWD=@/sub cat dir/f",
           "bash -c 'unset LD_PRELOAD OVL_CONF OVL_RUN; exec env -i cat @/dir/f'", "bin/proc exec empty-environment bin/bash-script >/dev/null; cat dir/f",
           "/usr/bin/python3 -c 'import os; os.execve(\"/bin/cat\", [\"cat\", \"dir/f\"], {})'",
           "/usr/bin/python3 -c 'import subprocess; subprocess.run([\"/bin/cat\", \"dir/f\"], env={})'",
           "perl -e 'eval chr(37) . \"ENV = ()\"; exec \"/bin/cat\", \"dir/f\"'", "perl -e 'eval chr(37) . \"ENV = ()\"; system \"/bin/cat dir/f; true\"'",
           "bin/proc exec null-environment /bin/sh sh -c 'cat dir/f'"]


@pytest.mark.parametrize("command", CLEARED)
def test_the_environment_is_restored(inside, command):
    """C-1.7, C-1.11: whatever a program does to the environment, its children stay inside."""
    _, (result,) = inside(command)
    assert (result.status, result.out) == (0, "f\n"), result


def test_what_is_restored(inside, tools):
    """C-1.11: by absolute path, in the place where it was; other entries and variables stay."""
    show = "/usr/bin/env"
    side, results = inside(f"env -i A=1 B=2 {show}", f"env LD_PRELOAD=libc.so.6:{tools.library}:libm.so.6 {show}",
                           f"env LD_PRELOAD='libc.so.6 libm.so.6' {show}", f"env LD_PRELOAD=./libovl.so:libc.so.6 {show}")
    preloads = []
    for result in results:
        assert result.status == 0, result.err
        lines = result.out.splitlines()
        assert f"OVL_CONF={side.conf}" in [line.replace("@", side.mount).replace("^", side.base) for line in lines]
        assert sum(line.startswith("OVL_RUN=") for line in lines) == 1
        preloads += [line.removeprefix("LD_PRELOAD=") for line in lines if line.startswith("LD_PRELOAD=")]
    library = side.untext(tools.library)
    assert preloads == [library, f"libc.so.6:{library}:libm.so.6", f"libc.so.6:libm.so.6:{library}", f"{library}:libc.so.6"]
    assert results[0].out.splitlines()[:2] == ["A=1", "B=2"]


@pytest.mark.untraced("what is let out sees the mount as it is on disk")
def test_the_way_out(inside):
    """C-1.7: an empty OVL_CONF lets one program out, with nothing of ours in its environment."""
    _, results = inside("OVL_CONF= ls @ | wc -l", "OVL_CONF= /usr/bin/env | grep -c -e ^LD_PRELOAD= -e ^OVL_RUN= -e ^OVL_CWD=",
                        "OVL_CONF= LD_PRELOAD=libc.so.6:$LD_PRELOAD /usr/bin/env | grep LD_PRELOAD",
                        "OVL_CONF= bin/show x", "OVL_CONF= cat dir/f", "ls bin/show; OVL_CONF= true; ls bin/show")
    assert [r.out for r in results[:3]] == ["0\n", "0\n", "LD_PRELOAD=libc.so.6\n"]
    assert results[3].out.startswith("bin/show|x|")
    assert results[4].status != 0 or results[4].out == "f\n"
    assert results[5].out == "bin/show\n" * 2


def test_another_configuration(inside):
    """C-1.7: another value than the running one is an error, and the program is not run."""
    _, results = inside("OVL_CONF=mount=/other,lowerdir=/usr /bin/echo run", "OVL_CONF=/nothing env -i OVL_CONF=x=y /bin/echo run")
    for result in results:
        assert (result.status, result.out) == (125, "")
        assert result.err.startswith("libovl: OVL_CONF: ") and result.err.count("\n") == 1


def test_the_library_is_gone(inside, tools):
    """C-1.11: without the library a program would run outside: EACCES, and a line that says so."""
    library = program(pathlib.Path(tools.library).read_bytes())
    _, (result,) = inside("mv %/libgone.so %/away; /bin/echo run; echo $?; cat dir/f", outside={"libgone.so": library},
                          environment={"LD_PRELOAD": "%/libgone.so"})
    assert result.out == "126\n"
    assert result.err.startswith("libovl: %/libgone.so: not there any more"), result


REFUSED = {
    "static": "statically linked", "static_pie": "statically linked", "go_note": "a Go program", "go_section": "a Go program",
    "musl": "made for another libc", "foreign": "made for another machine", "narrow": "made for another machine"}


@pytest.mark.parametrize("kind", REFUSED)
def test_programs_out_of_reach_are_refused(inside, programs, kind):
    """C-1.12: EACCES, and one line that says why and what to set; by every way to start a program."""
    layers = [{"bin/p": program(getattr(programs, kind)), "bin/proc": program(programs.proc),
               "bin/s": script("#!@/bin/p"), "no-x": program(getattr(programs, kind), mode=0o644)}]
    _, results = inside("bin/proc exec execve bin/p p", "bin/proc spawn posix_spawn @/bin/p p", "PATH=bin bin/proc exec execvp p p",
                        "bin/proc exec execv bin/s s", "bin/proc exec fexecve bin/p p", "bin/proc exec execv no-x n", layers=layers)
    for result in results[:5]:
        assert result.out.endswith(": EACCES\n"), result
        assert result.err.startswith(f"libovl: @/bin/p: {REFUSED[kind]}") and result.err.count("\n") == 1, result
        assert result.err.endswith("; set static=warn or static-allow=@/bin/p to run it all the same\n")
    assert (results[5].out, results[5].err) == ("execv: EACCES\n", "")


def test_static_programs_outside_are_refused_too(inside, programs):
    """C-1.12: a static program anywhere would write to the real file system."""
    _, results = inside("bin/proc exec execve %/p p", "cd %; @/bin/proc exec execve ./p p", "cd %; PATH=. @/bin/proc exec execvp p p",
                        outside={"p": program(programs.static)})
    for result in results:
        assert result.out.endswith(": EACCES\n") and result.err.startswith("libovl: %/p: statically linked"), result


@pytest.mark.untraced("a static program sees the mount as it is on disk")
@pytest.mark.parametrize("options,logged", [(",static=warn", True), (",static=allow", False), (",static-allow=@/bin/p", False)])
def test_static_programs_are_allowed(inside, programs, options, logged):
    """C-1.12: static=warn runs it with a log line; allow, and static-allow, without; nothing on stderr."""
    layers = [{"bin/p": program(programs.static), "bin/other": program(programs.static)}]
    _, results = inside("bin/p; echo $?", "bin/other; echo $?", "cat %/log 2>/dev/null; true", layers=layers, options=options,
                        environment={"OVL_LOG_FILE": "%/log"})
    assert (results[0].out, results[0].err) == ("0\n", ""), results[0]
    assert ("libovl: @/bin/p: statically linked" in results[2].out) == logged, results[2]
    if "static-allow" in options:
        assert results[1].out == "126\n" and "statically linked" in results[1].err
    else:
        assert (results[1].out, results[1].err) == ("0\n", "")


def test_ldconfig_counts_as_done(inside, programs):
    """C-1.12: ldconfig is not run, its status is 0."""
    layers = [{"sbin/ldconfig": program(programs.static), "bin/proc": program(programs.proc)}]
    _, results = inside("sbin/ldconfig; echo $?", "bin/proc spawn posix_spawn sbin/ldconfig l", layers=layers)
    assert [(r.out, r.err) for r in results] == [("0\n", ""), ("posix_spawn: exit 0\n", "")]


@pytest.mark.untraced("strace sets no_new_privs, which takes set-id bits their meaning")
def test_set_id(inside, programs, world):
    """C-1.12: a program that would start in secure mode ignores LD_PRELOAD."""
    if world.role.root or os.geteuid() != 0:
        pytest.skip("needs an ordinary user and root's files")
    layers = [{"bin/u": program(programs.proc, mode=0o4755, owner=(0, 0)), "bin/g": program(programs.proc, mode=0o2755, owner=(1, 1)),
               "bin/own": program(programs.proc, mode=0o4755), "bin/no-group-x": program(programs.proc, mode=0o2745, owner=(1, 1)),
               "bin/proc": program(programs.proc)}]
    _, results = inside("bin/proc exec execv bin/u u", "bin/proc exec execv bin/g g", "bin/own show", "bin/no-group-x show",
                        "setpriv --no-new-privs bin/u show", layers=layers)
    for name, result in zip("ug", results):
        assert result.out == "execv: EACCES\n", result
        assert result.err.startswith(f"libovl: @/bin/{name}: starts in secure mode"), result
    for name, result in zip(("own", "no-group-x", "u"), results[2:]):
        assert result.out == f"bin/{name}|show| in @\n", result


READER = """
#include <stdio.h>
int main(int argc, char **argv) { FILE *f = fopen(argv[1], "r"); puts(f ? "inside" : "outside"); return 0; }
"""


@pytest.mark.untraced("strace sets no_new_privs, which takes set-id bits their meaning")
@pytest.mark.parametrize("mode,where", [(0o755, "inside"), (0o4755, "outside")])
def test_environment_of_someone_with_fewer_rights(world, mode, where):
    """A set-user-id program that has the library linked in takes no configuration from who starts it."""
    if world.role.root or os.geteuid() != 0:
        pytest.skip("needs an ordinary user and root's files")
    side = world.ovl([{"f": "x"}], {})
    reader = os.path.join(side.base, "reader")
    gcc(side.base, "reader", READER, "-xnone", world.tools.library)
    os.chown(reader, 0, 0)
    os.chmod(reader, mode)
    done = subprocess.run([*world.role.drop(), "env", f"OVL_CONF={side.conf}", reader, f"{side.mount}/f"], capture_output=True,
                          text=True, check=True)
    assert (done.stdout, done.stderr) == (where + "\n", "")


def test_too_little_address_space_is_never_the_way_out(world):
    """C-1.11, C-4.6: where ld.so can't map libovl it goes on without; then nothing may run."""
    side = world.ovl([{"f": "inside"}], {})
    os.mkdir(side.mount)
    with open(f"{side.mount}/f", "w") as f:
        f.write("outside")
    script = f"for i in $(seq 1000 100 9000); do (ulimit -v $i; cat {side.mount}/f 2>/dev/null; echo); done"
    result, = side.run([(["sh", "-c", script], "")])
    seen = result.out.split("\n")
    assert set(seen) == {"", "inside"} and len(seen) == 82, result


def test_file_capabilities(inside, programs, world):
    """C-1.12: so does one with file capabilities."""
    if world.role.root or os.geteuid() != 0 or not shutil.which("setcap"):
        pytest.skip("needs an ordinary user, root and setcap")
    side, _ = inside("true", layers=[{"bin/p": program(programs.proc), "bin/proc": program(programs.proc)}])
    layer = os.path.join(side.base, "l0")
    subprocess.run(["setcap", "cap_net_raw+ep", f"{layer}/bin/p"], check=True)
    world.guard.add(layer)
    result = side.run([(["sh", "-c", f"{side.mount}/bin/proc exec execv {side.mount}/bin/p p"], "")])[0]
    assert result.out == "execv: EACCES\n" and "starts in secure mode" in result.err


def test_unreadable_programs(inside, programs, world):
    """C-1.12: what can't be looked at is not taken for harmless."""
    if world.role.root:
        pytest.skip("root reads everything")
    _, (result,) = inside("bin/proc exec execv bin/p p", layers=[{"bin/p": program(programs.proc, mode=0o111, owner=(0, 0)),
                                                               "bin/proc": program(programs.proc)}])
    assert result.out == "execv: EACCES\n" and "can't be read" in result.err
