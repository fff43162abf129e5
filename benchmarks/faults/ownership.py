"""One driver a study: others refused, dead owners' locks taken over."""

from __future__ import annotations

import json
import os
import re
import signal
import time

from benchmarks.faults.driver import Driver
from benchmarks.faults.registry import Fault
from benchmarks.faults.rig import PATIENCE_S, Bench, Row

_REFUSED = 2


def second_driver(bench: Bench, row: Row) -> None:
    """Starts a driver on a study that is being run: refused, naming the first."""
    for _ in range(bench.times(20, 1)):
        rig = bench.rig()
        first = rig.start()
        rig.wait_for_steps(bench.random.randrange(1, 20))
        second = rig.start()
        _expect_refused(second, first, row)
        row.message = row.message or second.line_with("is being run by")
        row.expect(first.wait(PATIENCE_S) == 0, f"{rig.name}: exit code {first.code}")
        row.add(rig.audit(bench.undisturbed()), rig.name)


def eight_drivers(bench: Bench, row: Row) -> None:
    """Starts eight drivers at once where there is no database: one runs, seven are refused."""
    for _ in range(bench.times(10, 1)):
        rig = bench.rig()
        drivers = [rig.start() for _ in range(8)]
        for driver in drivers:
            driver.wait(PATIENCE_S)
        owners = [one for one in drivers if one.code == 0]
        if row.expect(len(owners) == 1, f"{rig.name}: exit codes {[one.code for one in drivers]}"):
            for driver in drivers:
                if driver is not owners[0]:
                    _expect_refused(driver, owners[0], row, are_racing=True)
        row.add(rig.audit(bench.undisturbed()), rig.name)
        row.message = row.message or drivers[-1].line_with("is being run by")


def stale_lock(bench: Bench, row: Row) -> None:
    """Kills a driver and writes another living process's number in its place: taken over."""
    for _ in range(bench.times(10, 1)):
        rig = bench.rig()
        driver = rig.start()
        rig.wait_for_steps(bench.random.randrange(1, 20))
        at = driver.kill()
        owners = [*rig.runs.rglob("*.owner.json")]
        for path in owners:
            owner = json.loads(path.read_text())
            row.expect(owner["pid"] == driver.pid, f"{path.name} names process {owner['pid']}")
            path.write_text(json.dumps({**owner, "pid": os.getpid()}))
        row.expect(bool(owners), f"{rig.name}: nobody wrote who owns the study")
        row.injections += 1
        row.expect(rig.finish().code == 0, f"{rig.name}: exit code {rig.drivers[-1].code}")
        row.recoveries_s += [
            line.at - at
            for line in rig.journal.lines()
            if line.event == "begin" and line.at > rig.drivers[-1].begun
        ][:1]
        row.message = row.message or rig.drivers[-1].line_with("going on")
        row.add(rig.audit(bench.undisturbed()), rig.name)


def frozen_owner(bench: Bench, row: Row) -> None:
    """Starts a second driver while the first is frozen: refused, however long that sleeps."""
    for _ in range(bench.times(5, 1)):
        rig = bench.rig()
        first = rig.start()
        rig.wait_for_steps(bench.random.randrange(1, 20))
        first.send(signal.SIGSTOP)
        time.sleep(1.0)
        second = rig.start()
        _expect_refused(second, first, row)
        row.message = row.message or second.line_with("is being run by")
        first.send(signal.SIGCONT)
        row.expect(first.wait(PATIENCE_S) == 0, f"{rig.name}: exit code {first.code}")
        row.add(rig.audit(bench.undisturbed()), rig.name)


def _expect_refused(driver: Driver, owner: Driver, row: Row, *, are_racing: bool = False) -> None:
    """Of one line, that names who has the study."""
    row.injections += 1
    row.expect(driver.wait(PATIENCE_S) == _REFUSED, f"{driver.log}: exit code {driver.code}")
    lines = driver.text().splitlines()
    named = re.search(rf"is being run by .*\b{owner.pid}\b", driver.text()) is not None
    # Where all start at once the owner may not have written its name yet.
    named |= are_racing and "is being run by another process" in driver.text()
    row.expect(len(lines) == 1 and named, f"{driver.log}: {lines}")


FAULTS = (
    Fault("second driver on a study", "ownership", second_driver),
    Fault("eight drivers at once, no database yet", "ownership", eight_drivers),
    Fault("stale lock, its process number reused", "ownership", stale_lock),
    Fault("second driver while the first is frozen", "ownership", frozen_owner),
)
