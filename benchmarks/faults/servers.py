"""A PostgreSQL server that restarts, dies, ends sessions or loses replies, and kills on it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from benchmarks.faults import drivers, ownership, workers
from benchmarks.faults.driver import wait_until
from benchmarks.faults.registry import Fault
from benchmarks.faults.rig import PATIENCE_S, Bench, Rig, Row
from benchmarks.faults.toy import Protocol
from benchmarks.losing_proxy import LosingProxy
from benchmarks.postgres_server import NoServerError, PostgresServer

_REFUSED = 2
_MINUTE_S = 60.0

OnServer = Callable[[PostgresServer, Bench, Row], None]


def on_server(inject: OnServer, bench: Bench, row: Row) -> None:
    """Injects a fault into studies on an empty database of a server, where there is one."""
    with _serving(bench, row) as server:
        if server is not None:
            inject(server, bench, row)


def as_on_sqlite(inject: Callable[[Bench, Row], None]) -> OnServer:
    """A fault that does to studies on a server what it does to those in a file."""
    return lambda _server, bench, row: inject(bench, row)


@contextmanager
def _serving(bench: Bench, row: Row) -> Iterator[PostgresServer | None]:
    before = bench.storage
    try:
        server = bench.server()
    except NoServerError as error:
        row.note = f"not done: {error}"
        yield None
        return
    bench.storage = server.create_database()
    try:
        yield server
    finally:
        bench.storage = before


def restart(server: PostgresServer, bench: Bench, row: Row) -> None:
    """Stops the server fast and starts it again, twice a study."""
    for _ in range(bench.times(10, 1)):
        rig = bench.rig()
        driver = rig.start()
        for _ in range(2):
            rig.wait_for_steps(rig.steps() + bench.random.randrange(5, 60))
            if not driver.has_ended:
                server.stop()
                _start_again(server, rig, row)
        _expect_end(rig, bench, row)


def crash(server: PostgresServer, bench: Bench, row: Row) -> None:
    """Kills the server and leaves it away for some time, in which trials go on."""
    done = []
    for away_s in (0.0, 2.0) if bench.short else (0.0, 0.0, 0.0, 20.0, 60.0):
        # A trial outlasts the absence.
        settings = {"protocol.step_s": max(0.02, 1.5 * away_s / Protocol().second_steps)}
        rig = bench.rig(trials=4, settings=settings)
        rig.start()
        rig.wait_for_steps(bench.random.randrange(3, 9))
        server.kill()
        gone = time.monotonic()
        time.sleep(away_s)
        back = time.monotonic()
        _start_again(server, rig, row)
        _expect_end(rig, bench, row)
        steps = [line.at for line in rig.journal.lines() if line.event == "step"]
        if away_s:
            late = any((gone + back) / 2 < at < back for at in steps)
            row.expect(late, f"{rig.name}: no step while the server was away")
        done.append(f"{sum(gone < at < back for at in steps)} in {away_s:g} s")
    row.note = f"steps done while it was away: {', '.join(done)}"


def end_sessions(server: PostgresServer, bench: Bench, row: Row) -> None:
    """Ends all sessions of the user again and again."""
    lasts_s, every_s = (3.0, 0.2) if bench.short else (_MINUTE_S, 1.0)
    rig = bench.rig(settings={"protocol.step_s": lasts_s / 100})
    driver = rig.start()
    rig.wait_for_steps(2)
    end = time.monotonic() + lasts_s
    while time.monotonic() < end and not driver.ends_within(every_s):
        server.end_sessions()
        row.injections += 1
    _expect_end(rig, bench, row)


def lose_replies(server: PostgresServer, bench: Bench, row: Row) -> None:
    """Loses the reply to every n-th COMMIT, and the session with it."""
    assert bench.storage is not None
    for every in range(2, 2 + bench.times(9, 1)):
        rig = bench.rig()
        proxy = LosingProxy(server.port, most=10)
        through = bench.storage.replace(str(server.port), str(proxy.port))
        driver = rig.start("--storage", through)
        with proxy:
            # Until then the database is opened: a fault of its own, see the storage calls.
            rig.wait_for_steps(1)
            proxy.every = every
            driver.wait(PATIENCE_S)
        row.injections += proxy.lost
        row.expect(proxy.lost > 0, f"{rig.name}: nothing was lost")
        _expect_end(rig, bench, row)


def take_over(server: PostgresServer, bench: Bench, row: Row) -> None:
    """Freezes a driver, ends its session, and runs the study to its end on another machine."""
    for _ in range(bench.times(5, 1)):
        rig = bench.rig()
        first = rig.start()
        rig.wait_for_steps(bench.random.randrange(5, 60))
        frozen = [first.pid, *first.workers()]
        _signal(frozen, signal.SIGSTOP)
        server.end_sessions()
        # The other machine sees the database, and no file of this one.
        hidden = rig.folder.rename(bench.folder / f"{rig.name}-hidden")
        other = bench.rig(name=rig.name)
        row.expect(other.finish().code == 0, f"{rig.name}: {other.drivers[0].text()}")
        row.add(other.audit(bench.undisturbed()), rig.name)
        row.injections += 1
        rig.folder.rename(bench.folder / f"{rig.name}-other")
        hidden.rename(rig.folder)
        database = str(bench.storage).rpartition("/")[2]
        before = server.contents(database)
        at = time.monotonic()
        _signal(frozen, signal.SIGCONT)
        row.expect(first.wait(PATIENCE_S) == _REFUSED, f"{rig.name}: exit code {first.code}")
        row.recoveries_s.append(time.monotonic() - at)
        row.message = row.message or first.line_with("was taken over")
        row.expect("was taken over" in first.text(), f"{rig.name}: {first.log} does not say why")
        row.expect("Traceback" not in first.text(), f"{rig.name}: a traceback")
        row.expect(server.contents(database) == before, f"{rig.name}: it wrote all the same")


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _start_again(server: PostgresServer, rig: Rig, row: Row) -> None:
    """Starts the server; seconds to recover are those until it has been told what it missed."""
    server.start()
    back = time.monotonic()
    row.injections += 1
    saved = sum(line.event == "checkpoint" for line in rig.journal.lines())

    def is_told() -> bool:
        return rig.drivers[-1].has_ended or rig.evaluations() >= saved

    if wait_until(is_told, PATIENCE_S):
        row.recoveries_s.append(time.monotonic() - back)


def _expect_end(rig: Rig, bench: Bench, row: Row) -> None:
    driver = rig.drivers[-1]
    row.expect(driver.wait(2 * PATIENCE_S) == 0, f"{rig.name}: exit {driver.code}, {driver.log}")
    row.message = row.message or driver.line_with("the database is away")
    row.add(rig.audit(bench.undisturbed()), rig.name)


_KILLS: dict[str, Callable[[Bench, Row], None]] = {
    "PostgreSQL: worker killed": workers.kill_workers,
    "PostgreSQL: driver killed": drivers.kill_driver,
    "PostgreSQL: driver and workers killed": drivers.kill_all,
    "PostgreSQL: eight drivers, no tables yet": ownership.eight_drivers,
}
_SERVERS: dict[str, OnServer] = {
    "PostgreSQL restarted": restart,
    "PostgreSQL killed, away for 0, 20 and 60 s": crash,
    "PostgreSQL ends sessions every second": end_sessions,
    "PostgreSQL: reply lost after COMMIT": lose_replies,
    "PostgreSQL: driver cut off and taken over": take_over,
    **{name: as_on_sqlite(inject) for name, inject in _KILLS.items()},
}

FAULTS = (
    *(Fault(name, "servers", partial(on_server, inject)) for name, inject in _SERVERS.items()),
)
