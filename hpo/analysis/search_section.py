"""The report's section on the search: its history, the curves, the slots, and where time went."""

from __future__ import annotations

from collections.abc import Iterator

from hpo.analysis.curves import curves_note, curves_table, draw_curves, stage_sentences
from hpo.analysis.formats import MISSING, ScoreFormat, duration, percent
from hpo.analysis.history import draw_history, history_sentences, history_table
from hpo.analysis.markup import Html, join, paragraphs, table, tag, term_list
from hpo.analysis.reliability import (
    draw_reliability,
    reliability_note,
    reliability_sentences,
    reliability_table,
)
from hpo.analysis.spent import draw_spent, spent_table
from hpo.analysis.tables import rows_of
from hpo.analysis.timeline import (
    draw_timeline,
    timeline_note,
    timeline_sentences,
    timeline_table,
)
from hpo.analysis.trial_tables import cost_table
from hpo.analysis.widgets import embed, folded, timed
from hpo.records import StudyRecord

_TAU = ("tau", "low", "high")


def search_section(record: StudyRecord, scores: ScoreFormat) -> Html:
    """Once a trial has finished: history, curves, timeline, time by outcome, pruning."""
    return join(
        (
            *_history(record, scores),
            tag("h3", "Curves"),
            *_curves(record, scores),
            *_timeline(record),
            *_spent(record),
            tag("h3", "What ranks on the way were worth"),
            *_pruning(record),
        )
    )


def _history(record: StudyRecord, scores: ScoreFormat) -> Iterator[Html]:
    found = history_table(record)
    yield paragraphs(history_sentences(record, scores))
    figures = [
        tag(
            "div",
            tag("h3", "Over trials"),
            embed(
                "history",
                draw_history(found, scores),
                "Score of every finished trial and the best so far, by trial.",
            ),
        )
    ]
    if found["seconds"].notna().any():
        figures.append(
            tag(
                "div",
                tag("h3", "Over time"),
                embed(
                    "history-time",
                    draw_history(found, scores, by="seconds"),
                    "Score of every finished trial and the best so far, by when it ended.",
                ),
            )
        )
    yield tag("div", *figures, class_="columns")
    yield tag(
        "p",
        "Each mark is a finished trial with the last score it had; only complete trials count for "
        "the line. Pruned trials stopped earlier, so their scores are of less training.",
        class_="note",
    )


def _curves(record: StudyRecord, scores: ScoreFormat) -> Iterator[Html]:
    found = curves_table(record)
    if found.empty:
        yield tag("p", "No trial reached its first evaluation.")
        return
    yield paragraphs(stage_sentences(record, scores))
    figure = draw_curves(found, record.grid, scores)
    yield embed("curves", figure, "Score of each trial by training step.")
    yield tag("p", curves_note(record), class_="note")


def _timeline(record: StudyRecord) -> Iterator[Html]:
    found = timeline_table(record)
    if found.empty:
        return
    rows = [
        (
            row["place"],
            row["trial"],
            MISSING if row["seed"] is None else row["seed"],
            row["attempt"],
            f"{row['begun']:%Y-%m-%d %H:%M:%S}",
            timed(row["seconds"]),
            row["outcome"],
            "yes" if row["from_cache"] else "",
        )
        for row in rows_of(found)
    ]
    heads = (
        "slot", "trial", "fresh seed", "attempt", "begun (UTC)", "time", "ended as",
        "first stage cached",
    )  # fmt: skip
    yield tag("h3", "Slots")
    yield paragraphs(timeline_sentences(record, found))
    yield embed("timeline", draw_timeline(found), "What each slot worked on, over time.")
    yield tag("p", timeline_note(found), class_="note")
    numbers = table("Every attempt", heads, rows, numeric=(1, 2, 3, 5), sortable=True)
    yield folded("The attempts", numbers)


def _spent(record: StudyRecord) -> Iterator[Html]:
    found = spent_table(record)
    yield tag("h3", "Time by outcome")
    if not found.empty:
        yield embed("spent", draw_spent(found), "Slots' time by what came of it.")
        rows = [
            (
                row["outcome"],
                row["attempts"],
                timed(row["seconds"]),
                percent(row["share"]),
            )
            for row in rows_of(found)
        ]
        heads = ("outcome", "attempts", "time", "share")
        numbers = table("Slots' time by outcome", heads, rows, numeric=(1, 2, 3))
        yield folded("The numbers", numbers)
    yield tag("h4", "What the trials' time went to")
    yield term_list((row["what"], duration(row["seconds"])) for row in rows_of(cost_table(record)))


def _pruning(record: StudyRecord) -> Iterator[Html]:
    found = reliability_table(record)
    if found.empty:
        yield tag("p", "Fewer than two trials are complete: no rank can be compared.")
        return
    rows = [
        (
            row["step"],
            row["stage"],
            row["n"],
            *(MISSING if row[name] is None else f"{row[name]:.2f}" for name in _TAU),
            "yes" if row["is_good"] else "no",
            MISSING if row["first_good"] is None else row["first_good"],
        )
        for row in rows_of(found)
    ]
    heads = ("step", "stage", "trials", "tau", "at least", "at most", "relied on", "first after")
    numbers = table("Rank on the way and final rank", heads, rows, numeric=(0, 2, 3, 4, 5, 7))
    yield paragraphs(reliability_sentences(record, found))
    yield embed("pruning", draw_reliability(found, record.grid), "Kendall's tau by step.")
    yield tag("p", reliability_note(found), class_="note")
    yield folded("The numbers", numbers)
