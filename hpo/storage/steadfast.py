"""A study's storage for its driver: kept in memory, and written behind to the database.

Reads are answered from memory. A change is made there, and one thread writes what is newer in
memory than in the database, all of it in one transaction: a database that is busy, restarting or
away delays nothing but what waits in `sync`. What is written are rows as they are to be, found by
what names them (trial number, name, step), so that a transaction whose reply was lost is simply
written again. Relies on names of the pinned Optuna with an underscore.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.storage.database import Database, DatabaseAwayError, StorageError, close, is_transient
from hpo.storage.rows import (
    PARAMS,
    STEPS,
    STUDIES,
    STUDY_SYSTEM,
    STUDY_USER,
    SYSTEM,
    TRIALS,
    USER,
    VALUES,
    Content,
    Row,
    adopt,
    as_stored,
    content_of,
    rows_of,
    upsert,
)

PATIENCE_S = 600.0
"""How long a database may fail or be silent before the run ends."""
_START_PATIENCE_S = 5.0
"""The same before anything runs: a server may restart, but its name may be wrong, too."""
_TELL_AFTER_S = 5.0
"""A database that is away for less is not worth a line."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
_LOOK_EVERY_S = 0.2

_T = TypeVar("_T")

_logger = logging.getLogger(__name__)


@contextmanager
def keep_in_memory(
    database: Database,
    study_name: str,
    *,
    patience_s: float = PATIENCE_S,
    tell: Callable[[str], None] = _logger.warning,
) -> Iterator[SteadfastStorage]:
    """The storage for the one driver of a study that is owned; leaving waits for the database.

    `tell` is called from a thread when the database goes away and when it is back.
    """
    stored = patiently(database.open_for_driver)
    try:
        with SteadfastStorage(
            stored, study_name, where=database.shown, patience_s=patience_s, tell=tell
        ) as storage:
            yield storage
    finally:
        close(stored)


def patiently(call: Callable[[], _T]) -> _T:
    """What `call` returns, called again for `_START_PATIENCE_S` while the database is away."""
    give_up = time.monotonic() + _START_PATIENCE_S
    pause = _FIRST_PAUSE_S
    while True:
        try:
            return call()
        except Exception as error:
            is_away = isinstance(error, DatabaseAwayError) or is_transient(error)
            if not is_away or time.monotonic() > give_up:
                raise
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)


class _EndedError(Exception):
    """The writer is to store nothing more, not even what it has begun to."""


class SteadfastStorage(InMemoryStorage):
    """The storage of one study, which its driver owns; a context in which it is written behind.

    Once it has failed every further change raises what it failed with.
    """

    def __init__(
        self,
        database: RDBStorage,
        study_name: str,
        *,
        where: str,
        patience_s: float,
        tell: Callable[[str], None],
    ) -> None:
        """Reads the study, if there is one. `where` names the database in messages."""
        super().__init__()
        self._database = database
        self._where = where
        self._patience_s = patience_s
        self._tell = tell
        self._changed = threading.Condition(threading.RLock())
        self._newer: dict[Row, None] = {}
        self._changes = self._stored = 0
        self._ids: dict[int, int] = {}
        """Trial number -> its id in the database, of trials known to be there."""
        self._trying_since: float | None = None
        self._cause: BaseException | None = None
        self._failure: BaseException | None = None
        self._is_closing = False
        self._study_id: int | None = None
        """In the database."""
        patiently(partial(self._read, study_name))
        self._writer = threading.Thread(target=self._write_behind, daemon=True)

    def __enter__(self) -> Self:
        self._writer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Waits until everything is stored. What went wrong before is not hidden by a failure.

        Nothing is written after that: the study may be another driver's by then.
        """
        try:
            self.sync()
        except Exception:
            if error is None:
                raise
        finally:
            with self._changed:
                self._is_closing = True
                self._changed.notify_all()
            # It never waits for long in a file. In a server's connection it may, which is the one
            # that holds the study's lock: nobody else has the study before that has ended.
            is_file = self._database.engine.dialect.name == "sqlite"
            self._writer.join(None if is_file else _LOOK_EVERY_S)

    @property
    def failure(self) -> BaseException | None:
        """Why nothing is stored any more; `None` while there is hope."""
        with self._changed:
            if self._failure is None and self._tried_s > self._patience_s:
                cause = "no answer" if self._cause is None else _in_a_line(self._cause)
                self._failure = StorageError(
                    f"the database has been away for {self._patience_s:.0f} s ({cause})",
                    where=self._where,
                    way_out="Run again when it is back: what it was not told is in the trials' "
                    "folders.",
                )
                self._changed.notify_all()
            return self._failure

    @property
    def _is_over(self) -> bool:
        """Whether nothing more is to be stored."""
        return self._is_closing or self.failure is not None

    def _refuse_end(self) -> None:
        if self._is_over:
            raise _EndedError

    @property
    def _tried_s(self) -> float:
        """How long what is newer has been tried to be stored."""
        since = self._trying_since
        return 0.0 if since is None else time.monotonic() - since

    def sync(self, is_over: Callable[[], bool] = lambda: False) -> bool:
        """Waits until all changes made so far are stored; false if `is_over` before.

        Raises: what the storage failed with, a StorageError if the database was away too long.
        """
        with self._changed:
            upto = self._changes
        while True:
            with self._changed:
                if self._stored < upto and self.failure is None:
                    self._changed.wait(_LOOK_EVERY_S)
                if self._stored >= upto:
                    return True
                if self._failure is not None:
                    raise self._failure
            if is_over():  # asked without the lock: it may want one that a change is made under
                return False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is changed within is stored in one transaction: all of it or nothing."""
        with self._changed:
            yield

    # Changes: in memory, and noted as newer there

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        """See Optuna. The row is made at once: nothing can be begun without it."""
        in_memory = super().create_new_study(directions, study_name)
        if self._study_id is None:
            self._study_id = patiently(partial(self._create, directions, study_name))
        return in_memory

    def _create(self, directions: Sequence[StudyDirection], study_name: str | None) -> int:
        try:
            return self._database.create_new_study(directions, study_name)
        except DuplicatedStudyError:
            # By the call before, whose reply was lost: only its owner creates a study.
            if study_name is None:
                raise
            return self._database.get_study_id_from_name(study_name)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        with self._change(Row(STUDY_USER, None, key)):
            super().set_study_user_attr(study_id, key, as_stored(value))

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        with self._change(Row(STUDY_SYSTEM, None, key)):
            super().set_study_system_attr(study_id, key, as_stored(value))

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        with self._change():
            trial_id = super().create_new_trial(study_id, template_trial)
            self._note(*rows_of(self.get_trial(trial_id)))
            return trial_id

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        with self._change(Row(PARAMS, self._number(trial_id), param_name)):
            super().set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        number = self._number(trial_id)
        rows = [Row(VALUES, number, objective) for objective in range(len(values or ()))]
        with self._change(Row(TRIALS, number, None), *rows):
            return super().set_trial_state_values(trial_id, state, values)

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        with self._change(Row(STEPS, self._number(trial_id), step)):
            super().set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._change(Row(USER, self._number(trial_id), key)):
            super().set_trial_user_attr(trial_id, key, as_stored(value))

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._change(Row(SYSTEM, self._number(trial_id), key)):
            super().set_trial_system_attr(trial_id, key, as_stored(value))

    def _number(self, trial_id: int) -> int:
        return self.get_trial_number_from_id(trial_id)

    @contextmanager
    def _change(self, *rows: Row) -> Iterator[None]:
        """Notes `rows` as newer once what is within has changed them."""
        with self._changed:
            if self.failure is not None:
                raise self.failure
            yield
            self._note(*rows)

    def _note(self, *rows: Row) -> None:
        if rows:
            self._newer.update(dict.fromkeys(rows))
            self._changes += 1
            self._changed.notify_all()

    # Reading, once, and writing behind

    def _read(self, study_name: str) -> None:
        try:
            self._study_id = self._database.get_study_id_from_name(study_name)
        except KeyError:
            return
        stored = self._study_id
        directions = self._database.get_study_directions(stored)
        of_user = self._database.get_study_user_attrs(stored)
        of_system = self._database.get_study_system_attrs(stored)
        found = self._database.get_all_trials(stored, deepcopy=False)
        # Nothing of the database from here on: what failed before can be called again.
        study = super().create_new_study(directions, study_name)
        for key, value in of_user.items():
            super().set_study_user_attr(study, key, value)
        for key, value in of_system.items():
            super().set_study_system_attr(study, key, value)
        self._ids = {trial.number: trial._trial_id for trial in found}
        adopt(self, study, found)

    def _write_behind(self) -> None:
        try:
            while self._write_newer():
                pass
        except BaseException as error:  # raised by the next change or `sync`
            with self._changed:
                self._failure = self._failure or error
                self._changed.notify_all()
        finally:
            self._database.remove_session()

    def _write_newer(self) -> bool:
        """Waits for changes and stores them; false to end."""
        with self._changed:
            while not self._newer and not self._is_closing:
                self._changed.wait()
            if not self._newer:
                return False
        pause = _FIRST_PAUSE_S
        told = False
        while not self._is_over:
            rows, upto, contents = self._take()
            try:
                ids = self._store(contents)
            except _EndedError:
                return False
            except Exception as error:
                with self._changed:
                    self._newer = rows | self._newer
                    self._cause = error
                if not is_transient(error):
                    raise
                if not told and self._tried_s > _TELL_AFTER_S:
                    told = True
                    self._tell(
                        f"the database is away ({_in_a_line(error)}): what runs goes on, and "
                        "what is to be stored is kept"
                    )
                with self._changed:
                    self._changed.wait_for(lambda: self._is_over, pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                continue
            with self._changed:
                self._ids |= ids
                self._stored = upto
                self._trying_since = self._cause = None
                self._changed.notify_all()
            if told:
                self._tell("the database is back, and has been told everything")
            return True
        return False

    def _take(self) -> tuple[dict[Row, None], int, list[tuple[Row, Content]]]:
        """Takes the rows that are newer; how many changes that covers; what the rows are to hold.

        All as of one moment, so that the database is never between two.
        """
        with self._changed:
            rows, self._newer = self._newer, {}
            self._trying_since = self._trying_since or time.monotonic()
            return rows, self._changes, [(row, self._content(row)) for row in rows]

    def _content(self, row: Row) -> Content:
        (study,) = self._studies.values()
        if row.number is None:
            of_user = row.table is STUDY_USER
            attributes: dict[Any, Any] = study.user_attrs if of_user else study.system_attrs
            stored = json.dumps(attributes[row.key])
            return {"study_id": self._study_id, "key": row.key, "value_json": stored}
        return content_of(row.table, study.trials[row.number], row.key)

    def _store(self, contents: Sequence[tuple[Row, Content]]) -> dict[int, int]:
        """Writes rows in one transaction; returns the ids of their trials by number."""
        # A database that is busy is tried again by this thread, which looks whether it still may.
        with (
            self._database.engine.connect() as connection,
            connection.execution_options(patience_s=0.0).begin(),
        ):
            self._refuse_end()
            mine = sqlalchemy.select(STUDIES).where(STUDIES.c.study_id == self._study_id)
            if connection.execute(mine).first() is None:
                raise self._gone()
            ids = self._store_trials(connection, contents)
            parts: dict[sqlalchemy.Table, list[Content]] = {}
            for row, content in contents:
                if row.table is not TRIALS:
                    whose = {} if row.number is None else {"trial_id": ids[row.number]}
                    parts.setdefault(row.table, []).append({**whose, **content})
            for table, part in parts.items():
                upsert(connection, table, part)
            self._refuse_end()
        return ids

    def _store_trials(
        self, connection: sqlalchemy.Connection, contents: Sequence[tuple[Row, Content]]
    ) -> dict[int, int]:
        trials = {row.number: content for row, content in contents if row.table is TRIALS}
        numbers = {row.number for row, _ in contents if row.number is not None}
        ids = {number: self._ids[number] for number in numbers & self._ids.keys()}
        # Some of these may be there all the same: their transaction's reply was lost.
        own = TRIALS.c.study_id == self._study_id
        found = sqlalchemy.select(TRIALS.c.number, TRIALS.c.trial_id).where(
            own, TRIALS.c.number.in_(numbers - self._ids.keys())
        )
        if numbers - self._ids.keys():
            ids |= {row.number: row.trial_id for row in connection.execute(found)}
        for number in sorted(numbers):
            if number not in ids:
                row = {"study_id": self._study_id, "number": number, **trials[number]}
                added = sqlalchemy.insert(TRIALS).values(row).returning(TRIALS.c.trial_id)
                ids[number] = connection.execute(added).scalar_one()
            elif number in trials:
                mine = TRIALS.c.trial_id == ids[number]
                update = sqlalchemy.update(TRIALS).where(mine).values(trials[number])
                if connection.execute(update).rowcount != 1:
                    raise self._gone()
        return ids

    def _gone(self) -> StorageError:
        return StorageError(
            "somebody has deleted the study, or a trial of it, while it was run",
            where=self._where,
            way_out="`hpo repair STUDY` rebuilds it from the trials' folders.",
        )


def _in_a_line(error: BaseException) -> str:
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
