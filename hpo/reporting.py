"""A study's report in the form that is asked for: page, Markdown, CSV, JSON or images."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from core.atomic import make_folder, replace_file, replace_text
from core.errors import MissingPackageError, UserError
from hpo import as_json
from hpo.analysis.answer import gain_sentences, reading_sentences
from hpo.analysis.command import command_again
from hpo.analysis.finals import finals_sentences
from hpo.analysis.formats import ScoreFormat
from hpo.analysis.importance import importance_table
from hpo.analysis.palette import SURFACE
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
_WIDTH, _HEIGHT, _SCALE = 1000, 420, 2
"""Of images: pixels of the page, and how many of the image make up one."""


class ReportError(UserError):
    """A report that cannot be written."""


def write_as(record: StudyRecord, form: str, path: Path | None = None) -> list[Path]:
    """Writes the report in one of the forms; returns the files.

    `path`, a folder for images, is by default in the study's folder. What is there is replaced.

    Raises: ReportError; MissingPackageError and ReportError where no image can be drawn.
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
    if find_spec("kaleido") is None:
        raise MissingPackageError("kaleido", "images")
    figures = figures_of(_sections(record))
    if not figures:
        raise ReportError("no trial has finished, so there is no figure", where=record.name)
    make_folder(folder.absolute())
    paths = [folder / f"{name}.png" for name in figures]
    with TemporaryDirectory(prefix=".images-", dir=folder) as scratch:
        drawn = [Path(scratch) / path.name for path in paths]
        _draw(list(figures.values()), drawn)
        for source, path in zip(drawn, paths, strict=True):
            replace_file(path, partial(_move, source))
    return paths


def _draw(figures: Sequence[dict[str, Any]], paths: Sequence[Path]) -> None:
    """Has a browser draw Plotly's figures into files."""
    import kaleido
    from kaleido.errors import BrowserClosedError, BrowserFailedError, ChromeNotFoundError

    specs = [
        {
            "fig": _for_paper(figure),
            "path": path,
            "opts": {
                "format": "png",
                "width": _WIDTH,
                "height": figure["layout"].get("height", _HEIGHT),
                "scale": _SCALE,
            },
        }
        for figure, path in zip(figures, paths, strict=True)
    ]
    try:
        # Without this its page would fetch a library for formulas from the network.
        kaleido.write_fig_from_object_sync(specs, kopts={"mathjax": False})
    except ChromeNotFoundError:
        raise ReportError(
            "images need Chromium or Chrome, and none is found",
            way_out="Install one, or name its program in BROWSER_PATH.",
        ) from None
    except (BrowserFailedError, BrowserClosedError, TimeoutError) as error:
        raise ReportError(f"the browser drew no images ({_first_line(error)})") from error


def _for_paper(figure: dict[str, Any]) -> dict[str, Any]:
    """The figure on a white ground, for on the page it has none."""
    layout = figure["layout"] | {"paper_bgcolor": SURFACE, "plot_bgcolor": SURFACE}
    return {**figure, "layout": layout}


def _move(source: Path, place: Path) -> None:
    source.replace(place)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]
