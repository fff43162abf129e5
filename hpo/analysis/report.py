"""The report: one HTML file that holds all it needs and opens without network."""

from __future__ import annotations

from pathlib import Path

from plotly.offline import get_plotlyjs

from hpo.analysis.markup import Html, tag
from hpo.analysis.page import render_page, write_page
from hpo.analysis.sections import build_sections
from hpo.analysis.trials import tally_text
from hpo.records import StudyRecord


def write_report(record: StudyRecord, path: Path | None = None) -> Path:
    """Writes the study's page and returns where: `path`, or `report.html` in the study's folder.

    An older page is replaced at once, never found half written.
    """
    return write_page(render(record), path or record.folder / "report.html")


def render(record: StudyRecord) -> str:
    """The whole page."""
    return render_page(
        f"{record.name}: report",
        _header(record),
        build_sections(record),
        plotting=get_plotlyjs(),
    )


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
