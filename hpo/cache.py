"""The stage A cache of a runs folder as people see it: listed, and pruned."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.errors import CheckpointError
from core.sealed import META, read_sealed
from core.stage_entries import FOLDER, Entry, Pruned, cache_limit, prune, read_entries
from hpo.folders import cache_of, make_private


@dataclass(frozen=True)
class CachedStage:
    """One entry, with what is written in it."""

    entry: Entry
    cost_s: float | None = None
    """Seconds it took to train; `None` where that cannot be read, or is not whole yet."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Stage, steps, corpus and structure; empty of an entry of an earlier version."""

    @property
    def saved_s(self) -> float:
        """What training it again each time that it was taken would have cost."""
        return self.entry.hits * (self.cost_s or 0.0)


@dataclass(frozen=True)
class CacheContents:
    """What is in the cache of a runs folder."""

    limit_bytes: int
    stages: tuple[CachedStage, ...]
    """In the order in which they go to make room."""

    @property
    def size_bytes(self) -> int:
        return sum(one.entry.size_bytes for one in self.stages)

    def as_json(self) -> dict[str, Any]:
        """The contents for programs."""
        return {
            "limit_bytes": self.limit_bytes,
            "size_bytes": self.size_bytes,
            "stages": [
                {
                    **_entry_json(one.entry),
                    "cost_s": one.cost_s,
                    "saved_s": one.saved_s,
                    "about": dict(one.about),
                }
                for one in self.stages
            ],
        }


def read_cache(runs_dir: Path) -> CacheContents:
    """What the cache holds now; creates nothing.

    Raises: SettingsError where the environment's limit is no size.
    """
    root = _root(runs_dir)
    entries = read_entries(root)
    return CacheContents(cache_limit(), tuple(_described(root, entry) for entry in entries))


def prune_cache(
    runs_dir: Path,
    *,
    limit_bytes: int | None = None,
    older_than_s: float | None = None,
    dry_run: bool = False,
) -> Pruned:
    """Removes entries as `core.stage_entries.prune` does, also those not used for so long.

    Raises: FolderError, CacheBusyError.
    """
    root = _root(runs_dir)
    if root.is_dir():
        make_private(root)
    # By the wall clock, as the times of files are.
    used_before = None if older_than_s is None else time.time() - older_than_s
    return prune(root, limit_bytes=limit_bytes, used_before=used_before, dry_run=dry_run)


def pruned_json(pruned: Pruned, left: CacheContents, *, dry_run: bool) -> dict[str, Any]:
    """For programs: what was removed, or would be, what a run held, and what is left."""
    return {
        "dry_run": dry_run,
        "removed": [_entry_json(one) for one in pruned.removed],
        "held": [_entry_json(one) for one in pruned.held],
        "left": {"stages": len(left.stages), "size_bytes": left.size_bytes},
    }


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {**asdict(entry), "made": moment(entry.made), "used": moment(entry.used)}


def moment(seconds: float) -> datetime:
    """A time of a file."""
    return datetime.fromtimestamp(seconds, UTC)


def _root(runs_dir: Path) -> Path:
    return cache_of(runs_dir.expanduser().resolve()) / FOLDER


def _described(root: Path, entry: Entry) -> CachedStage:
    try:
        meta = read_sealed(root / entry.key / META)["meta"]
    except (CheckpointError, OSError):  # damaged, or removed meanwhile: its files say the rest
        return CachedStage(entry)
    return CachedStage(entry, meta["cost_s"], meta.get("about", {}))
