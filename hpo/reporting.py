"""A study's report in the form that is asked for: page, Markdown, CSV, JSON or images."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

from core.atomic import make_folder, replace_text
from core.errors import UserError
from hpo import as_json
from hpo.analysis.answer import gain_sentences, reading_sentences
from hpo.analysis.command import command_again
from hpo.analysis.finals import finals_sentences
from hpo.analysis.formats import ScoreFormat
from hpo.analysis.importance import importance_table
from hpo.analysis.pictures import write_pictures
from hpo.analysis.reasons import Rivals, reasons
from hpo.analysis.report import write_report
from hpo.analysis.sections import build_sections
from hpo.analysis.tables import rows_of
from hpo.analysis.trial_tables import trials_table
from hpo.names import label
from hpo.page_text import figures_of, markdown_of
from hpo.records import StudyRecord

_NAMES = {
    "html": "report.html",
    "markdown": "report.md",
    "csv": "trials.csv",
    "json": "report.json",
    "png": "figures",
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What begins a formula in a spreadsheet."""


class ReportError(UserError):
    """A report that cannot be written."""


def write_as(record: StudyRecord, form: str, path: Path | None = None) -> list[Path]:
    """Writes the report in one of the forms; returns the files.

    `path`, a folder for images, is by default in the study's folder. What is there is replaced.

    Raises: ReportError; for images what `write_pictures` raises.
    """
    place = path or record.folder / _NAMES[form]
    try:
        if form == "html":
            return [write_report(record, place)]
        if form == "png":
            return _write_images(record, place)
        text = {"markdown": _markdown, "csv": _csv, "json": _json}[form](record)
        make_folder(place.absolute().parent)
        replace_text(place, text.encode(errors="replace").decode())
    except OSError as error:
        raise ReportError(f"cannot be written ({error.strerror})", where=label(place)) from error
    return [place]


def _sections(record: StudyRecord) -> list[tuple[str, str]]:
    return [(section.title, section.content) for section in build_sections(record)]


def _markdown(record: StudyRecord) -> str:
    return markdown_of(f"{record.name}: report", _sections(record))


def _csv(record: StudyRecord) -> str:
    """One row a trial, its parameters behind what became of it."""
    table = trials_table(record)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_cell(name) for name in table.columns])
    writer.writerows([_cell(value) for value in row.values()] for row in rows_of(table))
    return out.getvalue()


def _cell(value: object) -> object:
    """A value that no spreadsheet runs: text that would begin a formula gets an apostrophe."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _json(record: StudyRecord) -> str:
    """What `hpo show --json` prints, and what the report says beside."""
    scores, rivals, told = ScoreFormat.of(record), Rivals.of(record), as_json.study(record)
    for row, trial in zip(told["trials"], record.trials, strict=True):
        row["reasons"] = reasons(trial, rivals)
    said = [
        *gain_sentences(record, scores),
        *finals_sentences(record, scores),
        *reading_sentences(record),
    ]
    told |= {
        "answer": said,
        "command": command_again(record),
        "importance": rows_of(importance_table(record)),
    }
    return as_json.document(told) + "\n"


def _write_images(record: StudyRecord, folder: Path) -> list[Path]:
    figures = figures_of(_sections(record))
    if not figures:
        raise ReportError("no trial has finished, so there is no figure", where=record.name)
    pictures = {folder / f"{name}.png": figure for name, figure in figures.items()}
    write_pictures(pictures)
    return list(pictures)
