"""Checks every declaration that can be found: what `hpo validate` prints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import did_you_mean
from hpo.declarations.files import (
    Kind,
    declared_files,
    find_file,
    is_folder,
    is_path,
    is_search_space,
    read_toml,
    shipped_folder,
    toml_files,
)
from hpo.declarations.space_file import read_space
from hpo.declarations.study import Study
from hpo.declarations.study_file import load_study
from hpo.mistakes import DeclarationError
from hpo.names import label

_TOP_KEYS = {"task", "trials", "search_space", "parameters", "settings"}


@dataclass(frozen=True)
class Checked:
    """One file and what came of checking it."""

    kind: Kind
    path: Path
    summary: str
    """What it declares, in a few words; empty where there is a problem."""
    problem: DeclarationError | None
    study: Study | None = None
    """What a study's file declares."""

    @property
    def name(self) -> str:
        return self.path.stem


def validate_path(path: str | None = None) -> list[Checked]:
    """Checks a study, a search space, a folder of them, or all that can be found.

    A study is assembled at both ends of all its ranges; a space alone is checked against core's
    bounds and the task's default protocol.

    Raises: DeclarationError if there is nothing to check.
    """
    return [_check(one) for one in _files(path)]


def _files(path: str | None) -> Iterator[Path]:
    if path is None:
        here = Path.cwd()
        folders = [here / "search_spaces", here / "studies"]
        folders += [shipped_folder("search space"), shipped_folder("study")]
        yield from {
            one.resolve(): one for folder in folders for one in toml_files(folder)
        }.values()
    elif not is_path(path) and path in declared_files("study"):
        yield declared_files("study")[path]
    elif not is_path(path) and path in declared_files("search space"):
        yield declared_files("search space")[path]
    elif is_folder(Path(path)):
        yield from _files_below(Path(path))
    elif is_path(path):
        yield find_file("study", path, where="validate")
    else:
        names = {**declared_files("search space"), **declared_files("study")}
        raise DeclarationError(
            "no such study, search space or folder",
            where="validate",
            got=path,
            allowed=", ".join(names),
            way_out=did_you_mean(path, names),
        )


def _files_below(folder: Path) -> list[Path]:
    files = [file for file in toml_files(folder) if _is_declaration(file)]
    files += [file for name in ("search_spaces", "studies") for file in toml_files(folder / name)]
    if not files:
        raise DeclarationError(
            "no studies or search spaces here",
            where=label(folder),
            allowed="TOML files in it, or in its folders studies and search_spaces",
        )
    return files


def _is_declaration(path: Path) -> bool:
    """Whether a file of an unnamed folder is meant for us; a pyproject.toml is not."""
    try:
        return not read_toml(path).keys().isdisjoint(_TOP_KEYS)
    except DeclarationError:
        return True


def _check(path: Path) -> Checked:
    kind: Kind = "search space" if path.parent.name == "search_spaces" else "study"
    try:
        read_toml(path)
        if is_search_space(path):
            kind = "search space"
            space = read_space(path)
            return Checked(kind, path, f"{len(space.parameters)} parameters", None)
        study = load_study(str(path.absolute()))
    except DeclarationError as error:
        return Checked(kind, path, "", error)
    first = len(study.enqueue)
    points = f", {first} to try first" if first else ""
    summary = f"{study.trials} trials over {study.space.name}{points}"
    return Checked("study", path, summary, None, study)
