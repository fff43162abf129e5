"""Kills at named moments of a trial's way."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from functools import partial

import sqlalchemy

from benchmarks.faults.driver import Patch, dying
from benchmarks.faults.journal import EVERY, Trouble
from benchmarks.faults.registry import Fault
from benchmarks.faults.rig import PATIENCE_S, PERIOD, SPACE, Bench, Rig, Row
from benchmarks.faults.toy import Protocol

_SHARED = {
    "space": SPACE.replace("low = 2, high = 97", "low = 8, high = 9"),
    "settings": {"protocol.first_steps": 8},
}
"""A study whose trials share two structures, and so two stages in the cache."""


def kill_driver_at(target: str, when: str, bench: Bench, row: Row) -> None:
    """Kills drivers of one study before or after their n-th call of a function."""
    rig = bench.rig()
    for _ in range(bench.times(10, 1)):
        driver = rig.start(patches=[dying(target, when, bench.random.randrange(1, 4))])
        if driver.wait(PATIENCE_S) == 0:
            break
        row.expect(driver.code == -signal.SIGKILL, f"{rig.name}: exit code {driver.code}")
        row.injections += 1
    _finish(rig, bench, row)


def kill_driver_resuming(bench: Bench, row: Row) -> None:
    """Kills a driver that goes on with a killed one's trials, before and after taking one up."""
    for _ in range(bench.times(8, 1)):
        rig = bench.rig()
        _kill_after_steps(rig, bench.random.randrange(5, 40))
        for when, nth in (("before", 1), ("after", 1), ("after", 2)):
            driver = rig.start(patches=[dying("hpo.roster:Roster.take_up", when, nth)])
            driver.wait(PATIENCE_S)
            row.expect(driver.code == -signal.SIGKILL, f"{rig.name}: exit code {driver.code}")
            row.injections += 1
        _finish(rig, bench, row)


def kill_driver_at_commit(bench: Bench, row: Row) -> None:
    """Kills drivers right after the n-th transaction of their database, n at random."""
    for _ in range(bench.times(10, 1)):
        rig = bench.rig()
        for _ in range(bench.times(4, 2)):
            driver = rig.start(patches=[_dying_at_commit(bench.random.randrange(1, 90))])
            if driver.wait(PATIENCE_S) == 0:
                break
            row.expect(driver.code == -signal.SIGKILL, f"{rig.name}: exit code {driver.code}")
            row.injections += 1
        _finish(rig, bench, row)


def kill_worker_resuming(bench: Bench, row: Row) -> None:
    """Kills the workers that go on with a killed driver's trials, their checkpoint read."""
    for _ in range(bench.times(8, 1)):
        rig = bench.rig()
        _kill_after_steps(rig, bench.random.randrange(24, 40))
        rig.journal.plan({EVERY: [Trouble("resume", "kill")]})
        _finish(rig, bench, row)
        _count_troubles(rig, row)


def kill_worker_at(choose: Callable[[Bench], str], bench: Bench, row: Row) -> None:
    """Kills trials' workers once each, at the moment that `choose` names."""
    for _ in range(bench.times(5, 1)):
        rig = bench.rig()
        doomed = range(0, rig.trials, bench.times(1, 4))
        rig.plan({number: [Trouble(choose(bench), "kill")] for number in doomed})
        _finish(rig, bench, row)
        _count_troubles(rig, row)


def kill_worker_caching(bench: Bench, row: Row) -> None:
    """Kills the worker that writes a stage A entry while the other slots' wait for it."""
    for _ in range(bench.times(10, 1)):
        rig = bench.rig(slots=4, **_SHARED)
        # Every trial that comes to write the entry dies of it once, then writes it.
        rig.journal.plan({EVERY: [Trouble("cache", "linger"), Trouble("cache", "kill")]})
        _finish(rig, bench, row, **_SHARED)
        _count_troubles(rig, row)
        waited = any(line.event == "wait" for line in rig.journal.lines())
        row.expect(waited, f"{rig.name}: nobody waited for a stage A")
        _expect_whole_stages(rig, row)


def _expect_whole_stages(rig: Rig, row: Row) -> None:
    """A stage is trained once for each death of a trainer, and once more."""
    deaths = sum(line.argument == "cache kill" for line in rig.journal.lines())
    steps = int(_SHARED["settings"]["protocol.first_steps"])  # type: ignore[index]
    trained = [line for line in rig.journal.lines() if line.trial.startswith("stage")]
    stages = len({line.trial for line in trained})
    again = len(trained) - steps * (stages + deaths)
    row.expect(again <= 0, f"{rig.name}: {again} steps of stage A done again")
    row.repeated += max(0, len(trained) - steps * stages)


def _finish(rig: Rig, bench: Bench, row: Row, **options: object) -> None:
    driver = rig.finish()
    row.expect(driver.code == 0, f"{rig.name}: exit code {driver.code}")
    row.add(rig.audit(bench.undisturbed(**options)), rig.name)
    row.message = (
        row.message or driver.line_with("trying it again") or driver.line_with("going on")
    )


def _count_troubles(rig: Rig, row: Row) -> None:
    """Counts the kills that the trials did to themselves, and how long recovering took."""
    for line in rig.journal.lines():
        if line.event == "trouble" and line.argument.endswith("kill"):
            row.injections += 1
            seconds = rig.recovery_s(line.trial, line.pid, line.at)
            if seconds is not None:
                row.recoveries_s.append(seconds)


def _kill_after_steps(rig: Rig, steps: int) -> None:
    driver = rig.start()
    rig.wait_for_steps(steps)
    driver.kill()


def _dying_at_commit(nth: int) -> Patch:
    def patch() -> None:
        left = [nth]

        @sqlalchemy.event.listens_for(sqlalchemy.Engine, "commit")
        def _count(_connection: object) -> None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return patch


def _some_checkpoint(bench: Bench) -> str:
    steps = Protocol().second_steps
    return f"checkpoint {bench.random.randrange(PERIOD, steps + 1, PERIOD)}"


_IN_DRIVERS: Mapping[str, tuple[str, str]] = {
    "driver killed after ask": ("hpo.roster:Roster.create", "after"),
    "driver killed with a result written, before tell": ("hpo.roster:Roster.tell", "before"),
    "driver killed after tell, before tidying": ("hpo.roster:tidy", "before"),
}

FAULTS = (
    *(
        Fault(name, "moments", partial(kill_driver_at, *where))
        for name, where in _IN_DRIVERS.items()
    ),
    Fault("driver killed in the middle of resuming", "moments", kill_driver_resuming),
    Fault("driver killed at the n-th transaction", "moments", kill_driver_at_commit),
    Fault("worker killed in the middle of resuming", "moments", kill_worker_resuming),
    Fault(
        "worker killed writing a checkpoint",
        "moments",
        partial(kill_worker_at, _some_checkpoint),
    ),
    Fault(
        "worker killed with its outcome written",
        "moments",
        partial(kill_worker_at, lambda _: "written"),
    ),
    Fault("worker killed writing stage A, others wait", "moments", kill_worker_caching),
)
