"""SQLite made safe for Optuna: one transaction at a time, waited for, and on this machine only."""

from __future__ import annotations

import logging
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage

from core.errors import UserError
from hpo.folders import make_private

BUSY_TIMEOUT_S = 30.0
"""How long SQLite itself waits for another writer before it gives up once."""
PATIENCE_S = 600.0
"""How long a transaction is tried again, with back-off, after that."""

_PREFIX = "sqlite:///"
_NETWORK_TYPES = (
    "nfs", "cifs", "smb", "afs", "ceph", "gluster", "lustre", "gpfs", "beegfs", "fuse.sshfs",
    "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.gluster", "fuse.ceph",
)  # fmt: skip
_MOUNTS = Path("/proc/mounts")


class StorageError(UserError):
    """A database that cannot be used, or is not there."""


@dataclass(frozen=True)
class Database:
    """The SQLite file that a storage URL names."""

    url: str
    path: Path

    def lock_of(self, study: str) -> Path:
        """The file that the study's driver locks: the same one whatever the runs folder."""
        return self._lock(study)

    @property
    def tables_lock(self) -> Path:
        """The file that is locked while tables are created."""
        return self._lock(".tables")  # no study's name begins with a dot

    def _lock(self, name: str) -> Path:
        return self.path.parent / ".locks" / f"{self.path.name}@{name}.lock"

    @property
    def exists(self) -> bool:
        """Whether there is a database with Optuna's tables in it."""
        if not self.path.is_file():
            return False
        try:
            with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)) as connection:
                # The table that Optuna writes last.
                sql = "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
                if connection.execute(sql).fetchone() is None:
                    return False
                return connection.execute("SELECT 1 FROM alembic_version").fetchone() is not None
        except sqlite3.DatabaseError as error:
            raise StorageError(
                f"not a database that can be read ({error})",
                where=str(self.path),
                way_out="Name another with --storage.",
            ) from None


def locate(url: str | None, runs: Path) -> Database:
    """The database of a storage URL; by default `hpo.db` in the runs folder.

    Raises: StorageError for anything but a file on this machine.
    """
    if url is None:
        path = runs / "hpo.db"
    else:
        path = Path(url.removeprefix(_PREFIX))
        if not url.startswith(_PREFIX) or path.name in ("", ":memory:") or "?" in url:
            raise StorageError(
                "unknown kind of storage",
                got=_without_password(url),
                allowed="sqlite:///FILE, a file on this machine",
                way_out="Leave --storage out to use hpo.db in the runs folder.",
            )
    path = path.expanduser().resolve()
    if path.is_dir():
        raise StorageError("the database is a folder", got=str(path), allowed="sqlite:///FILE")
    _refuse_network(path)
    return Database(f"{_PREFIX}{path}", path)


def open_for_driver(database: Database) -> RDBStorage:
    """The storage for the one driver of a study; creates the database and its tables first."""
    _quieten()
    make_private(database.tables_lock.parent)
    # `RDBStorage` creates tables in its constructor, unguarded: two drivers of two studies that
    # start together in one database would trip over each other.
    with (
        FileLock(database.tables_lock, timeout=PATIENCE_S),
        telling(database),
    ):
        _switch_to_wal(database)
        storage = RDBStorage(
            database.url,
            engine_kwargs=_engine_settings(),
            skip_table_creation=database.exists,
        )
    _begin_with(storage.engine, "BEGIN IMMEDIATE")
    return storage


def open_for_reading(database: Database) -> RDBStorage:
    """The storage for commands that only look; creates nothing and keeps no driver waiting.

    Raises: StorageError if there is no database yet.
    """
    _quieten()
    if not database.exists:
        raise StorageError(
            "no study has been run here: there is no database",
            where=str(database.path),
            way_out="Name another with --runs-dir or --storage.",
        )
    with telling(database):
        storage = RDBStorage(
            database.url, engine_kwargs=_engine_settings(), skip_table_creation=True
        )
    _begin_with(storage.engine, "BEGIN")
    return storage


def close(storage: RDBStorage) -> None:
    """Closes the connections that are not in use, so that SQLite folds its log into the file."""
    storage.remove_session()
    storage.engine.dispose()


@contextmanager
def telling(database: Database) -> Iterator[None]:
    """Turns what a database complains of, a full disk for one, into one line."""
    try:
        yield
    except (StorageInternalError, sqlalchemy.exc.DBAPIError, sqlite3.Error) as error:
        cause: BaseException = error
        while not isinstance(cause, sqlite3.Error):
            inner = getattr(cause, "orig", None) or cause.__cause__
            if inner is None:
                break
            cause = inner
        raise StorageError(
            f"the database failed ({cause})",
            where=str(database.path),
            way_out="Nothing that was stored is lost; mend it and run again.",
        ) from error
    except RuntimeError as error:
        if "table schema" not in str(error):
            raise
        raise StorageError(
            f"written by another version of Optuna than {optuna.__version__}",
            where=str(database.path),
            way_out="Install that version, or name another database with --storage.",
        ) from error


def _engine_settings() -> dict[str, Any]:
    return {"connect_args": {"timeout": BUSY_TIMEOUT_S}}


def _switch_to_wal(database: Database) -> None:
    """Write-ahead logging, in which readers and the writer do not keep each other waiting."""
    is_new = not database.path.exists()
    with closing(sqlite3.connect(database.path, timeout=BUSY_TIMEOUT_S)) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if is_new:
        database.path.chmod(0o600)
    if mode != "wal":
        raise StorageError(
            "the file system does not allow SQLite's write-ahead log",
            where=str(database.path),
            way_out="Name a database on a local disk with --storage.",
        )


def _begin_with(engine: sqlalchemy.Engine, statement: str) -> None:
    """Begins every transaction of `engine` with `statement`, waiting while the database is busy.

    Python's sqlite3 begins late and for writing only, so that a transaction that read first can
    fail when it comes to write: Optuna then counts trials twice or loses one. BEGIN IMMEDIATE asks
    for the write lock at once; it is the only statement that waits for others, and so the only one
    that needs to be tried again.
    """
    engine.dispose()  # connections made before the listeners would not hear them

    @sqlalchemy.event.listens_for(engine, "connect")
    def _leave_transactions_to_us(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    @sqlalchemy.event.listens_for(engine, "begin")
    def _begin(connection: sqlalchemy.Connection) -> None:
        driver_connection = connection.connection.driver_connection
        assert driver_connection is not None
        begin(driver_connection, statement)


def begin(connection: sqlite3.Connection, statement: str, patience_s: float = PATIENCE_S) -> None:
    """Begins a transaction; tries for `patience_s`, with back-off, while others hold the lock."""
    give_up = time.monotonic() + patience_s
    pause = 0.05
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not busy or time.monotonic() > give_up:
                raise
        time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # spreads rivals, hides nothing
        pause = min(2 * pause, 5.0)


def _refuse_network(path: Path) -> None:
    kind = _file_system_of(path)
    if kind is not None and kind.startswith(_NETWORK_TYPES):
        raise StorageError(
            f"SQLite's locks cannot be trusted on a network file system ({kind})",
            where=str(path),
            way_out="Name a database on a local disk with --storage sqlite:///FILE.",
        )


def _file_system_of(path: Path, mounts: Path = _MOUNTS) -> str | None:
    """The type of the file system that `path` lies on; `None` where the system does not tell."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return None
    deepest, kind = -1, None
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(fields[1].replace("\\040", " "))
        # A later mount on the same point hides the earlier one.
        if path.is_relative_to(point) and len(point.parts) >= deepest:
            deepest, kind = len(point.parts), fields[2]
    return kind


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}***@{rest.rpartition('@')[2]}" if "@" in rest else url


def _quieten() -> None:
    """Silences Optuna's log lines: what a user should know is told by our events."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
