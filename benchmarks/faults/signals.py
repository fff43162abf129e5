"""Drivers told to stop, and workers that leave, freeze or hang."""

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

_INTERRUPTED = 130
_LEAVE_S = 30.0
"""In which a driver that is told to stop has ended."""
_SILENCE_S = 10.0
"""After which a worker counts as hanging here; no machine is to take so long to start one."""


def stop_driver(number: signal.Signals, bench: Bench, row: Row) -> None:
    """Sends the driver a signal at a random moment, and runs the study again until it is done."""
    for _ in range(bench.times(7, 1)):
        rig = bench.rig()
        for _ in range(3):
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
    """Calls `sys.exit` in each trial, once, at a random step."""
    for _ in range(bench.times(3, 1)):
        rig = bench.rig()
        rig.plan({number: [Trouble(_some_step(bench), "exit")] for number in range(rig.trials)})
        _finish(rig, bench, row)
        _count(rig, row)
        row.message = rig.drivers[-1].line_with("trying it again")


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
        _count(rig, row, _SILENCE_S)
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


def _finish(rig: Rig, bench: Bench, row: Row) -> None:
    driver = rig.finish()
    row.expect(driver.code == 0, f"{rig.name}: exit code {driver.code}")
    row.add(rig.audit(bench.undisturbed()), rig.name)


def _count(rig: Rig, row: Row, after_s: float = 0.0) -> None:
    for line in rig.journal.lines():
        if line.event == "trouble":
            row.injections += 1
            seconds = rig.recovery_s(line.trial, line.pid, line.at)
            if seconds is not None:
                row.recoveries_s.append(seconds - after_s)


def _some_step(bench: Bench) -> str:
    return f"step {bench.random.randrange(1, Protocol().second_steps + 1)}"


def _have_happened(rig: Rig, troubles: int) -> bool:
    return sum(line.event == "trouble" for line in rig.journal.lines()) >= troubles


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
    Fault("SIGTERM to the driver", "signals", partial(stop_driver, signal.SIGTERM)),
    Fault("SIGINT to the driver", "signals", partial(stop_driver, signal.SIGINT)),
    Fault("second SIGINT while the workers hang", "signals", stop_driver_twice),
    Fault("sys.exit in a trial", "signals", leave),
    Fault("worker frozen past its limit, then continued", "signals", freeze),
    Fault("worker frozen, driver killed, worker continued", "signals", freeze_then_kill_driver),
    Fault("worker frozen for good, driver killed", "signals", freeze_for_good_and_kill_driver),
    Fault("trial hangs", "signals", hang),
    Fault("trial hangs under trial_time_limit", "signals", exceed_limit),
)
