"""The report's section on which parameters mattered, and how the score lies over the leaders."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from hpo.analysis.formats import ScoreFormat
from hpo.analysis.importance import (
    ALL,
    draw_importance,
    importance_notes,
    importance_obstacle,
    importance_sentences,
    importance_table,
    leaders,
    scopes_of,
)
from hpo.analysis.landscape import draw_contour, draw_slice, landscape_note, landscape_table
from hpo.analysis.markup import Html, join, paragraphs, table, tag
from hpo.analysis.tables import rows_of
from hpo.analysis.widgets import embed, folded
from hpo.records import StudyRecord


def importance_section(record: StudyRecord, scores: ScoreFormat) -> Html:
    """Bars of all parameters and of each group; slices and the contour of the two leaders."""
    obstacle = importance_obstacle(record)
    if obstacle is not None:
        return tag("p", obstacle)
    found = importance_table(record)
    (_, title), *groups = scopes_of(found)
    rows = [
        (
            row["scope"],
            tag("code", row["parameter"]),
            row["method"],
            f"{row['importance']:.2f}",
            f"{row['low']:.2f} to {row['high']:.2f}",
            "yes" if row["is_clear"] else "no",
        )
        for row in rows_of(found)
    ]
    heads = ("scope", "parameter", "method", "share", "resampled", "told apart")
    numbers = table("Importance in numbers", heads, rows, numeric=(3, 4))
    return join(
        (
            paragraphs(importance_sentences(found)),
            tag("h3", title),
            _bars(found, ALL, title),
            paragraphs(importance_notes(record), class_="note"),
            tag(
                "div",
                *(
                    tag("div", tag("h3", name), _bars(found, scope, name))
                    for scope, name in groups
                ),
                class_="columns",
            ),
            folded("The numbers", numbers),
            *_landscape(record, leaders(found), scores),
        )
    )


def _bars(found: pd.DataFrame, scope: str, title: str) -> Html:
    figure = draw_importance(found[found["scope"] == scope])
    return embed(f"importance-{scope}", figure, f"Importance: {title}.")


def _landscape(record: StudyRecord, names: list[str], scores: ScoreFormat) -> Iterator[Html]:
    found = landscape_table(record, names)
    if found.empty:
        return
    yield tag("h3", f"The score over {' and '.join(names)}")
    yield tag(
        "div",
        *(
            embed(f"slice-{at}", draw_slice(found, name, scores), f"Score over {name}.")
            for at, name in enumerate(names)
        ),
        class_="columns",
    )
    if len(names) == 2:
        description = f"Score over {names[0]} and {names[1]}, smoothed."
        yield embed("contour", draw_contour(found, names, scores), description)
        yield tag("p", landscape_note(names), class_="note")
