"""Where and when each attempt at a trial ran and how it ended: what timelines are drawn from.

A trial keeps its attempts in a user attribute, the finals theirs in a file. The driver writes an
attempt as it begins and again as it ends; one that is found open afterwards was killed with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hpo.folders import write_json

ATTEMPTS = "attempts"
"""User attribute of a trial: its attempts, the first one first."""
_FILE = "attempts.json"
Stored = list[dict[str, Any]]
"""Attempts as they are stored, JSON."""


@dataclass(frozen=True)
class Span:
    """One stay of a trial, or of a repeat in the finals, in a slot."""

    trial: int
    place: str
    """Name of the slot."""
    begun: datetime
    ended: datetime | None
    """`None`: it runs, or nobody knows when it was killed."""
    how: str
    """`complete`, `pruned`, `diverged`, `collapsed`, `failed`, `paused`, `interrupted`, `retried`:
    its worker broke down, `killed`: its driver was; `running` until it has ended."""
    seed: int | None = None
    """Fresh seed of a repeat, from 1; `None`: an attempt of the search."""


def begin(stored: Sequence[Mapping[str, Any]], place: str, folder: Path) -> Stored:
    """The attempts with one more, which begins now; one left open was killed.

    `folder` is the run's: nobody saw the kill, and the last file written there comes closest.
    """
    earlier = [dict(one) for one in stored]
    if earlier and earlier[-1]["ended"] is None:
        earlier[-1] |= {"ended": _last_sign(folder), "how": "killed"}
    return [*earlier, {"place": place, "begun": _now(), "ended": None, "how": "running"}]


def move(stored: Sequence[Mapping[str, Any]], place: str) -> Stored:
    """The attempts with the last one at this place: where it was to run may have been lost."""
    attempts = [dict(one) for one in stored]
    if attempts:
        attempts[-1] |= {"place": place}
    return attempts


def end(stored: Sequence[Mapping[str, Any]], how: str) -> Stored:
    """The attempts with the last one ended, now unless it had ended before."""
    attempts = [dict(one) for one in stored]
    if attempts:
        attempts[-1] |= {"ended": attempts[-1]["ended"] or _now(), "how": how}
    return attempts


def read_spans(
    stored: object, trial: int, folder: Path, *, is_owned: bool, seed: int | None = None
) -> tuple[Span, ...]:
    """What `begin` and `end` stored, oldest first; what makes no sense is left out.

    Of a study that nobody runs (`is_owned` false) an open attempt was killed.
    """
    found = []
    for one in stored if isinstance(stored, list) else ():
        try:
            begun = datetime.fromisoformat(one["begun"])
            ended, how = one["ended"], str(one["how"])
            if ended is None and not is_owned:
                ended, how = _last_sign(folder), "killed"
            until = None if ended is None else max(datetime.fromisoformat(ended), begun)
            found.append(Span(trial, str(one["place"]), begun, until, how, seed))
        except (KeyError, TypeError, ValueError):
            continue
    return tuple(found)


class RepeatLog:
    """The attempts at repeats, in the folder of the finals. The lock of the finals guards it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE
        self._runs = _read_runs(self._path)

    def begin(self, trial: int, seed: int, place: str, folder: Path, *, is_again: bool) -> None:
        """An attempt begins; `is_again` after one of this run whose worker broke down."""
        stored = self._runs.get((trial, seed), [])
        self._runs[trial, seed] = begin(
            end(stored, "retried") if is_again else stored, place, folder
        )
        self._write()

    def move(self, trial: int, seed: int, place: str) -> None:
        """The last attempt runs at this place, whatever was written as it began."""
        stored = self._runs[trial, seed]
        if stored[-1]["place"] != place:
            self._runs[trial, seed] = move(stored, place)
            self._write()

    def end(self, trial: int, seed: int, how: str) -> None:
        """The last attempt has ended."""
        self._runs[trial, seed] = end(self._runs.get((trial, seed), []), how)
        self._write()

    def _write(self) -> None:
        runs = [
            {"trial": trial, "seed": seed, "attempts": stored}
            for (trial, seed), stored in self._runs.items()
        ]
        write_json(self._path, runs)


def read_repeats(folder: Path, *, is_owned: bool) -> tuple[Span, ...]:
    """The attempts at repeats in a folder of finals; none without the file."""
    return tuple(
        attempt
        for (trial, seed), stored in _read_runs(folder / _FILE).items()
        for attempt in read_spans(
            stored,
            trial,
            folder / f"trial{trial:04d}" / f"seed{seed}",
            is_owned=is_owned,
            seed=seed,
        )
    )


def _read_runs(path: Path) -> dict[tuple[int, int], Stored]:
    try:
        runs = json.loads(path.read_text(encoding="utf-8"))
        return {(int(one["trial"]), int(one["seed"])): one["attempts"] for one in runs}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # no result rests on it


def _now() -> str:
    return datetime.now(UTC).isoformat("T", "milliseconds")


def _last_sign(folder: Path) -> str | None:
    """When a run's folder was last written to; `None` where it is gone."""
    times = []
    for path in folder.rglob("*"):
        try:
            times.append(path.stat().st_mtime)
        except OSError:  # deleted in between
            continue
    if not times:
        return None
    return datetime.fromtimestamp(max(times), UTC).isoformat("T", "milliseconds")
