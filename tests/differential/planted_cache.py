#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Faults, planted one at a time in a copy of libovl, which the tests of the directory cache must find.

    planted_cache.py [--check] [NAME...]      --check: only whether each fault still fits the sources

Each one is hunted by tests/unit/test_cache*.c, then by tests/integration/test_cache.py, then by the differential test;
the first to find it is told.  Where two processes must meet, the fault brings a pause with it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

from planted import HERE, ROOT, Copy, Fault, misfit

OPERATIONS = 30000
UNIT = ("test_cache", "test_cache_doubt", "test_cache_walk")
PAUSE = "ovl_sys_raw(SYS_nanosleep, (long)&(struct timespec){0, 2000000}, 0, 0, 0, 0, 0);"
BUSY = "make_word(BUSY, 0, 0, next_version(now), 0)"

FAULTS = [
    Fault("not-busy-before", "2.1", "core/cache.c", f"__atomic_store_n(word, {BUSY}, __ATOMIC_SEQ_CST);", ""),
    Fault("no-new-version", "2.1", "core/cache.c", BUSY, "make_word(BUSY, 0, 0, version_of(now), 0)"),
    Fault("version-not-compared", "2.1", "core/cache.c",
          "if (version_of(load(cached->word)) != version_of(cached->seen))\n        return false;", ""),
    Fault("plain-store", "2.1", "core/cache.c",
          "if (word && __atomic_compare_exchange_n(cached->word, &seen, word, false, __ATOMIC_SEQ_CST, "
          "__ATOMIC_SEQ_CST) &&",
          f"{PAUSE}\n    if (word && (__atomic_store_n(cached->word, word, __ATOMIC_SEQ_CST), seen == cached->seen) &&"),
    Fault("busy-is-kept", "2.1", "core/cache.c", "bool keeps = state_of(cached->seen) != BUSY && ", "bool keeps = "),
    Fault("listed-without-lock", "2.5", "core/cache_table.c",
          "? publish_locked(ctx, cache, dir, record)", "? publish(ctx, cache, dir, record)"),
    Fault("child-kept-over-removal", "3.6", "core/lock.c", "begin_names(o, a, b, true, held);",
          "(void)a, (void)b;"),
    Fault("second-name-kept", "3.6", "core/lock.c",
          "b ? ovl_cache_begin(o, b, alone, &held->before[1]) : NULL", "b ? NULL : NULL"),
    Fault("new-name-not-inserted", "3.7", "core/cache_table.c", "    link_name(names, name, ref);\n    return &name",
          "    return &name"),
    Fault("no-room-forgotten", "3.7", "core/cache.c",
          "__atomic_store_n(&dir->names, 0, __ATOMIC_SEQ_CST);", ";"),
    Fault("off-not-set", "1.14", "core/cache_file.c",
          "__atomic_store_n(&ovl_shared_cache(shared)->off, 1, __ATOMIC_SEQ_CST);", ";"),
    Fault("search-kept-over-chmod", "3.9", "core/cache.c",
          "int r = ovl_lock_search(dir, &held);",
          "int r = ovl_lock_dirs(dir->ovl, dir->path, NULL, &held);"),
    Fault("search-not-asked-for", "3.9", "core/cache.c", "(!may_pass(dir, &who) && !may_search(ctx, node))", "false"),
    Fault("groups-ignored", "3.5", "core/cache.c", "!ovl_shared_has_groups(__atomic_load_n(&o->shared, __ATOMIC_ACQUIRE))", "true"),
    Fault("old-numbers-listed", "2.5", "core/cache_table.c",
          "if (!is_found(word) || version_of(word) != 0)", "if (!is_found(word))"),
    Fault("added-names-not-listed", "2.5", "core/cache_table.c",
          "    __atomic_fetch_add(&names->added, 1, __ATOMIC_RELAXED);\n", ""),
    Fault("record-of-another-run", "3.4", "core/cache.h", "ovl_cache_run(cache) == dir->run ? cache",
          "cache->run ? cache"),
    Fault("run-not-looked-at", "3.4", "core/cache_file.c", "if (cache && cache->run == run)\n        return cache;",
          "if (cache)\n        return cache;"),
    Fault("file-made-twice", "3.4", "core/cache_file.c",
          "make &= __atomic_load_n(&state->made, __ATOMIC_SEQ_CST) != run;", ""),
    Fault("impure-kept", "2.7", "core/cache.c", "if (node->dirs.impure || node->in.impure)\n        return 0;", ""),
    Fault("said-twice-what-was-before", "3.7", "core/cache.c", "    node->before = 0;\n    return before;",
          "    return before;"),
    Fault("nested-change-ends-the-outer", "3.4", "core/cache.c",
          "if (state_of(now) == BUSY && version_of(now) && !alone)\n        return NULL;", ""),
    Fault("told-after-failure", "3.4", "core/rename.c", "if (r == 0 && m->moved)", "if (r != -ESTALE)"),
    Fault("gone-though-nothing-moved", "3.4", "core/rename.c", "if (r == 0 && m->moved)", "if (r == 0 && !(m->flags & EXCHANGE))"),
    Fault("made-is-a-file", "3.7", "core/create.c", "m->kind == MAKE_SYMLINK ? S_IFLNK : 0", "S_IFREG"),
    Fault("whiteouts-not-expected", "3.7", "core/cache.c", "__atomic_store_n(&names->whiteouts, 1, __ATOMIC_SEQ_CST);", ";"),
    Fault("whiteouts-not-listed", "3.7", "core/merge.c", "        m->upper_whiteouts = true;", "        ;"),
    Fault("way-words-not-compared", "3.6", "core/cache_walk.c", "load(step->word) != step->seen || ", ""),
    Fault("way-tables-not-compared", "3.7", "core/cache_walk.c",
          " || __atomic_load_n(&step->dir->names, __ATOMIC_ACQUIRE) != step->names", ""),
    Fault("way-text-not-compared", "2.1", "core/cache_walk.c", "is_same_text(way->text, text, n) && ", ""),
    Fault("way-of-another-run", "3.4", "core/cache_walk.c", " || !ovl_cache_is_current(way->cache)", ""),
    Fault("way-over-a-border", "1.2", "core/cache_walk.c", "if (!is_one_region(space, walked->text, walked->length))\n        return;",
          ""),
    Fault("new-directory-not-locked", "3.7", "core/create.c", "m->kind == MAKE_DIR ? node->path : NULL", "NULL"),
    Fault("owner-not-compared", "3.9", "core/cache.h", "return who->uid == dir->owner;", "return true;"),
    Fault("way-of-another-user", "3.9", "core/cache_walk.c", "way->is_owners && ovl_sys_fsuid() != way->owner", "false"),
    Fault("way-not-for-everybody", "3.9", "core/cache_walk.c", "dir && may_pass(dir, who) ? __atomic", "dir ? __atomic"),
]


class Tested(Copy):
    """A copy with its tests."""

    def __init__(self, folder):
        super().__init__(folder)
        for name in ("tests", "cli"):  # of which some unit tests are
            shutil.copytree(ROOT / name, self.root / name)
        self.call("cmake", "-S", str(self.root), "-B", str(self.root / "b"), "-DOVL_TESTS=ON", "-DOVL_BENCH=OFF",
                  "-DOVL_CLI=OFF")

    def build(self):
        self.call("cmake", "--build", str(self.root / "b"), "-j2", "--target", "ovl", *UNIT)
        return self.root / "b/shim/libovl.so"


def hunters(library):
    environment = {**os.environ, "OVL_LIBRARY": str(library)}
    units = library.parent.parent / "tests/unit"
    integration = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not long",
                   str(ROOT / "tests/integration/test_cache.py")]
    differential = [sys.executable, str(HERE / "run.py"), "--operations", str(OPERATIONS), "--seed", "1",
                    "--no-shrink", "--library", str(library), "--keep", str(library.parent / "found")]
    return (*((name, [str(units / name)], environment) for name in UNIT), ("integration", integration, environment),
            ("differential", differential, {**environment, "OVL_CACHE": "eager"}))


def hunt(library):
    """Who found it, and what was seen."""
    for name, argv, environment in hunters(library):
        # One that stands still has its signals blocked, and children.
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
                              errors="replace", start_new_session=True) as process:
            try:
                out = process.communicate(timeout=300)[0]
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                return name, "stands still"
        if process.returncode:
            told = [line for line in out.splitlines() if line.startswith(("[  FAILED  ] ", "FAILED", "operation"))]
            return name, told[0] if told else out[-100:]
    return None, ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    faults = [fault for fault in FAULTS if not options.names or fault.name in options.names]
    misfits = [text for text in map(misfit, faults) if text]
    if misfits:
        raise SystemExit("\n".join(misfits))
    if options.check:
        print(f"{len(faults)} faults fit the sources")
        return 0
    missed = 0
    with tempfile.TemporaryDirectory(prefix="ovl") as folder:
        os.chmod(folder, 0o755)
        copy = Tested(folder)
        for fault in faults:
            start = time.time()
            who, seen = hunt(copy.with_fault(fault))
            missed += who is None
            print(f"{fault.rule:5} {fault.name:30} {who or 'NOT FOUND':16} {time.time() - start:4.0f} s  {seen[:100]}",
                  flush=True)
    print(f"{len(faults) - missed} of {len(faults)} faults found")
    return missed > 0


if __name__ == "__main__":
    sys.exit(main())
