"""Storage calls that fail one by one."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy

from benchmarks.faults.driver import Patch
from benchmarks.faults.registry import Fault
from benchmarks.faults.rig import PATIENCE_S, Bench, Row
from benchmarks.faults.servers import as_on_sqlite, on_server

_REFUSED = 2
_SMALL: dict[str, Any] = {
    "trials": 2,
    "settings": {"protocol.second_steps": 8, "protocol.step_s": 0.0},
}
"""A study of as few storage calls as have all kinds."""


def fail_calls(bench: Bench, row: Row) -> None:
    """Lets each call of the storage fail once: before it is done, and after."""
    undisturbed = bench.undisturbed(**_SMALL)
    again = 0
    for when in ("before", "after"):
        for nth in _calls(bench):
            rig = bench.rig(**_SMALL)
            mark = rig.folder / "failed"
            driver = rig.start(patches=[_failing(nth, when, mark)])
            driver.wait(PATIENCE_S)
            if not mark.exists():
                break
            row.injections += 1
            if driver.code != 0:
                # It may be in the first of its calls, with nothing begun: told, and done again.
                again += 1
                lines = driver.text().splitlines()
                row.message = row.message or lines[-1]
                row.expect(
                    driver.code == _REFUSED and "Traceback" not in driver.text(),
                    f"{rig.name}: call {nth}, {when}: {driver.log}",
                )
                row.expect(rig.finish().code == 0, f"{rig.name}: does not go on")
            row.add(rig.audit(undisturbed), f"{rig.name}, call {nth}, {when}")
    row.note = f"in {again} the run ended with one line, and the same command went on"


def _calls(bench: Bench) -> Iterable[int]:
    """Which calls fail, from 0: all; in the short bench one of the first and a later one."""
    if bench.short:
        return bench.random.randrange(6), bench.random.randrange(20, 60)
    return itertools.count()


def _failing(nth: int, when: str, mark: Path) -> Patch:
    """Breaks the connection `before` or `after` its n-th call in this process, from 0."""

    def patch() -> None:
        left = [nth]

        def count(connection: sqlalchemy.Connection, what: str) -> None:
            left[0] -= 1
            if left[0] != -1:
                return
            mark.touch()
            raw = connection.connection.driver_connection
            assert raw is not None
            if what == "commit" and when == "after":
                raw.commit()
            if isinstance(raw, sqlite3.Connection):
                raise sqlalchemy.exc.OperationalError("", {}, OperationalError("it is away"))
            raw.close()

        def on(event: str, what: str) -> None:
            sqlalchemy.event.listen(
                sqlalchemy.Engine, event, lambda connection, *_: count(connection, what)
            )

        if when == "before":
            on("begin", "begin")
        on(f"{when}_cursor_execute", "statement")
        on("commit", "commit")

    return patch


class OperationalError(Exception):
    """What PEP 249 has database drivers raise when a server goes away; SQLite has none."""


FAULTS = (
    Fault(
        "PostgreSQL: each storage call fails once",
        "calls",
        partial(on_server, as_on_sqlite(fail_calls)),
    ),
    Fault("SQLite: each storage call fails once", "calls", fail_calls),
)
