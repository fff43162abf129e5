"""A run listens nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_bench import MakeStudy

HERE = Path(__file__).parent
PROC = Path("/proc")
_LISTEN = "0A"


def processes_below(pid: int) -> Iterator[int]:
    """A process and its descendants."""
    yield pid
    for task in (PROC / str(pid) / "task").iterdir():
        for child in (task / "children").read_text().split():
            yield from processes_below(int(child))


def sockets_of(pid: int) -> set[str]:
    """The inodes of a process's sockets."""
    links = set()
    for descriptor in (PROC / str(pid) / "fd").iterdir():
        try:
            links.add(str(descriptor.readlink()))
        except FileNotFoundError:  # closed since
            continue
    return {link[8:-1] for link in links if link.startswith("socket:[")}


def listening_on() -> dict[str, str]:
    """Inode -> address of all sockets of this machine that wait for connections."""
    found = {}
    for table in ("tcp", "tcp6"):
        for line in (PROC / "net" / table).read_text().split("\n")[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[3] == _LISTEN:
                found[fields[9]] = fields[1]
    return found


@pytest.mark.skipif(not (PROC / "net" / "tcp").exists(), reason="the system has no /proc")
def test_a_run_listens_nowhere(make_study: MakeStudy, tmp_path: Path) -> None:
    make_study(overrides={})
    runs = tmp_path / "runs"
    command = [sys.executable, str(HERE / "toy_command.py"), str(tmp_path / "declared"), str(runs)]
    process = subprocess.Popen(
        [*command, "--slots", "2", "--trials", "4", "--set", "protocol.step_s=0.02"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
    )
    looked = 0
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if " at " in line and process.poll() is None:
                try:
                    own = set().union(*map(sockets_of, processes_below(process.pid)))
                except FileNotFoundError:  # a process has just ended
                    continue
                looked += 1
                assert not own & listening_on().keys()
    assert process.returncode == 0
    assert looked > 3
