"""From a storage URL to its database."""

from __future__ import annotations

from pathlib import Path

from hpo.storage.database import Database, StorageError
from hpo.storage.sqlite import SQLite

_SQLITE = "sqlite:///"


def locate(url: str | None, runs: Path) -> Database:
    """The database of a storage URL; by default `hpo.db` in the runs folder.

    Raises: StorageError for anything but a file on this machine.
    """
    if url is None:
        return SQLite(runs / "hpo.db")
    if url.startswith(_SQLITE) and "?" not in url:
        path = Path(url.removeprefix(_SQLITE))
        if path.name not in ("", ":memory:"):
            return SQLite(path)
    raise StorageError(
        "unknown kind of storage",
        got=_without_password(url),
        allowed="sqlite:///FILE, a file on this machine",
        way_out="Leave --storage out to use hpo.db in the runs folder.",
    )


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}***@{rest.rpartition('@')[2]}" if "@" in rest else url
