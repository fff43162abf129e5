"""Workers that freeze or hang."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from functools import partial

from benchmarks.faults.driver import is_alive, silent_for, wait_until
from benchmarks.faults.journal import Line, Trouble
from benchmarks.faults.registry import Fault
from benchmarks.faults.rig import PATIENCE_S, Bench, Rig, Row
from benchmarks.faults.toy import Protocol

_SILENCE_S = 10.0
"""After which a worker counts as hanging here; no machine is to take so long to start one."""


def freeze(bench: Bench, row: Row) -> None:
    """Stops workers by SIGSTOP until they are replaced, then lets them go on: nothing of theirs
    may count. Seconds to recover are those after the limit."""
    wanted = bench.times(20, 1)
    while row.injections < wanted:
        rig = bench.rig()
        driver = rig.start(patches=[silent_for(_SILENCE_S)])
        frozen: dict[str, Line] = {}
        while len(frozen) < 4 and row.injections < wanted and not driver.has_ended:
            line = _next_step(rig, set(frozen), bench.random.randrange(1, 12))
            if line is None:
                break
            with suppress(ProcessLookupError):
                os.kill(line.pid, signal.SIGSTOP)
            at = time.monotonic()
            frozen[line.trial] = line
            row.injections += 1
            replaced = rig.wait_for_recovery(line.trial, line.pid, at)
            if row.expect(replaced is not None, f"{rig.name}: {line.trial} was not taken over"):
                row.recoveries_s.append((replaced or 0.0) - _SILENCE_S)
            with suppress(ProcessLookupError):
                os.kill(line.pid, signal.SIGCONT)
            gone = wait_until(partial(_is_gone, line.pid), 1.0)
            row.expect(gone, f"{rig.name}: a worker that was replaced lives")
        row.expect(driver.wait(PATIENCE_S) == 0, f"{rig.name}: exit code {driver.code}")
        row.message = row.message or driver.line_with("trying it again")
        row.add(rig.audit(bench.undisturbed()), rig.name)
    row.bound("a frozen worker replaced after its limit", most_s=3.0)


def freeze_then_kill_driver(bench: Bench, row: Row) -> None:
    """Stops a worker by SIGSTOP, kills its driver, and lets the worker go on while a second driver
    has its trial: it must find itself alone and leave."""
    for _ in range(bench.times(10, 1)):
        rig = bench.rig()
        driver = rig.start()
        line = _next_step(rig, set(), bench.random.randrange(1, 12))
        if not row.expect(line is not None, f"{rig.name}: no trial was running"):
            return
        assert line is not None
        os.kill(line.pid, signal.SIGSTOP)
        at = driver.kill()
        driver = rig.start()
        driver.ends_within(bench.random.uniform(1.0, 3.0))
        with suppress(ProcessLookupError):
            os.kill(line.pid, signal.SIGCONT)
        row.injections += 1
        row.expect(driver.wait(PATIENCE_S) == 0, f"{rig.name}: exit code {driver.code}")
        seconds = rig.recovery_s(line.trial, line.pid, at)
        if seconds is not None:
            row.recoveries_s.append(seconds)
        row.message = row.message or driver.line_with("attempt 2")
        row.add(rig.audit(bench.undisturbed()), rig.name)


def freeze_for_good_and_kill_driver(bench: Bench, row: Row) -> None:
    """Stops a worker by SIGSTOP and kills its driver: the next must not wait for the worker."""
    for _ in range(bench.times(3, 1)):
        rig = bench.rig()
        driver = rig.start()
        line = _next_step(rig, set(), bench.random.randrange(1, 12))
        if not row.expect(line is not None, f"{rig.name}: no trial was running"):
            return
        assert line is not None
        os.kill(line.pid, signal.SIGSTOP)
        at = driver.kill()
        row.injections += 1
        driver = rig.start()
        if not driver.ends_within(30):
            row.problems.append(f"{rig.name}: a frozen worker holds up the next driver")
        with suppress(ProcessLookupError):
            os.kill(line.pid, signal.SIGKILL)
        row.expect(driver.wait(PATIENCE_S) == 0, f"{rig.name}: exit code {driver.code}")
        seconds = rig.recovery_s(line.trial, line.pid, at)
        if seconds is not None:
            row.recoveries_s.append(seconds)
        row.message = row.message or driver.line_with("attempt 2")
        row.add(rig.audit(bench.undisturbed()), rig.name)


def hang(bench: Bench, row: Row) -> None:
    """Lets trials hang. Seconds to recover are those after the limit."""
    for _ in range(bench.times(3, 1)):
        rig = bench.rig()
        doomed = bench.random.sample(range(rig.trials), bench.times(4, 1))
        rig.plan({number: [Trouble(_some_step(bench), "hang")] for number in doomed})
        driver = rig.start(patches=[silent_for(_SILENCE_S)])
        row.expect(driver.wait(PATIENCE_S) == 0, f"{rig.name}: exit code {driver.code}")
        _count(rig, row)
        row.message = row.message or driver.line_with("trying it again")
        row.add(rig.audit(bench.undisturbed()), rig.name)
    row.bound("a hanging worker replaced after its limit", most_s=3.0)


def exceed_limit(bench: Bench, row: Row) -> None:
    """Lets trials hang under a `trial_time_limit`: they are ended and recorded, the rest go on."""
    for _ in range(bench.times(3, 1)):
        rig = bench.rig()
        doomed = bench.random.sample(range(rig.trials), bench.times(4, 1))
        rig.plan({number: [Trouble("step 6", "hang", times=99)] for number in doomed})
        driver = rig.start("--trial-time-limit", f"{_SILENCE_S:.0f}s")
        row.expect(driver.wait(PATIENCE_S) == 0, f"{rig.name}: exit code {driver.code}")
        row.injections += len(doomed)
        row.message = row.message or driver.line_with("trial time limit")
        row.add(rig.audit(bench.undisturbed(), dict.fromkeys(doomed, "FAIL")), rig.name)


def _count(rig: Rig, row: Row) -> None:
    for line in rig.journal.lines():
        if line.event == "trouble":
            row.injections += 1
            seconds = rig.recovery_s(line.trial, line.pid, line.at)
            if seconds is not None:
                row.recoveries_s.append(seconds - _SILENCE_S)


def _some_step(bench: Bench) -> str:
    return f"step {bench.random.randrange(1, Protocol().second_steps + 1)}"


def _is_gone(pid: int) -> bool:
    return not is_alive(pid)


def _next_step(rig: Rig, past: set[str], step: int) -> Line | None:
    """The line of a fresh trial that has just done a step, waited for; none when all is done."""
    found: list[Line] = []

    def look() -> bool:
        now = time.monotonic()
        lines = rig.journal.lines()
        found[:] = [
            line
            for line in lines[-20:]
            if line.event == "step"
            and line.trial not in past
            and int(line.argument) >= step
            and int(line.argument) <= Protocol().second_steps - 4
            and now - line.at < 0.05
        ]
        return bool(found) or rig.drivers[-1].has_ended

    wait_until(look, PATIENCE_S)
    return found[-1] if found else None


FAULTS = (
    Fault("worker frozen past its limit, then continued", "silence", freeze),
    Fault("worker frozen, driver killed, worker continued", "silence", freeze_then_kill_driver),
    Fault("worker frozen for good, driver killed", "silence", freeze_for_good_and_kill_driver),
    Fault("trial hangs", "silence", hang),
    Fault("trial hangs under trial_time_limit", "silence", exceed_limit),
)
