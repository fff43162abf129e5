"""The dashboard's server: on loopback or with TLS, and ended by one signal."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any

import optuna
import pytest

from hpo.dashboard import DashboardError, Listening, serve

SERVE = """
import sys, optuna
from pathlib import Path
from hpo.dashboard import Listening, serve
optuna.logging.set_verbosity(optuna.logging.ERROR)
storage = optuna.storages.InMemoryStorage()
optuna.create_study(study_name="one", storage=storage)
pair = [Path(name) for name in sys.argv[2:]] or [None, None]
at = Listening(port=int(sys.argv[1]), token="secret", tls_cert=pair[0], tls_key=pair[1])
serve(storage, at, Path("."))
"""


@contextmanager
def serving(*pair: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(port), *map(str, pair)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        scheme = "https" if pair else "http"
        assert process.stderr.readline() == (
            f"Listening on {scheme}://127.0.0.1:{port}/?token=secret\n"
        )
        yield process, port
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def answer(connection: HTTPConnection, path: str, **headers: str) -> tuple[int, dict[str, str]]:
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    response.read()
    return response.status, dict(response.headers)


def test_what_it_printed_is_the_key() -> None:
    with serving() as (_, port):
        to = HTTPConnection("127.0.0.1", port, timeout=60)
        assert answer(to, "/api/studies")[0] == 403
        status, headers = answer(to, "/?token=secret")
        cookie = headers["Set-Cookie"].partition(";")[0]
        assert (status, headers["Location"]) == (303, "/")
        assert answer(to, "/api/studies", Cookie=cookie)[0] == 200
        assert answer(to, "/dashboard", Cookie=cookie)[0] == 200
        assert answer(to, "/api/studies", Cookie=cookie, Host=f"evil.example:{port}")[0] == 403


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_it_also_within_a_request(number: signal.Signals) -> None:
    with serving() as (process, port), socket.create_connection(("127.0.0.1", port)) as half:
        half.sendall(b"GET /api/studies HTTP/1.1\r\n")  # the rest never comes
        time.sleep(0.2)
        process.send_signal(number)
        assert process.wait(30) == 0


def test_with_a_certificate_it_speaks_tls_alone(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {key} -out"
    extension = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [openssl, *words.split(), str(cert), *extension], check=True, capture_output=True
    )
    with serving(cert, key) as (process, port):
        # Neither one that never shakes hands nor one that speaks plainly keeps others waiting.
        with socket.create_connection(("127.0.0.1", port)) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            trusted = ssl.create_default_context(cafile=cert)
            to = HTTPSConnection("127.0.0.1", port, timeout=60, context=trusted)
            status, headers = answer(to, "/?token=secret")
            assert (status, headers["Set-Cookie"].endswith("Secure")) == (303, True)
            cookie = headers["Set-Cookie"].partition(";")[0]
            _, headers = answer(to, "/", Cookie=cookie)
            assert headers["Location"] == f"https://127.0.0.1:{port}/dashboard"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def refused(**options: Any) -> str:
    with pytest.raises(DashboardError) as refusal:
        serve(optuna.storages.InMemoryStorage(), Listening(**options), Path())
    return str(refusal.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.com"])
def test_off_this_machine_it_wants_tls(host: str) -> None:
    assert refused(host=host) == (
        f"--host leads off this machine, where others could overhear the token, got {host!r}. "
        "Allowed: 127.0.0.1, ::1, localhost; others with TLS. Give --tls-cert and --tls-key, or "
        "reach it through ssh -L."
    )


def test_files_that_are_no_certificate_are_told(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no")
    assert "cannot be used ([SSL" in refused(tls_cert=tmp_path / "no.pem")
    assert "cannot be used (No such file" in refused(tls_cert=tmp_path / "none.pem")
    assert refused(tls_key=tmp_path / "no.pem") == "--tls-key is of no use without --tls-cert."


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert refused(port=port).startswith(f"cannot listen on 127.0.0.1:{port}: ")


@pytest.mark.parametrize(
    ("options", "hosts"),
    [
        ({"port": 81}, {"127.0.0.1:81", "localhost:81", "[::1]:81"}),
        ({"port": 80}, {f"{name}{port}" for name in ("127.0.0.1", "localhost", "[::1]")
                        for port in ("", ":80")}),
        ({"port": 81, "host": "::1", "names": ("A",)},
         {"127.0.0.1:81", "localhost:81", "[::1]:81", "a:81"}),
        ({"port": 443, "host": "192.0.2.7", "tls_cert": Path("x")},
         {"here", "here:443", "192.0.2.7", "192.0.2.7:443"}),
        ({"port": 81, "host": "0.0.0.0", "names": ("gpu.x",)}, {"here:81", "gpu.x:81"}),
    ],
)  # fmt: skip
def test_it_answers_to_its_names(
    options: dict[str, Any], hosts: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "here")
    assert Listening(**options).hosts == hosts
