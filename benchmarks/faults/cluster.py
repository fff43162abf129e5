"""A Ray cluster of two nodes, one of which is lost."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.faults.journal import name_of
from benchmarks.faults.registry import Fault
from benchmarks.faults.rig import PATIENCE_S, Bench, Row
from benchmarks.ray_cluster import NoRayError, RayCluster

ROOT = Path(__file__).parents[2]
_SETTINGS = {"protocol.step_s": 0.05}
"""A trial of a second: a lost node is noticed within a few."""


def lose_node(bench: Bench, row: Row) -> None:
    """Kills one of two nodes in the middle: that which shares the files, and that which does not,
    in turns."""
    try:
        cluster = RayCluster([ROOT])
    except NoRayError as error:
        row.note = f"not done: {error}"
        return
    try:
        for turn in range(bench.times(10, 1)):
            _lose_node(cluster, turn, bench, row)
    finally:
        cluster.end()


def _lose_node(cluster: RayCluster, turn: int, bench: Bench, row: Row) -> None:
    rig = bench.rig(slots=4, settings=_SETTINGS)
    nodes = [cluster.tell(f"add {rig.folder / 'own'}"), cluster.tell("add")]
    driver = rig.start("--cluster", "auto", environment=cluster.environment)
    rig.wait_for_steps(bench.random.randrange(30, 120))
    at = time.monotonic()
    cluster.tell(f"kill {nodes[turn % 2]}")
    row.injections += 1
    row.expect(driver.wait(PATIENCE_S) == 0, f"{rig.name}: exit code {driver.code}")
    row.message = row.message or driver.line_with("was lost")
    row.expect("was lost" in driver.text(), f"{rig.name}: nothing was lost, {driver.log}")
    row.add(rig.audit(bench.undisturbed()), rig.name)
    for trial in map(name_of, range(rig.trials)):
        pids = [line.pid for line in rig.journal.of(trial) if line.event == "begin"]
        if len(pids) > 1 and (seconds := rig.recovery_s(trial, pids[0], at)) is not None:
            row.recoveries_s.append(seconds)
    cluster.tell(f"kill {nodes[1 - turn % 2]}")


FAULTS = (Fault("one of two nodes of a Ray cluster killed", "cluster", lose_node),)
