"""Whether a study that goes on is still the one that was begun, and what about it has changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import UserError
from core.settings import canonical_json

_SHOWN = 4
"""Differing keys told in full."""


class StudyConflictError(UserError):
    """A study that exists is asked to go on as something else."""

    def __init__(self, study: str, what: str, *, way_out: str, keys: tuple[str, ...] = ()) -> None:
        super().__init__(what, where=f"study {study!r}", way_out=way_out)
        self.study = study
        self.keys = keys
        """Dotted keys that differ."""


@dataclass(frozen=True)
class Change:
    """One value that is not what it was."""

    key: str
    before: Any
    now: Any
    """`None` where there was, or is, no such key."""

    def __str__(self) -> str:
        return f"{self.key} was {_shown(self.before)}, is {_shown(self.now)}"


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """The leaves in which two JSON objects differ, by dotted key."""
    old, new = dict(_leaves(before)), dict(_leaves(now))
    return [
        Change(key, old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if canonical_json(old.get(key)) != canonical_json(new.get(key))
    ]


def refuse_changes(
    study: str,
    changes: list[Change],
    way_out: str,
    *,
    said: str = "it was begun with other settings",
) -> None:
    """Raises: StudyConflictError if anything has changed, with the keys and the ways out."""
    if not changes:
        return
    told = "; ".join(map(str, changes[:_SHOWN]))
    more = f"; and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
    raise StudyConflictError(
        study,
        f"{said}: {told}{more}",
        way_out=way_out,
        keys=tuple(change.key for change in changes),
    )


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _shown(value: Any) -> str:
    text = "absent" if value is None else canonical_json(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
