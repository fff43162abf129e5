"""A study whose database goes away while it runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy
from toy_bench import MakeBench, MakeStudy
from toy_runs import Watcher, run_study, told_of

from hpo.driver import Driver, Stop
from hpo.events import (
    Event,
    Note,
    TrialEnded,
    TrialEvaluated,
    TrialProgressed,
    TrialStarted,
)
from hpo.roster import Roster
from hpo.storage import DatabaseAwayError, StorageError
from hpo.storage import steadfast as module
from hpo.storage.sqlite import SQLite


class OperationalError(Exception):
    """What PEP 249 has drivers raise when a server goes away."""


class Away(threading.Event):
    """While it is set nobody gets to a database; who tries sees `jump_s` pass."""

    def __init__(self) -> None:
        super().__init__()
        self.jump_s = 0.0
        self._refused = 0

    def monotonic(self) -> float:
        """The clock: it jumps from the second refusal on, when there is a cause to name."""
        return time.monotonic() + max(0, self._refused - 1) * self.jump_s

    def begin(self, _: sqlalchemy.Connection) -> None:
        if self.is_set():
            self._refused += 1
            raise sqlalchemy.exc.OperationalError("", {}, OperationalError("server closed"))


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[Away]:
    one = Away()
    clock = SimpleNamespace(monotonic=one.monotonic, sleep=lambda _: time.sleep(0))
    monkeypatch.setattr(module, "time", clock)
    sqlalchemy.event.listen(sqlalchemy.Engine, "begin", one.begin)
    yield one
    sqlalchemy.event.remove(sqlalchemy.Engine, "begin", one.begin)


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("kind", [TrialStarted, TrialEvaluated, TrialEnded])
def test_away_too_long_it_ends_the_run_and_the_next_one_goes_on(
    kind: type[Event], slots: int, make_study: MakeStudy, tmp_path: Path, away: Away
) -> None:
    study, runs = make_study(overrides={"sampler.name": "random"}), tmp_path / "runs"

    def leave(event: Event) -> bool:
        if isinstance(event, kind) and event.number == 1:  # type: ignore[attr-defined]
            away.set()
        return False

    watch = Watcher(leave)
    away.jump_s = 700.0
    with pytest.raises(StorageError, match=r"hpo.db: .* away for 600 s \(server closed\)\. Run"):
        run_study(study, runs, watch, trials=4, jobs=slots)
    begun = {event.number for event in watch.of(TrialProgressed)}
    away.clear()
    stored = {number for number, *_ in told_of(runs)}
    assert begun <= stored  # nothing was begun that the database did not know
    ended = {event.number for event in watch.of(TrialEnded) if event.outcome == "complete"}
    again = Watcher()
    run_study(study, runs, again, trials=4, jobs=slots)
    # Their outcomes lay in their folders.
    assert ended.isdisjoint(event.number for event in again.of(TrialProgressed))
    run_study(study, tmp_path / "whole", trials=4)
    assert told_of(runs) == told_of(tmp_path / "whole")


def test_away_for_less_it_is_told_all_when_it_is_back(
    make_study: MakeStudy, tmp_path: Path, away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TELL_AFTER_S", 0.0)

    def come_and_go(event: Event) -> bool:
        if isinstance(event, TrialEvaluated) and len(watch.of(TrialEvaluated)) == 1:
            away.set()
        if isinstance(event, Note) and "is away" in event.text:
            away.clear()
        return False

    watch = Watcher(come_and_go)
    run_study(make_study(), tmp_path / "runs", watch)
    run_study(make_study(), tmp_path / "whole")
    assert told_of(tmp_path / "runs") == told_of(tmp_path / "whole")
    assert any(note.startswith("the database is back") for note in watch.notes())


def test_who_waits_for_the_database_keeps_nobody_else_waiting(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, has_ended, waited = bench(), threading.Event(), []

    def sync(_: Roster, is_over: Callable[[], bool]) -> bool:
        if len(waited) == 1:
            waited.append(has_ended.wait(20))
        else:
            waited.append(True)
        return True

    def watch(_: Driver, event: Event) -> None:
        if isinstance(event, TrialEnded):
            has_ended.set()

    monkeypatch.setattr(Roster, "sync", sync)
    assert one.run(2, slots=2, on_event=watch) is Stop.FINISHED
    assert waited == [True, True]


def test_interrupted_while_it_waits_a_trial_is_not_begun(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bench()
    begun = threading.Event()

    def sync(_: Roster, is_over: Callable[[], bool]) -> bool:
        begun.set()
        while not is_over():
            pass
        return False

    def interrupt(driver: Driver, event: Event) -> None:
        if isinstance(event, TrialStarted):
            threading.Thread(target=lambda: (begun.wait(), driver.interrupt())).start()

    with monkeypatch.context() as patch:
        patch.setattr(Roster, "sync", sync)
        assert one.run(1, on_event=interrupt) is Stop.INTERRUPTED
    assert one.states() == "R"
    assert one.of(TrialProgressed) == []
    assert [event.outcome for event in one.of(TrialEnded)] == ["interrupted"]
    assert one.run(1) is Stop.FINISHED


def test_what_runs_when_it_is_given_up_leaves_a_checkpoint(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, failures = bench(), []

    def fail(_: Driver, event: Event) -> None:
        if isinstance(event, TrialEvaluated) and not failures:
            failures.append(StorageError("away"))

    with monkeypatch.context() as patch:
        patch.setattr(Roster, "failure", property(lambda _: failures[0] if failures else None))
        with pytest.raises(StorageError, match="away"):
            one.run(1, on_event=fail)
    assert one.states() == "R"
    assert (one.folder.trial(0) / "checkpoint").is_dir()
    assert one.run(1) is Stop.FINISHED
    assert [event.evaluation.step for event in one.of(TrialEvaluated)] == [3, 6, 9, 12]


def test_a_database_that_is_away_as_the_study_is_taken_is_asked_again(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, left = SQLite.own, 2

    def be_away(database: SQLite, study: str) -> AbstractContextManager[None]:
        nonlocal left
        left -= 1
        if left >= 0:
            raise DatabaseAwayError("the server is starting")
        return own(database, study)

    monkeypatch.setattr(SQLite, "own", be_away)
    assert run_study(make_study(), tmp_path / "runs", trials=1).record.finished == 1
    left = 10**6
    monkeypatch.setattr(module, "_START_PATIENCE_S", 0.1)
    with pytest.raises(DatabaseAwayError, match="the server is starting"):
        run_study(make_study(), tmp_path / "runs", trials=2)
