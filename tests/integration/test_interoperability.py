# SPDX-License-Identifier: MIT
"""Layers that others wrote, and layers for others (C-2.2, C-2.3): Linux overlayfs, fuse-overlayfs, OCI images.

That Linux overlayfs reads what libovl writes is asked after every scenario of the other tests (compare.py)."""

import json
import os
import re
import shutil
import subprocess

import pytest

import layers
from layers import Dir, File, link, same

LOW = [{"f": "high\n", "d/g": "1\n", "both/high": "h", "e/x": "x", "s": link("f")},
       {"f": "low\n", "d/h": "2\n", "both/low": "l", "both/same": "l", "e/y": "y", "hard": "h\n", "hard2": same("hard"),
        "n" * 250: "long", "sparse": File(content="end", hole=100000), "deep/a/b/c": "c", "gone/x/y": "z", "k/": Dir(mode=0o700)}]

# Every kind of change that an upper can hold, without renames of directories that have lower content.
CHANGES = """
    put @/f changed
    unlink @/d/g
    put @/new n
    mkdir @/newdir
    put @/newdir/in i
    unlink @/both/high
    unlink @/both/low
    unlink @/both/same
    rmdir @/both
    mkdir @/both
    put @/both/again a
    unlink @/e/x
    unlink @/e/y
    rmdir @/e
    put @/e file
    rename @/s @/moved
    rename @/deep/a/b/c @/deep/a/c
    chmod @/k 0755
    symlink target @/link
    mkfifo @/fifo 0600
    link @/new @/newdir/linked
    setxattr @/hard user.colour red
    utimens @/d/h 5.5 6.25
    truncate @/sparse 50000
    unlink @/gone/x/y
    rmdir @/gone/x
    rmdir @/gone
"""


def over(world, upper, lowers, **how):
    """An overlay in which `upper`, which another wrote, is the highest lower layer."""
    side = world.ovl([{}], **how)
    side.lowers[:] = [upper, *lowers]
    for folder in side.lowers:
        world.watch(folder)
    return side


def objects(answer):
    """A tree as opsh tells it, by path."""
    assert answer.startswith("ok"), answer
    return dict(entry.split(" ", 1) for entry in answer.split("\t")[1:])


def assert_same(answers, wanted, but="$^"):
    """The trees of two answers; `but`: what of an object's description is not compared."""
    got, wanted = ({path: re.sub(but, "", text) for path, text in objects(lines[-1]).items()} for lines in (answers, wanted))
    differ = {path: (wanted.get(path), got.get(path)) for path in wanted.keys() | got.keys() if wanted.get(path) != got.get(path)}
    assert not differ and len(wanted) > 20, "\n".join(f"{path}: expected {w}, got {g}" for path, (w, g) in sorted(differ.items()))


def kernel(world, options=""):
    made = world.make(LOW, {}, sides=["kernel"])
    if "kernel" not in made or "ovl" not in world.sides:
        pytest.skip("Linux overlayfs can't be mounted here")
    made["kernel"].options = options
    return made["kernel"]


def lowers_of(side):
    return [os.path.join(side.base, folder) for folder in side.lowers]


def test_layer_of_linux_overlayfs(world):
    """What overlayfs wrote (devices, opaque attributes, origins) shows the tree that overlayfs shows, as a lower layer
    and as the upper."""
    side = kernel(world)
    done, wanted = side.opsh(CHANGES, "tree @")
    assert set(done) == {"ok"}, done
    as_lower = over(world, f"{side.base}/u", lowers_of(side))
    assert_same(as_lower.opsh("tree @")[0], wanted)
    as_upper = world.ovl([{}], {})
    as_upper.lowers[:] = lowers_of(side)
    shutil.rmtree(as_upper.upper)
    subprocess.run(["cp", "-a", f"{side.base}/u", as_upper.upper], check=True)
    assert_same(as_upper.opsh("tree @")[0], wanted)


def test_renamed_directories_are_refused(world, root_only):
    """overlayfs' redirects: what lies elsewhere is an error and a line in the log, never half a directory."""
    side = kernel(world, ",redirect_dir=on")
    answers, = side.opsh("mkdir @/newdir\nrename @/d @/newdir/d\nrename @/both @/moved")
    assert answers == ["ok"] * 3
    reader = over(world, f"{side.base}/u", lowers_of(side))
    reader.environment = {"OVL_LOG_FILE": f"{reader.outside}/log"}
    answers, = reader.opsh("""
        readdir @
        stat @/newdir/d
        cat @/newdir/d/g
        readdir @/moved
        stat @/d
        cat @/f
        """)
    assert {"moved:d", "newdir:d"} <= set(answers[0].split()), answers
    assert answers[1:] == ["EIO", "EIO", "EIO", "ENOENT", answers[5]] and "high" in answers[5], answers
    with open(f"{reader.outside}/log") as log:
        assert "a directory that overlayfs has renamed (redirect_dir=on); copy the tree" in log.read()


def test_files_without_content_are_refused(world, root_only):
    """overlayfs' metacopy: a file whose content is in another layer is never shown as one of zeroes."""
    side = kernel(world, ",metacopy=on")
    side.opsh("chmod @/f 0600\nchmod @/sparse 0600\nput @/d/h whole\nchmod @/d/h 0600")
    reader = over(world, f"{side.base}/u", lowers_of(side))
    reader.environment = {"OVL_LOG_FILE": f"{reader.outside}/log"}
    answers, = reader.opsh("""
        cat @/f
        stat @/sparse
        open 1 @/f O_RDWR
        cat @/d/h
        cat @/d/g
        """)
    assert answers[:3] == ["EIO"] * 3 and "whole" in answers[3] and "1" in answers[4], answers
    with open(f"{reader.outside}/log") as log:
        assert "a file whose content overlayfs left below (metacopy=on); copy the tree" in log.read()


def test_layer_of_fuse_overlayfs(world, root_only):
    """What fuse-overlayfs wrote shows the tree that it shows (but for counts of links, which it makes up)."""
    if "ovl" not in world.sides:
        pytest.skip("needs the library under test")
    if not shutil.which("fuse-overlayfs") or not os.access("/dev/fuse", os.W_OK):
        pytest.skip("no fuse-overlayfs or no /dev/fuse here")
    base = world.base()
    paths = {name: os.path.join(base, name) for name in ("u", "w", "m")}
    for path in paths.values():
        os.mkdir(path)
    lowers = []
    for i, layer in enumerate(LOW):
        lowers.append(os.path.join(base, f"l{i}"))
        layers.build(lowers[-1], layers.expand(layer), (0, 0), places=())
    script = os.path.join(base, "changes")
    mark = paths["m"]
    with open(script, "w") as f:
        f.write(re.sub("^ +", "", CHANGES.replace("@", mark), flags=re.M).strip() + f"\ntree {mark}\n")
    # What fuse-overlayfs has just written it answers from memory: the tree is looked at through a second mount.
    options = f"lowerdir={':'.join(lowers)},upperdir={paths['u']},workdir={paths['w']}"
    mount = f"fuse-overlayfs -o {options} {mark}"
    done = subprocess.run(["unshare", "-m", "sh", "-ec", f"{mount}; {world.tools.opsh} <{script} >/dev/null; umount {mark}; "
                           f"{mount}; echo tree {mark} | {world.tools.opsh}; umount {mark}"],
                          capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        pytest.skip(f"fuse-overlayfs can't be mounted here: {done.stderr.strip()[-200:]}")
    wanted = [line.replace(mark, "@") for line in done.stdout.splitlines()]
    reader = over(world, paths["u"], lowers)
    assert_same(reader.opsh("tree @")[0], wanted, but=r" user\.fuseoverlayfs\.\w+=\S+| nlink=\d+")


def oci_image(folder, layers_as_tar):
    """A new image of these layers, lowest first, by umoci."""
    image = f"{folder}/image"
    run = dict(check=True, capture_output=True, cwd=folder)
    subprocess.run(["umoci", "init", "--layout", image], **run)
    subprocess.run(["umoci", "new", "--image", f"{image}:all"], **run)
    for tar in layers_as_tar:
        subprocess.run(["umoci", "raw", "add-layer", "--image", f"{image}:all", tar], **run)
    return f"{image}:all"


def test_upper_is_an_oci_layer(world, root_only):
    """C-2.2: lower layers and the upper that libovl left, each packed by tar as it stands, are an image that umoci
    unpacks to what was seen."""
    if not shutil.which("umoci"):
        pytest.skip("no umoci here")
    side = world.ovl(LOW, {})
    # Of a lower file with several names the upper as it stands has those that were changed (C-3.5).
    changes = CHANGES.replace("@/hard", "@/new") + "\nrename @/d @/newdir/d\nunlink @/" + "n" * 240 + "\nmkdir @/d\nput @/d/fresh f\n"
    _, wanted = side.opsh(changes, "tree @")
    tars = []
    for folder in [*reversed(side.lowers), side.upper]:
        tars.append(f"{side.base}/{os.path.basename(folder)}.tar")
        subprocess.run(["tar", "-C", folder, "--xattrs", "--sort=name", "-cf", tars[-1], "."], check=True)
    image = oci_image(side.base, tars)
    bundle = f"{side.base}/bundle"
    subprocess.run(["umoci", "unpack", "--image", image, bundle], check=True, capture_output=True)
    script = f"{side.base}/look"
    with open(script, "w") as f:
        f.write(f"tree {bundle}/rootfs\n")
    with open(script) as f:
        got = subprocess.run([world.tools.opsh], stdin=f, capture_output=True, text=True, check=True).stdout
    got = got.replace(f"{bundle}/rootfs", "@").splitlines()
    assert_same(got, wanted)
    with open(f"{side.base}/image/index.json") as f:
        assert json.load(f)["manifests"]
