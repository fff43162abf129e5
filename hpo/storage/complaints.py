"""What a database's complaint means: no room on the disk, a damaged file, or something else."""

from __future__ import annotations

import sqlite3

_FULL = {
    sqlite3.SQLITE_FULL,
    # A quota or a limit on the file's size is told as a failing write.
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_SHMSIZE,
}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_POSTGRESQL_FULL = "53100"


def is_full(error: BaseException) -> bool:
    """Whether a driver's error says that the database cannot grow."""
    code = getattr(error, "sqlite_errorcode", None)
    return code in _FULL or getattr(error, "sqlstate", None) == _POSTGRESQL_FULL


def is_damaged(error: BaseException) -> bool:
    """Whether a driver's error says that the database's file is not as it was written."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGED
