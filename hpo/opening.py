"""Creates a study's row and folder, or makes sure that they are those of this declaration."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna

from core.task import Facts
from hpo import attributes
from hpo.declarations import Study
from hpo.events import Note, Observe
from hpo.folders import StudyFolder, make_private
from hpo.identity import Change, StudyConflictError, differences, refuse_changes
from hpo.protocol import ProtocolLock, lock_of, stored_lock
from hpo.records import SCHEMA_VERSION
from hpo.scoring import Scoring, stored_scoring
from hpo.study_file import is_damaged, key_of, write_study

_MAY_CHANGE = ("sampler", "pruner", "scheduler", "storage", "finals", "enqueue")
"""Sections of a declaration that may change while a study goes on; it is recorded."""
_ANEW = "Or run the declaration as a new study with --name NEW."


def open_study(
    study: Study,
    storage: optuna.storages.BaseStorage,
    folder: StudyFolder,
    *,
    total: int,
    observe: Observe,
) -> optuna.Study:
    """The Optuna study of a declaration, created if there is none; its owner's lock must be held.

    Raises: StudyConflictError if a study of that name is another one.
    """
    found = optuna.create_study(
        study_name=study.name,
        storage=storage,
        direction=study.spec.metric.direction,
        load_if_exists=True,
    )
    make_private(folder.trials)
    if attributes.IDENTITY in found.user_attrs:
        _resume(study, total, found, folder, observe)
    else:
        _begin(study, total, found, folder)
    write_study(found, folder)
    return found


def settle_facts(study: Study, found: optuna.Study, folder: StudyFolder, facts: Facts) -> None:
    """Records what was found in the data and locks the protocol, or compares with earlier runs.

    Raises: StudyConflictError if the data, the tokenizer or how a score is computed is not what
        the study was begun with.
    """
    earlier = found.user_attrs.get(attributes.FACTS)
    if earlier is not None:
        refuse_changes(
            study.name,
            differences({"digests": earlier["digests"]}, {"digests": dict(facts.digests)}),
            f"Restore the data. {_ANEW}",
        )
    lock = lock_of(study, facts.digests)
    locked = stored_lock(found.user_attrs.get(attributes.PROTOCOL))
    if locked is not None:
        # Settings and digests have been compared: what is left comes of other versions.
        refuse_changes(
            study.name,
            differences(locked.content, lock.content),
            f"Go on with the versions that began it. {_ANEW}",
        )
    # Through JSON, where tuples become lists.
    now = {
        # First: facts without a lock tell a study from before there were locks.
        attributes.PROTOCOL: lock.as_json(),
        attributes.FACTS: json.loads(json.dumps(asdict(facts))),
    }
    changed = {key: value for key, value in now.items() if found.user_attrs.get(key) != value}
    for key, value in changed.items():
        found.set_user_attr(key, value)
    if changed:
        write_study(found, folder)


def _begin(study: Study, total: int, found: optuna.Study, folder: StudyFolder) -> None:
    if found.get_trials(deepcopy=False):
        raise StudyConflictError(
            study.name,
            "the database has a study of that name that was not made by this program",
            way_out="Run the declaration with --name NEW.",
        )
    if key_of(folder) is not None and any(folder.trials.iterdir()):
        raise StudyConflictError(
            study.name,
            f"{folder.path} has the trials of a study that is not in this database",
            way_out="Name its database with --storage, rebuild it there with "
            f"`hpo repair {study.name}`, or give --name NEW.",
        )
    first: dict[str, Any] = {
        attributes.SCHEMA: SCHEMA_VERSION,
        attributes.FOLDER_KEY: secrets.token_hex(16),
        attributes.RUNS_DIR: str(folder.runs),
        attributes.GRID: {
            "stages": [list(stage) for stage in study.grid.stages],
            "eval_every": study.grid.eval_every,
        },
        attributes.SCORING: Scoring.of(study.spec).as_json(),
        attributes.DECLARATION: study.as_json(),
        attributes.TOTAL: total,
        attributes.ELAPSED_S: 0.0,
        attributes.CHANGES: [],
        # Last: a study with an identity has all the rest.
        attributes.IDENTITY: _identity_of(study),
    }
    for key, value in first.items():
        found.set_user_attr(key, value)


def _resume(
    study: Study, total: int, found: optuna.Study, folder: StudyFolder, observe: Observe
) -> None:
    known = found.user_attrs
    if known[attributes.SCHEMA] != SCHEMA_VERSION:
        raise StudyConflictError(
            study.name,
            f"it was written in format {known[attributes.SCHEMA]}, and this version writes "
            f"{SCHEMA_VERSION}",
            way_out=f"Go on with the version that began it. {_ANEW}",
        )
    refuse_changes(
        study.name,
        differences(known[attributes.IDENTITY], _identity_of(study)),
        f"Undo that. {_ANEW}",
    )
    scored, now_scored = stored_scoring(known), Scoring.of(study.spec)
    refuse_changes(
        study.name,
        differences(scored.as_json(), now_scored.as_json()),
        f"Go on with the version of the task that began it. {_ANEW}",
    )
    _find_folder(study, found, folder, observe)
    if attributes.PROTOCOL not in known and attributes.FACTS in known:
        # Begun before there were locks; that its settings are the same was just made sure of. By
        # which recipe its trials were trained is not known, so that it is ranked and ends here.
        content = dict(lock_of(study, known[attributes.FACTS]["digests"]).content)
        del content["recipe_version"]
        found.set_user_attr(attributes.PROTOCOL, ProtocolLock(content).as_json())
    before, now = known[attributes.DECLARATION], study.as_json()
    changes = differences(
        {key: before.get(key) for key in _MAY_CHANGE}, {key: now.get(key) for key in _MAY_CHANGE}
    )
    for change in changes:
        observe(Note(f"from now on: {change}"))
    if total != known[attributes.TOTAL]:
        changes.append(Change("trials", known[attributes.TOTAL], total))
        found.set_user_attr(attributes.TOTAL, total)
    if changes:
        when = datetime.now(UTC).isoformat("T", "seconds")
        told = [{"when": when, **asdict(change)} for change in changes]
        found.set_user_attr(attributes.CHANGES, [*known[attributes.CHANGES], *told])
    if before != now:
        found.set_user_attr(attributes.DECLARATION, now)


def _find_folder(study: Study, found: optuna.Study, folder: StudyFolder, observe: Observe) -> None:
    """Makes sure that the folder belongs to the row of the database, also when both have moved."""
    known = found.user_attrs
    key = known[attributes.FOLDER_KEY]
    found_key = key_of(folder)
    if is_damaged(found_key) and known[attributes.RUNS_DIR] == str(folder.runs):
        observe(Note(f"{folder.declaration} was damaged: written again from the database"))
    elif found_key != key:
        earlier = StudyFolder(Path(known[attributes.RUNS_DIR]), study.name)
        if key_of(earlier) == key:
            raise StudyConflictError(
                study.name,
                f"its trials lie in {earlier.path}, not in {folder.path}",
                way_out=f"Give --runs-dir {earlier.runs}.",
            )
        if found_key is not None:
            raise StudyConflictError(
                study.name,
                f"{folder.path} has the trials of another study",
                way_out="Give the --runs-dir that the study was begun with.",
            )
        if found.get_trials(deepcopy=False):
            observe(Note(f"the files of earlier trials are gone: {folder.path} has none"))
    if known[attributes.RUNS_DIR] != str(folder.runs):
        found.set_user_attr(attributes.RUNS_DIR, str(folder.runs))


def _identity_of(study: Study) -> dict[str, Any]:
    """What may not change; the seed neither, from which trials under way have theirs."""
    return {**study.identity(), "seed": study.seed}
