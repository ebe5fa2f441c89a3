# SPDX-License-Identifier: MIT
"""What is wrong with the answers of a case's sides."""

import re
from dataclasses import dataclass

import compare
import differences

UPPER_CLOSED = re.compile(r"ovl: executor \d+: status 125 libovl: OVL_CONF: upperdir=\S*: can't be written: permission "
                          r"denied; name a directory that you may write to\s*")
LOCKED_OUT = re.compile(r"\w+: (view: )?executor \d+: status \? ")  # its status could not be written


@dataclass(frozen=True)
class Found:
    """The first answer of a script that is wrong."""
    problem: str
    at: tuple  # script and operation
    got: dict  # the answers


class Verdict:
    def __init__(self):
        self.operations, self.succeeded = 0, 0
        self.failures, self.found, self.trees = [], [], []  # to run; one Found a script at most; what is left in the end
        self.ended = False  # by a difference of ours, after which the trees can't be compared

    @property
    def problems(self):
        return self.failures + [found.problem for found in self.found] + self.trees

    def explain(self, explains):
        """Take away what explains(found) can explain, and the trees with it."""
        left = [found for found in self.found if not explains(found)]
        if len(left) < len(self.found):
            self.found, self.trees, self.ended = left, [], True

    @property
    def signature(self):
        """What two verdicts share that are about the same thing: the operation and the answers, without paths."""
        if not self.problems:
            return None
        what, _, facts = self.problems[0].partition(": ")
        operation, _, answers = facts.partition(": ")
        return what.split()[0], operation.split(" ")[0], answers if what.startswith("operation") else ""


def judge(case, outcomes):
    verdict = Verdict()
    for name, outcome in outcomes.items():
        verdict.failures += [f"{name}: {problem}" for problem in outcome.problems]
    if all(outcomes[name].locked_out for name in ("bare", "ovl") if name in outcomes):
        verdict.failures = [failure for failure in verdict.failures if not LOCKED_OUT.match(failure)]
        verdict.ended = True  # the difference 'surroundings': by a path that led out, the folder of the side was closed
    if verdict.failures and getattr(outcomes.get("ovl"), "closed", False) and all(
            map(UPPER_CLOSED.fullmatch, verdict.failures)):
        verdict.failures, verdict.ended = [], True  # the difference 'closed-upper'
    if verdict.failures or verdict.ended:
        return verdict
    dropped = set()  # sides that went another, explained way
    if case.foreign:
        for outcome in outcomes.values():
            outcome.answers = [list(map(owned, lines)) for lines in outcome.answers]
            if hasattr(outcome, "view"):
                outcome.view = owned(outcome.view)
    if case.upper is None:
        for outcome in outcomes.values():
            outcome.answers = [[FIFO_TIME.sub(r"\1", line) for line in lines] for lines in outcome.answers]
    for i, script in enumerate(case.scripts):
        answers = {name: outcome.answers[i] for name, outcome in outcomes.items()}
        judge_script(i, script, answers, dropped, verdict, case)
    if verdict.ended:
        return verdict
    if len(case.scripts) == 1:
        trees = {name: outcome.answers[0][-1] for name, outcome in outcomes.items() if name not in dropped}
        verdict.trees += judge_trees("tree", trees)
    trees = {name: outcome.answers[-1][-1] for name, outcome in outcomes.items() if name not in dropped}
    verdict.trees += judge_trees("new process", trees)
    if "ovl" in outcomes and hasattr(outcomes["ovl"], "view"):
        seen = {"kernel": outcomes["ovl"].view, "ovl": outcomes["ovl"].answers[-1][-1]}
        verdict.trees += judge_trees("kernel's view of the upper", seen)
    return verdict


FIFO_TIME = re.compile(r"( p \d{4} [^\t]*?) (?:now|\d+\.\d{9})")  # in a read-only overlay (docs/design.md)
CALLER = re.compile(r" (12345:12345) ")
OWNER = re.compile(r" (0:0|65534:65534) ")


def owned(line):
    """The difference 'foreign-owner': what root owns in a layer is the caller's on the bare side, and when copied up."""
    return OWNER.sub(" caller ", CALLER.sub(" caller ", line))


def judge_script(i, script, answers, dropped, verdict, case):
    verdict.operations += len(script)
    for name, lines in answers.items():
        if len(lines) < len(script):
            verdict.failures.append(f"{name}: {len(lines)} answers to {len(script)} operations")
            return
    some = next(iter(answers.values()))
    verdict.succeeded += sum(line.startswith("ok") for line in some[:len(script)])
    if case.shared or all(lines[:len(script)] == some[:len(script)] for lines in answers.values()):
        return
    for n, line in enumerate(script):
        got = {name: lines[n] for name, lines in answers.items() if name not in dropped}
        if len(set(got.values())) == 1:
            continue
        words, note = split(line)
        if words[0] == "fdpath" and case.has_links:
            note = "any-name"
        covered = differences.covers(note, set(got.values()))
        if covered and len({answer.startswith("ok") for answer in got.values()}) > 1:
            verdict.ended = True  # one side has made a change that another has not
            return
        if note.startswith("not-") or covered:
            continue
        if words[0] == "tree" and all(answer.startswith("ok") for answer in got.values()):
            problems = judge_trees(f"operation {n}", got)
            if problems:
                verdict.found.append(Found(*problems, (i, n), got))
                return
            continue
        problem = judge_one(words, got)
        if problem and is_of_overlayfs_alone(words, got):
            verdict.ended = True
            return
        others = {answer for name, answer in got.items() if name != "ovl"}
        parts = differences.ours(words, others, got["ovl"]) if problem and "ovl" in got else None
        if parts:
            verdict.ended = True
            return
        if problem and parts is None:
            verdict.found.append(Found(f"operation {n}: {problem}", (i, n), got))
            return
        others = went_another_way(words, got)
        if "bare" in others and case.upper is not None:
            verdict.ended = True  # only overlayfs is left, whose own faults nobody could tell from libovl's
            return
        dropped |= others


def is_of_overlayfs_alone(words, got):
    """When the bare directory can't be asked any more: whether libovl answers as it would have, and what follows hangs
    on that."""
    if "bare" in got or "ovl" not in got:
        return False
    difference = differences.find(words, got["ovl"], got["kernel"])
    return difference is not None and difference.right == "bare" and difference.parts


def went_another_way(words, got):
    """The sides that did something else than libovl, whose trees are others from here on."""
    if "bare" not in got:
        return set()
    difference = differences.find(words, got["bare"], got["kernel"] if "kernel" in got else got.get("ovl"))
    if not difference or not difference.parts:
        return set()
    if "kernel" in got and difference.right != "either":
        return {"kernel" if difference.right == "bare" else "bare"}
    return {name for name in ("bare", "kernel") if name in got and got[name] != got.get("ovl", got["bare"])}


def judge_one(words, got):
    """compare.judge; where the kernel is not asked, libovl may differ from the bare file system as the kernel would."""
    if "kernel" not in got and "bare" in got and "ovl" in got:
        difference = differences.find(words, got["bare"], got["ovl"])
        if difference and difference.right != "bare":
            return None
    return compare.judge((words, 1), got)


def split(line):
    words, _, note = line.partition(" !")
    return tuple(words.split()), note


def judge_trees(what, trees):
    """The first entry that is wrong, if there is one, as a list."""
    if len(set(trees.values())) <= 1:
        return []
    entries = {name: dict(compare.tree_entries(tree)) for name, tree in trees.items()}
    for key in dict.fromkeys(key for facts in entries.values() for key in facts):
        got = {name: facts.get(key, "(absent)") for name, facts in entries.items()}
        words = ("tree",) + key
        problem = judge_one(words, got)
        others = {answer for name, answer in got.items() if name != "ovl"}
        if problem and differences.ours(words, others, got.get("ovl", "")) is None:
            return [f"{what}: {problem}"]
    return []
