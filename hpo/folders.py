"""The folders of a runs directory: where a study's files lie, and how they are written."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.atomic import make_folder, replace_json
from core.errors import UserError
from core.sealed import write_sealed


class FolderError(UserError):
    """Nothing can be written where a study's files are to lie."""


@dataclass(frozen=True)
class StudyFolder:
    """One study's files below the runs directory."""

    runs: Path
    name: str

    @property
    def path(self) -> Path:
        return self.runs / self.name

    @property
    def cache(self) -> Path:
        """Tokenizers, token ids and stage A results, shared by all studies of a runs directory."""
        return cache_of(self.runs)

    @property
    def lock(self) -> Path:
        return self.path / "driver.lock"

    @property
    def declaration(self) -> Path:
        return self.path / "study.json"

    @property
    def trials(self) -> Path:
        return self.path / "trials"

    def trial(self, number: int) -> Path:
        return self.trials / f"{number:04d}"

    @property
    def finals(self) -> Path:
        return self.path / "finals"

    def repeat(self, number: int, seed: int) -> Path:
        """Of the trial's configuration on a fresh seed, counted from 1."""
        return self.finals / f"trial{number:04d}" / f"seed{seed}"


def cache_of(runs: Path) -> Path:
    """The folder of what all studies of a runs directory share."""
    return runs / ".cache"


def make_private(folder: Path) -> Path:
    """Creates `folder`, and what is missing above it, readable by its owner only; returns it.

    Raises: FolderError if that cannot be done, or nothing can be written there; DiskFullError.
    """
    try:
        make_folder(folder)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if not writable:
        raise FolderError(
            "this folder cannot be written to",
            where=str(folder),
            way_out="Give another with --runs-dir or --storage.",
        )
    return folder


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as JSON, whole or not at all; NaN and infinities become null."""
    replace_json(path, finite(value))


def write_record(path: Path, value: Mapping[str, Any]) -> None:
    """Writes what a study is to remember: as `write_json`, behind a digest of its own bytes.

    `core.sealed.read_sealed` reads it.
    """
    write_sealed(path, finite(value))


def finite(value: Any) -> Any:
    """`value` with every float that JSON has no word for replaced by `None`."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
