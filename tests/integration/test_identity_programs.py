# SPDX-License-Identifier: MIT
"""Identity as programs need it (C-2.6), kept over runs: each scenario is a list of runs, whose answers are those on the
bare directory. No answer holds a number: objects are told apart by classes, in the order of their names."""

import subprocess

import pytest

from layers import Dir, same
from test_fakeroot import fakeroot_library

LOW = {"f": "f\n", "g": "g\n", "d/a": "a\n", "d/b": "b\n", "d/e/x": "x\n", "d/e/z/y": "y\n", "only/sub/deep/1/2/3/4/5/q": "q\n",
       "ren/in/r": "r\n", "h1": "hard\n" * 100, "h2": same("h1"), "d/h3": same("h1"), "k1": "other\n", "only/k2": same("k1")}
TOP = {"d/e/new": "new\n", "d/c": "c\n", "merged/": Dir(), "up": "up\n"}
PRELUDE = """export LC_ALL=C TZ=UTC; cd @ || exit 99
classes() { find "$@" -printf '%i %y %n %p\\n' | sed 's/ d [0-9]* / d - /' | LC_ALL=C sort -k4 |
    awk '{ if (!($1 in class)) class[$1] = ++last; $1 = class[$1]; print }'; }
"""
# Copies up files, some names of hard links, and directories of both kinds.
CHANGE = "echo more >>d/a; chmod 600 f; touch -d @1600000000 h2; echo more >>only/k2; touch d/e/made only/sub/made"
FILES_OF_CHANGE = {"./d/a", "./f", "./h1", "./h2", "./d/h3", "./k1", "./only/k2", "./d/e/made", "./only/sub/made"}


def in_place(side, script):
    return (PRELUDE + script).replace("%/", f"{side.outside}/").replace("@ ", f"{side.mount} ")


@pytest.fixture
def runs(world):
    """Do runs on the bare directory and under libovl: what each said, alike on both."""
    def do(*scripts, lower=(TOP, LOW)):
        said = {}
        for name, side in world.make(list(lower), {}, sides=["bare", "ovl"]).items():
            said[name] = side.run([(["sh", "-c", in_place(side, script)], "") for script in scripts])
        wanted, *_, got = (*said.values(), *said.values())
        for i, (w, g) in enumerate(zip(wanted, got)):
            assert (g.status, g.out, g.err) == (w.status, w.out, w.err), f"run {i}: {scripts[i]}"
        return got
    return do


def quiet(results):
    assert not [r.err for r in results if r.err or r.status]


# ---- archives and copies ------------------------------------------------------------------------------------------------

def test_incremental_dumps(runs):
    """A directory with another number would be dumped whole; a renamed one is known by its number."""
    dump = "tar -cf %/{0}.tar --listed-incremental=%/snar . && tar -tf %/{0}.tar | LC_ALL=C sort"
    unpack = "tar -xf %/{0}.tar --listed-incremental=/dev/null -C %/restored"
    later = "sleep 0.1; "  # or the kernel's clock of files shows what comes after a dump as of its time
    said = runs(dump.format(0), later + CHANGE, dump.format(1), dump.format(2), later + "mv ren ren2; echo >>ren2/in/r",
                dump.format(3), later + "rm -r only/sub; rm d/b", dump.format(4),
                "mkdir %/restored; " + "; ".join(unpack.format(i) for i in range(5)) + "; diff -r . %/restored && classes .",
                "cd %/restored && classes .")
    quiet(said)
    files = [{line for line in r.lines if not line.endswith("/")} for r in said]
    assert files[2] == FILES_OF_CHANGE
    assert files[3] == set() and files[5] == {"./ren2/in/r"} and files[7] == set()
    assert said[8].lines == said[9].lines


def test_archives_of_hard_links(runs):
    said = runs(CHANGE,
                "tar -cf %/t.tar --sort=name . && tar -tvf %/t.tar | grep -o '[^ ]* link to .*'",
                "tar -df %/t.tar",
                "mkdir %/out && tar -xf %/t.tar -C %/out && cd %/out && classes .",
                "tar -cf %/t3.tar --sort=name --remove-files d only h1; ls; classes h2 k1")
    quiet(said)
    assert said[1].lines == ["./h1 link to ./d/h3", "./h2 link to ./d/h3", "./only/k2 link to ./k1"]


def test_copies_of_hard_links(runs):
    said = runs("classes .", CHANGE, "classes .; cp -a . %/copy; cd %/copy; classes .",
                "cp -a d only h1 h2 k1 merged; cd merged; classes .", "cp -al d linked && classes d linked")
    quiet(said)
    half = len(said[2].lines) // 2
    assert said[2].lines[:half] == said[2].lines[half:]


# ---- walks --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("top", ["d", "only", "."])
def test_walks_that_change(runs, top):
    """fts compares a directory with what it was on the way down."""
    said = runs(f"chmod -R g=,o= {top}", f"chmod -R g+rX {top} && chmod -Rc o+r {top} | grep -v \"[hk][123]'\" | LC_ALL=C sort",
                f"find {top} -depth -exec touch {{}}/made \\; 2>&1 | wc -l; find {top} -type d -exec chmod 750 {{}} +",
                f"chmod -R u=rwX,go= {top}; find {top} -printf '%m %p\\n' | LC_ALL=C sort",
                "rm -r d/e only; LC_ALL=C ls -R", "rm -r d merged ren && find . | LC_ALL=C sort")
    quiet(said)


def test_find_by_number(runs):
    """A number that is written down finds the object in every later run."""
    find = "while read number; do echo $(find . -inum $number | LC_ALL=C sort); done <%/numbers"
    same_file = "for p in f h2 k1 d only/sub ren*; do echo $(find . -samefile $p | LC_ALL=C sort); done"
    said = runs("stat -c %i f g d d/a d/e d/e/z only only/sub ren h2 k1 up . >%/numbers", find, same_file, CHANGE, find, same_file,
                "mv ren ren2; mv g d/; mv h1 h4; ln f f2", find, same_file)
    quiet(said)
    assert said[1].lines == said[4].lines and said[2].lines == said[5].lines
    assert said[7].lines == ["./f ./f2", "./d/g", "./d", "./d/a", "./d/e", "./d/e/z", "./only", "./only/sub", "./ren2",
                             "./d/h3 ./h2 ./h4", "./k1 ./only/k2", "./up", "."]


def test_du_counts_hard_links_once(runs):
    du = "du -cb h1 h2 d/h3 k1 only/k2; du -clb h1 h2 d/h3 k1 only/k2; du -ab | grep -c '[hk][123]$'"
    said = runs(du, CHANGE, du, "rm h1; ln h2 h1; ln k1 d/k3", du)
    assert said[2].lines[:1] == ["500\th1"] and said[2].out.count("\th2") == 1
    quiet(said)


# ---- git ----------------------------------------------------------------------------------------------------------------

def test_git_trusts_its_index(runs):
    """The index holds each file's number: a copied-up one that is unchanged is not read again. diff-files never reads."""
    ask = "export HOME=%/ GIT_CONFIG_NOSYSTEM=1 GIT_OPTIONAL_LOCKS=0; "
    fresh = ask + "git diff-files --quiet; echo $?; git diff-files --name-only; git status --short"
    said = runs(ask + "git init -q -b main && git config core.trustctime false && git add -A && git -c user.name=n -c user.email=n@n commit -qm one && git status --short",
                fresh, "touch other; echo >d/e/z/other", fresh,
                "chmod 755 f d/b; chmod 644 f d/b; setfattr -n user.k -v 1 h1 2>&1", fresh,
                "rm other d/e/z/other; git update-index --refresh; echo $?; git diff-files --quiet; echo $?",
                "echo x >>d/a; cp -p g g2; mv g2 g", fresh)
    assert [r.status for r in said] == [0] * len(said)
    assert said[1].lines == ["0"] and said[3].lines == ["0", "?? d/e/z/other", "?? other"]
    assert said[5].lines == ["0", "?? d/e/z/other", "?? other"]
    assert said[6].lines == ["0", "0"]
    assert said[8].lines == ["1", "d/a", "g", " M d/a"], "another file of the same content has another number"


# ---- tail ---------------------------------------------------------------------------------------------------------------

FOLLOW = """tail -n +1 {how} f >%/out 2>%/err & tail=$!
await() {{ i=0; until grep -sqx "$1" %/out; do i=$((i + 1)); [ $i -lt 200 ] || {{ echo "no $1"; break; }}; sleep 0.02; done; }}
await f; {work}
kill $tail; wait $tail 2>%/killed; cat %/out; grep -o 'following new file' %/err"""
FOLLOWS = {
    "append": "sh -c 'echo one >>f'; await one; chmod 600 f; sh -c 'echo two >>f'; await two",
    "rotation": "sh -c 'echo one >>f'; await one; mv f f.1; echo new >f; await new; echo last >>f; await last; cat f.1 f",
}


@pytest.mark.parametrize("how", ["-f", "-F", "-F ---disable-inotify"])
def test_tail(runs, how):
    """Of a log that an earlier run copied up: one that is copied up while tail follows it is a known limit."""
    work = FOLLOWS["append" if how == "-f" else "rotation"]
    said = runs("echo zero >>f", FOLLOW.format(how=how + " -s 0.02", work=work))
    assert "no " not in said[1].out, said[1].out


# ---- fakeroot -----------------------------------------------------------------------------------------------------------

def test_faked_owners_over_runs(world, user_only):
    """fakeroot keeps owners by number: -s writes them down at the end of a run, -i reads them at the start of the next."""
    side = world.ovl([TOP, LOW], {})
    state = f"{side.outside}/owners"
    scripts = ["chown 7:8 f h1 d/a; chown 9 d only only/sub ren; chown 5 up",
               CHANGE + "; mv ren ren2; mv f d/; ln d/a a; stat -c '%u:%g %n' d/f h2 a d only/sub ren2 up g"]
    for i, script in enumerate(scripts):
        kept = ["-s", state] + (["-i", state] if i else [])
        done = subprocess.run([*side.role.drop(), "fakeroot", *kept, "--", "env", f"OVL_CONF={side.conf}",
                               f"LD_PRELOAD={fakeroot_library()}:{world.tools.library}", "sh", "-c", in_place(side, script)],
                              capture_output=True, text=True, timeout=60, umask=0o022, cwd=side.outside, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["7:8 d/f", "7:8 h2", "7:8 a", "9:0 d", "9:0 only/sub", "9:0 ren2", "5:0 up", "0:0 g"]
