"""The guard before the dashboard: a token, own names, looking only, artifacts as files."""

from __future__ import annotations

import csv
from io import StringIO
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from hpo.guard import Guard, harmless_csv

TOKEN = "k" * 43
COOKIE = f"other=1; hpo_dashboard_8081={TOKEN}"


class Asked:
    """An application that remembers whether it was asked, and answers with `body`."""

    def __init__(self, body: bytes = b"the dashboard") -> None:
        self.methods: list[str] = []
        self._body = body

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.methods.append(environ["REQUEST_METHOD"])
        headers = [("Content-Type", "text/html"), ("Access-Control-Allow-Origin", "*")]
        start_response("200 OK", [*headers, ("Content-Length", str(len(self._body)))])
        return [self._body]


def ask(
    app: Asked, path: str = "/", *, edits: bool = False, scheme: str = "http", **environ: str
) -> tuple[str, dict[str, str], str]:
    """Status, headers and body of the guard's answer."""
    hosts = frozenset({"127.0.0.1:8081", "localhost:8081"})
    guard = Guard(app, TOKEN, hosts, scheme, "hpo_dashboard_8081", allow_edits=edits)
    path, _, query = path.partition("?")
    given: dict[str, Any] = {"HTTP_HOST": "127.0.0.1:8081", "PATH_INFO": path}
    given |= {"QUERY_STRING": query, **environ}
    setup_testing_defaults(given)
    started: list[Any] = []
    body = b"".join(guard(given, lambda *told: started.append(told)))
    ((status, headers),) = started
    return status, dict(headers), body.decode()


def test_the_printed_address_gives_a_cookie_and_then_the_cookie_does() -> None:
    app = Asked()
    status, headers, _ = ask(app, f"/dashboard/studies/3?token={TOKEN}&x=%26")
    assert (status, headers["Location"]) == ("303 See Other", "/dashboard/studies/3?x=%26")
    assert headers["Set-Cookie"] == (f"hpo_dashboard_8081={TOKEN}; Path=/; HttpOnly; SameSite=Lax")
    assert headers["Referrer-Policy"] == "no-referrer"
    assert app.methods == []
    assert ask(app, HTTP_COOKIE=COOKIE)[2] == "the dashboard"
    assert ask(app, f"/?token={TOKEN}", scheme="https")[1]["Set-Cookie"].endswith("; Secure")


@pytest.mark.parametrize("path", [f"//evil.example/?token={TOKEN}", f"/\\evil?token={TOKEN}"])
def test_the_printed_address_leads_to_no_other_site(path: str) -> None:
    assert ask(Asked(), path)[1]["Location"] in ("/evil.example/", "/%5Cevil")


@pytest.mark.parametrize(
    ("path", "environ"),
    [
        ("/", {}),
        ("/?token=", {}),
        (f"/?token={TOKEN[:-1]}", {}),
        (f"/?token={TOKEN}%C3%BC", {}),
        ("/", {"HTTP_COOKIE": f"hpo_dashboard_8080={TOKEN}"}),
        ("/", {"HTTP_COOKIE": "hpo_dashboard_8081=\xff; ;="}),
    ],
)
def test_without_the_token_there_is_only_a_hint(path: str, environ: dict[str, str]) -> None:
    app = Asked()
    status, headers, body = ask(app, path, **environ)
    assert status == "403 Forbidden"
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Open the whole address that `hpo dashboard` printed" in body
    assert (app.methods, TOKEN in body) == ([], False)


@pytest.mark.parametrize(
    "environ",
    [
        {"HTTP_HOST": "evil.example:8081"},
        {"HTTP_HOST": "127.0.0.1"},
        {"HTTP_HOST": "127.0.0.1:8081,127.0.0.1:8081"},
        {"HTTP_HOST": ""},
        {"HTTP_ORIGIN": "http://evil.example"},
        {"HTTP_ORIGIN": "https://127.0.0.1:8081"},
        {"HTTP_ORIGIN": "null"},
    ],
)
def test_other_names_and_other_sites_are_refused_whatever_they_know(
    environ: dict[str, str],
) -> None:
    app = Asked()
    assert ask(app, f"/?token={TOKEN}", HTTP_COOKIE=COOKIE, **environ)[0] == "403 Forbidden"
    assert app.methods == []


def test_its_own_page_is_answered() -> None:
    own = {"HTTP_HOST": "LocalHost:8081", "HTTP_ORIGIN": "http://localhost:8081"}
    assert ask(Asked(), HTTP_COOKIE=COOKIE, **own)[0] == "200 OK"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_only_looks_unless_edits_are_allowed(method: str) -> None:
    app = Asked()
    asked = {"REQUEST_METHOD": method, "HTTP_COOKIE": COOKIE}
    status, headers, body = ask(app, "/api/studies/1", **asked)
    assert (status, headers["Content-Type"]) == (
        "403 Forbidden",
        "application/json; charset=utf-8",
    )
    assert body == (
        '{"reason": "This dashboard only looks: nothing was changed. To edit, start it with '
        '`hpo dashboard --allow-edits`."}'
    )
    assert app.methods == []
    assert ask(app, "/api/studies/1", edits=True, **asked)[0] == "200 OK"
    assert app.methods == [method]
    # The token in the address alone changes nothing.
    assert ask(app, f"/x?token={TOKEN}", edits=True, REQUEST_METHOD=method)[0][:3] == "303"


def test_an_artifact_is_a_file_and_no_page() -> None:
    _, headers, body = ask(Asked(b"<script>"), "/artifacts/1/2/ab", HTTP_COOKIE=COOKIE)
    assert body == "<script>"
    assert headers["Content-Disposition"] == "attachment"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("sandbox")
    assert "Access-Control-Allow-Origin" not in headers


def test_a_table_computes_nothing_in_a_spreadsheet() -> None:
    told = ["=HYPERLINK(1)", "+1", "-0.5e3", "-x", "@a", "a=b", 'a,"b"\n', "nan", "-inf", ""]
    text = StringIO()
    csv.writer(text).writerow(told)
    (row,) = csv.reader(StringIO(harmless_csv(text.getvalue())))
    assert row == ["'=HYPERLINK(1)", "+1", "-0.5e3", "'-x", "'@a", *told[5:]]
    _, headers, body = ask(Asked(b"=1\r\n"), "/csv/1", HTTP_COOKIE=COOKIE)
    assert (body, headers["Content-Length"]) == ("'=1\r\n", "5")
