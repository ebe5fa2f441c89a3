#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Faults, planted one at a time in a copy of libovl, which the differential test must find.

    planted.py [--check] [--jobs N] [NAME...]      --check: only whether each fault still fits the sources

The sources hold no trace of them: a fault is a piece of text that is replaced by another before the copy is built.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OPERATIONS = 100000


@dataclass(frozen=True)
class Fault:
    name: str
    rule: str  # of the contract
    file: str
    old: str
    new: str
    run: tuple = ()  # what run.py is to be called with besides


FAULTS = [
    Fault("merge-past-a-file", "2.1", "core/lookup.c",
          "if (node->exists && !S_ISDIR(st->st_mode))\n        return 0;",
          "if (node->exists && !S_ISDIR(st->st_mode))\n        return 1;"),
    Fault("opaque-marker-ignored", "2.3", "core/lookup.c",
          "    if (r == 0)\n        r = ovl_has_opaque_marker(ctx, real);\n    return r", "    return r"),
    Fault("opaque-attribute-ignored", "2.3", "core/lookup.c", "r < 0 || marks.opaque == 'y' ||", "r < 0 ||"),
    Fault("wh-file-ignored", "2.2", "core/lookup.c",
          "const int hidden = ovl_has_whiteout(ctx, o->layer[k].path, rel);", "const int hidden = 0;"),
    Fault("whiteout-shown", "2.2", "core/lookup.c",
          "r = ovl_is_whiteout(ctx, real, st);\n    if (r != 0)", "if (r != 0)"),
    Fault("reserved-names-shown", "2.4", "core/lookup.c",
          "node->reserved = ovl_has_prefix(node->path + node->name, OVL_WH_PREFIX);", "node->reserved = false;"),
    Fault("removed-name-listed", "2.5", "core/merge.c", "return add(m, layer, hidden, 0, DT_REG, true);", "return 0;"),
    Fault("listed-number", "2.5", "core/merge.c",
          "shown->ino = ovl_identity_dir_ino(o, o->layer[lowest->layer].dev, lowest->ino);", "(void)lowest;"),
    Fault("identity-not-recorded", "2.6", "core/copy_up.c",
          "return r == 0 && !S_ISDIR(st.st_mode) ? record_origin(node, aside) : r;", "return r;"),
    Fault("last-link-followed", "2.8", "shim/wrap_open.c", "if (!(flags & O_NOFOLLOW) && (flags", "if ((flags"),
    Fault("directory-not-followed", "2.11", "core/rename.c", "uint64_t log = announce(ctx, m);", "uint64_t log = 0;"),
    Fault("truncate-in-the-layer", "3.1", "shim/wrap_meta.c",
          "r = shim_copy_up(call, node, OVL_FOLLOW);\n    return r < 0 ? r : ovl_change_exact(",
          "r = 0;\n    return r < 0 ? r : ovl_change_exact("),
    Fault("descriptor-changes-the-layer", "3.2", "shim/wrap_meta.c",
          "int r = shim_find_fd(call, fd, node);\n    if (r == 1)\n        r = ovl_copy_up",
          "int r = 0;\n    if (r == 1)\n        r = ovl_copy_up"),
    Fault("data-at-the-wrong-place", "3.3", "core/copy_up.c",
          "pos = ovl_sys_lseek(out, data, SEEK_SET);", "pos = ovl_sys_lseek(out, 0, SEEK_SET);"),
    Fault("times-not-kept", "3.3", "core/copy_up.c",
          "return ovl_sys_utimensat(AT_FDCWD, to, times, AT_SYMLINK_NOFOLLOW);", "return (void)times, 0;"),
    Fault("mode-bits-lost", "3.3", "core/copy_up.c",
          "r = ctx->ops->chmod(to, mode);", "r = ctx->ops->chmod(to, mode & 0777);"),
    Fault("group-not-kept", "3.3", "core/copy_up.c",
          "if (ctx->ops->lchown(to, st->st_uid, st->st_gid) == 0)",
          "if (ctx->ops->lchown(to, st->st_uid, (gid_t)-1) == 0)"),
    Fault("xattrs-not-kept", "3.3", "core/copy_up.c",
          "return ovl_copy_xattrs(from, copying->aside, copying->keep_caps);",
          "return copying->keep_caps ? 0 : ovl_copy_xattrs(from, copying->aside, copying->keep_caps);"),
    Fault("linked-file-copied-again", "3.5", "core/copy_up.c",
          "r = node->linked ? ovl_copy_link(node, aside) : ovl_copy_make(ctx, node, aside, how);",
          "r = ovl_copy_make(ctx, node, aside, how);"),
    Fault("links-break", "3.5", "core/lookup.c",
          "return r == 0 && node->ovl->has_upper && k > 0 ? ovl_group_look(node) : r;", "return r;"),
    Fault("link-count-stays", "3.5", "core/remove.c",
          "if (r == 0)\n        ovl_group_name_gone(ctx, node);\n    return r;", "return r;"),
    Fault("noreplace-replaces", "3.6", "core/rename.c",
          "if ((flags & NOREPLACE) && to->exists)\n        return -EEXIST;", ""),
    Fault("exchanged-directory-merges", "3.6", "core/rename.c",
          "r = prepare_directory(ctx, m->to.node, m->from.lower);", "r = 0;"),
    Fault("old-name-stays", "3.6", "core/rename.c", "int r = beside ? ovl_whiteout_make(ctx, from) : 0;", "int r = 0;"),
    Fault("whiteout-flag-taken", "3.6", "core/rename.c", "if (flags & WHITEOUT)\n        return refuse", "if (0)\n        return refuse"),
    Fault("stray-whiteout", "3.7", "core/remove.c", "r = unlink_locked(ctx, node, lower);", "r = unlink_locked(ctx, node, true);"),
    Fault("removed-name-comes-back", "3.7", "core/remove.c",
          "int r = whiteout ? ovl_whiteout_make(ctx, node) : 0;\n    if (r < 0)\n        return r;\n    r = ctx->ops->unlink",
          "int r = 0;\n    r = ctx->ops->unlink"),
    Fault("new-directory-merges", "3.7", "core/create.c",
          "int r = m->kind == MAKE_DIR ? ovl_opaque_set(ctx, o, place) : 0;", "int r = 0;"),
    Fault("full-directory-removed", "3.7", "core/remove.c",
          "return r > 0 ? -ENOTEMPTY : r;", "return r > 1 ? -ENOTEMPTY : r < 0 ? r : 0;"),
    Fault("umask-twice", "3.7", "core/create.c",
          "return ctx->ops->mkdir(path, m->mode);", "return ctx->ops->mkdir(path, m->mode & ~(mode_t)022);"),
    Fault("read-only-file-written", "3.9", "core/permission.c",
          "return (want & ~(int)(st->st_mode >> class)) == 0;", "return true || class + want;", ("--as-user",)),
    Fault("slash-ignored", "3.13", "core/remove.c", "if (node->slash)\n        return is_dir ?", "if (0)\n        return is_dir ?"),
]


def misfit(fault):
    times = (ROOT / fault.file).read_text().count(fault.old)
    return None if times == 1 else f"{fault.name}: its text is {times} times in {fault.file}: bring it up to date"


class Copy:
    """A copy of the sources, built again for each fault."""

    def __init__(self, folder):
        self.root = pathlib.Path(folder)
        for name in ("core", "shim", "man", "cmake", "CMakeLists.txt"):
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, self.root / name)
        self.call("cmake", "-S", str(self.root), "-B", str(self.root / "b"), "-DOVL_TESTS=OFF", "-DOVL_BENCH=OFF",
                  "-DOVL_CLI=OFF")

    @staticmethod
    def call(*argv):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)

    def build(self):
        self.call("cmake", "--build", str(self.root / "b"), "-j2", "--target", "ovl", "ovl_audit")
        return self.root / "b/shim/libovl.so"

    def with_fault(self, fault):
        """The library with one fault."""
        file = self.root / fault.file
        whole = file.read_text()
        file.write_text(whole.replace(fault.old, fault.new))
        try:
            library = self.build()
        finally:
            file.write_text(whole)
        return library


def hunt(library, fault, jobs):
    """The operations after which the fault was found, or None; and what was seen."""
    argv = [sys.executable, str(HERE / "run.py"), "--operations", str(OPERATIONS), "--seed", "1", "--no-shrink",
            "--jobs", str(jobs), "--library", str(library), "--keep", str(library.parent / "found"), *fault.run]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    count = re.search(r"^(\d+) operations", done.stdout, re.MULTILINE)
    if done.returncode != 1 or not count:
        return None, done.stderr[-300:]
    shown = done.stdout.partition("== difference\n")[2].splitlines()
    return int(count[1]), shown[1] if len(shown) > 1 else "?"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
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
        copy = Copy(folder)
        for fault in faults:
            start = time.time()
            operations, seen = hunt(copy.with_fault(fault), fault, options.jobs)
            missed += operations is None
            found = "NOT FOUND" if operations is None else f"{operations:6}"
            print(f"{fault.rule:5} {fault.name:30} {found}  {time.time() - start:4.0f} s  {seen[:100]}", flush=True)
    print(f"{len(faults) - missed} of {len(faults)} faults found within {OPERATIONS} operations")
    return missed > 0


if __name__ == "__main__":
    sys.exit(main())
