"""The dashboard: on loopback, for this machine's own pages, and ended by one signal."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

import optuna
import pytest

from hpo.dashboard import DashboardError, serve

SERVE = """
import sys, optuna
from hpo.dashboard import serve
storage = optuna.storages.InMemoryStorage()
optuna.create_study(study_name="one", storage=storage)
serve(storage, int(sys.argv[1]))
"""


@contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(port)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process, port
    finally:
        process.kill()
        process.wait()


def status(port: int, **headers: str) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/api/studies", headers=headers)
    return connection.getresponse().status


def wait_for(port: int) -> None:
    give_up = time.monotonic() + 60
    while True:
        try:
            assert status(port) == 200
            return
        except ConnectionError:
            assert time.monotonic() < give_up
            time.sleep(0.05)


def test_it_answers_to_this_machine_s_own_names_alone() -> None:
    with serving() as (_, port):
        wait_for(port)
        assert status(port, Host=f"localhost:{port}", Origin=f"http://localhost:{port}") == 200
        assert status(port, Host=f"evil.example:{port}") == 403
        assert status(port, Origin="http://evil.example") == 403


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_it_also_within_a_request(number: signal.Signals) -> None:
    with serving() as (process, port):
        wait_for(port)
        with socket.create_connection(("127.0.0.1", port)) as half:
            half.sendall(b"GET /api/studies HTTP/1.1\r\n")  # the rest never comes
            time.sleep(0.2)
            process.send_signal(number)
            assert process.wait(30) == 0


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DashboardError, match=r"cannot listen .* Choose another port"):
            serve(optuna.storages.InMemoryStorage(), port)
