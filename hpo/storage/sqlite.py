"""SQLite made safe for Optuna: one transaction at a time, waited for, and on this machine only."""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.storages import RDBStorage
from optuna.storages._rdb.storage import _VersionManager
from sqlalchemy.orm import scoped_session, sessionmaker

from core.atomic import flush
from hpo import lock
from hpo.folders import make_private
from hpo.storage.complaints import is_damaged
from hpo.storage.database import (
    DamagedDatabaseError,
    StorageError,
    quieten,
    refuse_missing,
    telling,
)
from hpo.storage.rows import RowStorage

BUSY_TIMEOUT_S = 30.0
"""How long SQLite itself waits for another writer before it gives up once."""
_DRIVER_BUSY_TIMEOUT_S = 0.5
"""The same for a driver, whose thread must hear soon that it is to write no more."""
PATIENCE_S = 600.0
"""How long a transaction is tried again, with back-off, after that; a connection's execution
option `patience_s` says otherwise."""

_NETWORK_TYPES = (
    "nfs", "cifs", "smb", "afs", "ceph", "gluster", "lustre", "gpfs", "beegfs", "fuse.sshfs",
    "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.gluster", "fuse.ceph",
)  # fmt: skip
_MOUNTS = Path("/proc/mounts")


class SQLite:
    """A file on this machine; implements `Database`."""

    error = sqlite3.Error

    def __init__(self, path: Path) -> None:
        """Raises: StorageError if it cannot be one, or lies on a network file system."""
        self.path = path.expanduser().resolve()
        if self.path.is_dir():
            raise StorageError(
                "the database is a folder", got=str(self.path), allowed="sqlite:///FILE"
            )
        _refuse_network(self.path)

    @property
    def url(self) -> str:
        """See `Database.url`."""
        return f"sqlite:///{self.path}"

    @property
    def shown(self) -> str:
        """See `Database.shown`."""
        return str(self.path)

    @property
    def exists(self) -> bool:
        """See `Database.exists`."""
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
            if is_damaged(error):
                raise DamagedDatabaseError(self.shown, str(error)) from None
            raise StorageError(
                f"not a database that can be read ({error})",
                where=self.shown,
                way_out="Name another with --storage.",
            ) from None

    def own(self, study: str) -> AbstractContextManager[None]:
        """See `Database.own`. The operating system's lock."""
        return lock.own(self._lock_of(study), study)

    def owner_of(self, study: str) -> lock.Owner | None:
        """See `Database.owner_of`."""
        return lock.owner_of(self._lock_of(study))

    def is_owned(self, study: str) -> bool:
        """See `Database.is_owned`."""
        return lock.is_held(self._lock_of(study))

    def open_for_driver(self) -> RDBStorage:
        """See `Database.open_for_driver`."""
        quieten()
        # `RDBStorage` creates tables in its constructor, unguarded: two drivers of two studies
        # that start together in one database would trip over each other.
        with self._tables_lock(), telling(self):
            self._switch_to_wal()
            self._check()
            storage = RowStorage(
                self.url,
                engine_kwargs=_engine_settings(_DRIVER_BUSY_TIMEOUT_S),
                skip_table_creation=self.exists,
            )
        _begin_with(storage.engine, "BEGIN IMMEDIATE")
        return storage

    def open_for_reading(self) -> RDBStorage:
        """See `Database.open_for_reading`."""
        return self._open("BEGIN")

    def open_for_request(self) -> RDBStorage:
        """See `Database.open_for_request`."""
        return self._open("BEGIN IMMEDIATE")

    def _open(self, statement: str) -> RDBStorage:
        quieten()
        refuse_missing(self)
        settings = _engine_settings(BUSY_TIMEOUT_S)
        with telling(self):
            if self._is_of_this_optuna():
                storage: RowStorage = _KnownTables(self.url, settings)
            else:
                storage = RowStorage(self.url, engine_kwargs=settings, skip_table_creation=True)
        _begin_with(storage.engine, statement)
        return storage

    def _is_of_this_optuna(self) -> bool:
        """Whether the installed version of Optuna has made the tables."""
        with closing(sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S)) as connection:
            found = connection.execute("SELECT library_version FROM version_info").fetchone()
        return bool(found == (optuna.__version__,))

    def put_aside(self, study: str) -> Path:
        """Renames the damaged file, and what belongs to it, out of the way; returns its new name.

        `study` is owned by whoever asks. Raises: StudyOwnedError if another one of it is owned.
        """
        own = self._lock_of(study)
        # Held by whoever opens the database for a driver: none does between these renames.
        with self._tables_lock():
            for path in sorted(own.parent.glob(f"{self.path.name}@*.lock")):
                other = path.name.removeprefix(f"{self.path.name}@").removesuffix(".lock")
                if path != own and not other.startswith(".") and lock.is_held(path):
                    raise lock.StudyOwnedError(other, lock.owner_of(path))
            now = datetime.now(UTC)
            kept = self.path.with_name(f"{self.path.name}.damaged-{now:%Y%m%dT%H%M%S.%f}")
            # The file itself last: until then this can be repeated.
            for suffix in ("-shm", "-wal", ""):
                part = self.path.with_name(self.path.name + suffix)
                if part.exists():
                    part.rename(kept.with_name(kept.name + suffix))
            flush(self.path.parent)
        return kept

    def _tables_lock(self) -> FileLock:
        """Held by whoever creates tables or renames the file."""
        path = self._lock_of(".tables")  # no study's name begins with a dot
        make_private(path.parent)
        return FileLock(path, timeout=PATIENCE_S, mode=0o600)

    def _lock_of(self, name: str) -> Path:
        """The file that the study's driver locks: the same one whatever the runs folder."""
        return self.path.parent / ".locks" / f"{self.path.name}@{name}.lock"

    def _check(self) -> None:
        """Raises: DamagedDatabaseError if a page is not where and what it should be."""
        with closing(sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S)) as connection:
            (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise DamagedDatabaseError(self.shown, " ".join(found.split()))

    def _switch_to_wal(self) -> None:
        """Write-ahead logging, in which readers and the writer do not wait for each other."""
        is_new = not self.path.exists()
        with closing(sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S)) as connection:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if is_new:
            self.path.chmod(0o600)
        if mode != "wal":
            raise StorageError(
                "the file system does not allow SQLite's write-ahead log",
                where=self.shown,
                way_out="Name a database on a local disk with --storage.",
            )


class _KnownTables(RowStorage):
    """The storage of a database whose tables are known to be as the installed Optuna wants them.

    `RDBStorage` looks for the tables' version with Alembic, whose import alone takes 0.4 s: a
    quarter of the time of a command that reads.
    """

    def __init__(self, url: str, engine_settings: dict[str, Any]) -> None:
        self.url = url
        self.engine_kwargs = engine_settings
        self.skip_compatibility_check = True
        self.heartbeat_interval = self.grace_period = None
        self.heartbeat_stale_trial_callback = self.failed_trial_callback = None
        self.engine = sqlalchemy.create_engine(url, **engine_settings)
        self.scoped_session = scoped_session(sessionmaker(bind=self.engine))

    @cached_property
    def _version_manager(self) -> _VersionManager:  # type: ignore[override]
        """Made where it is asked for after all, as the dashboard does."""
        return _VersionManager(self.url, self.engine, self.scoped_session)


def _engine_settings(timeout_s: float) -> dict[str, Any]:
    return {"connect_args": {"timeout": timeout_s}}


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
        patience_s = connection.get_execution_options().get("patience_s", PATIENCE_S)
        begin(driver_connection, statement, patience_s)


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
