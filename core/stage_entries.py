"""The stage cache as files: its entries, who holds them, and which go to make room.

    KEY/           an entry: a bundle, and `hits`, a byte for each time that it was taken
    KEY.lock       held alone by who trains, stores or removes the entry; shared by who reads it
    removing.lock  held by the one process that removes entries

Loads no torch: commands list and remove what workers have stored.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from core.atomic import flush
from core.errors import SettingsError, UserError
from core.sealed import META
from core.sizes import EXAMPLES, bytes_in

FOLDER = "stages"
"""Of the entries, in the folder that runs share."""
LIMIT_VARIABLE = "HPO_CACHE_LIMIT"
DEFAULT_LIMIT_BYTES = 20 * 2**30
"""See docs/decisions/0027-a-cache-with-a-bound.md."""

_HITS = "hits"
_PATIENCE_S = 10.0
"""How long to wait for another process that removes entries, which takes it milliseconds."""


class CacheBusyError(UserError):
    """Another process has been removing entries for longer than that should take."""


@dataclass(frozen=True)
class Entry:
    """One folder of the cache."""

    key: str
    size_bytes: int
    made: float
    """Seconds since 1970, like `used`."""
    used: float
    """When it was last taken by a run; when it was made, if never."""
    hits: int
    is_whole: bool
    """False while it is written, and of what a killed process left."""


@dataclass(frozen=True)
class Pruned:
    """What was removed, and what ought to have been but is being trained, written or read."""

    removed: tuple[Entry, ...]
    held: tuple[Entry, ...]


def cache_limit() -> int:
    """Bytes that the cache may take: what the environment says, else the default.

    Raises: SettingsError for what is no size.
    """
    text = os.environ.get(LIMIT_VARIABLE)
    if text is None:
        return DEFAULT_LIMIT_BYTES
    limit = bytes_in(text)
    if limit is None:
        raise SettingsError(
            "this must be a size above zero", where=LIMIT_VARIABLE, got=text, allowed=EXAMPLES
        )
    return limit


def lock_of(root: Path, key: str) -> Path:
    """The entry's lock; the file stays when the entry goes, as others may be waiting for it."""
    return root / f"{key}.lock"


def read_entries(root: Path) -> list[Entry]:
    """The cache's entries in the order in which they go: what is not whole, then the least
    recently used first."""
    folders = [path for path in root.glob("*") if path.is_dir()]
    entries = [entry for path in folders if (entry := _read_entry(path)) is not None]
    return sorted(entries, key=lambda one: (one.is_whole, one.used, one.key))


@contextlib.contextmanager
def reading(root: Path, key: str) -> Iterator[None]:
    """Keeps others from removing the entry within the block; reads do not wait for each other.

    Where somebody holds the entry alone nothing is waited for either: it is stored, its trainer
    only about to let go of it, or it is being removed and the reader finds a part missing.
    """
    descriptor = os.open(lock_of(root, key), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def count_hit(folder: Path) -> None:
    """Remembers that the entry in `folder` was taken, and when: no two counts are one."""
    with contextlib.suppress(OSError):  # a full disk ends no run for the sake of a count
        descriptor = os.open(folder / _HITS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, b"+")
        finally:
            os.close(descriptor)


def remove_entry(folder: Path) -> None:
    """Deletes an entry, by whoever holds it alone. Killed on the way it leaves none: what vouches
    for the rest goes first."""
    if folder.is_dir():
        (folder / META).unlink(missing_ok=True)
        flush(folder)
        shutil.rmtree(folder)


def prune(
    root: Path,
    *,
    limit_bytes: int | None = None,
    used_before: float | None = None,
    dry_run: bool = False,
) -> Pruned:
    """Removes the least recently used entries until at most `limit_bytes` are left, those not
    used since `used_before` (seconds since 1970), and always what is not whole.

    What a run trains, writes or reads is held, and stays. With `dry_run` nothing is deleted.

    Raises: CacheBusyError.
    """
    if not root.is_dir():
        return Pruned((), ())
    removed, held = [], []
    with _holding(root / "removing.lock", patience_s=_PATIENCE_S) as is_alone:
        if not is_alone:
            raise CacheBusyError(
                "another process is removing entries of the stage cache",
                where=str(root),
                way_out="Try again later.",
            )
        entries = read_entries(root)
        total = sum(entry.size_bytes for entry in entries)
        for entry in entries:
            is_old = used_before is not None and entry.used < used_before
            is_too_much = limit_bytes is not None and total > limit_bytes
            if entry.is_whole and not is_old and not is_too_much:
                continue
            folder = root / entry.key
            with _holding(lock_of(root, entry.key)) as is_mine:
                if not is_mine:
                    held.append(entry)
                elif _read_entry(folder) == entry:  # not taken or removed since it was listed
                    if not dry_run:
                        remove_entry(folder)
                    removed.append(entry)
                    total -= entry.size_bytes
    return Pruned(tuple(removed), tuple(held))


@contextlib.contextmanager
def _holding(path: Path, *, patience_s: float = 0.0) -> Iterator[bool]:
    """Holds the lock at `path` alone within the block, if it can be had; says whether."""
    lock = FileLock(path, mode=0o600)
    try:
        lock.acquire(timeout=patience_s, poll_interval=0.02)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _read_entry(folder: Path) -> Entry | None:
    """The entry as its files tell it; `None` if there is no such folder (any more)."""
    try:
        files = {path.name: path.stat() for path in folder.iterdir()}
        made = files[META] if META in files else folder.stat()
    except FileNotFoundError:
        return None
    hits = files.get(_HITS)
    return Entry(
        key=folder.name,
        size_bytes=sum(file.st_size for file in files.values()),
        made=made.st_mtime,
        used=max(made.st_mtime, hits.st_mtime if hits else 0.0),
        hits=hits.st_size if hits else 0,
        is_whole=META in files,
    )
