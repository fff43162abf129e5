"""The report's sections: each words a table, and draws it where a picture says more."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import plotly.graph_objects as go

from hpo.analysis.baselines import baselines_of, baselines_section
from hpo.analysis.command import command_again
from hpo.analysis.curves import curves_note, curves_table, draw_curves, stage_sentences
from hpo.analysis.facts import facts_table, settings_table
from hpo.analysis.finals import finals_rows, interval_text
from hpo.analysis.formats import MISSING, ScoreFormat, count, duration, value_text
from hpo.analysis.grad_norms import (
    DEPTH,
    draw_grad_norms,
    grad_norm_sentences,
    grad_norm_table,
    health_table,
)
from hpo.analysis.history import draw_history, history_table
from hpo.analysis.importance import (
    draw_importance,
    importance_notes,
    importance_obstacle,
    importance_table,
)
from hpo.analysis.markup import Html, join, paragraphs, table, tag, term_list
from hpo.analysis.palette import OUTCOMES
from hpo.analysis.reliability import (
    draw_reliability,
    reliability_note,
    reliability_sentences,
    reliability_table,
)
from hpo.analysis.result import result_section
from hpo.analysis.settings import SECTIONS
from hpo.analysis.tables import rows_of
from hpo.analysis.timeline import (
    draw_timeline,
    timeline_note,
    timeline_sentences,
    timeline_table,
)
from hpo.analysis.translations import translations_obstacle, translations_table
from hpo.analysis.trial_tables import cost_table, trials_table
from hpo.analysis.trials import (
    cost_sentences,
    parameter_names,
    prior_sentences,
    quarantine_sentences,
    tally_text,
)
from hpo.records import StudyRecord

_TAU = ("tau", "low", "high")


class Section(NamedTuple):
    """One part of the page, reached by its anchor."""

    anchor: str
    title: str
    content: Html


def build_sections(record: StudyRecord) -> list[Section]:
    """The sections in reading order; those about scores come once a trial has finished."""
    scores = ScoreFormat.of(record)
    builders: list[tuple[str, str, Callable[[StudyRecord, ScoreFormat], Html]]] = [
        ("result", "Result", result_section)
    ]
    if any(trial.is_finished for trial in record.trials):
        builders += [
            ("history", "History", _history),
            ("curves", "Curves", _curves),
            ("pruning", "Pruning", _pruning),
            ("importance", "Importance", _importance),
            ("gradients", "Gradients", _gradients),
        ]
    if baselines_of(record):
        builders.insert(1, ("baselines", "Baselines", baselines_section))
    if record.finals is not None:
        builders.insert(1, ("finals", "Finals", _finals))
    if record.trials:
        builders.append(("trials", "Trials", _trials))
    if record.finished and not timeline_table(record).empty:
        builders.append(("timeline", "Timeline", _timeline))
    if record.best is not None:
        builders.append(("samples", "Samples", _samples))
    builders.append(("facts", "Facts", _facts))
    return [Section(anchor, title, build(record, scores)) for anchor, title, build in builders]


def _finals(record: StudyRecord, scores: ScoreFormat) -> Html:
    assert record.finals is not None
    rows = [
        (
            tag("strong", f"{row.name} ★") if row.is_selected else row.name,
            interval_text(row.score, scores),
            row.score.n,
            ", ".join(row.notes),
        )
        for row in finals_rows(record)
    ]
    heads = ("configuration", f"validation {record.metric.name}", "seeds", "")
    said = (
        f"The best {record.finals.top} of the search, each run again on up to "
        f"{count(record.finals.seeds, 'fresh seed')}, the same for all, while there was time; "
        "one that is clearly behind is not repeated further. ± is the 95 % t-interval of the "
        "mean. Two tie where the seeds' differences or the sentences' (paired bootstrap) cannot "
        "tell them apart."
    )
    return join((table("Finalists", heads, rows, numeric=(1, 2)), tag("p", said, class_="note")))


def _history(record: StudyRecord, scores: ScoreFormat) -> Html:
    figure = draw_history(history_table(record), scores)
    return join(
        (
            embed("history", figure, "Score of every finished trial and the best so far."),
            tag(
                "p",
                "Each mark is a finished trial with the last score it had; only complete trials "
                "count for the line. Pruned trials stopped earlier, so their scores are of "
                "less training.",
                class_="note",
            ),
        )
    )


def _curves(record: StudyRecord, scores: ScoreFormat) -> Html:
    found = curves_table(record)
    if found.empty:
        return tag("p", "No trial reached its first evaluation.")
    figure = draw_curves(found, record.grid, scores)
    return join(
        (
            paragraphs(stage_sentences(record, scores)),
            embed("curves", figure, "Score of each trial by training step."),
            tag("p", curves_note(record), class_="note"),
        )
    )


def _pruning(record: StudyRecord, scores: ScoreFormat) -> Html:
    found = reliability_table(record)
    if found.empty:
        return tag("p", "Fewer than two trials are complete: no rank can be compared.")
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
    return join(
        (
            paragraphs(reliability_sentences(record, found)),
            embed("pruning", draw_reliability(found, record.grid), "Kendall's tau by step."),
            tag("p", reliability_note(found), class_="note"),
            _folded("The numbers", numbers),
        )
    )


def _importance(record: StudyRecord, scores: ScoreFormat) -> Html:
    obstacle = importance_obstacle(record)
    if obstacle is not None:
        return tag("p", obstacle)
    found = importance_table(record)
    rows = [
        (
            tag("code", row["parameter"]),
            row["method"],
            f"{row['importance']:.2f}",
            f"{row['low']:.2f} to {row['high']:.2f}",
        )
        for row in rows_of(found)
    ]
    numbers = table(
        "Importance in numbers",
        ("parameter", "method", "share", "resampled"),
        rows,
        numeric=(2, 3),
    )
    return join(
        (
            embed("importance", draw_importance(found), "Importance of each parameter."),
            paragraphs(importance_notes(record), class_="note"),
            _folded("The numbers", numbers),
        )
    )


def _gradients(record: StudyRecord, scores: ScoreFormat) -> Html:
    found = grad_norm_table(record)
    if found.empty:
        return tag("p", "No trial has left telemetry with gradient norms.")
    clip = (record.declaration.get("protocol") or {}).get("grad_clip")
    figure = draw_grad_norms(found, scores, clip)
    rows = [
        (
            row["number"],
            value_text(row["depth"]),
            *(value_text(norm) for norm in (row["median"], row["p95"], row["max"])),
            row["alarms"],
            row["spikes"],
            row["verdict"],
        )
        for row in rows_of(health_table(record))
    ]
    heads = (
        "trial",
        DEPTH,
        "median",
        "95 %",
        "largest",
        "steps above 10",
        "loss spikes",
        "health",
    )
    numbers = table("Gradient norms in numbers", heads, rows, numeric=range(7), sortable=True)
    return join(
        (
            embed("gradients", figure, "Gradient norm of each trial by training step."),
            paragraphs(grad_norm_sentences(record, found), class_="note"),
            _folded("The numbers", numbers) if rows else Html(""),
        )
    )


def _trials(record: StudyRecord, scores: ScoreFormat) -> Html:
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
                _timed(row["seconds"]),
                *(value_text(row[name]) for name in names),
                row["attempts"],
                row["health"] or MISSING,
            ]
        )
    heads = ["trial", "outcome", record.metric.name, *(["reason"] if has_reason else ())]
    step = len(heads)
    heads += ["step", "time", *(_two_lines(name) for name in names), "attempts", "health"]
    spent = ((row["what"], duration(row["seconds"])) for row in rows_of(cost_table(record)))
    return join(
        (
            tag("p", f"{tally_text(record)}.{'' if best is None else ' ★ marks the best.'}"),
            table(
                "All trials", heads, rows, numeric={2, *range(step, len(heads) - 1)}, sortable=True
            ),
            paragraphs(
                [
                    *prior_sentences(record),
                    *quarantine_sentences(record),
                    *cost_sentences(record),
                ]
            ),
            tag("h3", "What the trials' time went to"),
            term_list(spent),
        )
    )


def _timeline(record: StudyRecord, scores: ScoreFormat) -> Html:
    found = timeline_table(record)
    rows = [
        (
            row["place"],
            row["trial"],
            MISSING if row["seed"] is None else row["seed"],
            row["attempt"],
            f"{row['begun']:%Y-%m-%d %H:%M:%S}",
            _timed(row["seconds"]),
            row["outcome"],
            "yes" if row["from_cache"] else "",
        )
        for row in rows_of(found)
    ]
    heads = (
        "slot", "trial", "fresh seed", "attempt", "begun (UTC)", "time", "ended as",
        "first stage cached",
    )  # fmt: skip
    numbers = table("Every attempt", heads, rows, numeric=(1, 2, 3, 5), sortable=True)
    return join(
        (
            paragraphs(timeline_sentences(record, found)),
            embed("timeline", draw_timeline(found), "What each slot worked on, over time."),
            tag("p", timeline_note(found), class_="note"),
            _folded("The attempts", numbers),
        )
    )


def _samples(record: StudyRecord, scores: ScoreFormat) -> Html:
    obstacle = translations_obstacle(record)
    if obstacle is not None:
        return tag("p", obstacle)
    assert record.best is not None
    samples = []
    for row in rows_of(translations_table(record)):
        outputs = [("beam search", row["beam"]), ("greedy", row["greedy"])]
        if row["beam"] is None or row["beam"] == row["greedy"]:
            outputs = [("beam and greedy" if row["beam"] is not None else "greedy", row["greedy"])]
        samples.append(
            tag(
                "article",
                tag("h3", f"Line {row['line']}"),
                term_list(
                    (name, _sentence(text))
                    for name, text in (
                        ("source", row["source"]),
                        ("reference", row["reference"]),
                        *outputs,
                    )
                ),
                class_="sample",
            )
        )
    said = f"Validation sentences and what the best trial ({record.best.number}) made of them."
    return join((tag("p", said), *samples))


def _facts(record: StudyRecord, scores: ScoreFormat) -> Html:
    notes = [tag("li", note) for note in record.facts.get("notes") or ()]
    settings = settings_table(record)
    parts = [
        tag("h3", "Notes on the data"),
        tag("ul", *notes) if notes else tag("p", "None."),
        tag("h3", "Run it again"),
        tag("pre", tag("code", command_again(record)), tabindex="0"),
        tag("h3", "Digests, counts and versions"),
        term_list((row["name"], row["value"]) for row in rows_of(facts_table(record))),
    ]
    tables = []
    for section in SECTIONS:
        rows = settings[settings["section"] == section]
        if len(rows):
            cells = (
                (tag("code", name), value)
                for name, value in zip(rows["name"], rows["value"], strict=True)
            )
            tables.append(table(section.capitalize(), ("setting", "value"), cells, numeric=(1,)))
    return join((*parts, tag("div", *tables, class_="columns")))


def embed(name: str, figure: go.Figure, description: str) -> Html:
    """A place for the figure and its JSON, which the page's script draws there.

    Every `<` of the JSON is written as an escape, so that no text in it can end the element.
    """
    data = figure.to_json().replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    place = tag("div", class_="figure", id=f"figure-{name}", role="img", aria_label=description)
    return join((place, Html(f'<script type="application/json" class="data">{data}</script>')))


def outcome_label(outcome: str) -> Html:
    """The outcome in words behind its mark."""
    look = OUTCOMES.get(outcome)
    sign = tag("span", look.sign if look else "", class_="sign", aria_hidden="true")
    return tag("span", sign, f" {outcome}", class_=f"outcome {outcome}" if look else "outcome")


def _two_lines(name: str) -> Html:
    """A dotted name broken after its group: columns of numbers are narrower than their names."""
    group, dot, field = name.rpartition(".")
    return join((group, dot, Html("<br>") if dot else "", field))


def _timed(seconds: float | None) -> Html:
    """A cell that shows the time in words and sorts by its seconds."""
    return tag("td", duration(seconds), class_="number", data_sort=seconds)


def _sentence(text: str) -> Html:
    """A text in whichever direction its script runs."""
    if not text.strip():
        return tag("em", "(empty)")
    return tag("span", text, dir="auto")


def _folded(summary: str, content: Html) -> Html:
    return tag("details", tag("summary", summary), content)
