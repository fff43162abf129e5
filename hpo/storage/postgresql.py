"""PostgreSQL: the one connection that writes holds the lock, and an epoch outlives the two."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

import psycopg
import sqlalchemy
from optuna.storages import RDBStorage
from psycopg.conninfo import make_conninfo

from hpo.lock import PATIENCE_S, Owner, StudyOwnedError, StudyTakenOverError
from hpo.storage.database import StorageError, close, quieten, refuse_missing, telling
from hpo.storage.rows import RowStorage

RECLAIM_S = 10.0
"""How long a driver that connects again waits for the end of its own lost session."""
OPTIONS = ("host", "port", "service", "sslmode", "sslrootcert", "sslcert", "sslkey")
"""What may follow the `?` of a URL."""
_WAY_OUT = (
    "Give it in the environment (PGPASSWORD), in a password file (~/.pgpass, PGPASSFILE) or in a "
    "service file (~/.pg_service.conf, ?service=NAME)."
)

# Either end gives up a partner that vanished without a word, a machine that lost its power, in
# about a minute. By default that takes hours, for which a dead driver's lock would stand.
_CLIENT: dict[str, Any] = {
    "client_encoding": "utf8",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_SERVER = "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
_READ_ONLY = " -c default_transaction_read_only=on"
_PLAIN = re.compile(r"[\w.,:~/+ -]*")
"""No `=`, `;` or `@`, with which a password could hide in another part of a URL."""

_LOCKED = """
    SELECT pid FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (classid::bigint << 32 | objid::bigint) = %s
"""

Connection = psycopg.Connection[tuple[Any, ...]]


class PostgreSQL:
    """A database of a server; implements `Database`. The password is libpq's to find."""

    error = psycopg.Error

    def __init__(self, url: str) -> None:
        """Raises: StorageError for a URL that is not one of a server, or that has a password."""
        try:
            parsed = sqlalchemy.make_url(url)
        except (sqlalchemy.exc.ArgumentError, ValueError):
            raise _unreadable() from None
        if parsed.password is not None or any("password" in key.lower() for key in parsed.query):
            raise StorageError(
                "a password in a URL is read by everybody who lists processes or reads a log",
                way_out=f"Change it, if it was real. {_WAY_OUT}",
            )
        parts = {
            "user": parsed.username,
            "host": parsed.host,
            "port": None if parsed.port is None else str(parsed.port),
            "dbname": parsed.database,
            **parsed.query,
        }
        if unknown := parsed.query.keys() - set(OPTIONS):
            raise StorageError(
                "unknown option in the URL of a database",
                got=min(unknown),
                allowed=", ".join(OPTIONS),
            )
        if not all(
            isinstance(one, str) and _PLAIN.fullmatch(one) for one in parts.values() if one
        ):
            raise _unreadable()
        self._conninfo = make_conninfo(**{key: str(one) for key, one in parts.items() if one})
        self.url = parsed.set(drivername="postgresql+psycopg").render_as_string()
        self.shown = self.url
        self._ownership: _Ownership | None = None

    @property
    def exists(self) -> bool:
        """See `Database.exists`."""
        with telling(self), self.connect(_READ_ONLY) as connection:
            # The table that Optuna writes last.
            (table,) = _row(connection, "SELECT to_regclass('alembic_version')")
            return table is not None and bool(
                connection.execute("SELECT 1 FROM alembic_version").fetchone()
            )

    @contextmanager
    def own(self, study: str) -> Iterator[None]:
        """See `Database.own`. The server's lock, which ends with the connection."""
        with telling(self):
            ownership = _Ownership(self, study)
        self._ownership = ownership
        try:
            yield
        finally:
            self._ownership = None
            ownership.release()

    def owner_of(self, study: str) -> Owner | None:
        """See `Database.owner_of`."""
        with telling(self), self.connect(_READ_ONLY) as connection:
            return _owner_of(connection, study)

    def is_owned(self, study: str) -> bool:
        """See `Database.is_owned`."""
        with telling(self), self.connect(_READ_ONLY) as connection:
            return connection.execute(_LOCKED, (_key_of(study),)).fetchone() is not None

    def open_for_driver(self) -> RDBStorage:
        """See `Database.open_for_driver`. Its engine has one connection, that of the owner.

        Where that breaks, the engine's next connection is the owner's again or none: it raises
        StudyTakenOverError if another driver has owned the study in between.
        """
        assert self._ownership is not None, "own the study first"
        quieten()
        with telling(self):
            with self.creating_tables():
                # On connections of their own: Optuna takes a second one while it has a first.
                close(self._opened(self.connect, skip_table_creation=self.exists))
            return self._opened(
                self._ownership.connect,
                {"pool_size": 1, "max_overflow": 0},
                skip_compatibility_check=True,
                skip_table_creation=True,
            )

    def open_for_reading(self) -> RDBStorage:
        """See `Database.open_for_reading`. The server refuses whatever would write."""
        return self._open(_READ_ONLY)

    def open_for_request(self) -> RDBStorage:
        """See `Database.open_for_request`."""
        return self._open("")

    def _open(self, settings: str) -> RDBStorage:
        quieten()
        refuse_missing(self)
        with telling(self):
            return self._opened(
                partial(self.connect, settings), {"pool_pre_ping": True}, skip_table_creation=True
            )

    def connect(self, settings: str = "", name: str = "hpo") -> Connection:
        """A new connection, called `name` in the server's list.

        Raises: StorageError if the server wants another password; else psycopg.OperationalError.
        """
        try:
            return psycopg.connect(
                make_conninfo(self._conninfo, **_CLIENT, application_name=name),
                options=_SERVER + settings,
            )
        except psycopg.OperationalError as error:
            if "password" not in str(error):
                raise
            raise StorageError(
                f"the server did not accept a password, or was given none ({error})",
                where=self.shown,
                way_out=_WAY_OUT,
            ) from None

    def _opened(
        self,
        connect: Callable[[], Connection],
        engine: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> RDBStorage:
        """A storage on such connections, none of which stays where it could not be opened."""
        made: weakref.WeakSet[Connection] = weakref.WeakSet()

        def creator() -> Connection:
            connection = connect()
            made.add(connection)
            return connection

        try:
            return RowStorage(self.url, {"creator": creator, **(engine or {})}, **settings)
        except BaseException:
            for connection in made:
                connection.close()
            raise

    @contextmanager
    def creating_tables(self) -> Iterator[None]:
        """Lets one driver at a time create tables: `IF NOT EXISTS` does not, with two at once."""
        with self.connect() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_key_of(".tables"),))
            yield


class _Ownership:
    """One driver's hold on one study.

    The lock is the session's of the connection that writes, so that whoever can write has it.
    Two drivers may still follow each other without a word, when the first one's connection was
    lost: so each takes over by raising the study's epoch, and one that connects again writes only
    if the epoch is still its own.
    """

    def __init__(self, database: PostgreSQL, study: str) -> None:
        """Raises: StudyOwnedError if another driver has the study."""
        self._database = database
        self._study = study
        # So that a session of ours that we have lost is known from another driver's.
        self._name = f"hpo {secrets.token_hex(8)}"
        self._epoch = 0
        self._claimed: Connection | None = self._opened(self._claim)

    def connect(self) -> Connection:
        """A connection that holds the lock, for the pool that has no other.

        Raises: StudyTakenOverError if another driver has owned the study since; StorageError and
            psycopg.OperationalError as `PostgreSQL.connect` does.
        """
        connection, self._claimed = self._claimed, None
        return connection or self._opened(self._reclaim)

    def release(self) -> None:
        """Ends the session if no pool has it."""
        if self._claimed is not None:
            self._claimed.close()

    def _opened(self, make_sure: Callable[[Connection], None]) -> Connection:
        connection = self._database.connect(name=self._name)
        try:
            connection.autocommit = True
            make_sure(connection)
            connection.autocommit = False
        except BaseException:
            connection.close()
            raise
        return connection

    def _claim(self, connection: Connection) -> None:
        give_up = time.monotonic() + PATIENCE_S
        while not self._try_lock(connection):
            if time.monotonic() > give_up:
                raise StudyOwnedError(self._study, _owner_of(connection, self._study))
            time.sleep(0.05)
        (table,) = _row(connection, "SELECT to_regclass('hpo_owners')")
        if table is None:
            with self._database.creating_tables():
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS hpo_owners (study text PRIMARY KEY, "
                    "epoch bigint NOT NULL, backend integer NOT NULL, owner jsonb NOT NULL)"
                )
        (self._epoch,) = _row(
            connection,
            "INSERT INTO hpo_owners VALUES (%s, 1, pg_backend_pid(), %s) ON CONFLICT (study) "
            "DO UPDATE SET epoch = hpo_owners.epoch + 1, backend = excluded.backend, "
            "owner = excluded.owner RETURNING epoch",
            self._study,
            json.dumps(asdict(Owner.myself())),
        )

    def _reclaim(self, connection: Connection) -> None:
        give_up = time.monotonic() + RECLAIM_S
        while not self._try_lock(connection):
            holder = connection.execute(
                f"SELECT pid, application_name FROM ({_LOCKED}) AS locked "  # noqa: S608  # ours
                "JOIN pg_stat_activity USING (pid)",
                (_key_of(self._study),),
            ).fetchone()
            if holder is not None and holder[1] != self._name:
                raise self._taken_over(connection)
            if holder is not None:
                # What it was doing is done or undone, once it has let go of the lock.
                connection.execute("SELECT pg_terminate_backend(%s)", (holder[0],))
            if time.monotonic() > give_up:
                raise psycopg.OperationalError("the session that was lost does not end")
            time.sleep(0.05)
        mine = connection.execute(
            "UPDATE hpo_owners SET backend = pg_backend_pid() WHERE study = %s AND epoch = %s",
            (self._study, self._epoch),
        )
        if mine.rowcount != 1:
            raise self._taken_over(connection)

    def _taken_over(self, connection: Connection) -> StudyTakenOverError:
        return StudyTakenOverError(self._study, _owner_of(connection, self._study))

    def _try_lock(self, connection: Connection) -> bool:
        (held,) = _row(connection, "SELECT pg_try_advisory_lock(%s)", _key_of(self._study))
        return bool(held)


def _owner_of(connection: Connection, study: str) -> Owner | None:
    """Who holds the study's lock, if that one has given its name."""
    try:
        row = connection.execute(
            f"SELECT owner FROM hpo_owners WHERE study = %s AND backend IN ({_LOCKED})",  # noqa: S608
            (study, _key_of(study)),
        ).fetchone()
    except psycopg.errors.UndefinedTable:
        return None
    return None if row is None else Owner(**row[0])


def _key_of(study: str) -> int:
    """The number of a study's lock; the server keeps those of its databases apart."""
    digest = hashlib.sha256(f"hpo study {study}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


def _row(connection: Connection, query: str, *values: Any) -> tuple[Any, ...]:
    row = connection.execute(query.encode(), values).fetchone()
    assert row is not None
    return row


def _unreadable() -> StorageError:
    # Nothing of it is shown: where a URL cannot be read, a password may lie anywhere.
    return StorageError(
        "this URL of a PostgreSQL database cannot be read",
        allowed="postgresql+psycopg://USER@HOST:PORT/DATABASE",
    )
