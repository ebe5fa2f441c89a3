# SPDX-License-Identifier: MIT
"""bench/run does what it says: one small round, on the bare file system and on libovl.  No figure is asserted."""

import json
import os
import pathlib
import subprocess
import xml.etree.ElementTree

import pytest

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench"
PROGRAMS = {"bench_ops": ("ops.c", "ops_table.c", "timing.c"), "bench_launch": ("launch.c", "timing.c"),
            "bench_small": ("small.c",)}
WORK = ("stat", "write", "outside", "start", "find")


@pytest.fixture(scope="session")
def programs(workspace):
    """The programs of bench/, where CMake would put them."""
    folder = os.path.join(workspace, "bench-build", "bench")
    os.makedirs(folder)
    for name, sources in PROGRAMS.items():
        subprocess.run(["gcc", "-D_GNU_SOURCE", "-std=gnu11", "-O1", *(str(BENCH / source) for source in sources),
                        "-o", f"{folder}/{name}"], check=True)
    for stem in ("needed", "empty"):
        subprocess.run(["gcc", "-shared", "-fPIC", str(BENCH / f"{stem}.c"), "-o", f"{folder}/libbench_{stem}.so"],
                       check=True)
    return os.path.dirname(folder)


@pytest.mark.untraced("it measures")
def test_a_small_round(world, role, tools, programs):
    if "ovl" not in world.sides:
        pytest.skip("needs the library under test")
    base = world.base()
    os.chown(base, role.uid, role.gid)
    argv = [*role.drop(), "/usr/bin/python3", str(BENCH / "run"), *WORK, "--quick", "--rounds", "1", "--sides",
            "native,libovl", "--layers", "1,8", "--build", programs, "--library", tools.library, "--folder", base,
            "--tmpfs", "", "--json", f"{base}/json", "--markdown", f"{base}/md", "--picture", f"{base}/svg"]
    subprocess.run(argv, check=True, cwd="/", timeout=120)

    with open(f"{base}/json") as f:
        told = json.load(f)
    assert told["missing"] == []
    for side in ("native", "libovl"):
        figures = [figure for figure in told["figures"] if figure["side"] == side]
        assert {figure["workload"] for figure in figures} == set(WORK)
        assert {figure["layers"] for figure in figures if figure["workload"] == "stat"} == {1, 8}
        assert all(value > 0 for figure in figures for value in figure["values"])
    report = pathlib.Path(base, "md").read_text()
    for metric in ("| stat, dirfd |", "| outside, rename |", "| start, 40 headers |", "The aims"):
        assert metric in report
    drawn = xml.etree.ElementTree.parse(f"{base}/svg").getroot()
    assert len(drawn.findall(".//{*}rect")) > 5 and drawn.findall(".//{*}polyline")
    assert sorted(os.listdir(base)) == ["json", "md", "svg"], "something is left behind"

    again = subprocess.run(["/usr/bin/python3", BENCH / "run", "--from", f"{base}/json"], capture_output=True, text=True, check=True)
    assert again.stdout.rstrip("\n") == report.rstrip("\n")
