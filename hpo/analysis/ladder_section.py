"""The report's section on learning rate against depth and width."""

from __future__ import annotations

from hpo.analysis.formats import ScoreFormat
from hpo.analysis.ladder import HEADS, climb, draw_ladder, ladder_rows, ladder_sentences
from hpo.analysis.markup import Html, join, paragraphs, table, tag
from hpo.analysis.widgets import embed
from hpo.records import StudyRecord


def has_ladder(record: StudyRecord) -> bool:
    """Whether the study varies what the section is about."""
    return not isinstance(climb(record), str)


def ladder_section(record: StudyRecord, scores: ScoreFormat) -> Html:
    """The law, a figure and a table for depth and for width."""
    ladder = climb(record)
    if isinstance(ladder, str):
        return tag("p", ladder)
    parts = [paragraphs(ladder_sentences(ladder))]
    for side, name in ladder.names.items():
        rows = ladder_rows(ladder, side)
        parts += [
            embed(f"ladder-{side}", draw_ladder(ladder, side), f"Best learning rate by {side}."),
            table(f"Best learning rate by {side}", (name, *HEADS), rows, numeric=range(6)),
        ]
    note = (
        "The best rate is the geometric mean over the best third of the trials at one "
        f"{' or '.join(ladder.names)}, its interval a bootstrap over them. The law runs through "
        "the best third of all trials, by their ranks among trials of like size; what was pruned, "
        "diverged or collapsed ranks below all that is complete. Other parameters vary along, "
        "which widens everything."
    )
    return join((*parts, tag("p", note, class_="note")))
