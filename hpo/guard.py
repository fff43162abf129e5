"""What stands before the dashboard: who may ask, what may be asked, and how answers are sent."""

from __future__ import annotations

import csv
import io
import json
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from html import escape
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_LOOKING = ("GET", "HEAD")
_ALWAYS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),  # the first address holds the token
)
_OF_ARTIFACTS = (
    ("Content-Disposition", "attachment"),
    ("Content-Security-Policy", "sandbox; default-src 'none'"),
)
"""An artifact is a file that somebody wrote: no page of this address."""


@dataclass(frozen=True)
class Guard:
    """A WSGI application before another one."""

    app: App
    token: str
    """What the first address holds and the cookie then repeats."""
    hosts: frozenset[str]
    """What `Host` may be, with the port."""
    scheme: str
    """`http` or `https`."""
    cookie: str
    """Its name."""
    allow_edits: bool

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        # A page of another site can have its name resolve to the loopback address and so read
        # what is here, or delete it; the name it was called by then gives it away.
        if environ.get("HTTP_HOST", "").lower() not in self.hosts:
            return _refuse(environ, start_response, "This dashboard has another address.")
        own = {f"{self.scheme}://{host}" for host in self.hosts}
        if environ.get("HTTP_ORIGIN") not in (None, *own):
            return _refuse(
                environ, start_response, "This dashboard answers no page of another site."
            )
        query = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if given and self._fits(given[-1]):
            return self._let_in(environ, start_response, query)
        if not self._fits(_cookie(environ, self.cookie)):
            return _refuse(
                environ,
                start_response,
                "Open the whole address that `hpo dashboard` printed when it was started: the "
                "token in it is the key. Each start makes a new one.",
            )
        if environ["REQUEST_METHOD"] not in _LOOKING and not self.allow_edits:
            return _refuse(
                environ,
                start_response,
                "This dashboard only looks: nothing was changed. To edit, start it with "
                "`hpo dashboard --allow-edits`.",
            )
        return self._pass_on(environ, start_response)

    def _fits(self, token: str) -> bool:
        return secrets.compare_digest(token.encode(), self.token.encode())

    def _let_in(
        self,
        environ: dict[str, Any],
        start_response: Callable[..., Any],
        query: list[tuple[str, str]],
    ) -> Iterable[bytes]:
        """Hands out the cookie, and leads to the same page without the token in its address."""
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        # One slash: two would begin the name of another host.
        path = quote(environ.get("PATH_INFO", "").lstrip("/").encode("latin-1"))
        place = f"/{path}" + (f"?{rest}" if rest else "")
        cookie = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Lax"
        if self.scheme == "https":
            cookie += "; Secure"
        headers = [("Location", place), ("Set-Cookie", cookie), ("Cache-Control", "no-store")]
        start_response("303 See Other", [*headers, *_ALWAYS])
        return [b""]

    def _pass_on(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        added = [*_ALWAYS, *(_OF_ARTIFACTS if path.startswith("/artifacts/") else ())]
        if path.startswith("/csv/"):
            return _as_spreadsheet(self.app, environ, partial(_start, start_response, added))
        return self.app(environ, partial(_start, start_response, added))


def _start(
    start_response: Callable[..., Any],
    added: list[tuple[str, str]],
    status: str,
    headers: list[tuple[str, str]],
    *error: Any,
) -> Any:
    """Sends headers on, with those `added` in place of the same names, and nothing for others."""
    dropped = {name.lower() for name, _ in added} | {"access-control-allow-origin"}
    return start_response(
        status, [*(one for one in headers if one[0].lower() not in dropped), *added], *error
    )


def _as_spreadsheet(
    app: App, environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    """A CSV whose cells are no formulas to the program that opens it."""
    started: list[tuple[Any, ...]] = []
    body = b"".join(app(environ, lambda *given: started.append(given)))
    status, headers, *error = started[-1]
    if status.startswith("200"):
        body = harmless_csv(body.decode("utf-8")).encode("utf-8")
        headers = [one for one in headers if one[0].lower() != "content-length"]
        headers.append(("Content-Length", str(len(body))))
    start_response(status, headers, *error)
    return [body]


def harmless_csv(text: str) -> str:
    """The table with an apostrophe before each cell that a spreadsheet would compute."""
    made = io.StringIO()
    writer = csv.writer(made)
    writer.writerows([_as_cell(cell) for cell in row] for row in csv.reader(io.StringIO(text)))
    return made.getvalue()


def _as_cell(cell: str) -> str:
    if not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def _cookie(environ: dict[str, Any], name: str) -> str:
    """The value of a cookie; empty without one."""
    try:
        found = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _refuse(
    environ: dict[str, Any], start_response: Callable[..., Any], why: str
) -> Iterable[bytes]:
    """403 with a page for people, or with the JSON that the dashboard's own script reads."""
    kind = "text/html"
    body = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Refused</title>'
        f'<body style="font:18px/1.5 system-ui;max-width:34em;margin:15vh auto;padding:0 1em">'
        f"<h1>Refused</h1><p>{escape(why)}</p>"
    )
    if environ.get("PATH_INFO", "").startswith("/api/"):
        kind, body = "application/json", json.dumps({"reason": why})
    content = body.encode("utf-8")
    headers = [
        ("Content-Type", f"{kind}; charset=utf-8"),
        ("Content-Length", str(len(content))),
        ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
        ("Cache-Control", "no-store"),
        *_ALWAYS,
    ]
    start_response("403 Forbidden", headers)
    return [content]
