"""The leaderboard as a page: a section a protocol, a table for each kind of evidence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from hpo.analysis.leaderboard import Group, Leaderboard
from hpo.analysis.leaderboard_tables import (
    RankTable,
    differing_lines,
    protocol_line,
    tables_of,
)
from hpo.analysis.markup import Html, join, table, tag
from hpo.analysis.page import render_page, write_page
from hpo.folders import make_private


def write_leaderboard(board: Leaderboard, runs: Path) -> Path:
    """Writes `leaderboard.html` into the runs folder, beside the reports' folders; returns where.

    A study's name leads to its report where there is one.

    Raises: FolderError if nothing can be written there.
    """
    sections = list(_sections(board, runs))
    number = sum(len(group.entries) for group in board.groups) + len(board.apart)
    studies = "1 study" if number == 1 else f"{number} studies"
    header = tag(
        "header",
        tag("p", "Studies ranked within their protocols", class_="kicker"),
        tag("h1", "Leaderboard"),
        tag(
            "p",
            f"{studies}. Ranks hold within a table: scores under another protocol, or of "
            "another kind, are not comparable.",
            class_="tally",
        ),
    )
    return write_page(
        render_page("Leaderboard", header, sections), make_private(runs) / "leaderboard.html"
    )


def _sections(board: Leaderboard, runs: Path) -> Iterator[tuple[str, str, Html]]:
    for group in board.groups:
        name = f"Protocol {group.lock.short}"
        yield f"protocol-{group.lock.short}", name, _group(group, runs)
    if board.apart:
        rows = [(one.study, one.reason) for one in board.apart]
        yield "apart", "Not ranked", table("Studies left out", ("study", "reason"), rows)


def _group(group: Group, runs: Path) -> Html:
    differing = differing_lines(group)
    parts = [tag("p", f"{protocol_line(group)}.")]
    if differing:
        lines = tag("ul", *(tag("li", line) for line in differing))
        parts += [tag("p", "Not comparable with the first protocol:"), lines]
    parts += [_table(one, runs) for one in tables_of(group)]
    return join(parts)


def _table(ranked: RankTable, runs: Path) -> Html:
    rows = [(rank, _linked(study, runs), *rest) for rank, study, *rest in ranked.rows]
    return table(ranked.title, ranked.heads, rows, numeric=ranked.numeric, sortable=True)


def _linked(study: str, runs: Path) -> object:
    if (runs / study / "report.html").is_file():
        return tag("a", study, href=f"{quote(study)}/report.html")
    return study
