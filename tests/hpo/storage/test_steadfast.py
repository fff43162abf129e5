"""The storage in memory against SQLite: whatever fails on the way, both end up the same."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

from core.errors import DiskFullError, UserError
from hpo import attributes, trials
from hpo.storage import Database, StorageError, close, locate, telling
from hpo.storage import steadfast as module
from hpo.storage.database import is_transient
from hpo.storage.steadfast import SteadfastStorage, keep_in_memory


class OperationalError(Exception):
    """What PEP 249 has drivers raise when a server goes away."""

    def __init__(self, message: str = "server closed", sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class Proxy:
    """Stands between an engine and its database, and lets some of what passes fail."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self.fails: Callable[[str], str] = _never
        """Told what is asked for; says whether that fails `before` or `after` it was done."""
        for event, what in (("begin", "begin"), ("before_cursor_execute", "statement")):
            sqlalchemy.event.listen(engine, event, lambda *_, what=what: self._pass(what))
        sqlalchemy.event.listen(engine, "commit", self._commit)

    def _pass(self, what: str) -> None:
        if self.fails(what):
            raise _lost()

    def _commit(self, connection: sqlalchemy.Connection) -> None:
        when = self.fails("commit")
        if when == "after":
            raw = connection.connection.driver_connection
            assert isinstance(raw, sqlite3.Connection)
            raw.commit()
        if when:
            raise _lost()


def _never(_: str) -> str:
    return ""


def _lost() -> Exception:
    return sqlalchemy.exc.OperationalError("", {}, OperationalError())


@contextmanager
def _through_proxy(
    database: Database, *, patience_s: float = 60.0, tell: Callable[[str], None] = print
) -> Iterator[tuple[SteadfastStorage, Proxy]]:
    stored = database.open_for_driver()
    proxy = Proxy(stored.engine)
    try:
        with SteadfastStorage(
            stored, "x", where="the shelf", patience_s=patience_s, tell=tell
        ) as storage:
            yield storage, proxy
    finally:
        proxy.fails = _never
        close(stored)


def _live(
    storage: SteadfastStorage, sync: Callable[[], object], number_of_trials: int = 3
) -> optuna.Study:
    """The life of the storage's study, `sync` called after each of its moves."""
    (known, *_) = [*storage.get_all_studies(), None]
    study = optuna.create_study(
        storage=storage,
        study_name="x" if known is None else known.study_name,
        sampler=optuna.samplers.RandomSampler(seed=3),
        load_if_exists=True,
    )
    study.set_user_attr("total", 3)
    for number in range(number_of_trials):
        assert trials.create(study, {"a": 0.25}, {"enqueued": "y"}) == number
        sync()
        trial = trials.take_up(study, number)
        trial.suggest_float("a", 0.0, 1.0)
        trial.suggest_categorical("b", ["p", "q"])
        trials.set_attributes(study, number, {"c": 1.5, "attempt": 1})
        sync()
        trial.report(float("nan") if number else 2.5, 10)
        sync()
        if number == 1:
            trials.pause(study, 1, 10)
            sync()
            trials.thaw(study, 1)
            sync()
            trial = trials.take_up(study, 1)
        trial.report(float("-inf"), 20)
        with trials.transaction(study):
            trials.set_attributes(study, number, {"outcome": [None, "ok"], "attempt": 2})
            if number == 1:
                trial.set_constraint("diverged", 1.0)
            state = TrialState.PRUNED if number == 1 else TrialState.COMPLETE
            study.tell(number, None if number == 1 else 2.5 + number, state=state)
        sync()
    study.set_user_attr("total", 4)
    storage.set_study_system_attr(study._study_id, "d", (1, 2))
    sync()
    return study


def _all_of(study: optuna.Study) -> list[Any]:
    """Everything about a study but the ids of its trials and when they were."""
    ignored = ("_trial_id", "_datetime_start", "datetime_complete", "_values")
    return [
        study.user_attrs,
        study._storage.get_study_system_attrs(study._study_id),
        study.direction,
        *(
            [one.values, repr(one.intermediate_values)]
            + [
                value
                for name, value in sorted(vars(one).items())
                if name not in (*ignored, "intermediate_values")
            ]
            for one in study.get_trials()
        ),
    ]


def _times_of(study: optuna.Study) -> list[Any]:
    return [(one.datetime_start, one.datetime_complete) for one in study.get_trials()]


def _stored(database: Database) -> optuna.Study:
    return optuna.load_study(study_name="x", storage=database.open_for_reading())


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return locate(None, tmp_path)


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.0)


def test_what_is_in_memory_is_in_the_database_and_is_read_back(database: Database) -> None:
    with keep_in_memory(database, "x") as storage:
        study = _live(storage, lambda: None)
        all_of, times = _all_of(study), _times_of(study)
    stored = _stored(database)
    assert [one.state.name for one in stored.get_trials()] == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert stored.get_trials()[1].constraints == {"diverged": 1.0}
    with keep_in_memory(database, "x") as storage:
        again = optuna.load_study(study_name="x", storage=storage)
        for one in (stored, again):
            assert _all_of(one) == all_of
            assert _times_of(one) == times
        assert storage.get_best_trial(again._study_id).number == 0
        assert trials.create(again, {}, {}) == 3
    assert len(_stored(database).get_trials()) == 4


@pytest.mark.parametrize(
    ("when", "what"), [("before", {"begin", "statement", "commit"}), ("after", {"commit"})]
)
def test_each_call_of_the_database_fails_once_and_nothing_differs(
    when: str, what: set[str], database: Database
) -> None:
    """`before` it was done, or `after`: the reply to a COMMIT is lost."""
    stored = database.open_for_driver()
    reader = database.open_for_reading()
    proxy = Proxy(stored.engine)
    undisturbed, is_hit, failing = "", True, 0
    while is_hit:
        calls = 0

        def fails(asked: str, target: int = failing) -> str:
            nonlocal calls
            calls += asked in what
            return when if asked in what and calls == target else ""

        name = f"x{failing}"
        optuna.create_study(storage=stored, study_name=name)
        with SteadfastStorage(stored, name, where="", patience_s=60.0, tell=print) as storage:
            proxy.fails = fails
            study = _live(storage, storage.sync, 2)
            proxy.fails = _never
        again = optuna.load_study(study_name=name, storage=reader)
        assert _all_of(again) == _all_of(study), failing
        assert _times_of(again) == _times_of(study)
        told = str(_all_of(study)).replace(
            study.trials[1].user_attrs[attributes.FIRST_STARTED], ""
        )
        undisturbed = undisturbed or told
        assert told == undisturbed
        is_hit = failing == 0 or calls >= failing
        failing += 1
    assert failing > (45 if when == "before" else 10)
    close(reader)
    close(stored)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_start_survives_one_failing_call(when: str, database: Database) -> None:
    close(database.open_for_driver())
    for failing in range(1, 12):
        name, calls = f"x{failing % 3}", 0
        stored = database.open_for_driver()
        proxy = Proxy(stored.engine)

        def fails(asked: str, failing: int = failing) -> str:
            nonlocal calls
            is_counted = when == "before" or asked == "commit"
            calls += is_counted
            return when if is_counted and calls == failing else ""

        proxy.fails = fails
        with SteadfastStorage(stored, name, where="", patience_s=60.0, tell=print) as storage:
            optuna.create_study(storage=storage, study_name=name, load_if_exists=True)
        close(stored)
    assert len(optuna.get_all_study_names(database.open_for_reading())) == 3


def test_a_slow_database_keeps_nobody_waiting_but_who_asks(database: Database) -> None:
    with keep_in_memory(database, "x") as storage:
        study = optuna.create_study(storage=storage, study_name="x")
        storage.sync()
        other = sqlite3.connect(tmp_file(database), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        _live(storage, lambda: None)
        assert len(study.get_trials()) == 3
        asked = iter((False, False, True))
        assert not storage.sync(lambda: next(asked))
        assert _stored(database).get_trials() == []
        other.rollback()
        assert storage.sync()
        assert len(_stored(database).get_trials()) == 3
        other.close()


def tmp_file(database: Database) -> str:
    return database.url.removeprefix("sqlite:///")


def test_what_a_database_that_is_away_misses_is_kept_and_told(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TELL_AFTER_S", 0.0)
    told: list[str] = []
    with _through_proxy(database, tell=told.append) as (storage, proxy):
        optuna.create_study(storage=storage, study_name="x")
        proxy.fails = lambda _: "before" if not told else ""
        study = _live(storage, lambda: None)
        storage.sync()
        assert _all_of(_stored(database)) == _all_of(study)
    assert told == [
        "the database is away (server closed): what runs goes on, and what is to be stored is "
        "kept",
        "the database is back, and has been told everything",
    ]


def test_a_database_that_is_away_too_long_ends_the_run_in_one_line(database: Database) -> None:
    # Not always the cause: on a busy machine there may be none yet.
    message = r"^the shelf: the database has been away for 0 s \(.*\)\. Run again when"
    with (
        pytest.raises(StorageError, match=message),
        _through_proxy(database) as (storage, proxy),
    ):
        study = optuna.create_study(storage=storage, study_name="x")
        storage.sync()
        assert storage.failure is None
        proxy.fails = lambda _: "before"
        storage._patience_s = 0.05
        trials.create(study, {}, {})
        with pytest.raises(StorageError, match=message):
            storage.sync()
        assert isinstance(storage.failure, StorageError)
        with pytest.raises(StorageError, match=message):
            study.set_user_attr("a", 1)
        assert "a" not in study.user_attrs
        storage.sync()


def test_one_that_never_answers_is_given_up_too(database: Database) -> None:
    with (
        pytest.raises(StorageError, match=r"has been away for 0 s \(no answer\)"),
        keep_in_memory(database, "x", patience_s=0.05) as storage,
    ):
        study = optuna.create_study(storage=storage, study_name="x")
        other = sqlite3.connect(tmp_file(database), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        study.set_user_attr("a", 1)
        try:
            storage.sync()
        finally:
            other.close()


@pytest.mark.parametrize("asked", ["begin", "commit"])
def test_nothing_is_written_once_the_study_may_be_anothers(asked: str, database: Database) -> None:
    """However long the last write hangs: here until the run has given up."""
    with (
        pytest.raises(StorageError, match="has been away"),
        _through_proxy(database) as (storage, proxy),
    ):
        study = optuna.create_study(storage=storage, study_name="x")
        storage.sync()
        hangs = asked

        def hang(what: str) -> str:
            if what == hangs:
                time.sleep(1.0)
            return ""

        # The check before the COMMIT comes before this: what hangs there is waited for.
        proxy.fails = hang
        storage._patience_s = 0.05
        study.set_user_attr("a", 1)
        storage.sync()
    assert not storage._writer.is_alive()
    assert _stored(database).user_attrs == ({} if asked == "begin" else {"a": 1})


def test_who_waits_for_a_file_that_is_busy_writes_nothing_after_its_end(
    database: Database,
) -> None:
    with (
        pytest.raises(StorageError, match="has been away"),
        keep_in_memory(database, "x", patience_s=0.05) as storage,
    ):
        study = optuna.create_study(storage=storage, study_name="x")
        other = sqlite3.connect(tmp_file(database), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        study.set_user_attr("a", 1)
        storage.sync()
    other.rollback()
    other.close()
    assert not storage._writer.is_alive()
    assert _stored(database).user_attrs == {}


@pytest.mark.parametrize("change", ["tell", "create", "set_study"])
def test_a_study_that_is_deleted_meanwhile_ends_the_run_in_one_line(
    change: str, database: Database
) -> None:
    with (
        pytest.raises(StorageError, match=r"somebody has deleted the study.*`hpo repair STUDY`"),
        keep_in_memory(database, "x") as storage,
    ):
        study = optuna.create_study(storage=storage, study_name="x")
        trials.create(study, {}, {})
        storage.sync()
        other = database.open_for_request()
        other.delete_study(other.get_study_id_from_name("x"))
        close(other)
        if change == "tell":
            study.tell(0, 1.0)
        elif change == "create":
            trials.create(study, {}, {})
        else:
            study.set_user_attr("a", 1)
        storage.sync()


class TakenOver(UserError):
    """Another driver has the study."""


def test_who_lost_the_study_writes_nothing_more(database: Database) -> None:
    error = TakenOver("another driver has taken over study 'x'")
    refused = []

    def fence(_: sqlalchemy.Connection) -> None:
        refused.append(1)
        raise error

    stored = database.open_for_driver()
    with (
        pytest.raises(TakenOver) as caught,
        SteadfastStorage(stored, "x", where="", patience_s=60.0, tell=print) as storage,
    ):
        study = optuna.create_study(storage=storage, study_name="x")
        storage.sync()
        sqlalchemy.event.listen(stored.engine, "begin", fence)
        study.set_user_attr("a", 1)
        with pytest.raises(TakenOver):
            storage.sync()
        study.set_user_attr("b", 1)
    assert caught.value is error
    assert refused == [1]
    close(stored)
    assert _stored(database).user_attrs == {}


def test_a_full_disk_is_told_at_once(database: Database) -> None:
    def fill(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA max_page_count=1")  # it cannot grow

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", fill)
    try:
        with (
            pytest.raises(DiskFullError, match="disk full: the database"),
            telling(database),
            keep_in_memory(database, "x") as storage,
        ):
            study = optuna.create_study(storage=storage, study_name="x")
            for number in range(20):
                study.set_user_attr(str(number), "long " * 1000)
                storage.sync()
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "connect", fill)


def test_what_goes_wrong_meanwhile_is_not_hidden_by_the_database(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), _through_proxy(database, patience_s=0.05) as (s, proxy):
        study = optuna.create_study(storage=s, study_name="x")
        proxy.fails = lambda _: "before"
        study.set_user_attr("a", 1)
        raise ZeroDivisionError


def test_what_cannot_be_stored_is_refused_where_it_is_set(database: Database) -> None:
    with keep_in_memory(database, "x") as storage:
        study = optuna.create_study(storage=storage, study_name="x")
        with pytest.raises(TypeError, match="not JSON serializable"):
            study.set_user_attr("a", {1})
        study.set_user_attr("b", {1: (2,)})
        assert study.user_attrs == {"b": {"1": [2]}}
    assert _stored(database).user_attrs == {"b": {"1": [2]}}


def test_a_transaction_is_stored_as_a_whole(database: Database) -> None:
    with _through_proxy(database) as (storage, proxy):
        study = optuna.create_study(storage=storage, study_name="x")
        asked: list[str] = []
        proxy.fails = lambda what: asked.append(what) or ""
        with storage.transaction():
            for key in "abc":
                study.set_user_attr(key, 1)
                time.sleep(0.02)  # in which the writer could
        storage.sync()
        assert asked.count("commit") == 1


def _dbapi(kind: type[sqlalchemy.exc.DBAPIError], original: Exception, **more: Any) -> Exception:
    return kind("", {}, original, **more)


def _sqlite(kind: type[sqlite3.Error], code: int) -> sqlite3.Error:
    error = kind()
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (_lost(), True),
        (OperationalError(), True),
        (_dbapi(sqlalchemy.exc.InternalError, Exception(), connection_invalidated=True), True),
        (_dbapi(sqlalchemy.exc.OperationalError, OperationalError("", "57P01")), True),
        (_dbapi(sqlalchemy.exc.OperationalError, OperationalError("", "53100")), False),
        (sqlalchemy.exc.TimeoutError(), True),
        (_dbapi(sqlalchemy.exc.IntegrityError, Exception()), False),
        (_sqlite(sqlite3.OperationalError, sqlite3.SQLITE_BUSY_SNAPSHOT), True),
        (_sqlite(sqlite3.OperationalError, sqlite3.SQLITE_FULL), False),
        (_sqlite(sqlite3.OperationalError, sqlite3.SQLITE_ERROR), False),
        (_sqlite(sqlite3.DatabaseError, sqlite3.SQLITE_CORRUPT), False),
        (TakenOver("x"), False),
        (ValueError(), False),
    ],
    ids=repr,
)
def test_only_what_may_pass_is_tried_again(error: Exception, expected: bool) -> None:
    assert is_transient(error) is expected
