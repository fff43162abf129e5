"""From a storage URL to its database."""

from __future__ import annotations

import re
from pathlib import Path

from hpo.storage.database import Database, StorageError
from hpo.storage.sqlite import SQLite

_SQLITE = "sqlite:///"
_NAMES = {
    "mysql": "MySQL",
    "mariadb": "MariaDB",
    "oracle": "Oracle",
    "mssql": "SQL Server",
    "redis": "Redis",
    "http": "a server",
    "https": "a server",
}
"""Of databases that people may have, and that we do not test."""
_POSTGRESQL = ("postgresql://", "postgresql+psycopg://")
_DEFAULT = "hpo.db"


def locate(url: str | None, runs: Path) -> Database:
    """The database of a storage URL; by default `hpo.db` in the runs folder.

    Raises: StorageError for any other kind of database, or without the driver of this one.
    """
    if url is None:
        return SQLite(runs / _DEFAULT)
    if url.startswith(_SQLITE) and "?" not in url:
        path = Path(url.removeprefix(_SQLITE))
        if path.name not in ("", ":memory:"):
            return _sqlite(path)
    if url.startswith(_POSTGRESQL):
        try:
            from hpo.storage.postgresql import PostgreSQL
        except ImportError as error:
            raise StorageError(
                f"PostgreSQL needs the package psycopg ({error})",
                way_out="Install it: pip install 'hpo-harness[postgres]'.",
            ) from None
        return PostgreSQL(url)
    kind = url.partition("://")[0].partition("+")[0]
    raise StorageError(
        f"studies cannot be kept in {_NAMES[kind]}"
        if kind in _NAMES
        else "unknown kind of storage",
        got=_kind_of(url),
        allowed="sqlite:///FILE, a file on this machine, or "
        "postgresql+psycopg://USER@HOST:PORT/DATABASE",
        way_out="Leave --storage out to use hpo.db in the runs folder.",
    )


def url_beside(database: Database, runs: Path) -> str | None:
    """The URL to give for a database beside this runs folder; `None` for the default one."""
    if isinstance(database, SQLite) and database.path == (runs / _DEFAULT).resolve():
        return None
    return database.url


def _sqlite(path: Path) -> SQLite:
    try:
        return SQLite(path)
    except (ValueError, OSError, RuntimeError) as error:  # NUL; too long; no such user's home
        raise StorageError(
            f"no file can be there: {getattr(error, 'strerror', error)}",
            got=str(path),
            allowed="sqlite:///FILE",
        ) from None


def _kind_of(url: str) -> str:
    """What of a URL can be shown, wherever in the rest a password may be."""
    kind, separator, _ = url.partition("://")
    is_safe = re.fullmatch(r"[A-Za-z0-9+.-]*", kind) is not None
    return f"{kind}{separator}***" if separator and is_safe else "***"
