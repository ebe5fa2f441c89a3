# SPDX-License-Identifier: MIT
"""Comparing the answers and the trees of a scenario's runs."""

import pytest

import differences

EMPTY = object()
TREE = "tree @"


def compare(world, lower, script, upper=EMPTY, outside=None, without=(), tree=True, again=True, **how):
    """Run the scenario on each side.  The answers, and the merged tree afterwards as the same and as a
    new process see it, must be equal; the upper that libovl leaves must show the same tree when Linux
    overlayfs mounts it.  without: sides that can't be asked, as {side: difference}.  Gives the answers of
    libovl (of another side where libovl does not run)."""
    __tracebackhide__ = True
    assert all(differences.explained(why) for why in dict(without).values())
    upper = {} if upper is EMPTY else upper
    lower = lower if isinstance(lower, list) else [lower]
    names = [n for n in ("bare", "kernel", "ovl") if n not in without]
    sides = world.make(lower, upper, outside, names, **how)
    if callable(script):  # it depends on the length of the mount's path, the same on every side
        script = script(len(next(iter(sides.values())).mount))
    scripts = [script + ("\n" + TREE if tree else "")] + ([TREE] if tree and again else [])
    answers = {}
    for name, side in sides.items():
        first, *second = side.opsh(*scripts)
        answers[name] = flatten(script, first, tree) + [(("new-process",) + w, a) for s in second
                                                       for w, a in tree_entries(s[-1])]
    problems = check(answers)
    may_view = dict(without).get("kernel") in (None, "directory-rename")
    if "ovl" in sides and "kernel" in world.sides and may_view and tree and upper is not None:
        kernel = sides.get("kernel") or world.make(lower, upper, outside, ["kernel"], **how)["kernel"]
        seen = tree_entries(sides["ovl"].opsh(TREE)[0][-1])
        truth = tree_entries(kernel.view_of(sides["ovl"].upper)[-1])
        problems += unequal("kernel's view of the upper", dict(truth), "libovl", dict(seen))
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)
    last = list(answers)[-1]
    return [a for w, a in answers[last] if w[0] != "entry" and w[0] != "new-process"]


def flatten(script, lines, tree):
    """(words, answer) pairs; the tree's entries are pairs of their own."""
    words = [tuple(line.split()) for line in script.strip().splitlines() if line.strip() and line.strip()[0] != "#"]
    assert len(lines) == len(words) + tree, f"{len(lines)} answers to {len(words)} operations"
    pairs = list(zip(words, lines))
    return pairs + tree_entries(lines[-1]) if tree else pairs


def tree_entries(line):
    entries = []
    for entry in line.split("\t")[1:]:
        path, _, facts = entry.partition(" ")
        entries.append((("entry", path or "."), facts))
    return entries


def check(answers):
    """What is wrong, as lines: an unexplained difference, or libovl not being on the right side of one."""
    by_key = {name: keyed(pairs) for name, pairs in answers.items()}
    problems = []
    for key in dict.fromkeys(k for keys in by_key.values() for k in keys):
        got = {name: keys.get(key, "(absent)") for name, keys in by_key.items()}
        problem = judge(key, got)
        if problem:
            problems.append(problem)
    return problems


def keyed(pairs):
    keys, count = {}, {}
    for words, answer in pairs:
        n = count[words] = count.get(words, 0) + 1
        keys[(words, n)] = answer
    return keys


def judge(key, got):
    words, n = key
    shown = " ".join(words)[:200] + (f" (time {n})" if n > 1 else "")
    bare, kernel, ovl = got.get("bare"), got.get("kernel"), got.get("ovl")
    wanted = {bare, kernel} - {None}
    if len(wanted) > 1:
        difference = differences.find(words, bare, kernel)
        if difference is None:
            return f"{shown}: unexplained: bare {bare} | kernel {kernel}" + (f" | libovl {ovl}" if ovl else "")
        if difference.right != "either":
            wanted = {got[difference.right]}
    if ovl is not None and wanted and ovl not in wanted:
        return f"{shown}: expected {' or '.join(sorted(wanted))} | libovl {ovl}"
    return None


def unequal(name, a, other, b):
    return [f"{' '.join(k)}: {name} {a.get(k, '(absent)')} | {other} {b.get(k, '(absent)')}"
            for k in dict.fromkeys([*a, *b]) if a.get(k) != b.get(k)]
