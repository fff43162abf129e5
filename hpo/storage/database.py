"""What the harness asks of a database, whichever it is."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage

from core.errors import DiskFullError, UserError
from hpo.lock import Owner
from hpo.storage.complaints import is_damaged, is_full


class StorageError(UserError):
    """A database that cannot be used, or is not there."""


class DatabaseAwayError(StorageError):
    """A database that cannot be reached, or is too busy, just now."""


class DamagedDatabaseError(StorageError):
    """A database file that is not as it was written."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(
            f"the database is damaged ({what})",
            where=where,
            way_out="`hpo repair STUDY` rebuilds each of its studies from the trials' folders.",
        )


class Database(Protocol):
    """The database that a storage URL names; nothing is connected to before it is asked for."""

    @property
    def url(self) -> str:
        """As SQLAlchemy reads it; may hold what nobody should see."""

    @property
    def shown(self) -> str:
        """For messages: where it is, without a secret."""

    @property
    def error(self) -> type[Exception]:
        """The base of what its driver raises."""

    @property
    def exists(self) -> bool:
        """Whether there is a database with Optuna's tables in it."""

    def own(self, study: str) -> AbstractContextManager[None]:
        """Owns the study called `study`, whether it exists or not, as its one driver.

        Raises: StudyOwnedError, naming the owner, if another driver does.
        """

    def owner_of(self, study: str) -> Owner | None:
        """Who owns the study now; `None` also for an owner that has not yet given its name."""

    def is_owned(self, study: str) -> bool:
        """Whether a living driver owns the study; changes nothing."""

    def open_for_driver(self) -> RDBStorage:
        """The storage for the one driver of a study that is owned; creates the tables first."""

    def open_for_reading(self) -> RDBStorage:
        """The storage for commands that only look; creates nothing, keeps no driver waiting.

        Raises: StorageError if there is no database yet.
        """

    def open_for_request(self) -> RDBStorage:
        """The storage for a command that leaves a word for a study's driver, without owning it."""


def close(storage: RDBStorage) -> None:
    """Closes the connections that are not in use; SQLite then folds its log into the file."""
    storage.remove_session()
    storage.engine.dispose()


@contextmanager
def telling(database: Database) -> Iterator[None]:
    """Turns what a database complains of into one line; a full disk and damage by their names."""
    try:
        yield
    except (StorageInternalError, sqlalchemy.exc.DBAPIError, database.error) as error:
        cause: BaseException = error
        while not isinstance(cause, database.error):
            inner = getattr(cause, "orig", None) or cause.__cause__
            if inner is None:
                break
            cause = inner
        if is_full(cause):
            raise DiskFullError(f"the database {database.shown} ({cause})") from error
        if is_damaged(cause):
            raise DamagedDatabaseError(database.shown, str(cause)) from error
        kind, way_out = StorageError, "Mend it and run again"
        if is_transient(error):  # busy, away, or not there at all
            kind = DatabaseAwayError
            way_out = "Mend its address if that is mistyped; else run again when it answers"
        raise kind(
            f"the database failed ({cause})",
            where=database.shown,
            way_out=f"{way_out}: what it has stored is not lost.",
        ) from error
    except RuntimeError as error:
        if "table schema" not in str(error):
            raise
        raise StorageError(
            f"written by another version of Optuna than {optuna.__version__}",
            where=database.shown,
            way_out="Install that version, or name another database with --storage.",
        ) from error


def is_transient(error: BaseException) -> bool:
    """Whether what failed may succeed when tried again: the database is busy or away.

    Not where the disk is full, the tables are others, or a study was taken over.
    """
    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    original = getattr(error, "orig", None) or error
    if isinstance(original, sqlite3.Error):
        code = getattr(original, "sqlite_errorcode", 0) & 0xFF
        return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    if is_full(original):
        return False
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.connection_invalidated:
        return True
    # A driver's own errors have these names by PEP 249, whichever driver it is.
    names = {kind.__name__ for kind in type(original).__mro__}
    return bool(names & {"OperationalError", "InterfaceError"}) or isinstance(
        # The latter is raised where a connection was lost in the middle of a transaction.
        error,
        sqlalchemy.exc.TimeoutError | sqlalchemy.exc.PendingRollbackError,
    )


def refuse_missing(database: Database) -> None:
    """Raises: StorageError if there is no database with Optuna's tables yet."""
    if not database.exists:
        raise StorageError(
            "no study has been run here: there is no database",
            where=database.shown,
            way_out="Name another with --runs-dir or --storage.",
        )


def quieten() -> None:
    """Silences Optuna's log lines: what a user should know is told by our events."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
