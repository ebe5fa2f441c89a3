#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Random operations on the bare file system, on Linux overlayfs and under libovl: the answers must be the same.

    run.py --operations 1000000 --seed 1 --jobs 2 [--as-user] [--processes 4 [--shared]]
    run.py --replay FILE

A case that fails is made small, printed, and kept as a file that --replay takes.  As root the operations are made by
root, with --as-user by an ordinary user.
"""

import argparse
import collections
import multiprocessing
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
INTEGRATION = HERE.parent / "integration"
sys.path[:0] = [str(INTEGRATION), str(HERE)]

import combinations  # noqa: E402
import differences  # noqa: E402
import generate  # noqa: E402
import judge  # noqa: E402
import overlay  # noqa: E402
import shrink  # noqa: E402
from case import Case  # noqa: E402
from combinations import Tally  # noqa: E402
from sides import Sides  # noqa: E402

USER = 12345


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=None, help="default: one of the clock's")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--as-user", action="store_true")
    parser.add_argument("--processes", type=int, default=1, help="at once in one overlay")
    parser.add_argument("--shared", action="store_true", help="they use the same names; only the end is checked")
    parser.add_argument("--length", type=int, default=300, help="operations of one case")
    parser.add_argument("--library", default=os.environ.get("OVL_LIBRARY") or
                        str(HERE.parent.parent / "build/dev/shim/libovl.so"))
    parser.add_argument("--folder", default="/dev/shm", help="where the layers are made; in memory it is fastest")
    parser.add_argument("--keep", default="build/differential", help="a folder for failing cases")
    parser.add_argument("--failures", type=int, default=1, help="how many end the run")
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--replay", metavar="FILE")
    return parser.parse_args(argv)


def role_of(as_user):
    if os.geteuid() != 0:
        return overlay.Role("user", os.geteuid(), os.getegid())
    return overlay.Role("user", USER, USER) if as_user else overlay.Role("root", 0, 0)


def build_opsh(folder):
    opsh = os.path.join(folder, "opsh")
    subprocess.run(["gcc", "-D_GNU_SOURCE", "-std=gnu11", "-O1", "-g", "-Wno-nonnull",
                    *map(str, sorted(INTEGRATION.glob("opsh*.c"))), "-o", opsh], check=True)
    return opsh


class Bench:
    """Everything that is needed to run cases, in a folder of its own."""

    def __init__(self, options, opsh, as_user):
        self.role = role_of(as_user)
        self.sides = Sides(self.role, os.path.abspath(options.library), opsh, options.folder)
        refusal = overlay.kernel_works(self.role, self.sides.tools, os.path.join(self.sides.base, "probe"))
        if refusal:
            print(f"no Linux overlayfs for {self.role.name}: {refusal}", flush=True)
            self.sides.names = ("bare", "ovl")

    def verdict(self, case):
        if case.shared:
            without = ("bare", "kernel")
        elif case.upper is None:
            without = ("bare",)  # read-only
        elif not self.role.root and case.has_links or case.foreign:
            without = ("kernel",)  # hard-links, copied-owner
        else:
            without = ()
        verdict = judge.judge(case, self.sides.run(case, without))
        verdict.explain(lambda found: any(explains(case, found, without) for explains in (
            self.is_older_view, self.is_in_removed, self.is_of_removed, self.is_barred, self.is_unsearchable,
            self.is_unreadable, self.is_directory_rename)))
        return verdict

    def ask(self, case, at, questions, without):
        """What one side but libovl answers when it is asked before an operation."""
        i, n = at
        outcome = next(iter(self.sides.run(case.with_before(i, n, questions), (*without, "ovl")).values()))
        return outcome.answers[i][n:n + len(questions)]

    def is_in_removed(self, case, found, without):
        """The difference 'removed-directory-order': a path that begins in a directory which is removed."""
        words = judge.split(case.line(found.at))[0]
        if not any(differences.is_relative(word) for word in words[1:]) or not {"ENOENT", "EACCES"} & set(
                found.got.values()):
            return False
        answers = self.ask(case, found.at, case.whereabouts(found.at), without)
        return answers[0] == "ENOENT" or any(answer.endswith(differences.DELETED) for answer in answers)

    def is_of_removed(self, case, found, without):
        """The difference 'removed-directory', of a directory that the generator did not take for removed: what its
        descriptor shows, and that it may be searched."""
        words, answers = judge.split(case.line(found.at))[0], set(found.got.values())
        if words[0] == "fchdir":
            shows = found.got.get("ovl") == "ok" and answers == {"ok", "EACCES"}
        else:
            shows = (words[0] == "fstat" or '""' in words) and all(answer.startswith("ok d ") for answer in answers)
        return shows and self.ask(case, found.at, [f"fdpath {words[1]}"], without)[0].endswith(differences.DELETED)

    def is_barred(self, case, found, without):
        """The difference 'barred-directory': a path that begins below a directory that may not be searched."""
        answer = found.got.get("ovl", "")
        refused = answer == "EACCES" or "lstat:EACCES" in answer
        if not case.user or not (refused or case.line(found.at).startswith("fident")):
            return False
        places = [answer[3:] for answer in self.ask(case, found.at, case.whereabouts(found.at), without)
                  if answer.startswith("ok @")]
        return bool(places) and "EACCES" in self.ask(case, found.at, [f"access {at} F_OK" for at in places], without)

    def is_unsearchable(self, case, found, without):
        """The difference 'unsearchable', of a directory that the generator took for another."""
        words = judge.split(case.line(found.at))[0]
        shows = words[0] == "dident" and all(answer.startswith("ok ") for answer in found.got.values())
        if not case.user or words[0] not in differences.LISTINGS or not (shows or found.got.get("ovl") == "EACCES"):
            return False
        here = f"faccessat {words[1]} . X_OK" if words[1].isdigit() else f"access {words[1]} X_OK"
        return self.ask(case, found.at, [here], without) == ["EACCES"]

    def is_unreadable(self, case, found, without):
        """The difference 'unreadable', of what the generator took for something else: it is root's on the bare side too."""
        if not case.foreign or found.got.get("ovl") != "EACCES" or not differences.covers("unreadable",
                                                                                         set(found.got.values())):
            return False
        answers = self.ask(case, found.at, [line for what, flags in case.objects(found.at) for line in (
            f"fstatat {what} {flags}", f"faccessat {what} R_OK {flags}")], without)
        return any(" 0:0 " in what and may == "EACCES" for what, may in zip(answers[::2], answers[1::2]))

    def is_directory_rename(self, case, found, without):
        """The difference 'directory-rename' by names in open directories, where only overlayfs can be asked: what
        is renamed is a directory, whose redirect may be too long for overlayfs."""
        words = judge.split(case.line(found.at))[0]
        if not words[0].startswith("rename") or found.got != {"kernel": "EXDEV", "ovl": "ok"}:
            return False
        names = [what.split(" ") for what, flags in case.objects(found.at) if flags == "0"]
        if any("/" in name or name in (".", "..") for _, name in names if differences.is_relative(name)):
            return False
        answers = self.ask(case, found.at, [f"fstatat {at} {name} AT_SYMLINK_NOFOLLOW" for at, name in names] + [
            "getcwd" if at == "cwd" else f"fdpath {at}" for at, name in names if differences.is_relative(name)],
                           (*without, "bare"))
        kinds, starts = answers[:len(names)], answers[len(names):]
        return any(kind.startswith("ok d ") for kind in kinds) and all(start.startswith("ok @") for start in starts)

    def is_older_view(self, case, found, without):
        """The difference 'older-view' where the generator did not foresee it: the answer is right when the file is
        copied up before it is opened."""
        i, n = found.at
        early = case.copied_up_before(i, n)
        if early is None:
            return False
        again = judge.judge(early, self.sides.run(early, without))
        later = [found.at for found in again.found if found.at[0] == i]
        return later[0] > (i, n + 1) if later else bool(again.found) or not again.problems

    def close(self):
        self.sides.close()


def worker(options, number, opsh, queue):
    """Cases number, number + jobs, ...: until the share of operations is done."""
    bench = Bench(options, opsh, options.as_user)
    tally, failures = Tally(not bench.role.root), 0
    totals = {"operations": 0, "succeeded": 0, "cases": 0, "ended": 0}
    share = options.operations // options.jobs
    i = 0
    try:
        while totals["operations"] < share and failures < options.failures:
            seed = options.seed * 1_000_000 + number + i * options.jobs
            i += 1
            length = max(1, options.length // (1 if options.processes == 1 else 2))
            case = generate.make_case(seed, bench.role.uid, length, options.processes, options.shared, tally)
            verdict = bench.verdict(case)
            totals["operations"] += verdict.operations or case.operations
            totals["succeeded"] += verdict.succeeded
            totals["cases"] += 1
            totals["ended"] += verdict.ended
            if verdict.problems:
                failures += 1
                queue.put(("failure", report(options, bench, case, verdict)))
    finally:
        bench.close()
        queue.put(("done", totals, dict(tally.counts)))


def report(options, bench, case, verdict):
    """The failing case made small, as text; and kept."""
    first = "\n".join(verdict.problems[:5])
    if not options.no_shrink:
        case = shrink.shrink(case, lambda smaller: bench.verdict(smaller).signature == verdict.signature)
        first = "\n".join(bench.verdict(case).problems[:5]) or first
    os.makedirs(options.keep, exist_ok=True)
    kept = os.path.join(options.keep, f"{bench.role.name}-{case.seed}.json")
    with open(kept, "w") as f:
        f.write(case.to_json())
    shown = str(case) if case.operations < 60 else f"(a case of {case.operations} operations)"
    return shortened(f"{shown}\n{first}") + f"\n(replay: tests/differential/run.py --replay {kept})"


def shortened(text):
    """Text whose long names and contents can be read."""
    return re.sub(r"(.)\1{30,}", lambda run: f"{run[1]}{{{len(run[0])}}}", text)


def replay(options):
    with open(options.replay) as f:
        case = Case.from_json(f.read())
    with tempfile.TemporaryDirectory(prefix="ovl", dir=options.folder) as folder:
        os.chmod(folder, 0o755)
        options.folder = folder
        bench = Bench(options, build_opsh(folder), case.user)
        outcomes = bench.sides.run(case)
        for i, script in enumerate(case.scripts):
            for n, line in enumerate(script):
                print(shortened(line))
                for name, outcome in outcomes.items():
                    lines = outcome.answers[i]
                    print(f"    {name:6} {lines[n] if n < len(lines) else '(nothing)'}")
        problems = bench.verdict(case).problems
        bench.close()
    print("\n".join(problems) or "no difference")
    return bool(problems)


def say_rare(counts, operations, user):
    """How many combinations there are, and which were met too seldom."""
    rare = combinations.rare(counts, operations, user)
    print(f"{len(combinations.combinations(user))} combinations of operation, kind and state, of which {len(rare)} were "
          f"met fewer than {combinations.WANTED} times in a million")
    if os.environ.get("OVL_RARE"):
        print("\n".join(f"{n:6} {' '.join(key)}" for n, key in rare))


def main():
    options = arguments()
    if options.replay:
        return replay(options)
    options.seed = options.seed if options.seed is not None else int(time.time())
    print(f"seed {options.seed}, {'user' if options.as_user or os.geteuid() else 'root'}, "
          f"{options.processes} at once{' on the same names' if options.shared else ''}", flush=True)
    start = time.time()
    with tempfile.TemporaryDirectory(prefix="ovl", dir=options.folder) as folder:
        os.chmod(folder, 0o755)
        options.folder = folder
        opsh = build_opsh(folder)
        queue = multiprocessing.Queue()
        workers = [multiprocessing.Process(target=worker, args=(options, n, opsh, queue)) for n in range(options.jobs)]
        for process in workers:
            process.start()
        totals, counts, failures, left = collections.Counter(), collections.Counter(), 0, options.jobs
        while left:
            what, *facts = queue.get()
            if what == "failure":
                failures += 1
                print(f"\n== difference\n{facts[0]}", flush=True)
            else:
                left -= 1
                totals.update(facts[0])
                counts.update(facts[1])
        for process in workers:
            process.join()
    done = totals["operations"]
    say_rare(counts, done, role_of(options.as_user).uid != 0)
    print(f"{done} operations in {totals['cases']} cases ({totals['ended']} cut short), "
          f"{100 * totals['succeeded'] // max(1, done)} % succeeded, {failures} differences, {time.time() - start:.0f} s")
    return failures > 0 or totals["cases"] == 0


if __name__ == "__main__":
    sys.exit(main())
