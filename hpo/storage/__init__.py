"""Where studies are kept: SQLite made safe, or a PostgreSQL server."""

from hpo.storage.database import Database, DatabaseAwayError, StorageError, close, telling
from hpo.storage.locating import locate

__all__ = ["Database", "DatabaseAwayError", "StorageError", "close", "locate", "telling"]
