"""Rebuilds a study in the database from its folder, where every trial's record lies a second time.

Nothing of a damaged database is trusted: it is kept aside, whole, for whoever wants to look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from core.errors import DamagedFileError, UserError
from hpo import attributes
from hpo.disk import telling_of_room
from hpo.folders import StudyFolder
from hpo.ledger import read_ledger
from hpo.lock import own
from hpo.names import check_name
from hpo.records import SCHEMA_VERSION
from hpo.scoring import stored_scoring
from hpo.storage import Database, locate, telling
from hpo.storage.database import DamagedDatabaseError, close
from hpo.storage.sqlite import SQLite
from hpo.study_file import StudyRow, read_study_file
from hpo.trial_file import STATE_NAMES, read_trial

_LOST = "its record was damaged or missing when the study was repaired"
_REPAIRING = "repairing"
"""In place of the number of the format: a repair is under way, or was killed."""


class RepairError(UserError):
    """A study cannot be rebuilt from its folder."""


@dataclass(frozen=True)
class Repaired:
    """What a repair came to."""

    name: str
    is_rebuilt: bool
    """Whether there was anything to repair."""
    states: Mapping[str, int]
    """How many trials of each state were put back; `interrupted`: those that were running."""
    lost: tuple[int, ...]
    """Trials without a record, entered as failed."""
    aside: Path | None
    """Where the damaged database is kept; `None` where there was none."""
    others: tuple[str, ...]
    """Other studies of the runs folder that are not in the database."""


def repair(storage_url: str | None, name: str, runs_dir: Path) -> Repaired:
    """Puts the study called `name` back into its database, as its folder has it.

    A database file that is damaged is first put aside. A study that is in a whole database is left
    alone, so that a repair can be repeated. What was noted in the database and not yet in the
    folder when both were killed is done again when the study goes on.

    Raises: StudyOwnedError while a driver runs the study, or another one in a damaged database;
        RepairError if the folder has no study, or no record of it that can be read; LedgerError.
    """
    check_name(name, where="the study's name", way_out="See `hpo studies`.")
    runs = runs_dir.expanduser().resolve()
    folder, database = StudyFolder(runs, name), locate(storage_url, runs)
    with ExitStack() as stack:
        stack.enter_context(telling_of_room(runs))
        if not folder.path.is_dir():
            raise RepairError("there is no folder of a study", where=str(folder.path))
        stack.enter_context(database.own(name))
        stack.enter_context(own(folder.lock, name))
        row = _read_study(folder)
        _refuse_other_kind(row.own.get(attributes.STORAGE), database)
        trials, lost = _read_trials(folder)
        stack.enter_context(telling(database))
        aside, storage = _open(database, name)
        stack.callback(close, storage)
        is_there = _has_study(storage, name)
        if not is_there:
            _rebuild(storage, name, row, trials)
        known = optuna.get_all_study_names(storage)
    return Repaired(
        name=name,
        is_rebuilt=not is_there,
        states={} if is_there else Counter(map(_state_of, trials)),
        lost=() if is_there else lost,
        aside=aside,
        others=tuple(sorted(_studies_in(runs, database) - set(known))),
    )


def _read_study(folder: StudyFolder) -> StudyRow:
    """The study's attributes, the openings in its ledger among them."""
    path = folder.declaration
    try:
        row = read_study_file(folder)
    except FileNotFoundError:
        raise RepairError("there is no such file", where=str(path)) from None
    except DamagedFileError as error:
        raise RepairError(
            f"the study cannot be rebuilt without this file: {error.what}",
            where=str(path),
            way_out="Restore it from a backup.",
        ) from None
    if (known := row.own.get(attributes.SCHEMA)) != SCHEMA_VERSION:
        raise RepairError(
            "written in another format", where=str(path), got=known, allowed=str(SCHEMA_VERSION)
        )
    openings = list(row.own.get(attributes.OPENINGS, ()))
    listed = {one["when"] for one in openings}
    openings += [
        {"when": reading.when, "selected": reading.selected}
        for reading in read_ledger(folder.path)
        if reading.when not in listed
    ]
    return row if not openings else replace(row, own=row.own | {attributes.OPENINGS: openings})


def _read_trials(folder: StudyFolder) -> tuple[list[FrozenTrial], tuple[int, ...]]:
    """All trials by number, and those whose records are gone, which are entered as failed."""
    numbers = {int(path.name) for path in folder.trials.glob("[0-9]*") if path.name.isdecimal()}
    trials, lost = [], []
    for number in range(max(numbers, default=-1) + 1):
        try:
            trial = read_trial(folder, number)
        except (FileNotFoundError, DamagedFileError):
            trial = create_trial(
                state=TrialState.FAIL, user_attrs={"reason": _LOST, "outcome": "lost"}
            )
            lost.append(number)
        trials.append(trial)
    return trials, tuple(lost)


def _open(database: Database, name: str) -> tuple[Path | None, RDBStorage]:
    """Where a damaged database went, and the storage of the whole one."""
    try:
        return None, database.open_for_driver()
    except DamagedDatabaseError:
        if not isinstance(database, SQLite):
            raise
        aside = database.put_aside(name)
        return aside, database.open_for_driver()


def _has_study(storage: RDBStorage, name: str) -> bool:
    """Whether the study is there; one that a killed repair left unfinished is deleted.

    Raises: RepairError if there is one of that name that this program has not made.
    """
    try:
        study_id = storage.get_study_id_from_name(name)
    except KeyError:
        return False
    own = storage.get_study_user_attrs(study_id)
    is_unfinished = own.get(attributes.SCHEMA) == _REPAIRING
    if attributes.IDENTITY in own and not is_unfinished:
        return True
    # Killed right after it was created, there is nothing in it that could be lost.
    if not is_unfinished and (own or storage.get_all_trials(study_id, deepcopy=False)):
        raise RepairError(
            "the database has a study of that name that was not made by this program",
            where=f"study {name!r}",
            way_out="Delete that one, or name another database with --storage.",
        )
    storage.delete_study(study_id)
    return False


def _rebuild(storage: RDBStorage, name: str, row: StudyRow, trials: Iterable[FrozenTrial]) -> None:
    direction = stored_scoring(row.own).metric.direction
    study = optuna.create_study(study_name=name, storage=storage, direction=direction)
    study.set_user_attr(attributes.SCHEMA, _REPAIRING)
    for trial in trials:
        storage.create_new_trial(study._study_id, trial)
    for key, value in row.of_optuna.items():
        storage.set_study_system_attr(study._study_id, key, value)
    # The format last: with it the study has all the rest.
    for key in sorted(row.own, key=lambda key: key == attributes.SCHEMA):
        study.set_user_attr(key, row.own[key])


def _state_of(trial: FrozenTrial) -> str:
    """The state's name; nothing runs, as the study's lock is held."""
    return "interrupted" if trial.state == TrialState.RUNNING else STATE_NAMES[trial.state]


def _refuse_other_kind(home: str | None, database: Database) -> None:
    """Raises: RepairError if the study is kept on a server, and that is a file, or the reverse."""
    if home is not None and _is_server(home) != _is_server(database.shown):
        raise RepairError(
            "the study is kept in another database",
            got=database.shown,
            allowed=home,
            way_out="Name that one with --storage.",
        )


def _is_server(shown: str) -> bool:
    return "://" in shown


def _studies_in(runs: Path, database: Database) -> set[str]:
    """The studies with folders below `runs`, but those that say that their database is another."""
    found = set()
    for path in runs.glob("*/study.json"):
        name = path.parent.name
        with suppress(DamagedFileError, RepairError):
            home = read_study_file(StudyFolder(runs, name)).own.get(attributes.STORAGE)
            _refuse_other_kind(home, database)
            found.add(name)
    return found
