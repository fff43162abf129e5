"""A PostgreSQL server of one's own in a temporary folder, to be stopped, killed and started."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROLE = "hpo"
"""Who may do what a user of one database may."""
_ADMINISTRATOR = "postgres"
_TABLES = (
    "studies", "study_user_attributes", "study_system_attributes", "trials", "trial_params",
    "trial_values", "trial_intermediate_values", "trial_user_attributes",
    "trial_system_attributes",
)  # fmt: skip
_PATIENCE_S = 60.0


class NoServerError(Exception):
    """There is no PostgreSQL to start here; says why."""


@contextmanager
def serving() -> Iterator[PostgresServer]:
    """A running server, gone with its folder at the end. Raises: NoServerError."""
    # Not in a test's folder, which only root may enter, who may not run a server.
    folder = Path(tempfile.mkdtemp(prefix="hpo-pg-"))
    server = None
    try:
        server = PostgresServer(folder)
        server.start()
        yield server
    finally:
        if server is not None:
            server._end(signal.SIGQUIT)  # at once, but leaving nothing in shared memory
        shutil.rmtree(folder, ignore_errors=True)


class PostgresServer:
    """Listens on a loopback port and a socket in its folder; both want a password."""

    def __init__(self, folder: Path) -> None:
        """Raises: NoServerError."""
        self.password = f"secret-{secrets.token_hex(8)}"
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.binaries = _find_binaries()
        self._user = _unprivileged()
        self._process: subprocess.Popen[bytes] | None = None
        self._make_cluster()

    def start(self) -> None:
        """Starts the server, waits until it answers, and makes its role if there is none."""
        give_up = time.monotonic() + _PATIENCE_S
        while True:
            if self._process is None or self._process.poll() is not None:
                # One that was killed may have left sessions that hold its memory for a moment.
                self._process = self._begin("postgres", "-D", str(self.folder / "data"))
            try:
                if self.ask("SELECT 1 FROM pg_roles WHERE rolname = %s", ROLE) is None:
                    self.ask(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{self.password}'")
                return
            except Exception:
                if time.monotonic() > give_up:
                    raise
            time.sleep(0.05)

    def stop(self) -> None:
        """A fast shutdown: sessions are ended, what was committed is kept."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kills the server, as a crash would; its sessions end by themselves."""
        self._end(signal.SIGKILL)

    def create_database(self) -> str:
        """Makes an empty database of the role; returns its URL, without the password."""
        name = f"db{secrets.token_hex(4)}"
        self.ask(f"CREATE DATABASE {name} OWNER {ROLE}")
        return f"postgresql+psycopg://{ROLE}@127.0.0.1:{self.port}/{name}"

    def end_sessions(self) -> None:
        """`pg_terminate_backend` for every session of the role."""
        self.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", ROLE)

    def contents(self, database: str) -> list[object]:
        """All rows of Optuna's tables, in an order of their own."""
        return [
            self.ask(
                f"SELECT array_agg(t::text ORDER BY t::text) FROM {table} t", database=database
            )
            for table in _TABLES
        ]

    def ask(self, query: str, *values: Any, database: str = "postgres") -> tuple[Any, ...] | None:
        """The first row that the server answers its administrator."""
        import psycopg

        with psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=_ADMINISTRATOR,
            password=self.password,
            dbname=database,
            autocommit=True,
        ) as connection:
            answer = connection.execute(query.encode(), values or None)
            return answer.fetchone() if answer.description else None

    def _make_cluster(self) -> None:
        word = self.folder / "password"
        word.write_text(self.password)
        for path in (self.folder, word):
            if self._user is not None:
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
        made = self._begin(
            "initdb",
            *("--no-sync", "--encoding", "UTF8", "--locale", "C"),
            *("--auth", "scram-sha-256", "--username", _ADMINISTRATOR),
            *("--pwfile", str(word), "--pgdata", str(self.folder / "data")),
        )
        if made.wait() != 0:
            raise NoServerError(f"initdb failed: {(self.folder / 'log').read_text()[-500:]}")
        with (self.folder / "data" / "postgresql.conf").open("a") as settings:
            settings.write(
                f"listen_addresses = '127.0.0.1'\nport = {self.port}\n"
                f"unix_socket_directories = '{self.folder}'\n"
                "fsync = off\nshared_buffers = 16MB\nmax_connections = 40\n"
            )

    def _begin(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [str(self.binaries / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
                start_new_session=True,
                **_as(self._user),
            )

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(_PATIENCE_S)
            self._process = None


def _find_binaries() -> Path:
    """Debian puts them beside the path."""
    found = shutil.which("initdb")
    if found is not None and shutil.which("postgres") is not None:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not versions:
        raise NoServerError("there is no PostgreSQL server: neither initdb nor postgres is found")
    return versions[-1].parent


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom the server runs as where we are root, who may not; `None` for ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise NoServerError("root may not run a PostgreSQL server, and there is no user 'nobody'")


def _as(user: pwd.struct_passwd | None) -> dict[str, Any]:
    if user is None:
        return {}
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
