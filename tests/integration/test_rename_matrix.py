# SPDX-License-Identifier: MIT
"""rename and its flags over every pair of kinds of object, each in every state (C-3.6).

A pair lies in a folder of its own; many pairs are one scenario.  Linux overlayfs is asked wherever neither side is a
directory with lower content, which it answers EXDEV for, nor a hard link, which it breaks; the bare directory always.
"""

import itertools
from copy import copy
from dataclasses import dataclass

import pytest

from layers import OPAQUE, Dir, Fifo, File, Socket, link, same
from residue import residue

FORMS = {"oci": {}, "kernel": {"form": "dev", "options": ",whiteout=kernel"}}


@dataclass(frozen=True)
class Kind:
    """An object in a layer: where and what it is, how it is made by a program, and how it is taken away."""
    name: str
    objects: dict  # below the object's own path; "" is itself, "~" another name beside it
    make: tuple
    remove: tuple = ("unlink {}",)

    def at(self, path):
        return {path + below: same(path) if below == "~" else copy(item) for below, item in self.objects.items()}


KINDS = [
    Kind("file", {"": File(content="content", mode=0o640, xattrs={"user.k": "v"})}, ("put {} made",)),
    Kind("empty", {"": ""}, ("open 1 {} O_WRONLY|O_CREAT|O_EXCL", "close 1")),
    Kind("symlink", {"": link("somewhere")}, ("symlink elsewhere {}",)),
    Kind("void", {"": Dir(mode=0o750)}, ("mkdir {}",), ("rmdir {}",)),
    Kind("full", {"": Dir(), "/f": "in it", "/sub/g": "below it"}, ("mkdir {}", "put {}/f made", "mkdir {}/n"),
         ("unlink {}/f", "unlink {}/sub/g", "rmdir {}/sub", "rmdir {}")),
    Kind("fifo", {"": Fifo()}, ("mkfifo {} 0600",)),
    Kind("socket", {"": Socket()}, ("mknod {} S_IFSOCK|0600",)),
    Kind("linked", {"": "linked", "~": None}, ("put {} made", "link {} {}~"), ("unlink {}", "unlink {}~")),
]


def place(kind, state, path):
    """The object in its state: what the layers have (upper, higher, lower), and what is done before the rename."""
    objects = kind.at(path)
    hidden = {path + "/": None, path + "/never": "hidden"} if kind.name in ("void", "full") else {path: "hidden"}
    if state == "upper":
        return objects, {}, {}, ()
    if state == "lower":
        return {}, {}, objects, ()
    if state == "copied":
        change = (f"utimens @/{path} 5.0 6.0 AT_SYMLINK_NOFOLLOW",)
        return {}, {}, objects, change + ((f"put @/{path}/new new",) if kind.name == "full" else ())
    if state == "covering":
        higher = {p: OPAQUE if p == path and isinstance(item, Dir) else item for p, item in objects.items()}
        return {}, higher, hidden, ()
    steps = kind.remove + kind.make
    return {}, {}, objects, tuple(step.replace("{}", "@/" + path) for step in steps)


STATES = ["upper", "lower", "copied", "covering", "remade"]
ENDS = list(itertools.product(KINDS, STATES))
PAIRS = list(itertools.product(ENDS, ENDS))


def needs_redirect(kind, state):
    return kind.name in ("void", "full") and state in ("lower", "copied", "covering")


def breaks_links(kind, state):
    return kind.name == "linked" and state in ("lower", "copied", "covering")


def unasked(pair):
    """Why Linux overlayfs does not do with the pair what the bare file system does: sides that can't be asked."""
    if any(breaks_links(*end) for end in pair):
        return {"kernel": "index"}
    return {"kernel": "directory-rename"} if any(needs_redirect(*end) for end in pair) else {}


def build(pairs, apart, act):
    """Layers and a script: each pair in a folder of its own, or its ends in one each."""
    upper, higher, lower, script = {}, {}, {"keep": "so that there is a lower layer"}, []
    for n, pair in enumerate(pairs):
        a, b = (f"{n}/p/a", f"{n}/q/b") if apart else (f"{n}/a", f"{n}/b")
        for end, path in zip(pair, (a, b)):
            layers = place(*end, path)
            for layer, objects in zip((upper, higher, lower), layers):
                layer.update(objects)
            script += layers[3]
        script += act("@/" + a, "@/" + b)
    return [higher, lower], upper, "\n".join(script)


def exchange(a, b):
    return [f"rename {a} {b} RENAME_EXCHANGE", f"lstat {a}", f"lstat {b}"]


def exchange_and_back(a, b):
    return [f"rename {a} {b} RENAME_EXCHANGE", f"rename {b} {a} RENAME_EXCHANGE"]


def exchange_and_work(a, b):
    """What is made, changed and removed afterwards in what has changed places."""
    return exchange(a, b) + [f"put {a}/f again", f"put {b}/f again", f"append {a} more", f"append {b}~ more",
                             f"unlink {a}", f"rmdir {a}", f"mkdir {a}", f"rename {b} {a}"]


def replace(a, b):
    return [f"rename {a} {b}", f"lstat {a}", f"lstat {b}"]


def noreplace(a, b):
    return [f"rename {a} {b} RENAME_NOREPLACE", f"rename {a} {b}2 RENAME_NOREPLACE", f"rename {b} {a} RENAME_NOREPLACE"]


def whiteout(a, b):
    return [f"rename {a} {b} RENAME_WHITEOUT", f"rename {a} {a} RENAME_WHITEOUT", f"rename {a} {a}2 RENAME_WHITEOUT"]


def run(compare, pairs, apart, act, form, without):
    lower, upper, script = build(pairs, apart, act)
    compare(lower, script, upper=upper, without=without, **FORMS[form])


def run_all(compare, pairs, apart, act, form):
    for without in ({}, {"kernel": "directory-rename"}, {"kernel": "index"}):
        run(compare, [p for p in pairs if unasked(p) == without], apart, act, form, without)


def some(start):
    """A pair of each two kinds, in states that come round."""
    return [((a, STATES[(start + i + j) % 5]), (b, STATES[(start + 2 * i + j // 2) % 5]))
            for i, a in enumerate(KINDS) for j, b in enumerate(KINDS)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
def test_exchange(compare, apart, form):
    run_all(compare, some(apart), apart, exchange_and_work, form)


@pytest.mark.parametrize("act", [replace, noreplace], ids=lambda act: act.__name__)
def test_rename(compare, act):
    run_all(compare, some(2), True, act, "oci")


@pytest.mark.long
@pytest.mark.parametrize("act", [exchange, exchange_and_back, exchange_and_work, replace, noreplace],
                         ids=lambda act: act.__name__)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
def test_all(compare, apart, form, act):
    run_all(compare, PAIRS, apart, act, form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("act", [exchange, exchange_and_back, exchange_and_work, replace], ids=lambda act: act.__name__)
def test_leaves_no_mark_that_hides_nothing(world, act, form):
    lower, upper, script = build(some(3), True, act)
    side = world.ovl(lower, upper, **FORMS[form])
    answers = side.opsh(script)[0]
    assert act is not exchange_and_back or set(answers) == {"ok"}
    found = residue(side.upper, side.lowers)
    assert not found, "\n".join(found)


@pytest.mark.long
@pytest.mark.parametrize("form", FORMS)
def test_whiteout(compare, form):
    """RENAME_WHITEOUT is EINVAL, whatever it is asked for."""
    run(compare, [p for p in PAIRS if unasked(p) != {"kernel": "index"}], False, whiteout, form, {"bare": "marks"})
