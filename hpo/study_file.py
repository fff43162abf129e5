"""`study.json`: all that the database knows of a study beside its trials."""

from __future__ import annotations

from collections.abc import Mapping
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
    row = StudyRow(found.user_attrs, found._storage.get_study_system_attrs(found._study_id))
    write_row(folder, row)


def write_row(folder: StudyFolder, row: StudyRow) -> None:
    """Writes `study.json` of a study with these attributes."""
    key = row.own[attributes.FOLDER_KEY]
    write_record(
        folder.declaration,
        {"schema_version": SCHEMA_VERSION, "name": folder.name, "key": key, **described_row(row)},
    )


def described_row(row: StudyRow) -> dict[str, Any]:
    """The attributes as they are written."""
    return {
        **{key: row.own.get(key) for key in _TOLD},
        "attributes": {key: value for key, value in row.own.items() if key not in _TOLD},
        "system_attributes": row.of_optuna,
    }


def read_study_file(folder: StudyFolder) -> StudyRow:
    """What `write_study` wrote.

    Raises: FileNotFoundError; DamagedFileError, also for a file of an earlier version, which told
        less.
    """
    return row_of(read_sealed(folder.declaration), where=str(folder.declaration))


def row_of(stored: Mapping[str, Any], *, where: str) -> StudyRow:
    """What `described_row` described. Raises: DamagedFileError."""
    try:
        told = {key: stored[key] for key in _TOLD if stored[key] is not None}
        return StudyRow(told | stored["attributes"], stored["system_attributes"])
    except (KeyError, TypeError) as error:
        raise DamagedFileError(f"it has no {error}", where=where) from error


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
