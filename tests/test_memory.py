"""What the board and its control groups leave to this program, and whom the kernel killed for lack of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_infer.platform.memory import MemoryKills, group_limit, usable_memory

MB = 1 << 20
UNLIMITED = "9223372036854771712"  # as version 1 has it


def lay(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")


V1, V2 = "sys/fs/cgroup/memory", "sys/fs/cgroup"
CASES = {
    "none": ({"proc/self/cgroup": "0::/a/b", f"{V2}/a/b/memory.max": "max"}, None),
    "no groups": ({}, None),
    "its own": ({"proc/self/cgroup": "0::/a/b", f"{V2}/a/b/memory.max": str(300 * MB)}, 300),
    "of one above": (
        {
            "proc/self/cgroup": "0::/a/b",
            f"{V2}/a/memory.max": str(200 * MB),
            f"{V2}/a/b/memory.max": str(300 * MB),
        },
        200,
    ),
    "of a container": ({"proc/self/cgroup": "0::/", f"{V2}/memory.max": str(100 * MB)}, 100),
    "version 1": (
        {
            "proc/self/cgroup": "5:cpu:/x\n4:memory:/a/b\n0::/",
            f"{V1}/memory.limit_in_bytes": UNLIMITED,
            f"{V1}/a/memory.limit_in_bytes": UNLIMITED,
            f"{V1}/a/b/memory.limit_in_bytes": str(400 * MB),
        },
        400,
    ),
    "version 1, none": ({"proc/self/cgroup": "4:memory:/", f"{V1}/memory.limit_in_bytes": UNLIMITED}, None),
    "version 1, of a container": (
        {"proc/self/cgroup": "4:memory:/docker/ab", f"{V1}/memory.limit_in_bytes": str(500 * MB)},
        500,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_lowest_limit_of_all_groups_counts(tmp_path: Path, case: str) -> None:
    files, limit = CASES[case]
    lay(tmp_path, files)
    board = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert group_limit(tmp_path) == (limit and limit * MB)
    assert usable_memory(tmp_path) == (board if limit is None else min(board, limit * MB))


def test_a_group_larger_than_the_board_changes_nothing(tmp_path: Path) -> None:
    lay(tmp_path, {"proc/self/cgroup": "0::/a", f"{V2}/a/memory.max": str(1 << 50)})
    assert usable_memory(tmp_path) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("group", "counter", "before"),
    [
        ("0::/a", f"{V2}/a/memory.events", "oom 9\n"),
        ("4:memory:/a", f"{V1}/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n"),
        ("4:memory:/docker/ab", f"{V1}/memory.oom_control", "oom_kill_disable 0\n"),
        ("0::/", "proc/vmstat", "pgfault 3\n"),
    ],
)
def test_one_kill_of_the_kernel_explains_one_death(tmp_path: Path, group: str, counter: str, before: str) -> None:
    lay(tmp_path, {"proc/vmstat": "oom_kill 70", "proc/self/cgroup": group, counter: f"{before}oom_kill 2"})
    kills = MemoryKills(tmp_path)
    assert kills.take() is False
    lay(tmp_path, {counter: f"{before}oom_kill 4\noom_group_kill 0"})
    assert [kills.take(), kills.take(), kills.take()] == [True, True, False]
    lay(tmp_path, {counter: f"{before}oom_kill 5"})
    kills.forget()
    assert kills.take() is False


def test_an_old_kernel_counts_none(tmp_path: Path) -> None:
    lay(tmp_path, {"proc/vmstat": "pgfault 3", "proc/self/cgroup": "0::/"})
    assert MemoryKills(tmp_path).take() is None


def test_this_kernel_counts_them() -> None:
    assert MemoryKills().take() is False
