"""Drivers killed at random moments, alone or with all their workers, and what they leave."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from benchmarks.faults.driver import Driver, is_alive, wait_until
from benchmarks.faults.registry import Fault
from benchmarks.faults.rig import PATIENCE_S, Bench, Rig, Row

FAREWELL_S = 5.0
"""In which the children of a killed driver end by themselves."""
_RUN_S = 2.5
"""About what an undisturbed run takes; most kills come before its end."""
_KILLS_A_STUDY = 6


def kill_driver(bench: Bench, row: Row) -> None:
    """Kills the driver alone; its workers are left to end by themselves."""
    _kill_again_and_again(bench, row, bench.times(50, 2), with_workers=False)


def kill_all(bench: Bench, row: Row) -> None:
    """Kills the driver and all its workers together."""
    _kill_again_and_again(bench, row, bench.times(50, 2), with_workers=True)


def _kill_again_and_again(bench: Bench, row: Row, wanted: int, *, with_workers: bool) -> None:
    """Kills drivers of one study after another, and runs each study again until it is done."""
    while row.injections < wanted:
        rig, kills = bench.rig(), 0
        driver = rig.start()
        while kills < _KILLS_A_STUDY and row.injections < wanted:
            if driver.ends_within(bench.random.uniform(0, _RUN_S)):
                break
            at, children = _kill(bench, driver, with_workers=with_workers)
            kills += 1
            row.injections += 1
            driver = rig.start()
            _note_recovery(row, rig, at, children)
        row.expect(driver.wait(PATIENCE_S) == 0, f"{rig.name}: exit code {driver.code}")
        row.add(rig.audit(bench.undisturbed()), rig.name)
        row.message = row.message or driver.line_with("going on")


def _kill(bench: Bench, driver: Driver, *, with_workers: bool) -> tuple[float, list[int]]:
    children = driver.workers()
    doomed = [driver.pid, *children] if with_workers else [driver.pid]
    bench.random.shuffle(doomed)
    at = time.monotonic()
    for pid in doomed:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    driver.kill()
    return at, children


def _note_recovery(row: Row, rig: Rig, at: float, children: list[int]) -> None:
    """Seconds from the kill to the first step that counts."""

    def first_step() -> float | None:
        for line in rig.journal.lines():
            if line.at > at and line.event == "step" and line.pid not in children:
                return line.at - at
        return None

    if wait_until(lambda: rig.drivers[-1].has_ended or first_step() is not None, PATIENCE_S):
        seconds = first_step()
        if seconds is not None:
            row.recoveries_s.append(seconds)


def leave_workers(bench: Bench, row: Row) -> None:
    """Kills drivers whose workers are busy; how long these live on, and whether what they write
    counts. Seconds to recover are those until all are gone."""
    wanted = bench.times(20, 1)
    while row.injections < wanted:
        rig = bench.rig()
        driver = rig.start()
        rig.wait_for_steps(bench.random.randrange(5, 60))
        children = driver.workers()
        at = driver.kill()
        row.injections += 1
        row.expect(bool(children), f"{rig.name}: the driver had no workers")
        gone = _are_gone(children, 2 * FAREWELL_S)
        row.expect(gone, f"{rig.name}: a worker lives {2 * FAREWELL_S:g} s after its driver")
        row.recoveries_s.append(time.monotonic() - at)
        written = [line.at for line in rig.journal.lines() if line.pid in children]
        row.expect(rig.finish().code == 0, f"{rig.name}: exit code {rig.drivers[-1].code}")
        after = [one.at for one in rig.journal.lines() if one.pid in children]
        row.expect(after == written, f"{rig.name}: a worker wrote after it was gone")
        row.message = row.message or rig.drivers[-1].line_with("going on")
        row.add(rig.audit(bench.undisturbed()), rig.name)
    row.bound("workers gone after their driver", most_s=FAREWELL_S)


def _are_gone(pids: list[int], limit_s: float) -> bool:
    """Whether processes end in that time, waited for."""
    return wait_until(lambda: not any(map(is_alive, pids)), limit_s)


FAULTS = (
    Fault("driver killed at a random moment", "drivers", kill_driver),
    Fault("driver and workers killed together", "drivers", kill_all),
    Fault("workers left by a killed driver", "drivers", leave_workers),
)
