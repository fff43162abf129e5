"""The Optuna dashboard over a study's database, behind a guard, until Ctrl-C."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from optuna.storages import BaseStorage
from optuna_dashboard import wsgi

from core.errors import UserError
from hpo.guard import Guard
from hpo.interrupts import listening
from hpo.showcase.contents import sample_store

LOOPBACK = "127.0.0.1"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SILENCE_S = 60.0
"""A connection that says nothing for so long is closed."""


class DashboardError(UserError):
    """The dashboard cannot listen as it was asked to."""


@dataclass(frozen=True)
class Listening:
    """Where the dashboard listens, and what it lets those do who come in."""

    port: int = 8080
    host: str = LOOPBACK
    """The address of this machine to listen on."""
    names: tuple[str, ...] = ()
    """Other names by which browsers may call it."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    allow_edits: bool = False
    path: str = "/"
    """Of the page that the printed address leads to."""
    token: str | None = None
    """A random one by default."""

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return "http" if self.tls_cert is None else "https"

    @property
    def name(self) -> str:
        """The name of this machine in the printed address."""
        if self.host in ("0.0.0.0", "::", ""):  # noqa: S104  # recognized, not listened on
            return self.names[0] if self.names else socket.gethostname()
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def hosts(self) -> frozenset[str]:
        """What a browser's `Host` may be."""
        own = (LOOPBACK, "localhost", "[::1]") if self.is_loopback else (socket.gethostname(),)
        names = {name.lower() for name in (*own, self.name, *self.names)}
        bare = names if self.port == _DEFAULT_PORTS[self.scheme] else ()
        return frozenset({f"{name}:{self.port}" for name in names} | set(bare))


class _Handler(WSGIRequestHandler):
    timeout = _SILENCE_S

    def get_environ(self) -> dict[str, Any]:
        secure = isinstance(self.connection, ssl.SSLSocket)
        return {**super().get_environ(), **({"HTTPS": "on"} if secure else {})}

    def log_message(self, *_: Any) -> None:
        """Logs no request: the first one's address holds the token."""


class _Server(ThreadingMixIn, WSGIServer):
    timeout = 0.2
    """Seconds between two looks at whether a signal has come."""
    daemon_threads = True
    """A browser that keeps its connection does not keep the command from ending."""
    tls: ssl.SSLContext | None = None

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        if self.tls is not None:
            # The handshake is left to the connection's own thread: it may never come.
            connection = self.tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of a browser that went away or speaks no TLS."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Server6(_Server):
    address_family = socket.AF_INET6


def serve(storage: BaseStorage, listening_on: Listening, runs: Path) -> None:
    """Serves the dashboard until SIGINT or SIGTERM; samples are read below the folder `runs`.

    Optuna's own `run_server` can lose a Ctrl-C: wsgiref swallows the exception that it raises
    where that falls into a request.

    Raises: DashboardError if the port is taken, or others could listen in.
    """
    tls = _tls_of(listening_on)
    at = listening_on
    token = at.token or secrets.token_urlsafe(32)
    guard = Guard(
        app=wsgi(storage, artifact_store=sample_store(runs)),
        token=token,
        hosts=at.hosts,
        scheme=at.scheme,
        # Cookies know no ports: two dashboards would overwrite each other's.
        cookie=f"hpo_dashboard_{at.port}",
        allow_edits=at.allow_edits,
    )
    kind = _Server6 if ":" in at.host else _Server
    try:
        server = kind((at.host, at.port), _Handler)
    except OSError as error:
        raise DashboardError(
            f"cannot listen on {at.host}:{at.port}: {error.strerror}",
            way_out="Choose another with --port, or --host.",
        ) from error
    server.tls = tls
    server.set_app(guard)
    signals: list[bool] = []
    with server, listening(lambda: signals.append(True)):
        may = "may edit" if at.allow_edits else "looks only; --allow-edits lets it change things"
        print(
            f"Listening on {at.scheme}://{at.name}:{at.port}{at.path}?token={token}\n"
            f"Whoever has this address {may}. Ctrl-C ends it.",
            file=sys.stderr,
            flush=True,
        )
        while not signals:
            server.handle_request()


def _tls_of(at: Listening) -> ssl.SSLContext | None:
    """Raises: DashboardError where the address can be overheard, or a file cannot be used."""
    if at.tls_cert is None:
        if at.tls_key is not None:
            raise DashboardError("--tls-key is of no use without --tls-cert")
        if not at.is_loopback:
            raise DashboardError(
                "--host leads off this machine, where others could overhear the token",
                got=at.host,
                allowed=f"{LOOPBACK}, ::1, localhost; others with TLS",
                way_out="Give --tls-cert and --tls-key, or reach it through ssh -L.",
            )
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(at.tls_cert, at.tls_key)
    except OSError as error:  # ssl.SSLError is one
        raise DashboardError(
            f"--tls-cert and --tls-key cannot be used ({error.strerror or error})",
            got=f"{at.tls_cert}, {at.tls_key}",
            allowed="a certificate and its key, in PEM",
        ) from error
    return context
