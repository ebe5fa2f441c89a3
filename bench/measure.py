# SPDX-License-Identifier: MIT
"""Rounds: in each, all sides do the same work one after the other, and each round begins with another side.

What changes on the machine meanwhile so strikes all of them, and a figure is compared with the bare one of its own
round.
"""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass, field

import trees

TIMEOUT = 600


class Failed(Exception):
    """A side could not do its work; the text says why."""


@dataclass
class Case:
    """A workload with its layers in one place."""
    workload: object
    layers: int
    place: str  # 'folder' or 'tmpfs'
    base: str
    lowers: list = field(default_factory=list)
    state: list = field(default_factory=list)  # of the lower layers, as they were made

    @property
    def key(self):
        return {"workload": self.workload.name, "layers": self.layers, "place": self.place}

    def make(self):
        os.makedirs(f"{self.base}/side")
        # Short names: overlayfs takes all layers' names in one page.
        self.lowers = [f"{self.base}/{number}" for number in range(self.layers)]
        self.workload.fill(self.lowers)
        self.state = trees.state(self.lowers)

    def is_damaged(self):
        """Whether a side has changed a lower layer."""
        return self.workload.changes and trees.state(self.lowers) != self.state

    def merged(self):
        """What the layers show as one tree: made once, for work that changes nothing, and to be copied for other."""
        path = f"{self.base}/merged"
        if not os.path.exists(path):
            os.mkdir(path)
            for lower in reversed(self.lowers):
                subprocess.run(["cp", "-a", f"{lower}/.", path], check=True)
            # So that whoever comes first does not pay for all: `first` is the first time through a view.
            trees.state([path])
        return path

    def remove(self):
        subprocess.run(["rm", "-rf", self.base], check=True)


@dataclass
class Results:
    """figures: {'workload', 'layers', 'place', 'metric', 'unit', 'side', 'values'}, a value a round.
    missing: {'workload', 'layers', 'place', 'side', 'reason'}."""
    figures: list = field(default_factory=list)
    missing: list = field(default_factory=list)

    def add(self, case, side, rounds):
        for metric in rounds[0]:
            self.figures.append({**case.key, "metric": metric, "unit": case.workload.unit, "side": side,
                                 "values": [values[metric] for values in rounds]})

    def lack(self, case, side, reason):
        self.missing.append({**case.key, "side": side, "reason": reason})


def measure(cases, sides, rounds, results):
    for case in cases:
        reason = case.workload.needs()
        if reason:
            results.lack(case, "all sides", reason)
            continue
        case.make()
        try:
            measure_case(case, sides, rounds, results)
        finally:
            case.remove()


def measure_case(case, sides, rounds, results):
    taking_part = []
    for side in sides:
        if side.variant_of and side.name not in case.workload.variants:
            continue
        reason = side.lacks(case) or case.workload.lacks(side, case.layers)
        if reason:
            results.lack(case, side.name, reason)
        else:
            taking_part.append(side)
    got = {side.name: [] for side in taking_part}
    warm_up(case, taking_part)
    for number in range(rounds):
        first = number % max(1, len(taking_part))
        for side in taking_part[first:] + taking_part[:first]:
            say(case, side, number, rounds)
            try:
                got[side.name].append(session(case, side))
            except Failed as failure:
                results.lack(case, side.name, str(failure))
                taking_part = [other for other in taking_part if other is not side]
                del got[side.name]
    for side in taking_part:
        results.add(case, side.name, got[side.name])
    say()


def warm_up(case, sides):
    """Once without being counted, so that the first side does not pay for what all of them read: compilers, say."""
    for side in sides[:1]:
        with contextlib.suppress(Failed):
            session(case, side)


def say(case=None, side=None, number=0, rounds=0):
    """One line on a terminal, that the next one overwrites."""
    if sys.stderr.isatty():
        where = f"{case.workload.name}, {case.layers} layers" if case else ""
        text = f"{where}, round {number + 1} of {rounds}: {side.name}" if case else ""
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def session(case, side):
    """A fresh view, all steps in it, and what they measured."""
    try:
        side.open(case)
        outside = f"{side.base}/outside"
        os.makedirs(f"{outside}/home")
        steps = list(case.workload.steps(side, case.layers))
        script = f"{outside}/script"
        with open(script, "w") as f:
            f.write(script_of(steps, side.view, outside))
        error = run(side.enter(case, script), outside)
        figures = case.workload.finish(read(steps, outside, error))
        if case.is_damaged():
            raise Failed("it changed a lower layer")
        return figures
    except subprocess.CalledProcessError as wrong:
        raise Failed(f"its view can't be made: {wrong}") from wrong
    finally:
        side.close()
        if case.is_damaged():
            case.remove()
            case.make()


def script_of(steps, view, outside):
    def placed(word):
        return {"@": view, "%": outside}.get(word[:1], word[:1]) + word[1:]

    lines = []
    for number, step in enumerate(steps):
        words = shlex.join(placed(word) for word in step.argv)
        output = f"{outside}/{number}"
        lines.append(f"cd {shlex.quote(placed(step.cwd))} || exit 98")
        lines.append(f"{words} >{output}.out 2>{output}.err || {{ echo $? >{output}.failed; exit 98; }}")
    return "\n".join(lines) + "\n"


def run(argv, outside):
    """The end of what it has to say, if it failed."""
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC",
           "HOME": f"{outside}/home"}
    # Into a file: cow-shell leaves a process behind that would hold a pipe.
    with open(f"{outside}/stderr", "w+", errors="replace") as said, \
            subprocess.Popen(argv, env=env, cwd=outside, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=said, start_new_session=True) as process:
        try:
            process.wait(TIMEOUT)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise Failed(f"not done after {TIMEOUT} s") from error
            raise
        said.seek(0)
        return (the_end(said.read()) or f"status {process.returncode}") if process.returncode else ""


def the_end(text):
    """The last lines of what a program said, as one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(lines[-3:])[-300:]


def read(steps, outside, error):
    figures = {}
    for number, step in enumerate(steps):
        output = f"{outside}/{number}"
        if os.path.exists(f"{output}.failed") or not os.path.exists(f"{output}.out"):
            raise Failed(f"{step.name or step.argv[0]}: {failure(output) or error or 'not run'}")
        if step.measured:
            for key, value in values(step, output).items():
                if key in step.figures:
                    figures[step.figures[key]] = value
    if error:
        raise Failed(error)
    return figures


def failure(output):
    try:
        with open(f"{output}.err", errors="replace") as f:
            said = the_end(f.read())
        with open(f"{output}.failed") as f:
            return said or f"status {f.read().strip()}"
    except OSError:
        return ""


def values(step, output):
    """What a step's program told: {'first': …, 'again': …}."""
    if step.read == "callgrind":
        with open(f"{output}.err") as f:
            return {"first": float(re.search(r"Collected : (\d+)", f.read()).group(1))}
    with open(f"{output}.out") as f:
        return {word: float(value) for word, value in (line.split() for line in f)}

