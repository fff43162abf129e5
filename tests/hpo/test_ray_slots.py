"""Slots on a real Ray cluster on loopback: nodes and drivers die, and every trial is run."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from toy_bench import write_study
from toy_runs import told_of

from benchmarks.ray_cluster import RayCluster
from core import registry
from core.errors import SettingsError
from hpo.arguments import read_arguments
from hpo.commands.parsing import CommandError
from hpo.options import RunOptions
from hpo.workers.cluster import (
    ClusterError,
    Share,
    connect,
    last_line,
    share_out,
    threads_that_fit,
)
from hpo.workers.ray_slots import ray_slots

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="the extra `ray` is not installed"
)
HERE = Path(__file__).parent
PATHS = os.pathsep.join([str(HERE), str(HERE.parents[1])])
SLOW = {"step_s": 0.03, "second_steps": 40, "eval_every": 4}
"""A trial of a little over a second, ten evaluations."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    cluster = RayCluster([HERE, HERE.parents[1]])
    yield cluster
    cluster.end()


@pytest.fixture
def add(cluster: RayCluster) -> Iterator[Callable[..., str]]:
    """Adds nodes to the cluster, for one test."""
    nodes = []

    def add(folder: Path | str = "") -> str:
        nodes.append(cluster.tell(f"add {folder}"))
        return nodes[-1]

    yield add
    for node in nodes:
        cluster.tell(f"kill {node}")


@pytest.fixture
def start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts drivers of the toy study."""
    monkeypatch.setitem(registry._MODULES, "toy", "toy_curves")
    write_study(tmp_path / "declared")
    started = []

    def start(
        environment: Mapping[str, str], *words: str, address: str = "auto"
    ) -> subprocess.Popen[str]:
        settings = {"pruner.name": "none", **{f"protocol.{key}": SLOW[key] for key in SLOW}}
        driver = subprocess.Popen(
            [
                *(sys.executable, str(HERE / "toy_command.py")),
                *(str(tmp_path / "declared"), str(tmp_path / "runs"), "--cluster", address),
                *(
                    word
                    for item in settings.items()
                    for word in ("--set", "=".join(map(str, item)))
                ),
                *words,
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(driver)
        return driver

    yield start
    for driver in started:
        if driver.poll() is None:
            driver.kill()
        driver.communicate()


def _read_until(
    driver: subprocess.Popen[str], pattern: str, is_so: Callable[[], object] = lambda: True
) -> list[str]:
    """The driver's lines up to the first that matches while `is_so`."""
    assert driver.stdout is not None
    lines = []
    for line in driver.stdout:
        lines.append(line)
        if re.search(pattern, line) and is_so():
            return lines
    raise AssertionError(f"no {pattern!r} in:\n{''.join(lines)}")


def _wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.05)
    return condition()


def _attempts(cache: Path) -> list[tuple[str, int]]:
    """(trial's folder, process) of each attempt that began on the files of `cache`."""
    path = cache / "attempts.txt"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [(line.split()[0], int(line.split()[1])) for line in lines]


@needs_ray
def test_a_lost_node_costs_its_trials_an_attempt_and_they_go_on_elsewhere(
    cluster: RayCluster,
    add: Callable[..., str],
    start: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    own, cache = tmp_path / "own", tmp_path / "runs" / ".cache"
    add()
    has_its_own = add(own)
    driver = start(cluster.environment, "--slots", "4", "--trials", "12")

    def alone() -> list[int]:
        """Where the trials on the node that shares no files stand."""
        states = (own / "jobs").glob("*/checkpoint/state.json")
        return [json.loads(state.read_text())["step"] for state in states]

    # What it has sent with the evaluation at step 4 has arrived, or it would not be at 5.
    begun = _read_until(driver, r"\d at ", lambda: any(4 < step < 30 for step in alone()))
    cluster.tell(f"kill {has_its_own}")
    said = begun + list(driver.stdout or ())
    assert driver.wait() == 0, "".join(said)

    told = told_of(tmp_path / "runs")
    assert [(one[0], one[1]) for one in told] == [(number, "COMPLETE") for number in range(12)]
    ended = sorted(re.findall(r"TrialEnded\(number=(\d+), outcome='complete'", "".join(said)))
    assert ended == sorted(map(str, range(12)))
    lost = re.findall(r"trial (\d+): \S+ cpu.* was lost .*trying it again", "".join(said))
    assert 1 <= len(lost) <= 2
    resumed = []
    for number in lost:
        again = next(
            place
            for place, line in enumerate(said)
            if line.startswith(f"TrialStarted(number={number},") and "attempt=2" in line
        )
        steps = re.findall(rf"^{number} at ([1-9]\d*)$", "".join(said[again:]), re.MULTILINE)
        resumed.append(int(steps[0]))
    assert max(resumed) > 4
    # A set: what the node was sent of the driver's cache can hold marks that were there already.
    attempts = {*_attempts(cache), *_attempts(own / "cache")}
    # One that was lost before its process had begun has left no mark.
    assert 12 <= len(attempts) <= 12 + len(lost)
    for number in range(12):
        folder = tmp_path / "runs" / "toy" / "trials" / f"{number:04d}"
        assert (folder / "outcome.json").exists()
        assert not (folder / "checkpoint" / "state.json").exists()
    assert "torch=False" in said[-1]


@needs_ray
def test_a_cluster_without_room_is_waited_for_and_given_up_in_one_line(
    cluster: RayCluster, add: Callable[..., str], start: Callable[..., subprocess.Popen[str]]
) -> None:
    driver = start(cluster.environment, "--patience", "3", "--trials", "1")
    (line,) = [line for line in driver.stdout or () if "room" in line]
    assert "the cluster has had no room for a trial in 3 s" in line
    assert "Add nodes" in line
    assert driver.wait() == 2
    again = start(cluster.environment, "--trials", "1")
    _read_until(again, "StudyStarted")
    add()
    _read_until(again, "reading=")
    assert again.wait() == 0


@needs_ray
def test_what_a_dead_driver_had_started_ends_and_the_study_goes_on(
    cluster: RayCluster,
    add: Callable[..., str],
    start: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    add()
    driver = start(cluster.environment, "--slots", "2", "--trials", "4")
    _read_until(driver, r"TrialEvaluated\(number=[23], .* step=8,")
    children = {pid for _, pid in _attempts(tmp_path / "runs" / ".cache")}
    assert children
    driver.kill()
    assert _wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), 10)
    again = start(cluster.environment, "--slots", "2", "--trials", "4")
    _read_until(again, "reading=")
    assert again.wait() == 0
    states = [(one[0], one[1]) for one in told_of(tmp_path / "runs")]
    assert states == [(number, "COMPLETE") for number in range(4)]


@needs_ray
def test_without_the_token_nobody_gets_in(
    cluster: RayCluster, start: Callable[..., subprocess.Popen[str]]
) -> None:
    wrong = {"RAY_AUTH_TOKEN": "x" * 32, "RAY_NUM_REDIS_GET_RETRIES": "1"}
    driver = start({**cluster.environment, **wrong})
    said = "".join(driver.stdout or ())
    assert driver.wait() == 2, said
    assert "InvalidAuthToken" in said
    assert re.search(r"^--cluster auto: ", said, re.MULTILINE)


@needs_ray
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads the listeners of Linux")
def test_a_local_cluster_listens_on_loopback_alone_and_leaves_nothing(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    mark = f"HPO_TEST_MARK={secrets.token_hex(8)}"
    environment = {
        **{key: value for key, value in os.environ.items() if "PYTEST" not in key},
        "PYTHONPATH": PATHS,
        **dict([mark.split("=")]),
    }
    driver = start(environment, "--slots", "2", address="local")
    _read_until(driver, r"TrialEvaluated\(number=0, .* step=8,")
    running = _marked(mark)
    assert len(running) > 4  # driver, servers of Ray, actors, children
    listening = _listening(running)
    assert listening
    assert {address for address in listening if not _is_loopback(address)} == set()
    servers = [pid for pid in running if _command(pid).endswith(("raylet", "gcs_server"))]
    assert len(servers) == 2
    assert all("RAY_AUTH_MODE=token" in _environ(pid) for pid in servers)
    driver.send_signal(signal.SIGTERM)  # for which Ray has a handler of its own, too
    said = "".join(driver.stdout or ())
    assert driver.wait() == 130, said
    assert _wait_for(lambda: not _marked(mark), 10)
    assert not list((tmp_path / "runs" / ".cache").glob(".probe*"))


def _environ(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[0]
    except OSError:
        return ""


def _marked(mark: str) -> set[int]:
    """Processes that were started with a variable."""
    pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    return {pid for pid in pids if mark in _environ(pid)}


def _listening(pids: set[int]) -> set[str]:
    """Addresses, in the kernel's hexadecimal words, on which processes listen."""
    inodes = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                link = str(descriptor.readlink())
            except OSError:
                continue
            inodes.update(re.findall(r"socket:\[(\d+)\]", link))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().split("\n")[1:-1]:
            cells = line.split()
            if cells[3] == "0A" and cells[9] in inodes:
                found.add(cells[1].partition(":")[0])
    return found


def _is_loopback(address: str) -> bool:
    """127.0.0.1, the same in IPv6's words, or ::1, as a little-endian kernel writes them."""
    return address in (
        "0100007F",
        "0000000000000000FFFF00000100007F",
        "00000000000000000000000001000000",
    )


def test_without_the_extra_one_line_says_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ClusterError, match=r"not installed.*pip install 'hpo-harness\[ray\]'"):
        ray_slots(RunOptions(cluster="local"), tmp_path)


@pytest.mark.parametrize(
    "text", ["", "remote", "ray://", "ray://host", "10.0.0.1:6379", "ray://a b:1"]
)
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match=r"--cluster names no cluster.*auto, local, ray://"):
        read_arguments(["run", "--study", "x", "--cluster", text])


def test_an_address_is_taken_as_it_is() -> None:
    for text in ("auto", "local", "ray://head.example:10001", "ray://[::1]:10001"):
        assert read_arguments(["run", "--study", "x", "--cluster", text]).cluster == text


@pytest.mark.parametrize(
    ("cores", "slots", "expected"),
    [
        ([4, 4], 2, 4),
        ([4, 4], 3, 2),
        ([4, 4], 8, 1),
        ([8, 2], 2, 4),  # five each would leave one slot without a node
        ([3], 7, 1),
        ([0, 5], 1, 5),
        ([], 3, 1),
    ],
)
def test_threads_are_as_many_as_leave_room_for_every_slot(
    cores: list[int], slots: int, expected: int
) -> None:
    assert threads_that_fit(cores, [slots] * len(cores), slots) == expected


BOX = {"CPU": 16.0, "GPU": 2.0}
PLAIN = {"CPU": 6.0}


@pytest.mark.parametrize(
    ("nodes", "options", "expected"),
    [
        ([PLAIN], {}, Share(1, 6, 0.0)),
        ([PLAIN, PLAIN], {"jobs": 4}, Share(4, 3, 0.0)),
        ([PLAIN, BOX], {}, Share(2, 8, 1.0)),
        ([BOX, BOX], {"trials_per_gpu": 3}, Share(12, 2, 1 / 3)),
        ([BOX], {"jobs": 5}, Share(5, 3, 0.0)),
    ],
)
def test_gpus_are_shared_where_there_are_some_unless_jobs_are_asked_for(
    nodes: list[dict[str, float]], options: dict[str, int], expected: Share
) -> None:
    assert share_out(nodes, RunOptions(**options)) == expected


def test_gpus_that_no_node_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="no node of the cluster has a GPU"):
        share_out([PLAIN], RunOptions(cluster="auto", trials_per_gpu=2))


@needs_ray
def test_where_no_cluster_is_running_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_none(**_: object) -> None:
        raise ConnectionError("Could not find any running Ray instance. Please specify one..")

    monkeypatch.setattr("ray.init", find_none)
    with pytest.raises(ClusterError) as caught:
        connect("auto")
    assert str(caught.value).startswith(
        "--cluster: no Ray cluster is running on this machine, got 'auto'. Start one with "
    )
    assert last_line(ConnectionError("first line\nray client connection timeout.")) == (
        "ray client connection timeout"
    )


@needs_ray
def test_options_for_this_machine_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="--gpus is for the GPUs of this machine"):
        ray_slots(RunOptions(cluster="auto", gpus="all"), tmp_path)
    with pytest.raises(SettingsError, match="does not go with --trials-per-gpu"):
        ray_slots(RunOptions(cluster="auto", jobs=2, trials_per_gpu=2), tmp_path)
