# SPDX-License-Identifier: MIT
"""st_dev and st_ino within a run (C-2.6). Answers of ident operations are classes: equal numbers, equal pairs."""

import pytest

from layers import Dir, File, link, same

LOW = {"f": "1", "g": "2", "d/f": "3", "d/g": "4", "d/e/x": "5", "s": link("f"), "h1": "hard", "h2": same("h1"),
       "only/x": "1"}
LOW2 = {"d/h": "6", "d/f": "hidden", "e/y": "7"}


def test_copy_up_keeps_the_identity(compare):
    compare([LOW, LOW2], """
        ident @/f
        ident @/g
        ident @/d/f
        ident @/d
        ident @/d/e
        ident @
        lident @/s
        dident @ f
        dident @ d
        dident @/d f
        open 1 @/f O_RDONLY
        fident 1
        append @/f x
        ident @/f
        xident @/f
        dident @ f
        open 2 @/f O_RDWR
        fident 2
        chmod @/d/f 0600
        ident @/d/f
        dident @/d f
        ident @/d
        dident @ d
        ident @/d/e
        put @/d/e/new 1
        ident @/d/e
        dident @/d e
        utimens @/s 1.0 1.0 AT_SYMLINK_NOFOLLOW
        lident @/s
        ident @
        ident @/d/..
        ident @/d/.
        dident @/d .
        dident @/d ..
    """)


def test_new_process_sees_the_same(world):
    """C-2.6 across processes of a run: the raw numbers, before and after copy-up, in three processes."""
    side = world.ovl([LOW, LOW2], upper={})
    script = "\n".join(f'stat -c "%d %i" {side.mount}/{p}' for p in ("f", "d/f", "d", "d/h", "", "h1"))
    change = (f"echo x >>{side.mount}/f; chmod 600 {side.mount}/d/f; touch {side.mount}/d/new; "
              f"echo x >>{side.mount}/d/h; ")
    before, _, after = side.run([(["sh", "-c", script], ""), (["sh", "-c", change], ""), (["sh", "-c", script], "")])
    assert before.err == "" and after.err == ""
    assert before.lines == after.lines
    assert len(set(before.lines)) == 6
    assert len({line.split()[0] for line in before.lines}) == 1, "layers of one file system have one st_dev"


def test_hard_links_share(compare):
    compare([LOW], """
        ident @/h1
        ident @/h2
        dident @ h1
        dident @ h2
        link @/f @/f2
        ident @/f
        ident @/f2
        dident @ f2
        put @/n 1
        link @/n @/d/n
        ident @/n
        ident @/d/n
    """)


def test_replaced_by_rename(compare):
    """The replaced files are held open, so that no new one gets their numbers."""
    compare([LOW], """
        open 1 @/f O_RDONLY
        open 2 @/d/f O_RDONLY
        open 3 @/d/g O_RDONLY
        ident @/f
        ident @/g
        rename @/g @/f
        ident @/f
        put @/tmp 1
        ident @/tmp
        rename @/tmp @/d/f
        ident @/d/f
        ident @/d/g
        rename @/d/g @/d/g2
        ident @/d/g2
        dident @/d g2
        rename @/d/f @/d/g2 RENAME_EXCHANGE
        ident @/d/f
        ident @/d/g2
    """)


def test_all_differ(world):
    """Different objects never share a pair, nor does d_ino lie."""
    side = world.ovl([{f"d/{i}": str(i) for i in range(50)}, {f"d/{i}": str(i) for i in range(40, 100)}],
                     upper={"d/up": "1", "d/3": "over"})
    changes = "\n".join(f"append @/d/{i} x" for i in range(0, 100, 7))
    names = ["up"] + [str(i) for i in range(100)]
    idents = "\n".join(f"ident @/d/{n}\ndident @/d {n}" for n in names)
    lines = side.opsh(f"{changes}\n{idents}")[0][len(changes.splitlines()):]
    assert lines[0::2] == lines[1::2]
    assert len(set(lines[0::2])) == len(names)


def test_on_two_file_systems(world, root_only, tmp_path_factory):
    """C-2.6: directories report the upper's device; pairs stay apart and stay the same."""
    side = world.ovl([LOW, LOW2], upper={"u": "1"})
    other = f"{side.base}/t"
    side.setup = f"mkdir -p {other} && mount -t tmpfs tmpfs {other} && cp -a {side.lowers[0]} {other}/l &&"
    side.lowers[0] = f"{other}/l"
    names = ["f", "g", "d", "d/f", "d/g", "d/h", "d/e", "d/e/x", "e", "e/y", "h1", "u", "only"]
    stats = "\n".join(f"ident @/{n}" for n in names)
    changes = "append @/f x\nappend @/d/h x\nput @/d/e/new 1\nchmod @/only 0700\nappend @/d/f x"
    devs = "\n".join(f"dev @/{n}" for n in ("d", "d/e", "e", "only", ""))
    dirents = "\n".join(f"dident @/d {n}\nident @/d/{n}" for n in ("f", "g", "h", "e"))
    lines = side.opsh(f"{stats}\n{changes}\n{stats}\n{devs}")[0]
    n = len(names)
    assert lines[:n] == lines[n + 5:2 * n + 5]
    assert len(set(lines[:n])) == n
    assert len(set(lines[2 * n + 5:])) == 1
    del dirents


@pytest.mark.parametrize("change", ["append @/d/e/x y", "chmod @/d/e 0700", "put @/d/e/new 1", "unlink @/d/e/x"])
def test_directory_identity_under_change(compare, change):
    """What fts checks when it comes back up."""
    compare([LOW, {"d/e/": Dir(), "d/e/z": File(content="1")}], f"""
        open 1 @/d/e O_RDONLY|O_DIRECTORY
        fident 1
        ident @/d/e
        ident @/d
        {change}
        fident 1
        ident @/d/e
        ident @/d
        fstatat 1 .
        open 2 @/d/e O_RDONLY|O_DIRECTORY
        fident 2
    """)
