"""Studies as people see them, read from the storage without disturbing who writes it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from core.errors import UserError, did_you_mean
from core.task import Grid, Metric
from hpo import attributes
from hpo.finals.standings import read_standings
from hpo.folders import StudyFolder
from hpo.ledger import read_ledger, unlisted
from hpo.names import check_name, is_name
from hpo.protocol import stored_lock
from hpo.records import StudyRecord, TrialRecord
from hpo.scoring import stored_scoring
from hpo.spans import ATTEMPTS, Span, read_repeats, read_spans
from hpo.storage import Database, DatabaseAwayError, close, locate, telling
from hpo.storage.locating import url_beside
from hpo.storage.rows import adopt
from hpo.trial_file import STATE_NAMES

_LOOK_AGAIN_S = 0.5


class UnknownStudyError(UserError):
    """No study of that name has been run here."""


@dataclass(frozen=True)
class StudySummary:
    """One line about a study that was run."""

    name: str
    state: str
    """`running`, `interrupted`, or `finished`: its last run ended by itself, with a result where
    that was its time limit."""
    finished: int
    total: int
    best: float | None
    best_trial: int | None
    metric: Metric
    elapsed_s: float


@dataclass(frozen=True)
class UnreadStudy:
    """A study that is there and cannot be read."""

    name: str
    problem: str


def read_study(
    storage_url: str | None, name: str, runs_dir: Path, *, patience_s: float = 0.0
) -> StudyRecord:
    """All that is known of the study called `name`; `storage_url` `None` means the default one.

    The record's Optuna study is a copy in memory, as it stood at one moment. A database that is
    away is waited for, `patience_s` at most.

    Raises: UnknownStudyError if there is none, naming those that there are; StorageError;
        DeclarationError if no study can be called so.
    """
    check_name(name, where="the study's name")
    runs = runs_dir.expanduser().resolve()
    database = locate(storage_url, runs)
    give_up = time.monotonic() + patience_s
    while True:
        try:
            return _read(database, name, runs)
        except DatabaseAwayError:
            if time.monotonic() > give_up:
                raise
        time.sleep(_LOOK_AGAIN_S)


def _read(database: Database, name: str, runs: Path) -> StudyRecord:
    with found_study(database, name) as study:
        return record_of(detached(study), database, runs)


@contextmanager
def found_study(database: Database, name: str) -> Iterator[optuna.Study]:
    """The study called `name`, to be looked at. Raises: UnknownStudyError; StorageError."""
    with opened(database) as storage:
        names = optuna.get_all_study_names(storage)
        if name not in names:
            ours = sorted(filter(is_name, names))
            raise UnknownStudyError(
                f"no study {name!r} has been run here",
                where=database.shown,
                allowed=", ".join(ours) or "none yet",
                way_out=did_you_mean(name, ours),
            )
        study = optuna.load_study(study_name=name, storage=storage)
        if not _is_ours(study):
            raise UnknownStudyError(
                "it was not made by this program",
                where=f"study {study.study_name!r} in {database.shown}",
                way_out="Look at it with `dashboard`.",
            )
        yield study


def list_studies(storage_url: str | None, runs_dir: Path) -> list[StudySummary]:
    """The studies that were run, by name; none where there is no database yet."""
    runs = runs_dir.expanduser().resolve()
    database = locate(storage_url, runs)
    if not database.exists:
        return []
    with opened(database) as storage:
        found = [
            optuna.load_study(study_name=name, storage=storage)
            for name in sorted(optuna.get_all_study_names(storage))
        ]
        return [_summary_of(study, database, runs) for study in found if _is_ours(study)]


def read_studies(
    storage_url: str | None, runs_dir: Path
) -> tuple[list[StudyRecord], list[UnreadStudy]]:
    """All studies of ours by name, and those that cannot be read; none without a database."""
    runs = runs_dir.expanduser().resolve()
    database = locate(storage_url, runs)
    read: list[StudyRecord] = []
    unread: list[UnreadStudy] = []
    if not database.exists:
        return read, unread
    with opened(database) as storage:
        for name in sorted(optuna.get_all_study_names(storage)):
            study = optuna.load_study(study_name=name, storage=storage)
            if not _is_ours(study):
                continue
            try:
                read.append(record_of(detached(study), database, runs))
            except UserError as error:
                unread.append(UnreadStudy(name, str(error)))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                # What is stored is not what we write; the other studies are none the worse.
                unread.append(
                    UnreadStudy(name, f"what is stored of it makes no sense ({error!r})")
                )
    return read, unread


@contextmanager
def opened(database: Database) -> Iterator[RDBStorage]:
    """The storage to be looked at. Raises: StorageError, also for what is found wrong within."""
    storage = database.open_for_reading()
    try:
        with telling(database):
            yield storage
    finally:
        close(storage)


def _is_ours(study: optuna.Study) -> bool:
    # A name leads to a folder: one that somebody else wrote into the database must not.
    return attributes.IDENTITY in study.user_attrs and is_name(study.study_name)


def detached(study: optuna.Study) -> optuna.Study:
    """A copy in memory, which no connection keeps open; it shares what it has with what was read.

    Raises: ValueError where a trial is not what a trial of this study can be; StorageError where
        one is missing.
    """
    storage = InMemoryStorage()
    study_id = storage.create_new_study(study.directions, study.study_name)
    for key, value in study.user_attrs.items():
        storage.set_study_user_attr(study_id, key, value)
    trials = study.get_trials(deepcopy=False)
    for trial in trials:
        trial._validate()  # what somebody else wrote: Optuna's own look at what it is given
        if trial.values is not None and len(trial.values) != len(study.directions):
            raise ValueError(f"trial {trial.number} has {len(trial.values)} values")
    adopt(storage, study_id, trials)
    return optuna.load_study(study_name=study.study_name, storage=storage)


def state_of(record: StudyRecord) -> str:
    """The study's state as `StudySummary` has it."""
    is_done = (
        record.finished >= record.total
        or bool(record.optuna_study.user_attrs.get(attributes.EXHAUSTED))
        or record.stopped == "idle"
        or record.is_out_of_time
    )
    return "running" if record.is_owned else "finished" if is_done else "interrupted"


def _summary_of(study: optuna.Study, database: Database, runs: Path) -> StudySummary:
    record = record_of(study, database, runs)
    best = record.best
    return StudySummary(
        name=record.name,
        state=state_of(record),
        finished=record.finished,
        total=record.total,
        best=best.value if best else None,
        best_trial=best.number if best else None,
        metric=record.metric,
        elapsed_s=record.elapsed_s,
    )


def record_of(study: optuna.Study, database: Database, runs: Path) -> StudyRecord:
    """What is known of a study of ours, and of its files below `runs`."""
    own: Mapping[str, Any] = study.user_attrs
    declaration = own[attributes.DECLARATION]
    scoring = stored_scoring(own)
    folder = StudyFolder(runs, study.study_name)
    is_owned = database.is_owned(study.study_name)
    grid = own[attributes.GRID]
    order = list(declaration["search_space"]["parameters"])
    standings = read_standings(folder.finals)
    readings = read_ledger(folder.path)
    record = StudyRecord(
        name=study.study_name,
        task=declaration["task"],
        metric=scoring.metric,
        grid=Grid(tuple((name, steps) for name, steps in grid["stages"]), grid["eval_every"]),
        folder=folder.path,
        declaration=declaration,
        facts=own.get(attributes.FACTS, {}),
        trials=tuple(
            _trial_of(trial, folder, order, is_owned=is_owned)
            for trial in study.get_trials(deepcopy=False)
        ),
        readings=readings,
        elapsed_s=own.get(attributes.ELAPSED_S, 0.0),
        total=own[attributes.TOTAL],
        is_owned=is_owned,
        final_line=scoring.final_line,
        optuna_study=study,
        lock=stored_lock(own.get(attributes.PROTOCOL)),
        warm_start=tuple(own.get(attributes.WARM_START, ())),
        stopped=own.get(attributes.STOPPED) or "",
        quarantined=own.get(attributes.QUARANTINED, {}),
        unlisted=unlisted(study, readings),
        repeat_spans=read_repeats(folder.finals, is_owned=is_owned),
        options=own.get(attributes.OPTIONS, {}),
        storage=url_beside(database, runs),
    )
    if standings is None:
        return record
    start = record.start
    finals = standings.summary(scoring.metric, None if start is None else start.number)
    return replace(record, finals=finals)


def _trial_of(
    trial: FrozenTrial, folder: StudyFolder, order: list[str], *, is_owned: bool
) -> TrialRecord:
    own = trial.user_attrs
    state = STATE_NAMES[trial.state]
    if trial.state == TrialState.RUNNING and not is_owned:
        state = "interrupted"
    started = own.get(attributes.FIRST_STARTED)
    return TrialRecord(
        number=trial.number,
        state=state,
        value=trial.value,
        reason=own.get("reason", ""),
        parameters={name: own[name] for name in order if name in own},
        curve=dict(sorted(trial.intermediate_values.items())),
        folder=folder.trial(trial.number),
        started=datetime.fromisoformat(started) if started else trial.datetime_start,
        ended=trial.datetime_complete,
        attempts=own.get("attempt", 0),
        health=own.get("health", {}),
        cost=own.get("cost", {}),
        device=own.get("device", ""),
        ending=own.get("outcome", ""),
        is_from_prior=bool(own.get(attributes.FROM_PRIOR)),
        spans=_spans_of(trial, state, folder, is_owned=is_owned),
    )


def _spans_of(
    trial: FrozenTrial, state: str, folder: StudyFolder, *, is_owned: bool
) -> tuple[Span, ...]:
    """A trial's attempts; without a record of them the one that its start and slot tell of."""
    own, number = trial.user_attrs, trial.number
    if ATTEMPTS in own or trial.datetime_start is None or "slot" not in own:
        return read_spans(own.get(ATTEMPTS), number, folder.trial(number), is_owned=is_owned)
    # Optuna's times are local and do not say so.
    begun = trial.datetime_start.astimezone(UTC)
    ended = trial.datetime_complete.astimezone(UTC) if trial.datetime_complete else None
    if ended is None and state != "running":
        return ()
    how = own["outcome"] if own.get("outcome") in ("diverged", "collapsed") else state
    return (Span(number, own.get("place") or f"slot {own['slot']}", begun, ended, how),)
