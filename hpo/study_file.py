"""`study.json`: all that the database knows of a study beside its trials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import optuna

from core.errors import DamagedFileError
from core.sealed import read_sealed
from hpo import attributes
from hpo.folders import StudyFolder, write_record
from hpo.records import SCHEMA_VERSION

_TOLD = (
    attributes.DECLARATION,
    attributes.TOTAL,
    attributes.FACTS,
    attributes.PROTOCOL,
    attributes.CHANGES,
)
"""What people look for, at the top."""
_DAMAGED = "damaged"


@dataclass(frozen=True)
class StudyRow:
    """A study's attributes, as Optuna has them."""

    own: dict[str, Any]
    of_optuna: dict[str, Any]


def write_study(found: optuna.Study, folder: StudyFolder) -> None:
    """Writes `study.json`, which with the trials' own files stands for the database."""
    own = found.user_attrs
    write_record(
        folder.declaration,
        {
            "schema_version": SCHEMA_VERSION,
            "name": found.study_name,
            "key": own[attributes.FOLDER_KEY],
            **{key: own.get(key) for key in _TOLD},
            "attributes": {key: value for key, value in own.items() if key not in _TOLD},
            "system_attributes": found._storage.get_study_system_attrs(found._study_id),
        },
    )


def read_study_file(folder: StudyFolder) -> StudyRow:
    """What `write_study` wrote.

    Raises: FileNotFoundError; DamagedFileError, also for a file of an earlier version, which told
        less.
    """
    path = folder.declaration
    stored = read_sealed(path)
    try:
        told = {key: stored[key] for key in _TOLD if stored[key] is not None}
        return StudyRow(told | stored["attributes"], stored["system_attributes"])
    except (KeyError, TypeError) as error:
        raise DamagedFileError(f"it has no {error}", where=str(path)) from error


def key_of(folder: StudyFolder) -> str | None:
    """The key of the study that a folder belongs to; `None` without a file, see `is_damaged`."""
    try:
        return str(read_sealed(folder.declaration)["key"])
    except FileNotFoundError:
        return None
    except (DamagedFileError, KeyError):
        return _DAMAGED


def is_damaged(key: str | None) -> bool:
    """Whether `key_of` found a file and could not read it."""
    return key == _DAMAGED
