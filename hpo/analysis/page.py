"""One offline page: a file that holds all it needs and opens without network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from core.atomic import make_folder, replace_text
from hpo.analysis.markup import Html, join, tag
from hpo.analysis.palette import dark_colours

# Nothing may be fetched, whatever a text on the page tries; `data:` and `blob:` are the pictures
# that plotly makes of a figure on request.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)


def render_page(
    title: str,
    header: Html,
    sections: Sequence[tuple[str, str, Html]],
    *,
    plotting: str | None = None,
) -> str:
    """The whole page; sections are (anchor, title, content), at least one.

    `plotting` is the library that draws the figures, `None` for a page without any.
    """
    links = (tag("li", tag("a", name, href=f"#{anchor}")) for anchor, name, _ in sections)
    first, first_name, _ = sections[0]
    body = (
        tag("a", f"Skip to the {first_name.lower()}", href=f"#{first}", class_="skip"),
        header,
        tag("nav", tag("ul", *links), aria_label="Sections"),
        tag(
            "main",
            tag("noscript", tag("p", "The pictures need JavaScript; the tables do not."))
            if plotting is not None
            else "",
            *(
                tag("section", tag("h2", name), content, id=anchor, aria_label=name)
                for anchor, name, content in sections
            ),
        ),
        tag("footer", tag("p", f"Written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by hpo.")),
        _data("dark-colours", dark_colours()),
        _script(plotting) if plotting is not None else "",
        _script(_beside("page.js")),
    )
    head = join(
        (
            Html('<meta charset="utf-8">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html('<meta name="color-scheme" content="light dark">'),
            tag("title", title),
            Html(f"<style>{_beside('page.css')}</style>"),
        )
    )
    page = tag("html", tag("head", head), tag("body", *body), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def write_page(page: str, path: Path) -> Path:
    """Writes a page and returns where; an older one is replaced at once, never half written."""
    make_folder(path.parent)
    # A lone surrogate, which JSON can smuggle into a name, has no UTF-8.
    replace_text(path, page.encode("utf-8", errors="replace").decode("utf-8"))
    return path


def _data(anchor: str, value: object) -> Html:
    text = json.dumps(value).replace("<", "\\u003c")
    return Html(f'<script type="application/json" id="{anchor}">{text}</script>')


def _script(source: str) -> Html:
    """A script of ours or plotly's; it must not hold what would end it early."""
    assert "</script" not in source.lower()
    return Html(f"<script>{source}</script>")


def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
