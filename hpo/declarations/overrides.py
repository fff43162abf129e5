"""`--set section.key=value`: values given on the command line in place of a file's."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hpo.declarations.errors import Location
from hpo.declarations.study import DEFAULT_NAMES
from hpo.mistakes import DeclarationError

_EXAMPLE = "For example --set protocol.finetune_steps=300."


@dataclass(frozen=True)
class Override:
    """One value and where it goes."""

    path: tuple[str, ...]
    value: Any
    given: str
    """As it was given, `--set trials=5`."""

    @property
    def option(self) -> str:
        """What messages point to: as it was given, cut where it is long."""
        return self.given if len(self.given) <= 80 else self.given[:80] + "..."


@dataclass(frozen=True)
class Origin:
    """Who declared a value: the file, or an option that overrode it."""

    file: str
    overrides: tuple[Override, ...] = ()

    def of(self, location: Location) -> str:
        """Where the value at a location was declared, for the start of a message."""
        touching = []
        for override in self.overrides:
            if location[: len(override.path)] == override.path:
                return override.option
            if override.path[: len(location)] == location:
                touching.append(override.option)
        return self.file + (f" with {' '.join(touching)}" if touching else "")


def parse_override(text: str) -> Override:
    """The override that `section.key=value` stands for; the value is TOML, else a bare string.

    Raises: DeclarationError if it has no `=`, or no key before it.
    """
    key, equals, value = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise DeclarationError(
            "needs the form section.key=value", key="--set", got=text, way_out=_EXAMPLE
        )
    return Override(path, _parse_value(value.strip()), f"--set {text}")


def _parse_value(text: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return table["value"] if len(table) == 1 else text


def apply_overrides(table: dict[str, Any], overrides: Sequence[Override]) -> dict[str, Any]:
    """A copy of a study's table with the overrides in place; later ones win.

    A sampler or pruner of another name starts from its own defaults: the keys that the file gives
    belong to the one that it names.
    """
    result = copy.deepcopy(table)
    for override in overrides:
        part = override.path[0]
        if part in DEFAULT_NAMES and override.path == (part, "name"):
            section = result.get(part)
            declared = (
                section.get("name", DEFAULT_NAMES[part]) if isinstance(section, dict) else None
            )
            if declared is not None and declared != override.value:
                result[part] = {}
    for override in overrides:
        _put(result, override.path, override)
    return result


def _put(table: dict[str, Any], path: Sequence[str], override: Override) -> None:
    for depth, part in enumerate(path[:-1], 1):
        inner: Any = table.setdefault(part, {})
        if not isinstance(inner, dict):
            section = ".".join(path[:depth])
            raise DeclarationError(f"{section} has no keys of its own", where=override.option)
        table = inner
    table[path[-1]] = copy.deepcopy(override.value)
