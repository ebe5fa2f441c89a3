# SPDX-License-Identifier: MIT
"""The directory cache is never seen but by the clock: what it answers is what OVL_CACHE=off answers, while others of
the run change names, are killed at that, or lose the cache's file (C-2.1 to C-2.7, C-3.4).  tests/unit/test_cache.c
knows what it saves; cached.py is the program that is run here."""

import os
import pathlib
import random
import shutil
import signal
import subprocess

import pytest

import cached
import layers
import overlay
from test_concurrency import SECONDS, FORMS
from test_small_disks import Disk

PYTHON = "/usr/bin/python3"
PROGRAM = pathlib.Path(cached.__file__)
ENOUGH = 500  # answers a second that are judged: less would show nothing


def random_layers(seed, count=3):
    """Each name in its state, or not, in some of the layers; in some of them whited out again."""
    chance = random.Random(seed)
    made = [{"p0/stays": "x", "p1/stays": "x", "p2/deep/stays": "x", "p3/stays": "x"} for _ in range(count)]
    for where, kind, number in cached.slots():
        for layer in made:
            path = f"{where}/{cached.names_of(kind, number)[0]}"
            if kind == "closed":
                layer[f"{path}/in"] = "in"
            elif kind.startswith("moved"):
                layer.update({f"{path}/in": "in"} if kind == "moved_directory" else {path: "moved"})
            elif kind == "swap":
                layer[path] = kind
            elif chance.random() < 0.3 and layer is not made[-1]:
                layer[path] = layers.GONE
            elif chance.random() < 0.5 and kind == "file":
                layer[path] = kind
            elif chance.random() < 0.5 and kind == "directory":
                layer[f"{path}/in"] = "in"
    return made


class Run:
    """A process in the overlay that is talked with, and others of its run."""

    def __init__(self, side, argv, **environment):
        self.side = side
        self.environment = environment
        self.process = subprocess.Popen(self.argv(argv, environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.process.communicate("\n", timeout=overlay.TIMEOUT)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
        return False

    def argv(self, argv, environment):
        argv = ["env", *(f"{key}={value}" for key, value in environment.items()), *map(self.side.place, argv)]
        return [*self.side.role.drop(), *self.side.command(argv)]

    def line(self):
        return self.process.stdout.readline().rstrip("\n")

    def say(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return self.line()

    def beside(self, *argv, **environment):
        """What another process of the run prints."""
        done = subprocess.run(self.argv(argv, {**self.environment, **environment}), capture_output=True, text=True,
                              timeout=overlay.TIMEOUT, check=False)
        assert done.returncode == 0 and not done.stderr, done.stderr
        return done.stdout


# Answers one line with one: what a Python expression says.
TALK = "import os, sys\nprint('ready', flush=True)\nfor line in sys.stdin:\n" \
       "    try: print(eval(line.strip() or '0'), flush=True)\n" \
       "    except OSError as e: print(type(e).__name__, flush=True)\n"


def talk(side, **environment):
    run = Run(side, [PYTHON, "-c", TALK], **{"OVL_CACHE": "eager", **environment})
    assert run.line() == "ready"
    return run


def program(side):
    """Where everybody may read it."""
    place = f"{side.base}/cached.py"
    shutil.copy(PROGRAM, place)
    os.chmod(place, 0o644)
    return place


def change_and_compare(side, seconds, how, seed):
    place = program(side)
    with Run(side, [PYTHON, place, "change", "@", str(seconds), str(seed), how], OVL_CACHE="eager") as run:
        said = [run.line()]
        while said[-1] and not said[-1].startswith("ended"):
            said.append(run.line())
        assert said[-1].split()[1:] == ["0"] * (cached.READERS + cached.WRITERS), "\n".join(said)
        assert sum(map(int, said[:-1])) > ENOUGH * seconds, said
        seen = [run.beside(PYTHON, place, "tell", "@", OVL_CACHE=cache) for cache in ("eager", "off", "eager")]
        assert seen[0] == seen[1] == seen[2]


@pytest.mark.untraced("the trace would be its slowest part")
@pytest.mark.parametrize("how, options", [("work", ""), ("kill", ",whiteout=kernel"), ("kill", "")])
def test_while_names_change(world, how, options):
    change_and_compare(world.ovl(random_layers(1), upper={}, options=options), 2, how, 1)


@pytest.mark.long
@pytest.mark.untraced("the trace would be its slowest part")
@FORMS
@pytest.mark.parametrize("how", ["work", "kill"])
def test_while_names_change_long(world, how, options):
    for seed in range(max(1, SECONDS // 30)):
        change_and_compare(world.ovl(random_layers(seed), upper={}, options=options), min(30, SECONDS), how, seed)


LOW = {"d/f": "lower", "d/g": "other", "d/sub/x": "x", "e/f": "e"}


@pytest.mark.parametrize("gone", ["file", "folder"])
def test_the_file_vanishes(world, gone):
    """From then on changes are seen all the same, by those who have mapped it and by those who come later."""
    side = world.ovl([LOW], upper={})
    with talk(side) as run:
        assert run.say("sorted(os.listdir('%s/d')), os.path.exists('%s/d/new')" % (side.mount, side.mount)) == \
            "(['f', 'g', 'sub'], False)"
        cache = f"{side.upper}.work/cache"
        assert os.listdir(cache)
        shutil.rmtree(cache)
        if gone == "file":
            os.mkdir(cache)
            os.chown(cache, side.role.uid, side.role.gid)
        run.beside("sh", "-c", f"ls {side.mount}/d; echo new >{side.mount}/d/new; rm {side.mount}/d/f")
        asked = f"sorted(os.listdir('{side.mount}/d')), os.path.exists('{side.mount}/d/new'), " \
                f"os.path.exists('{side.mount}/d/f')"
        assert run.say(asked) == "(['g', 'new', 'sub'], True, False)"
        assert run.say(f"os.unlink('{side.mount}/d/new')") == "None"
        assert run.beside("ls", "@/d") == "g\nsub\n"


def test_changes_of_one_without_it(world):
    side = world.ovl([LOW], upper={})
    with talk(side) as run:
        asked = f"sorted(os.listdir('{side.mount}/d')), os.path.exists('{side.mount}/d/new')"
        assert run.say(asked) == "(['f', 'g', 'sub'], False)"
        run.beside("sh", "-c", f"mv {side.mount}/d/f {side.mount}/d/new; rm -r {side.mount}/d/sub", OVL_CACHE="off")
        assert run.say(asked) == "(['g', 'new'], True)"
        assert run.say(f"os.mkdir('{side.mount}/d/sub')") == "None"
        assert run.beside("ls", "@/d", OVL_CACHE="off") == "g\nnew\nsub\n"


def test_another_user(world, root_only):
    """C-1.14: one who can't map it asks the layers, and may change nothing."""
    side = world.ovl([LOW], upper={"d/private/": None})
    with talk(side) as run:
        assert run.say(f"sorted(os.listdir('{side.mount}/d'))") == "['f', 'g', 'private', 'sub']"
        other = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", "sh", "-c"]
        assert run.beside(*other, f"ls {side.mount}/d; touch {side.mount}/d/new 2>&1 | grep -c denied") == \
            "f\ng\nprivate\nsub\n1\n"
        assert run.say(f"os.mkdir('{side.mount}/d/new')") == "None"
        assert run.beside(*other, f"cd {side.mount}/d/new && pwd") == f"{side.mount}/d/new\n"


def test_search_permission(world, user_only):
    side = world.ovl([LOW], upper={})
    with talk(side) as run:
        asked = f"open('{side.mount}/d/f').read()"
        for _ in range(3):
            assert run.say(asked) == "lower"
            run.beside("chmod", "0", "@/d")
            assert run.say(asked) == "PermissionError"
            assert run.say(f"os.listdir('{side.mount}/d')") == "PermissionError"
            run.beside("chmod", "755", "@/d")


def test_owners(world, root_only):
    """C-3.9: who owns a directory that only its owner may search changes, by a path and by a descriptor."""
    side = world.ovl([LOW], upper={"d/": layers.Dir(mode=0o700)})
    bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "python3", "-c", TALK]
    with Run(side, bare) as run:
        assert run.line() == "ready"
        for change in ("os.chown('{0}/d', {1}, 0)", "os.fchown(os.open('{0}/d', os.O_RDONLY), {1}, 0)"):
            for owner, answer in ((0, "1"), (12345, "PermissionError"), (0, "1")):
                run.beside("python3", "-c", "import os; " + change.format(side.mount, owner))
                for _ in range(10):
                    assert run.say(f"os.stat('{side.mount}/d/sub').st_mode // 0o40000") == answer
                assert run.say(f"os.path.lexists('{side.mount}/d/none')") == "False"


def test_capabilities(world, root_only):
    """What is kept for root is not told to one who is root by name only."""
    side = world.ovl([{"d/f": "x", "d/": layers.Dir(mode=0o700, owner=(12345, 12345))}], upper={})
    with talk(side) as run:
        assert run.say(f"os.listdir('{side.mount}/d'), open('{side.mount}/d/f').read()") == "(['f'], 'x')"
        bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "sh", "-c"]
        script = f"ls {side.mount}/d >&2; cat {side.mount}/d/f >&2; [ -e {side.mount}/d/f ] && echo there"
        answers = [run.beside(*bare, f"({script}) 2>&1 | grep -c denied", OVL_CACHE=cache) for cache in ("off", "eager")]
        assert answers == ["2\n", "2\n"]


def test_read_only(world):
    side = world.ovl([LOW, {"d/f": "hidden", "d/lowest": ""}])
    side.options = f",workdir={side.base}/w"
    with talk(side) as run:
        asked = f"sorted(os.listdir('{side.mount}/d')), os.path.exists('{side.mount}/d/none')"
        for _ in range(3):
            assert run.say(asked) == "(['f', 'g', 'lowest', 'sub'], False)"
        assert run.say(f"open('{side.mount}/d/f').read()") == "lower"
        assert run.say(f"os.mkdir('{side.mount}/d/new')") == "OSError"
        assert os.listdir(f"{side.base}/w/cache")


def test_full_disk(world):
    """There is room for the first tables, and none for more: answers are the same, and changes too."""
    many = {f"d{d}/{'n' * 100}{i}": "" for d in range(8) for i in range(400)}
    disk = Disk(world.ovl([many], upper={})).tmpfs("2m", 4000)
    script = "import os, sys\nm = sys.argv[1]\n" \
             "print([len(os.listdir(f'{m}/d{d}')) for d in range(8)])\n" \
             "print(sum(os.path.exists(f'{m}/d{d}/' + 'n' * 100 + str(i)) for d in range(8) for i in range(402)))\n" \
             "[os.unlink(f'{m}/d{d}/' + 'n' * 100 + '7') for d in range(8)]\n" \
             "[os.mkdir(f'{m}/d{d}/new') for d in range(8)]\n" \
             "print([len(os.listdir(f'{m}/d{d}')) for d in range(8)])\n" \
             "print(sum(os.path.exists(f'{m}/d{d}/' + 'n' * 100 + str(i)) for d in range(8) for i in range(402)))\n"
    disk.side.environment["OVL_CACHE"] = "eager"
    seen = disk.side.run([disk.leave_blocks(700), ([PYTHON, "-c", script, "@"], ""),
                          disk.outside("ls -s u.work/cache")])
    assert [r.status for r in seen] == [0, 0, 0], seen
    assert seen[1].lines == [str([400] * 8), "3200", str([400] * 8), "3192"]
