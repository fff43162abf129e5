"""Writes a study or a search space to start from, with comments that say what can be changed."""

from __future__ import annotations

from pathlib import Path

from core.errors import UserError
from hpo.declarations.files import Kind, declared_files, declared_folder, is_path, read_toml
from hpo.mistakes import DeclarationError
from hpo.names import check_name, label

_TEMPLATES = Path(__file__).with_name("templates")
_TASK = "translation"
"""Of the templates."""
_SPACE = "quickstart"
"""What a study varies unless there is a space of its own name."""


class StartError(UserError):
    """A declaration that cannot be written."""


def write_new(kind: Kind, name: str) -> Path:
    """Writes `NAME.toml` into the folder of its kind below the current one; returns the file.

    It loads and runs as it is. A study takes the search space of its own name, if there is one for
    its task.

    Raises: DeclarationError for what is no name; StartError if the name is taken, or the file
        cannot be written.
    """
    check_name(name, where=f"new {kind}")
    if is_path(name):
        raise DeclarationError("give a name, not a file", where=f"new {kind}", got=name)
    taken = declared_files(kind).get(name)
    if taken is not None:
        raise StartError(
            f"there is a {kind} of that name already",
            where=label(taken),
            way_out="Choose another name, or copy that file.",
        )
    text = (_TEMPLATES / f"{'study' if kind == 'study' else 'space'}.toml").read_text("utf-8")
    path = declared_folder(kind) / f"{name}.toml"
    try:
        path.parent.mkdir(exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text.replace("NAME", name).replace("SPACE", _space_for(name)))
    except OSError as error:
        raise StartError(f"cannot be written ({error.strerror})", where=label(path)) from error
    return path


def _space_for(study: str) -> str:
    """The search space of the study's name where there is one for the template's task."""
    path = declared_files("search space").get(study)
    try:
        is_there = path is not None and read_toml(path).get("task") == _TASK
    except DeclarationError:
        is_there = False
    return study if is_there else _SPACE
