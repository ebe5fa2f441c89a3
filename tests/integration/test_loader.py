# SPDX-License-Identifier: MIT
"""Libraries inside an overlay: whatever layer each lies in and however it is asked for, a program gets the one that the
merged view has (C-4.4), by exec and as the first command (C-1.14), also where its loader lies inside (C-4.3)."""

import os
import pathlib
import platform
import shutil
import subprocess
from types import SimpleNamespace

import pytest

from layers import GONE, File, link

HERE = pathlib.Path(__file__).resolve().parent
LOADER = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "aarch64": "/lib/ld-linux-aarch64.so.1"}[platform.machine()]
WHO = 'const char *who(void) { return WHO; }'
pytestmark = pytest.mark.untraced("ld.so itself looks into the directories that a program names; LeakSanitizer can't be traced")


class Compiler:
    """gcc in a folder of its own; what it makes comes back as a file of a layer."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.number = 0

    def make(self, source, *flags, language="c", compiler="gcc"):
        self.number += 1
        path = os.path.join(self.folder, str(self.number))
        subprocess.run([compiler, "-O1", "-w", "-D_GNU_SOURCE", "-x", language, "-", "-x", "none", "-o", path, *flags],
                       input=source, text=True, check=True)
        return path

    def file(self, *args, **how):
        with open(self.make(*args, **how), "rb") as f:
            return File(content=f.read(), mode=0o755)

    def library(self, who, *flags, soname="libwho.so.1", source=WHO):
        named = [f"-Wl,-soname,{soname}"] if soname else []
        return self.file(source, "-shared", "-fPIC", f'-DWHO="{who}"', *named, *flags)

    def stub(self, soname="libwho.so.1"):
        """A library to link with; its path."""
        return self.make(WHO, "-shared", "-fPIC", '-DWHO="stub"', f"-Wl,-soname,{soname}")

    def program(self, *flags, rpath=None, runpath=None):
        if rpath:
            flags += ("-Wl,--disable-new-dtags", f"-Wl,-rpath,{rpath}")
        if runpath:
            flags += ("-Wl,--enable-new-dtags", f"-Wl,-rpath,{runpath}")
        source = (HERE / "loader.c").read_text()
        return self.file(source, *([] if "-DPLUGIN_ONLY" in flags else ["-Wl,--no-as-needed", self.stub()]), *flags)


@pytest.fixture(scope="session")
def cc(workspace):
    return Compiler(os.path.join(workspace, "compiled"))


@pytest.fixture(scope="session")
def ready(cc):
    """What many tests use."""
    return SimpleNamespace(
        none=cc.program(), origin=cc.program(runpath="$ORIGIN/../lib"), braced=cc.program(runpath="${ORIGIN}/../lib"),
        beside=cc.program(runpath="$ORIGIN"), rpath=cc.program(rpath="$ORIGIN/../lib"),
        plugin=cc.program("-DPLUGIN_ONLY"), l0=cc.library("l0"), l1=cc.library("l1"), u=cc.library("u"), other=cc.library("other"))


@pytest.fixture
def run(world):
    """Run shell commands below the mount of an overlay, or of one in place; '@', '%' and '^' are replaced."""
    def run(lowers, *commands, upper=None, outside=None, in_place=False, environment=None, options="", first=False, make=None):
        __tracebackhide__ = True
        base = world.base()
        mount = f"{base}/o/l0" if in_place else f"{base}/o/m"

        def place(text):
            return text.replace("@", mount).replace("%", f"{base}/o/x").replace("^", f"{base}/o")
        if make:
            lowers, upper, outside = make(mount)
        side = world.ovl(lowers, upper or {}, outside or {}, base=base, options=options)
        side.environment = {k: place(v) for k, v in (environment or {}).items()}
        if in_place:
            side.environment["OVL_CONF"] = f"mount={mount},lowerdir={mount},upperdir={base}/o/u"
        argv = [place(c).split() if first else ["sh", "-c", f"export LC_ALL=C; cd {mount} && {place(c)}"] for c in commands]
        results = side.run([(a, "") for a in argv])
        for r in results:
            r.out, r.err = (t.replace("^/l0" if in_place else "@", "@") for t in (r.out, r.err))
        return results
    return run


def who(results):
    """What each program said first; stderr must be empty."""
    for r in results:
        assert (r.status, r.err) == (0, ""), r
    return [r.lines[0].removeprefix("who: ") for r in results]


# ---- where a library lies ------------------------------------------------------------------------------------------

WAYS = {
    "runpath with origin": ("origin", "@/bin/p"), "the same by a relative path": ("origin", "cd bin; ./p"),
    "braced origin": ("braced", "@/bin/p"), "rpath": ("rpath", "@/bin/p"),
    "LD_LIBRARY_PATH": ("none", "LD_LIBRARY_PATH=@/lib @/bin/p"),
    "LD_LIBRARY_PATH, later entry": ("none", "LD_LIBRARY_PATH=/nowhere:@/nothing:@/bin:@/lib @/bin/p"),
    "LD_LIBRARY_PATH, semicolon": ("none", "LD_LIBRARY_PATH='/nowhere;@/lib' @/bin/p"),
    "LD_LIBRARY_PATH with origin": ("none", "LD_LIBRARY_PATH='$ORIGIN/../lib' @/bin/p"),
    "LD_LIBRARY_PATH, relative": ("none", "LD_LIBRARY_PATH=lib @/bin/p"),
    "LD_LIBRARY_PATH, relative below": ("none", "cd bin; LD_LIBRARY_PATH=../lib ./p"),
    "LD_LIBRARY_PATH, empty entry": ("none", "cd lib; LD_LIBRARY_PATH=/nowhere: @/bin/p"),
    "LD_LIBRARY_PATH, in a directory that moved": ("none", "cd lib; mv @/lib @/moved; LD_LIBRARY_PATH=. @/bin/p"),
    "LD_PRELOAD": ("none", "LD_PRELOAD=@/lib/libwho.so.1:$LD_PRELOAD @/bin/p"),
    "a link to the program": ("origin", "@/link"), "execve": ("origin", "@/bin/p exec:@/bin/p"),
    "an empty environment": ("origin", "env -i @/bin/p"), "a script": ("origin", "@/bin/script"),
}
PLACES = {
    "same lower": ({"lib": "l0"}, {}, {}), "another lower": ({}, {"lib": "l1"}, {}), "upper": ({}, {"lib": "l1"}, {"lib": "u"}),
    "only the upper": ({}, {}, {"lib": "u"}), "a higher lower": ({"lib": "l0"}, {"lib": "l1"}, {}),
}


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("way", WAYS)
def test_where_a_library_lies(run, ready, way, where):
    """C-4.4: by each way to name its directory, in each layer; the program lies in the highest lower."""
    program, command = WAYS[way]
    layers = [{f"lib/libwho.so.1": getattr(ready, name) for name in layer.values()} for layer in PLACES[where]]

    def make(mount):
        layers[0].update({"bin/p": getattr(ready, program), "link": link("bin/p"), "nothing/": None,
                          "bin/script": File(content=f"#!{mount}/bin/p\n", mode=0o755)})
        layers[1].setdefault("lib/", None)
        return layers[:2], layers[2], {}
    wanted = [name for layer in (PLACES[where][2], *PLACES[where][:2]) for name in layer.values()][0]
    assert who(run(None, command, make=make)) == [wanted]


@pytest.mark.parametrize("tag", ["rpath", "runpath"])
def test_absolute_directories(run, cc, ready, tag):
    """C-4.4: an RPATH or RUNPATH below the mount; from a program inside and one outside, by exec and by a link."""
    def make(mount):
        program = cc.program(**{tag: f"/nothing:{mount}/lib"})
        return [{"bin/p": program}, {"lib/libwho.so.1.5": ready.l1, "lib/libwho.so.1": link("libwho.so.1.5")}], {}, {
            "p": program, "link": link(f"{mount}/bin/p")}
    assert who(run(None, "bin/p", "%/p", "%/link", "cd %; ./p", make=make)) == ["l1"] * 4


def test_order(run, cc, ready):
    """C-4.4: ld.so's order: RPATH before LD_LIBRARY_PATH before RUNPATH; a file for another machine is passed over."""
    foreign = bytearray(ready.other.content)
    foreign[18:20] = (8).to_bytes(2, "little")
    low = {"a/libwho.so.1": ready.l0, "b/libwho.so.1": ready.l1, "c/libwho.so.1": File(content=bytes(foreign), mode=0o755)}
    high = {"bin/rpath": cc.program(rpath="$ORIGIN/../a"), "bin/runpath": cc.program(runpath="$ORIGIN/../a")}
    results = run([high, low], "LD_LIBRARY_PATH=@/b bin/rpath", "LD_LIBRARY_PATH=@/b bin/runpath",
                  "LD_LIBRARY_PATH=@/c:@/b bin/runpath", "LD_LIBRARY_PATH=@/c bin/runpath")
    assert who(results) == ["l0", "l1", "l1", "l0"]


def test_a_chain(run, cc, ready):
    """C-4.4: what a library needs in its turn: by its own RUNPATH, by the program's RPATH, in other layers."""
    stub = cc.stub("libdeep.so.1")
    source = 'const char *deep(void); const char *who(void) { return deep(); }'
    deep = {n: cc.library(n, soname="libdeep.so.1", source=WHO.replace("who(", "deep(").replace("WHO", f'"{n}"')) for n in ("l1", "u")}
    dstub = cc.make('const char *deep(void) { return ""; }', "-shared", "-fPIC", "-Wl,-soname,libdeep.so.1")
    own = cc.library("", dstub, "-Wl,--enable-new-dtags,-rpath,$ORIGIN/deep", source=source)
    bare = cc.library("", dstub, source=source)
    high = {"bin/own": cc.program("-Wl,--allow-shlib-undefined", runpath="$ORIGIN/../own"),
            "bin/rpath": cc.program("-Wl,--allow-shlib-undefined", rpath="$ORIGIN/../bare:$ORIGIN/../own/deep"),
            "bare/libwho.so.1": bare}
    low = {"own/libwho.so.1": own, "own/deep/libdeep.so.1": deep["l1"]}
    assert who(run([high, low], "bin/own", "bin/rpath")) == ["l1", "l1"]
    assert who(run([high, low], "bin/own", "bin/rpath", upper={"own/deep/libdeep.so.1": deep["u"]})) == ["u", "u"]
    assert stub


@pytest.mark.parametrize("how", ["needed", "dlopen", "dlopen with help"])
def test_rpath_of_a_loader(run, cc, ready, how):
    """C-4.4: the RPATH of a library counts for those that it brings with it, and for theirs."""
    def needs(name, needed):
        return cc.library("", needed, "-Wl,--disable-new-dtags", soname=name, source=f"const char *deep(void); const char *{name[3]}(void) "
                          "{ return deep(); }")
    deep_stub = cc.make('const char *deep(void) { return ""; }', "-shared", "-fPIC", "-Wl,-soname,libdeep.so.1")
    middle_stub = cc.make('const char *m(void) { return ""; }', "-shared", "-fPIC", "-Wl,-soname,libm_.so.1")
    top = cc.library("", middle_stub, "-Wl,--disable-new-dtags,-rpath,$ORIGIN/deep", soname="libwho.so.1" if how == "needed" else "libtop.so",
                     source="const char *m(void); const char *who(void) { return m(); }")
    low = {"deep/libm_.so.1": needs("libm_.so.1", deep_stub),
           "deep/libdeep.so.1": cc.library("", soname="libdeep.so.1", source='const char *deep(void) { return "deep"; }')}
    high = {"bin/p": ready.plugin if how == "dlopen" else ready.origin, "lib/libwho.so.1": top if how == "needed" else ready.l0}
    high["lib/libtop.so"] = top
    result, = run([high, {f"lib/{k}": v for k, v in low.items()}, {"lib/libwho.so.1": ready.l1}] if how != "dlopen with help" else
                  [{k: v for k, v in high.items() if k != "lib/libwho.so.1"}, {f"lib/{k}": v for k, v in low.items()}, {"lib/libwho.so.1": ready.l1}],
                  "bin/p" if how == "needed" else "bin/p @/lib/libtop.so")
    assert result.status == 0 and result.lines[-1].split(": ")[1] == "deep", result


# ---- what is hidden, what is changed -------------------------------------------------------------------------------

def test_whited_out(run, ready):
    """C-4.4, C-2.2: a library that is not there is not found, though the layer below has it."""
    lowers = [{"bin/p": ready.origin, "bin/q": ready.plugin, "lib/libwho.so.1": ready.l0}, {}]
    results = run(lowers, "bin/p", "bin/q @/lib/libwho.so.1 libwho.so.1", "LD_LIBRARY_PATH=@/lib bin/q libwho.so.1",
                  upper={"lib/libwho.so.1": GONE})
    assert results[0].status == 127 and "libwho.so.1: cannot open shared object file" in results[0].err
    for r in results[1:]:
        assert r.status == 0 and "l0" not in r.out, r
        assert all("cannot open shared object file: No such file" in line for line in r.lines[1:]), r


def test_hidden_in_place(run, ready):
    """The same where the kernel's view has it under the same name."""
    lower = {"bin/p": ready.origin, "bin/q": ready.plugin, "lib/libwho.so.1": ready.l0}
    for in_place, upper in ((True, {"lib/libwho.so.1": GONE}), (True, {"lib/": None, "lib": GONE})):
        results = run([lower], "bin/p", "bin/q @/lib/libwho.so.1", "LD_LIBRARY_PATH=@/lib bin/q libwho.so.1", upper=upper,
                      in_place=in_place)
        assert results[0].status == 127 and "cannot open shared object" in results[0].err, results[0]
        for r in results[1:]:
            assert r.status == 0 and "cannot open shared object file" in r.lines[1] and "l0" not in r.out, r


def test_in_place(run, ready):
    """C-1.8, C-4.4: a library replaced in the upper is the one that is used; nothing replaced: nothing changes."""
    lower = {"bin/p": ready.origin, "bin/q": ready.plugin, "lib/libwho.so.1": ready.l0}
    steps = "env:LD_AUDIT env:LD_LIBRARY_PATH env:GLIBC_TUNABLES address"
    same, = run([lower], f"bin/p {steps}", in_place=True)
    assert same.lines == ["who: l0", "env:LD_AUDIT: unset", "env:LD_LIBRARY_PATH: unset", "env:GLIBC_TUNABLES: unset",
                          "address: @/bin/../lib/libwho.so.1"]  # ld.so's own name for it
    changed = run([lower], f"bin/p {steps}", "bin/p exec:bin/q env:LD_AUDIT env:GLIBC_TUNABLES", "bin/q @/lib/libwho.so.1 lib/libwho.so.1",
                  "LD_LIBRARY_PATH=@/lib bin/p libwho.so.1 loaded:libwho.so.1", upper={"lib/libwho.so.1": ready.u}, in_place=True)
    assert who(changed) == ["u", "u", "none", "u"]
    assert changed[0].lines[4] == "address: @/lib/libwho.so.1" and "unset" not in changed[0].lines[1]
    assert changed[1].lines[-2:] == ["env:LD_AUDIT: unset", "env:GLIBC_TUNABLES: unset"]
    assert changed[2].lines[1:] == ["@/lib/libwho.so.1: u", "lib/libwho.so.1: u"]
    assert changed[3].lines[1:] == ["libwho.so.1: u", "loaded:libwho.so.1: yes"]


def test_replaced_while_running(run, ready):
    """C-4.4: installed by one command, used by the next."""
    lower = {"bin/p": ready.origin, "lib/libwho.so.1": ready.l0, "new": ready.u}
    results = run([lower], "bin/p; cp new lib/libwho.so.1; bin/p; rm lib/libwho.so.1; bin/p; mv new lib/libwho.so.1; bin/p", in_place=True)
    assert results[0].lines == ["who: l0", "who: u", "who: u"] and results[0].err.count("cannot open shared object") == 1


# ---- dlopen ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("helped", [False, True])
def test_dlopen(run, ready, cc, helped):
    """C-4.2, C-4.4: by absolute and relative path, by name, in a name space of its own; with the audit object at work
    (a library of the program's own is virtual) and without."""
    program = ready.origin if helped else ready.plugin
    high = {"bin/p": program, "plug/high.so": cc.library("high", soname=None), "plug/sub/": None, "plug/link.so": link("low.so")}
    low = {"lib/libwho.so.1": ready.l1, "plug/low.so": cc.library("low", soname=None),
           "plug/libnamed.so.1": cc.library("named", soname="libnamed.so.1")}
    first = "l1" if helped else "none"
    results = run([high, low], "bin/p @/plug/high.so @/plug/low.so plug/low.so ./plug/../plug/link.so @/plug/sub/../low.so",
                  "cd plug; ../bin/p ./low.so new:./low.so new:@/plug/high.so", "LD_LIBRARY_PATH=@/plug bin/p libnamed.so.1 low.so",
                  "LD_LIBRARY_PATH=plug bin/p libnamed.so.1", "bin/p loaded:@/plug/low.so @/plug/low.so loaded:@/plug/low.so",
                  "bin/p @/plug/nothing.so nothing.so @/plug/sub", "bin/p '$ORIGIN/../plug/low.so'")
    assert who(results) == [first] * 7
    assert [line.split(": ", 1)[1] for line in results[0].lines[1:]] == ["high", "low", "low", "low", "low"]
    assert [line.split(": ", 1)[1] for line in results[1].lines[1:]] == ["low", "low", "high"]
    assert results[2].lines[1:] == ["libnamed.so.1: named", "low.so: low"]
    assert results[3].lines[1:] == ["libnamed.so.1: named"]
    assert [line.split(": ", 1)[1] for line in results[4].lines[1:]] == ["no", "low", "yes"]
    assert results[5].lines[1] == "@/plug/nothing.so: @/plug/nothing.so: cannot open shared object file: No such file or directory"
    assert "nothing.so: cannot open shared object file" in results[5].lines[2] and "sub" in results[5].lines[3]
    assert results[6].lines[1] == "$ORIGIN/../plug/low.so: low"


@pytest.mark.parametrize("helped", [False, True])
def test_plugins_with_needs(run, ready, cc, helped):
    """C-4.4: a plugin opened by a library, by the name that the library's own RUNPATH finds, with needs of its own in
    another layer."""
    need = cc.make('const char *need(void) { return ""; }', "-shared", "-fPIC", "-Wl,-soname,libneed.so.1")
    opener = cc.library("", "-Wl,--enable-new-dtags,-rpath,$ORIGIN/plug", soname="libopener.so", source="""
        #include <dlfcn.h>
        const char *who(void) { void *h = dlopen("plugin.so", RTLD_NOW); const char *(*f)(void) = h ? dlsym(h, "plugin") : 0;
                                return f ? f() : dlerror(); }""")
    plugin = cc.library("", need, "-Wl,--enable-new-dtags,-rpath,$ORIGIN/need", soname=None,
                        source="const char *need(void); const char *plugin(void) { return need(); }")
    needs = {n: cc.library(n, soname="libneed.so.1", source=f'const char *need(void) {{ return "{n}"; }}') for n in ("l1", "u")}
    high = {"bin/p": ready.origin if helped else ready.plugin, "lib/libopener.so": opener}
    low = {"lib/libwho.so.1": ready.l1, "lib/plug/plugin.so": plugin, "lib/plug/need/libneed.so.1": needs["l1"]}
    result, = run([high, low], "bin/p @/lib/libopener.so")
    assert result.lines[1:] == ["@/lib/libopener.so: l1"], result
    result, = run([high, low], "bin/p @/lib/libopener.so", upper={"lib/plug/need/libneed.so.1": needs["u"]})
    assert result.lines[1:] == ["@/lib/libopener.so: u"], result


def test_dladdr(run, ready):
    """C-2.9: dladdr gives merged paths."""
    low = {"lib/libwho.so.1": ready.l1}
    results = run([{"bin/p": ready.origin}, low], "bin/p address", "LD_LIBRARY_PATH=@/lib bin/p address")
    assert [r.lines[1] for r in results] == ["address: @/lib/libwho.so.1"] * 2


# ---- the first command -----------------------------------------------------------------------------------------------

def test_the_first_command(run, cc, ready):
    """C-1.14: LD_PRELOAD alone is enough: a library that resolves elsewhere inside is the one that the first command gets,
    with its arguments, name and environment as they were."""
    def make(mount):
        return [{"lib/libwho.so.1": ready.l0, "bin/p": ready.origin}], {"lib/libwho.so.1": ready.u}, {"p": cc.program(runpath=f"{mount}/lib")}
    results = run(None, "%/p env:A env:LD_AUDIT", "^/l0/bin/p env:A", "sh -c %/p", make=make, in_place=True, first=True, environment={"A": "a"})
    assert who(results) == ["u"] * 3
    assert results[0].lines[1] == "env:A: a" and "libovl-audit.so" in results[0].lines[2]


def test_the_first_command_is_not_started_twice_for_nothing(run, ready):
    """C-1.14: nothing virtual, no second start."""
    result, = run([{"lib/libwho.so.1": ready.l0, "bin/p": ready.origin}], "^/l0/bin/p env:LD_AUDIT env:OVL_RUN", first=True, in_place=True)
    assert result.lines == ["who: l0", "env:LD_AUDIT: unset", "env:OVL_RUN: unset"]


# ---- PT_INTERP ---------------------------------------------------------------------------------------------------------

def test_a_loader_inside(run, cc, ready):
    """C-4.3: a program whose loader is inside the overlay only; its arguments, also from a script and as argv[0]."""
    loader = File(content=pathlib.Path(LOADER).read_bytes(), mode=0o755)
    name = os.path.basename(LOADER)
    source = '#include <stdio.h>\nint main(int c, char **v) { for (int i = 0; i < c; i++) printf("%s|", v[i]); puts(""); return 7; }'

    def make(mount):
        program = cc.file(source, f"-Wl,--dynamic-linker={mount}/ld/{name}")
        with_library = cc.program(f"-Wl,--dynamic-linker={mount}/ld/{name}", runpath="$ORIGIN/../lib")
        return [{"bin/p": program, "bin/q": with_library, "bin/r": link("q"), "bin/script": File(content=f"#!{mount}/bin/p  an argument \n", mode=0o755)},
                {f"ld/{name}": loader, "lib/libwho.so.1": ready.l1}], {}, {"p": program, "q": cc.program("-DPLUGIN_ONLY", f"-Wl,--dynamic-linker={mount}/ld/{name}")}
    results = run(None, "@/bin/p a 'b c'", "bin/p", "%/p x", "bin/script y", "bash -c 'exec -a zero bin/p --argv0 -x'", "bin/q",
                  "cd bin; PATH=. p z", "bin/q exe comm", "%/q exe",
                  "bin/r comm", make=make)
    assert [r.out for r in results[:5]] == ["@/bin/p|a|b c|\n", "bin/p|\n", "%/p|x|\n", "@/bin/p|an argument|bin/script|y|\n", "zero|--argv0|-x|\n"]
    assert [r.status for r in results] == [7, 7, 7, 7, 7, 0, 7, 0, 0, 0] and not any(r.err for r in results)
    assert results[5].out == "who: l1\n" and results[6].out == "p|z|\n"
    assert results[7].lines[1:] == ["exe: @/bin/q", "comm: q"] and results[8].lines[1] == "exe: %/q"
    assert results[9].lines[1] == "comm: r"


def test_no_loader_inside(run, cc):
    """C-4.3: a loader that the view has not is none."""
    def make(mount):
        return [{"bin/p": cc.file("int main(void) { return 0; }", f"-Wl,--dynamic-linker={mount}/ld/{os.path.basename(LOADER)}")}], {}, {}
    result, = run(None, "bin/p", make=make)
    assert result.status in (126, 127) and "not found" in result.err


# ---- variables of the user's own -----------------------------------------------------------------------------------------

def test_variables_are_kept(run, cc, ready):
    """C-1.11: other entries of LD_AUDIT, GLIBC_TUNABLES and LD_LIBRARY_PATH stay; ours go when a program needs no help, and
    with OVL_CONF empty."""
    auditor = cc.file('unsigned la_version(unsigned v) { return v; }', "-shared", "-fPIC")
    lowers = [{"bin/p": ready.origin, "bin/q": ready.plugin, "audit.so": auditor}, {"lib/libwho.so.1": ready.l1}]
    steps = "env:LD_AUDIT env:GLIBC_TUNABLES env:LD_LIBRARY_PATH"
    results = run(lowers, f"LD_AUDIT=^/l0/audit.so GLIBC_TUNABLES=glibc.malloc.check=0 LD_LIBRARY_PATH=/a::/b bin/p {steps} exec:@/bin/q {steps}",
                  f"GLIBC_TUNABLES=glibc.rtld.optional_static_tls=4096 bin/p {steps} exec:@/bin/p {steps}",
                  f"bin/p {steps} exec:@/bin/q {steps}", "bin/p exec:/bin/sh -c 'OVL_CONF= env' | grep -e ^LD_ -e ^GLIBC_ -e ^OVL_RUN")
    first, second, third, out = results
    ours = first.lines[1].removeprefix("env:LD_AUDIT: ^/l0/audit.so:")
    assert ours.endswith("/libovl-audit.so") and ":" not in ours
    assert first.lines[2:4] == ["env:GLIBC_TUNABLES: glibc.malloc.check=0:glibc.rtld.optional_static_tls=8192", "env:LD_LIBRARY_PATH: /a::/b"]
    assert first.lines[4:] == ["who: none", "env:LD_AUDIT: ^/l0/audit.so", "env:GLIBC_TUNABLES: glibc.malloc.check=0", "env:LD_LIBRARY_PATH: /a::/b"]
    assert second.lines[2] == second.lines[6] == "env:GLIBC_TUNABLES: glibc.rtld.optional_static_tls=4096"
    assert second.lines[1] == second.lines[5] == f"env:LD_AUDIT: {ours}"
    assert third.lines[5:] == ["env:LD_AUDIT: unset", "env:GLIBC_TUNABLES: unset", "env:LD_LIBRARY_PATH: unset"]
    assert out.lines == ["who: l1"] or not out.out, out


def test_without_the_audit_object(run, tools, ready):
    """Where libovl.so lies alone, the layers' directories are put in front of LD_LIBRARY_PATH."""
    library = File(content=pathlib.Path(tools.library).read_bytes(), mode=0o755)
    lowers = [{"bin/p": ready.origin, "bin/q": ready.plugin}, {"lib/libwho.so.1": ready.l1, "lib/libplug.so": ready.other}]
    result, = run(lowers, "bin/p env:LD_AUDIT env:LD_LIBRARY_PATH @/lib/libplug.so exec:@/bin/q env:LD_LIBRARY_PATH; cat %/log",
                  outside={"libalone.so": library}, environment={"LD_PRELOAD": "%/libalone.so", "OVL_LOG_FILE": "%/log"})
    assert result.lines[:4] == ["who: l1", "env:LD_AUDIT: unset", "env:LD_LIBRARY_PATH: /dev/null/libovl:^/l1/lib:/dev/null/libovl",
                                "@/lib/libplug.so: other"]
    assert result.lines[4:6] == ["who: none", "env:LD_LIBRARY_PATH: unset"]
    assert result.lines[6].startswith("libovl: %/libalone-audit.so: not there"), result


# ---- static TLS ------------------------------------------------------------------------------------------------------------

def test_much_static_tls(run, cc, ready):
    """C-4.4: libraries that need more static TLS than there is with an audit object; directories that were put in for one
    program are not handed on."""
    fat = cc.library("fat", "-ftls-model=initial-exec", source="static __thread char fat[20000]; " +
                     'const char *who(void) { fat[1]++; return fat[1] == 1 ? WHO : "?"; }')
    lowers = [{"bin/p": ready.origin, "bin/q": ready.plugin}, {"lib/libwho.so.1": fat}]
    steps = "env:LD_AUDIT env:LD_LIBRARY_PATH"
    results = run(lowers, f"bin/p {steps} exec:@/bin/q {steps}", f"LD_LIBRARY_PATH=/a:/b bin/p {steps} exec:@/bin/p {steps} exec:@/bin/q {steps}")
    assert who(results) == ["fat"] * 2
    marked = "/dev/null/libovl:^/l1/lib:/dev/null/libovl"
    assert results[0].lines == ["who: fat", "env:LD_AUDIT: unset", f"env:LD_LIBRARY_PATH: {marked}",
                                "who: none", "env:LD_AUDIT: unset", "env:LD_LIBRARY_PATH: unset"]
    assert [line for line in results[1].lines if "PATH" in line] == [f"env:LD_LIBRARY_PATH: {marked}:/a:/b"] * 2 + ["env:LD_LIBRARY_PATH: /a:/b"]


# ---- programs ----------------------------------------------------------------------------------------------------------------

def with_lower(ready, **files):
    """A lower with a library that programs need, so that the audit object is at work, and one above it with the programs."""
    return [{f"bin/{name}": file for name, file in files.items()}, {"lib/libwho.so.1": ready.l1}]


def linked(cc, source, *flags, **how):
    """A program that needs libwho.so.1 of $ORIGIN/../lib too."""
    return cc.file('const char *who(void);\n' + source, "-Wl,--no-as-needed", cc.stub(), "-Wl,-rpath,$ORIGIN/../lib", *flags, **how)


MALLOC = r'''
#include <stdio.h>
#include <stdlib.h>
#include <pthread.h>
static void *work(void *p) { for (int i = 0; i < 1000; i++) free(malloc(i)); return p; }
int main(void) { pthread_t t[4]; for (int i = 0; i < 4; i++) pthread_create(t + i, 0, work, 0);
    for (int i = 0; i < 4; i++) pthread_join(t[i], 0); puts(who()); return 0; }
'''
OPENMP = r'''
#include <stdio.h>
int main(void) { int n = 0;
#pragma omp parallel for reduction(+ : n) num_threads(4)
    for (int i = 0; i < 1000; i++) n += i;
    printf("%s %d\n", who(), n); return 0; }
'''
FLAVOURS = {
    "threads": (MALLOC, ["-pthread"]), "jemalloc": (MALLOC, ["-pthread", "-ljemalloc"]), "tcmalloc": (MALLOC, ["-pthread", "-ltcmalloc"]),
    "openmp": (OPENMP, ["-fopenmp"]), "asan": (MALLOC, ["-pthread", "-fsanitize=address"]), "ubsan": (MALLOC, ["-pthread", "-fsanitize=undefined"]),
    "tsan": (MALLOC, ["-pthread", "-fsanitize=thread"]),
}


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_flavours(run, cc, ready, flavour):
    """C-1.11, C-4.4: allocators, sanitizers and OpenMP, with every library where the kernel finds it, with one inside, as the
    first command and by exec."""
    source, flags = FLAVOURS[flavour]
    try:
        inside = linked(cc, source, *flags)
        outside = cc.file('#define who() "plain"\n' + source, *flags)
    except subprocess.CalledProcessError:
        pytest.skip(f"gcc can't link {' '.join(flags)} here")
    setarch = "setarch -R " if flavour == "tsan" else ""
    results = run(with_lower(ready, p=inside), f"{setarch}bin/p", f"{setarch}%/plain", outside={"plain": outside})
    results += run(with_lower(ready, p=inside), f"{setarch}%/plain", outside={"plain": outside}, first=True)
    assert [(r.status, r.lines[:1] and r.lines[0].split()[0], r.err) for r in results] == [(0, "l1", ""), (0, "plain", ""), (0, "plain", "")]


@pytest.mark.parametrize("preload", ["libjemalloc.so.2", "libtcmalloc.so.4", "libasan.so.8", "libubsan.so.1"])
def test_preloaded(run, preload):
    """C-1.11: an allocator or a sanitizer's library beside ours, before and behind it."""
    found = subprocess.run(["gcc", f"-print-file-name={preload}"], capture_output=True, text=True, check=True).stdout.strip()
    if not os.path.isabs(found):
        pytest.skip(f"no {preload} here")
    environment = {"ASAN_OPTIONS": "detect_leaks=0"}
    results = run([{"f": "f\n"}], f"LD_PRELOAD={found}:$LD_PRELOAD cat f", f"LD_PRELOAD=$LD_PRELOAD:{found} cat @/f", environment=environment)
    assert [(r.status, r.out) for r in results] == [(0, "f\n")] * 2, results


BUSYBODY = r'''
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
static void note(const char *what, const char *path)
{
    static int busy;
    if (busy++)
        return;
    FILE *log = fopen("log", "a");
    fprintf(log, "%s %s\n", what, path);
    fclose(log);
    close(creat("d/other", 0600));
    unlink("d/other");
    rename("log", "d/log");
    rename("d/log", "log");
    busy = 0;
}
int unlinkat(int dirfd, const char *path, int flags)
{
    int (*next)(int, const char *, int) = dlsym(RTLD_NEXT, "unlinkat");
    note("unlinkat", path);
    return next(dirfd, path, flags);
}
int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    int (*next)(int, const char *, int, const char *, unsigned) = dlsym(RTLD_NEXT, "renameat2");
    if (flags)
        note("renameat2", from);
    return next(from_fd, from, to_fd, to, flags);
}
'''


def test_a_preloaded_library_that_makes_changes(run, cc):
    """C-1.11: a library behind ours, called while we make a change, makes changes of its own; before ours, too."""
    busy = cc.library("", soname=None, source=BUSYBODY)
    script = "LD_PRELOAD={} timeout -s KILL 20 sh -c 'rm a b; rm -r e; mv -n c c2'; ls . d; cat log"
    for preload in ("%/busy.so:$LD_PRELOAD", "$LD_PRELOAD:%/busy.so"):
        result, = run([{"b": "", "c": "", "d/x": ""}], script.format(preload), upper={"a": "", "e/f": ""}, outside={"busy.so": busy})
        assert (result.status, result.err, result.lines[:7]) == (0, "", [".:", "c2", "d", "log", "", "d:", "x"])
        assert {"a", "e", "f"} <= {line[-1] for line in result.lines[7:]}


PYTHON = ["/usr/bin/python3", "python3"]
EXTENSION = r'''
#include <Python.h>
const char *who(void);
static struct PyModuleDef def = {PyModuleDef_HEAD_INIT, "ext", 0, -1, 0};
PyMODINIT_FUNC PyInit_ext(void) { PyObject *m = PyModule_Create(&def); PyModule_AddStringConstant(m, "who", who()); return m; }
'''


def test_python_extension(run, cc, ready):
    """C-4.4: a Python with an extension module inside, whose library lies in another layer."""
    include = subprocess.run(["/usr/bin/python3", "-c", "import sysconfig; print(sysconfig.get_path('include'))"], capture_output=True,
                             text=True, check=True).stdout.strip()
    if not os.path.exists(f"{include}/Python.h"):
        pytest.skip("no Python.h")
    ext = cc.file(EXTENSION, "-shared", "-fPIC", f"-I{include}", cc.stub(), "-Wl,-rpath,$ORIGIN/../lib")
    results = run([{"py/ext.so": ext}, {"lib/libwho.so.1": ready.l1}],
                  *[f"{prefix}/usr/bin/python3 -c 'import sys; sys.path[0] = \"{path}\"; import ext; print(ext.who, ext.__file__)'"
                    for prefix, path in (("", "@/py"), ("cd py; ", "."), ("cd lib; ", "../py"))])
    assert [r.out.split()[:1] for r in results] == [["l1"]] * 3, results
    assert results[0].out.split()[1] == "@/py/ext.so"


XS = r'''
#include "EXTERN.h"
#include "perl.h"
#include "XSUB.h"
const char *who(void);
XS(XS_Ext_who) { dXSARGS; ST(0) = sv_2mortal(newSVpv(who(), 0)); XSRETURN(1); }
XS_EXTERNAL(boot_Ext) { dXSARGS; newXS("Ext::who", XS_Ext_who, __FILE__); XSRETURN_YES; }
'''


def test_perl_module(run, cc, ready):
    """C-4.4: a Perl with an XS module inside."""
    core = subprocess.run(["perl", "-MConfig", "-e", 'print "$Config{archlibexp}/CORE $Config{ccflags}"'], capture_output=True, text=True,
                          check=True).stdout.split()
    if not os.path.exists(f"{core[0]}/perl.h"):
        pytest.skip("no perl.h")
    ext = cc.file(XS, "-shared", "-fPIC", f"-I{core[0]}", *core[1:], cc.stub(), "-Wl,-rpath,$ORIGIN/../../../lib")
    module = "package Ext; require XSLoader; XSLoader::load('Ext'); 1;\n"
    results = run([{"perl/Ext.pm": module, "perl/auto/Ext/Ext.so": ext}, {"lib/libwho.so.1": ready.l1}],
                  "perl -I@/perl -MExt -e 'print Ext::who(), \"\\n\"'", "cd perl; perl -I. -MExt -e 'print Ext::who(), \"\\n\"'")
    assert [r.out for r in results] == ["l1\n"] * 2, results


@pytest.mark.parametrize("program,arguments,wanted", [
    ("node", "-p '[1, 2].map(x => x + 1).join()'", "2,3"), ("java", "-version 2>&1 | grep -c -i version", "1"),
    ("gcc", "-dumpversion | grep -c .", "1"), ("git", "--version | cut -d' ' -f1", "git"), ("perl", "-MPOSIX -e 'print POSIX::floor(2.5)'", "2"),
    ("/usr/bin/python3", "-c 'import ssl, sqlite3, ctypes, hashlib; print(ctypes.CDLL(None).getpid() > 0)'", "True")])
@pytest.mark.parametrize("helped", [False, True])
def test_programs_start(run, ready, program, arguments, wanted, helped):
    """C-4.4: large programs start and work, without help and (a preloaded library is virtual) with it."""
    if not shutil.which(program):
        pytest.skip(f"no {program} here")
    preload = "LD_PRELOAD=@/lib/libwho.so.1:$LD_PRELOAD; export LD_PRELOAD; " if helped else ""
    result, = run(with_lower(ready), f"{preload}{program} {arguments}")
    assert result.lines and result.lines[-1] == wanted, result


def test_gdb(run, cc, ready):
    """C-4.4: gdb runs a program whose library is inside, and finds its names."""
    if not shutil.which("gdb"):
        pytest.skip("no gdb here")
    program = linked(cc, '#include <stdio.h>\nint main(void) { puts(who()); return 0; }', "-g")
    result, = run(with_lower(ready, p=program), "gdb -batch -nx -ex 'set startup-with-shell off' -ex 'break main' -ex run -ex 'print (char *)who()' -ex "
                  "'info symbol who' -ex continue bin/p 2>&1")
    if "ptrace: Operation not permitted" in result.out:
        pytest.skip("no ptrace here")
    assert "who in section .text of" in result.out and "\nl1\n" in result.out, result
    # gdb 13 can call no function on processors with AMX, whatever the program.
    if "Couldn't write extended state status" not in result.out:
        assert '$1 = 0x' in result.out and '"l1"' in result.out, result
    assert "exited normally" in result.out


def test_nothing_virtual_costs_no_audit(run):
    """Most programs: an overlay that no library comes from changes nothing in their environment."""
    results = run([{"f": "f\n"}], "env | grep -e LD_AUDIT -e GLIBC_TUNABLES -e LD_LIBRARY_PATH; true", "cat f")
    assert [r.out for r in results] == ["", "f\n"]
