"""Trials as the rows of Optuna's tables. Relies on the tables of the pinned Optuna.

What is written is found by what names it (table, trial number, name or step), not by Optuna's ids
alone: so a row can be written again whose transaction's reply was lost.
"""

from __future__ import annotations

import copy
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from hpo.storage.database import StorageError

STUDIES = models.StudyModel.__table__
TRIALS = models.TrialModel.__table__
PARAMS = models.TrialParamModel.__table__
VALUES = models.TrialValueModel.__table__
STEPS = models.TrialIntermediateValueModel.__table__
USER = models.TrialUserAttributeModel.__table__
SYSTEM = models.TrialSystemAttributeModel.__table__
STUDY_USER = models.StudyUserAttributeModel.__table__
STUDY_SYSTEM = models.StudySystemAttributeModel.__table__
_KEY = {PARAMS: "param_name", VALUES: "objective", STEPS: "step"}
"""The column that names a row among those of its trial or study, where it is not `key`."""
_INSERT: Mapping[str, Callable[[sqlalchemy.Table], Any]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}
_READ_AT_ONCE = 500
"""Trials."""

Content = dict[str, Any]


class Row(NamedTuple):
    """What names a row."""

    table: sqlalchemy.Table
    number: int | None
    """The trial's; `None`: the study's."""
    key: str | int | None
    """What names the row among the trial's or the study's; `None`: it is the trial's own."""


def rows_of(trial: FrozenTrial) -> Iterator[Row]:
    """All rows of a trial."""
    yield Row(TRIALS, trial.number, None)
    for table, keys in (
        (PARAMS, trial.params),
        (VALUES, range(len(trial.values or ()))),
        (STEPS, trial.intermediate_values),
        (USER, trial.user_attrs),
        (SYSTEM, trial.system_attrs),
    ):
        for key in keys:
            yield Row(table, trial.number, key)


def content_of(table: sqlalchemy.Table, trial: FrozenTrial, key: Any) -> Content:
    """What a trial's row is to hold, beside whose it is."""
    if table is TRIALS:
        return {
            "state": trial.state,
            "datetime_start": _in_utc(trial.datetime_start),
            "datetime_complete": _in_utc(trial.datetime_complete),
        }
    if table is PARAMS:
        distribution = trial.distributions[key]
        return {
            "param_name": key,
            "param_value": distribution.to_internal_repr(trial.params[key]),
            "distribution_json": distribution_to_json(distribution),
        }
    if table is VALUES:
        value, kind = models.TrialValueModel.value_to_stored_repr(trial.values[key])
        return {"objective": key, "value": value, "value_type": kind}
    if table is STEPS:
        to_stored = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr
        value, of_step = to_stored(trial.intermediate_values[key])
        return {"step": key, "intermediate_value": value, "intermediate_value_type": of_step}
    attributes = trial.user_attrs if table is USER else trial.system_attrs
    return {"key": key, "value_json": json.dumps(attributes[key])}


def upsert(
    connection: sqlalchemy.Connection, table: sqlalchemy.Table, rows: Sequence[Content]
) -> None:
    """Makes `rows` the table's, in place of those of the same names."""
    whose = "trial_id" if "trial_id" in rows[0] else "study_id"
    names = [whose, _KEY.get(table, "key")]
    insert = _INSERT[connection.dialect.name](table)
    others = {column: insert.excluded[column] for column in rows[0] if column not in names}
    connection.execute(insert.on_conflict_do_update(index_elements=names, set_=others), rows)


def as_stored(value: Any) -> Any:
    """A value as it will be read from the database, where tuples are lists."""
    return _parsed(json.dumps(value))


class RowStorage(RDBStorage):
    """Optuna's storage, which reads the trials of a study as plain rows, some hundred at a time.

    Optuna makes an object of each row and keeps them all until the last trial is read, and two
    distributions of each parameter: 10,000 trials of the league take it 750 MiB and 17 s, and here
    70 MiB and 6 s (docs/log.md, "What 10,000 trials take").
    """

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """See `RDBStorage`: newer trials than that, and the included ones, in order, as of now."""
        wanted = TRIALS.c.trial_id > trial_id_greater_than
        if older := [one for one in included_trial_ids if one <= trial_id_greater_than]:
            wanted |= TRIALS.c.trial_id.in_(older)
        query = sqlalchemy.select(TRIALS).where(TRIALS.c.study_id == study_id, wanted)
        if states is not None:
            query = query.where(TRIALS.c.state.in_([one for one in TrialState if one in states]))
        with _create_scoped_session(self.scoped_session) as session:
            models.StudyModel.find_or_raise_by_id(study_id, session)
            found = session.execute(query.order_by(TRIALS.c.trial_id)).all()
            starts = range(0, len(found), _READ_AT_ONCE)
            pages = (found[start : start + _READ_AT_ONCE] for start in starts)
            return [trial for page in pages for trial in _read(session, page)]


def adopt(storage: InMemoryStorage, study_id: int, trials: Iterable[FrozenTrial]) -> None:
    """Makes `trials`, all that were read of a study, those of a study in memory that has none.

    They are not copied, so that nobody may change them any more: Optuna copies each of them whole
    when it is added, and its distributions, which those just read share.

    Raises: StorageError where a trial is missing between them.
    """
    with storage._lock:
        study = storage._studies[study_id]
        for trial in trials:
            if trial.number != len(study.trials):
                raise StorageError(
                    f"trial {len(study.trials)} is missing, and trial {trial.number} is there",
                    where=f"study {study.name!r}",
                    # A repair leaves alone a study that is there.
                    way_out="Put the database elsewhere, and `hpo repair` rebuilds each of its "
                    f"studies from its folder: `hpo repair {study.name}`.",
                )
            own = copy.copy(trial)
            storage._max_trial_id += 1
            own._trial_id = storage._max_trial_id
            storage._trial_id_to_study_id_and_number[own._trial_id] = study_id, own.number
            study.trials.append(own)
            storage._update_cache(own._trial_id, study_id)


def _read(session: Session, trials: Sequence[sqlalchemy.Row[Any]]) -> Iterator[FrozenTrial]:
    """The trials whose own rows these are."""
    ids = [row.trial_id for row in trials]

    def grouped(table: sqlalchemy.Table) -> Mapping[int, list[sqlalchemy.Row[Any]]]:
        (by_age,) = table.primary_key
        query = sqlalchemy.select(table).where(table.c.trial_id.in_(ids)).order_by(by_age)
        groups = defaultdict(list)
        for row in session.execute(query):
            groups[row.trial_id].append(row)
        return groups

    params, values, steps = grouped(PARAMS), grouped(VALUES), grouped(STEPS)
    of_user, of_system = grouped(USER), grouped(SYSTEM)
    to_value = models.TrialValueModel.stored_repr_to_value
    to_step = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value
    for row in trials:
        own = row.trial_id
        distributions = {
            one.param_name: _distribution(one.distribution_json) for one in params[own]
        }
        by_objective = sorted(values[own], key=lambda one: one.objective)
        yield FrozenTrial(
            trial_id=own,
            number=row.number,
            state=row.state,
            value=None,
            values=[to_value(one.value, one.value_type) for one in by_objective] or None,
            datetime_start=_in_local_time(row.datetime_start),
            datetime_complete=_in_local_time(row.datetime_complete),
            params={
                one.param_name: distributions[one.param_name].to_external_repr(one.param_value)
                for one in params[own]
            },
            distributions=distributions,
            user_attrs={sys.intern(one.key): _parsed(one.value_json) for one in of_user[own]},
            system_attrs={sys.intern(one.key): _parsed(one.value_json) for one in of_system[own]},
            intermediate_values={
                one.step: to_step(one.intermediate_value, one.intermediate_value_type)
                for one in steps[own]
            },
        )


_distribution = lru_cache(maxsize=1024)(json_to_distribution)
"""One object a distribution, however many trials have it: nothing changes it."""


def _parsed(text: str) -> Any:
    # One string a name, however many trials have it: all of them stay in memory.
    return json.loads(
        text, object_pairs_hook=lambda pairs: {sys.intern(name): one for name, one in pairs}
    )


def _in_utc(local: datetime | None) -> datetime | None:
    return None if local is None else local.astimezone(UTC).replace(tzinfo=None)


def _in_local_time(utc: datetime | None) -> datetime | None:
    return None if utc is None else utc.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
