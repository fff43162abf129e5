"""A search space with one range made narrower, and written as a file of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.atomic import make_folder, replace_text
from hpo.declarations.parameters import FloatParameter
from hpo.declarations.space import SearchSpace
from hpo.mistakes import DeclarationError
from hpo.names import label


def narrow(space: SearchSpace, name: str, low: float, high: float) -> SearchSpace:
    """The space in which parameter `name` ranges from `low` to `high`, as far as it did before.

    Raises: DeclarationError if it is no range without steps, or none of it would be left.
    """
    where, parameter = label(space.path), space.parameters.get(name)
    if not isinstance(parameter, FloatParameter) or parameter.step is not None:
        raise DeclarationError(
            f"{name!r} cannot be narrowed",
            where=where,
            got="a fixed value" if parameter is None else parameter.describe(None),
            allowed="a parameter of type float without step",
        )
    ends = max(low, parameter.low), min(high, parameter.high)
    if ends[0] >= ends[1]:
        raise DeclarationError(
            f"nothing would be left of {name!r}",
            where=where,
            got=f"{low:g} to {high:g}",
            allowed=f"what overlaps with {parameter.describe(None)}",
            way_out="Declare another range and try again.",
        )
    narrowed = parameter.model_copy(update={"low": ends[0], "high": ends[1]})
    return replace(space, parameters={**space.parameters, name: narrowed})


def check_new(path: Path) -> None:
    """Raises: DeclarationError for a file that is no TOML, or is there already."""
    if path.suffix != ".toml":
        raise DeclarationError("a search space ends with .toml", where=label(path))
    if path.exists():
        raise DeclarationError(
            "there is something here already",
            where=label(path),
            way_out="Name another file, or remove it.",
        )


def write_space(space: SearchSpace, path: Path, *, comment: str) -> Path:
    """Writes the space to a new file, `comment` on its first line, and returns where.

    Raises: as `check_new`; DiskFullError.
    """
    check_new(path)
    make_folder(path.parent)
    replace_text(path, space_text(space, comment=comment))
    return path


def space_text(space: SearchSpace, *, comment: str) -> str:
    """The space as TOML; the comments of the file that it came from are not in it."""
    lines = [f"# {comment}", f"description = {_toml(space.description)}"]
    lines += [f"task = {_toml(space.task)}", ""]
    if space.settings:
        lines += ["[settings]", *(f"{_toml(k)} = {_toml(v)}" for k, v in space.settings.items())]
        lines.append("")
    lines.append("[parameters]")
    for name, parameter in space.parameters.items():
        declared = parameter.model_dump(exclude_none=True, exclude_defaults=True)
        # What it is comes first, whichever class declares it.
        ordered = {"type": declared.pop("type"), **declared}
        lines.append(f"{_toml(name)} = {_toml(ordered)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A value on one line; text and lists are written as in JSON, which TOML reads alike."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    # A delete character is the one that JSON leaves as it is and TOML refuses.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    return key if key.isidentifier() and key.isascii() else _toml(key)
