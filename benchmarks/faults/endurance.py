"""Time: a clock that jumps, and a thousand trials of one driver."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.driver import clock_jumping
from benchmarks.faults.journal import Trouble
from benchmarks.faults.registry import Fault
from benchmarks.faults.rig import PATIENCE_S, Bench, Rig, Row

_HOUR_S = 3600.0
_GROWTH_BYTES = 2**20
"""The driver may grow by less per 100 trials."""
_LIMIT_S = 900.0


def jump(bench: Bench, row: Row) -> None:
    """Moves the clock of driver and workers by an hour, forward and back: nobody times out."""
    for _ in range(bench.times(10, 1)):
        rig = bench.rig()
        ahead, back = Trouble("step 5", "clock forward"), Trouble("step 9", "clock back")
        rig.plan({number: [ahead, back] for number in range(0, rig.trials, 3)})
        jumps = clock_jumping([0.6, 1.2, 1.8], [_HOUR_S, -_HOUR_S, 0.0])
        driver = rig.start("--time-limit", "10m", patches=[jumps])
        row.expect(driver.wait(PATIENCE_S) == 0, f"{rig.name}: exit code {driver.code}")
        row.injections += 3 + sum(line.event == "trouble" for line in rig.journal.lines())
        attempts = sum(line.event == "begin" for line in rig.journal.lines())
        row.expect(attempts == rig.trials, f"{rig.name}: {attempts} attempts")
        row.add(rig.audit(bench.undisturbed()), rig.name)


def endure(bench: Bench, row: Row) -> None:
    """Runs many trials of no work in one driver: neither memory nor descriptors may add up."""
    trials = bench.times(1000, 60)
    settings = {"protocol.second_steps": 4, "protocol.step_s": 0.0}
    rig = bench.rig(trials=trials, settings=settings)
    driver = rig.start()
    seen: list[_Use] = []
    while not driver.has_ended and time.monotonic() - driver.begun < _LIMIT_S:
        if (use := _use_of(driver.pid, rig)) is not None:
            seen.append(use)
        time.sleep(0.1)
    row.expect(driver.wait(PATIENCE_S) == 0, f"{rig.name}: exit code {driver.code}")
    row.injections = trials
    row.add(rig.audit(rig.told()), rig.name)
    # The first trials load what all need; the last seconds belong to the end of the study.
    during = [use for use in seen if trials // 4 <= use.trials < trials]
    if not row.expect(len(during) > 1, f"{rig.name}: too quick to be measured"):
        return
    first, last = during[0], during[-1]
    hundreds = (last.trials - first.trials) / 100
    grown = (last.memory_bytes - first.memory_bytes) / hundreds
    # The fewest: at any one look a file may be open that is just being written.
    earlier, later = (
        min(use.descriptors for use in half)
        for half in (during[: len(during) // 2], during[len(during) // 2 :])
    )
    more = (later - earlier) / (hundreds / 2)
    row.note = (
        f"per 100 trials {grown / 2**20:+.2f} MiB and {more:+.1f} descriptors, "
        f"{last.memory_bytes / 2**20:.0f} MiB and {last.descriptors} at the end"
    )
    if not bench.short:  # a few trials tell nothing: caches are filling
        row.expect(grown < _GROWTH_BYTES, f"the driver grows: {row.note}")
    # One may come late and stay, as a connection of a thread that rests at first.
    row.expect(more < 1 or later - earlier <= 1, f"the driver keeps descriptors: {row.note}")


@dataclass(frozen=True)
class _Use:
    """What a process holds."""

    trials: int
    """Begun so far."""
    memory_bytes: int
    descriptors: int


def _use_of(pid: int, rig: Rig) -> _Use | None:
    begun = sum(line.event == "begin" for line in rig.journal.lines())
    try:
        # Not what is shared with the bench, from which it was forked.
        status = Path(f"/proc/{pid}/status").read_text()
        anonymous = next(line for line in status.splitlines() if line.startswith("RssAnon:"))
        descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except (OSError, StopIteration):
        return None
    return _Use(begun, int(anonymous.split()[1]) * 1024, descriptors)


FAULTS = (
    Fault("clock jumps by an hour both ways", "endurance", jump),
    Fault("1,000 trivial trials", "endurance", endure),
)
