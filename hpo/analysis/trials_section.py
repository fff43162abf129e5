"""The report's section on the trials: a table to sort and filter, from which each one opens."""

from __future__ import annotations

from hpo.analysis.formats import MISSING, ScoreFormat, value_text
from hpo.analysis.markup import Html, join, paragraphs, table, tag
from hpo.analysis.tables import rows_of
from hpo.analysis.trial_tables import trials_table
from hpo.analysis.trials import (
    parameter_names,
    prior_sentences,
    quarantine_sentences,
    tally,
    tally_text,
)
from hpo.analysis.widgets import outcome_label, script_data, timed, two_lines
from hpo.records import StudyRecord


def trials_section(record: StudyRecord, scores: ScoreFormat, data: str) -> Html:
    """The table of all trials; `data` is what opens below it, as `trial_data` has it."""
    best = record.best
    said = f"{tally_text(record)}.{'' if best is None else ' ★ marks the best.'}"
    return join(
        (
            tag("p", said),
            paragraphs([*prior_sentences(record), *quarantine_sentences(record)]),
            _filters(record),
            _table(record, scores),
            tag("div", id="trial-opened"),
            script_data(data, id="trial-data"),
        )
    )


def _filters(record: StudyRecord) -> Html:
    """Works with the page's script, which shows it: without, nothing could be filtered."""
    options = (tag("option", outcome, value=outcome) for outcome in tally(record))
    hint = "a word, or num_layers>=6"
    return tag(
        "div",
        tag(
            "label",
            "Filter ",
            Html(f'<input type="search" id="trial-filter" placeholder="{hint}" size="24">'),
        ),
        tag(
            "label",
            "Outcome ",
            tag("select", tag("option", "all", value=""), *options, id="trial-outcome"),
        ),
        tag("output", "", id="trial-count", for_="trial-filter trial-outcome"),
        class_="filters",
        hidden="hidden",
    )


def _table(record: StudyRecord, scores: ScoreFormat) -> Html:
    names = parameter_names(record)
    best = record.best
    found = rows_of(trials_table(record))
    has_reason = any(row["reason"] for row in found)
    rows = []
    for row in found:
        is_best = best is not None and row["number"] == best.number
        number = tag("strong", f"{row['number']} ★") if is_best else row["number"]
        rows.append(
            [
                number,
                outcome_label(str(row["outcome"])),
                scores.number(row["value"]),
                *([tag("td", row["reason"], class_="reason")] if has_reason else ()),
                row["step"],
                timed(row["seconds"]),
                *(value_text(row[name]) for name in names),
                row["attempts"],
                row["health"] or MISSING,
            ]
        )
    heads = ["trial", "outcome", record.metric.name, *(["reason"] if has_reason else ())]
    step = len(heads)
    heads += ["step", "time", *(two_lines(name) for name in names), "attempts", "health"]
    numeric = {2, *range(step, len(heads) - 1)}
    return table("All trials", heads, rows, numeric=numeric, sortable=True)
