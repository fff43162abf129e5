"""Drivers told to stop, and workers that leave."""

from __future__ import annotations

import signal
import time
from functools import partial

from benchmarks.faults.driver import wait_until
from benchmarks.faults.journal import Trouble
from benchmarks.faults.registry import Fault
from benchmarks.faults.rig import PATIENCE_S, Bench, Rig, Row
from benchmarks.faults.toy import Protocol

_INTERRUPTED = 130
_LEAVE_S = 30.0
"""In which a driver that is told to stop has ended."""


def stop_driver(number: signal.Signals, bench: Bench, row: Row) -> None:
    """Sends the driver a signal at a random moment, and runs the study again until it is done."""
    for _ in range(bench.times(7, 1)):
        rig = bench.rig()
        for _ in range(bench.times(3, 1)):
            driver = rig.start()
            rig.wait_for_steps(rig.steps() + bench.random.randrange(4, 30))
            at = time.monotonic()
            driver.send(number)
            if driver.wait(_LEAVE_S) == 0:
                break  # it had nothing left to do
            row.injections += 1
            row.recoveries_s.append(time.monotonic() - at)
            row.expect(driver.code == _INTERRUPTED, f"{rig.name}: exit code {driver.code}")
            row.message = row.message or driver.line_with("interrupted;")
        _finish(rig, bench, row)
    row.expect(row.repeated == 0, "a clean stop repeats no step")


def stop_driver_twice(bench: Bench, row: Row) -> None:
    """Sends SIGINT twice while all workers hang. Seconds to recover are those it takes to end."""
    slots = 2
    for _ in range(bench.times(10, 1)):
        rig = bench.rig(slots=slots)
        rig.plan({number: [Trouble("step 6", "hang")] for number in range(slots)})
        driver = rig.start()
        wait_until(partial(_have_happened, rig, slots), PATIENCE_S)
        driver.send(signal.SIGINT)
        time.sleep(0.3)
        row.expect(not driver.has_ended, f"{rig.name}: the first Ctrl-C ended it at once")
        at = time.monotonic()
        driver.send(signal.SIGINT)
        row.expect(driver.wait(_LEAVE_S) == _INTERRUPTED, f"{rig.name}: exit code {driver.code}")
        row.recoveries_s.append(time.monotonic() - at)
        row.injections += 1
        row.message = driver.line_with("interrupted;")
        _finish(rig, bench, row)


def leave(bench: Bench, row: Row) -> None:
    """Calls `sys.exit` in trials, once, at a random step."""
    for _ in range(bench.times(3, 1)):
        rig = bench.rig()
        doomed = range(0, rig.trials, bench.times(1, 4))
        rig.plan({number: [Trouble(_some_step(bench), "exit")] for number in doomed})
        _finish(rig, bench, row)
        _count(rig, row)
        row.message = rig.drivers[-1].line_with("trying it again")


def _finish(rig: Rig, bench: Bench, row: Row) -> None:
    driver = rig.finish()
    row.expect(driver.code == 0, f"{rig.name}: exit code {driver.code}")
    row.add(rig.audit(bench.undisturbed()), rig.name)


def _count(rig: Rig, row: Row) -> None:
    for line in rig.journal.lines():
        if line.event == "trouble":
            row.injections += 1
            seconds = rig.recovery_s(line.trial, line.pid, line.at)
            if seconds is not None:
                row.recoveries_s.append(seconds)


def _some_step(bench: Bench) -> str:
    return f"step {bench.random.randrange(1, Protocol().second_steps + 1)}"


def _have_happened(rig: Rig, troubles: int) -> bool:
    return sum(line.event == "trouble" for line in rig.journal.lines()) >= troubles


FAULTS = (
    Fault("SIGTERM to the driver", "signals", partial(stop_driver, signal.SIGTERM)),
    Fault("SIGINT to the driver", "signals", partial(stop_driver, signal.SIGINT)),
    Fault("second SIGINT while the workers hang", "signals", stop_driver_twice),
    Fault("sys.exit in a trial", "signals", leave),
)
