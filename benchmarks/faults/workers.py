"""Workers killed at random moments."""

from __future__ import annotations

import os
import signal
import time

from benchmarks.faults.driver import is_alive
from benchmarks.faults.registry import Fault
from benchmarks.faults.rig import MOST_TRIALS, PATIENCE_S, Bench, Rig, Row

MEDIAN_S, MOST_S = 1.0, 3.0
"""A dead worker is replaced in that time: the first step of the trial's next attempt."""
_TRIAL_S = 0.2
_ALIKE = """\
task = "toy"
[parameters]
"finetune.rate" = { type = "float", low = 1e-5, high = 1e-1, log = true }
"""
"""A search space of one structure."""


def kill_workers(bench: Bench, row: Row) -> None:
    """Kills the worker of each trial once, at a random moment of its first attempt."""
    _kill_workers(bench, row, bench.times(200, 4), gap_s=0.0)


def kill_workers_seldom(bench: Bench, row: Row) -> None:
    """The same with time between two deaths, in which a spare worker may become ready."""
    _kill_workers(bench, row, bench.times(60, 2), gap_s=2.0)
    row.bound("a dead worker replaced", median_s=MEDIAN_S, most_s=MOST_S)


def _kill_workers(bench: Bench, row: Row, wanted: int, *, gap_s: float) -> None:
    while row.injections < wanted:
        left = wanted - row.injections
        rig = bench.rig(trials=bench.times(MOST_TRIALS, 12))
        deaths = _run_and_kill(bench, rig, left, gap_s)
        row.injections += len(deaths)
        row.add(rig.audit(bench.undisturbed()), rig.name)
        row.expect(rig.drivers[0].code == 0, f"{rig.name}: exit code {rig.drivers[0].code}")
        for trial, pid, at in deaths:
            recovered = rig.recovery_s(trial, pid, at)
            if recovered is not None:  # else it had done its last step
                row.recoveries_s.append(recovered)
        row.message = row.message or rig.drivers[0].line_with("killed")
        if not deaths:
            row.problems.append(f"{rig.name}: no worker could be killed")
            return


def _run_and_kill(bench: Bench, rig: Rig, most: int, gap_s: float) -> list[tuple[str, int, float]]:
    """Runs the study to its end; returns the trial, the process and the time of each kill."""
    driver = rig.start()
    deaths: list[tuple[str, int, float]] = []
    due: dict[str, tuple[int, float]] = {}
    gone = set()
    while not driver.has_ended:
        for line in rig.journal.lines():
            if line.event == "begin" and line.trial not in due:
                due[line.trial] = (line.pid, line.at + bench.random.uniform(0, _TRIAL_S))
            elif line.event == "end":
                gone.add(line.trial)
        for trial, (pid, at) in due.items():
            is_early = bool(deaths) and time.monotonic() - deaths[-1][2] < gap_s
            if trial in gone or time.monotonic() < at or is_early or len(deaths) >= most:
                continue
            gone.add(trial)
            if is_alive(pid):
                deaths.append((trial, pid, time.monotonic()))
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
        if time.monotonic() - driver.begun > 300:
            driver.kill()
    return deaths


def kill_shared_workers(bench: Bench, row: Row) -> None:
    """Kills a worker with several trials in it at a random moment, and often the next one."""
    options: dict[str, object] = {"trials": 8, "slots": 1, "space": _ALIKE}
    for _ in range(bench.times(20, 2)):
        rig = bench.rig(**options)
        driver = rig.start("--fuse", "4")
        for steps in sorted(bench.random.sample(range(4, 120), 2)):
            rig.wait_for_steps(steps)
            pid = rig.journal.lines()[-1].pid
            if is_alive(pid) and not driver.has_ended:
                os.kill(pid, signal.SIGKILL)
                row.injections += 1
        driver.wait(PATIENCE_S)
        row.expect(driver.code == 0, f"{rig.name}: exit code {driver.code}")
        row.add(rig.audit(bench.undisturbed(**options)), rig.name)
        row.message = row.message or driver.line_with("trials in it")


FAULTS = (
    Fault("worker killed at a random moment", "workers", kill_workers),
    Fault("worker killed now and then", "workers", kill_workers_seldom),
    Fault("worker with several trials in it killed", "workers", kill_shared_workers),
)
