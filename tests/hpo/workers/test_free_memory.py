"""How short of memory a machine, or a control group on it, says to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.workers.memory import available_bytes, oom_kills

V2 = ("0::/box/inner\n", "sys/fs/cgroup/box", "memory.max", "memory.current", "inactive_file")
V1 = (
    "4:memory:/box/inner\n1:cpu:/\n0::/\n",
    "sys/fs/cgroup/memory/box",
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "total_inactive_file",
)


@pytest.fixture(params=[V2, V1], ids=["v2", "v1"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A machine with 7000 KiB free, and a group with 5000 of 9001 bytes in use, 17 idle."""
    groups, box, limit, used, stale = request.param
    folder = tmp_path / box
    (folder / "inner").mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    (tmp_path / "proc/meminfo").write_text("MemFree: 3 kB\nMemAvailable:    7000 kB\n")
    (tmp_path / "proc/vmstat").write_text("pgfault 11\noom_kill 5\n")
    (folder / limit).write_text("9001\n")
    (folder / used).write_text("5000\n")
    (folder / "memory.stat").write_text(f"anon 13\n{stale} 17\n")
    (folder / "inner" / limit).write_text("max\n")
    (folder / "inner" / used).write_text("4000\n")
    return tmp_path, folder


def test_the_tightest_limit_counts(machine: tuple[Path, Path]) -> None:
    root, box = machine
    assert available_bytes(root) == 9001 - 5000 + 17
    (box / "memory.max").write_text("9000000000\n")
    (box / "memory.limit_in_bytes").write_text("9000000000\n")
    assert available_bytes(root) == 7000 * 1024


def test_kills_are_those_of_the_own_group_where_it_counts_them(
    machine: tuple[Path, Path],
) -> None:
    root, box = machine
    assert oom_kills(root) == 5
    (box / "inner/memory.events").write_text("oom 3\noom_kill 2\n")
    assert oom_kills(root) == 2


def test_a_system_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    assert available_bytes(tmp_path) is None
    assert oom_kills(tmp_path) == 0
