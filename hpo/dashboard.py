"""The Optuna dashboard over a study's database, on the loopback address until Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIServer, make_server

from optuna.storages import BaseStorage
from optuna_dashboard import wsgi

from core.errors import UserError
from hpo.interrupts import listening

LOOPBACK = "127.0.0.1"
_App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class DashboardError(UserError):
    """The dashboard cannot listen where it was asked to."""


class _Server(ThreadingMixIn, WSGIServer):
    timeout = 0.2
    """Seconds between two looks at whether a signal has come."""
    daemon_threads = True
    """A browser that keeps its connection does not keep the command from ending."""


def serve(storage: BaseStorage, port: int) -> None:
    """Serves the dashboard until SIGINT or SIGTERM.

    Optuna's own `run_server` can lose a Ctrl-C: wsgiref swallows the exception that it raises
    where that falls into a request.

    Raises: DashboardError if the port is taken.
    """
    try:
        server = make_server(LOOPBACK, port, _guarded(wsgi(storage), port), _Server)
    except OSError as error:
        raise DashboardError(
            f"cannot listen on {LOOPBACK}:{port}: {error.strerror}",
            way_out="Choose another port with --port.",
        ) from error
    signals: list[bool] = []
    with server, listening(lambda: signals.append(True)):
        print(f"Listening on http://{LOOPBACK}:{port}/; Ctrl-C ends it.", file=sys.stderr)
        while not signals:
            server.handle_request()


def _guarded(app: _App, port: int) -> _App:
    """`app`, for browsers that were sent to this machine by its own name alone.

    A page of another site can have its name resolve to the loopback address and so read what is
    here, or delete it; the name it was called by then gives it away.
    """
    names = {f"{host}:{port}" for host in (LOOPBACK, "localhost")}

    def guard(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        origin = environ.get("HTTP_ORIGIN")
        is_own = environ.get("HTTP_HOST") in names
        if is_own and origin in (None, *(f"http://{name}" for name in names)):
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"This dashboard answers to this machine alone.\n"]

    return guard
