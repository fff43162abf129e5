"""The report: one HTML file that holds all it needs and opens without network."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from plotly.offline import get_plotlyjs

from core.atomic import replace_text
from hpo.analysis.markup import Html, join, tag
from hpo.analysis.palette import dark_colours
from hpo.analysis.sections import build_sections
from hpo.analysis.trials import tally_text
from hpo.records import StudyRecord

# Nothing may be fetched, whatever a text on the page tries; `data:` and `blob:` are the pictures
# that plotly makes of a figure on request.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)


def write_report(record: StudyRecord, path: Path | None = None) -> Path:
    """Writes the study's page and returns where: `path`, or `report.html` in the study's folder.

    An older page is replaced at once, never found half written.
    """
    path = path or record.folder / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    # A lone surrogate, which JSON can smuggle into a name, has no UTF-8.
    page = render(record).encode("utf-8", errors="replace").decode("utf-8")
    replace_text(path, page)
    return path


def render(record: StudyRecord) -> str:
    """The whole page."""
    sections = build_sections(record)
    links = (tag("li", tag("a", s.title, href=f"#{s.anchor}")) for s in sections)
    body = (
        tag("a", "Skip to the result", href="#result", class_="skip"),
        _header(record),
        tag("nav", tag("ul", *links), aria_label="Sections"),
        tag(
            "main",
            tag("noscript", tag("p", "The pictures need JavaScript; the tables do not.")),
            *(
                tag("section", tag("h2", s.title), s.content, id=s.anchor, aria_label=s.title)
                for s in sections
            ),
        ),
        tag("footer", tag("p", f"Written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by hpo.")),
        _data("dark-colours", dark_colours()),
        _script(get_plotlyjs()),
        _script(_beside("page.js")),
    )
    head = join(
        (
            Html('<meta charset="utf-8">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html('<meta name="color-scheme" content="light dark">'),
            tag("title", f"{record.name}: report"),
            Html(f"<style>{_beside('page.css')}</style>"),
        )
    )
    page = tag("html", tag("head", head), tag("body", *body), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def _header(record: StudyRecord) -> Html:
    running = " A run owns the study at this moment; the page shows it as it stood."
    description = str(record.declaration.get("description") or "")
    return tag(
        "header",
        tag("p", f"Study of task {record.task}", class_="kicker"),
        tag("h1", record.name),
        tag("p", description, class_="description") if description else "",
        tag("p", f"{tally_text(record)}.{running if record.is_owned else ''}", class_="tally"),
    )


def _data(anchor: str, value: object) -> Html:
    text = json.dumps(value).replace("<", "\\u003c")
    return Html(f'<script type="application/json" id="{anchor}">{text}</script>')


def _script(source: str) -> Html:
    """A script of ours or plotly's; it must not hold what would end it early."""
    assert "</script" not in source.lower()
    return Html(f"<script>{source}</script>")


def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
