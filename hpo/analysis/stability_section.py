"""The report's section on how training went: gradients, spikes, rates, where it broke, checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hpo.analysis.checklist import Check
from hpo.analysis.courses import Course
from hpo.analysis.formats import ScoreFormat, count, value_text
from hpo.analysis.grad_norms import (
    BAND,
    DEPTH,
    band_table,
    draw_bands,
    draw_grad_norms,
    grad_norm_sentences,
    health_table,
    norms_of_courses,
)
from hpo.analysis.markup import Html, join, paragraphs, table, tag
from hpo.analysis.palette import HEALTH
from hpo.analysis.stability import (
    collapse_obstacle,
    collapse_sentences,
    collapse_table,
    draw_collapse,
    draw_lines,
    draw_spikes,
    line_table,
    scale_sentences,
    spike_sentence,
    spike_table,
    verdict_of,
)
from hpo.analysis.tables import rows_of
from hpo.analysis.widgets import embed, folded
from hpo.records import StudyRecord

MOST_ROWS = 2_000
"""Trials beyond which tables that repeat what opens with each trial are left out."""
_SIGNS = {True: "✓", False: "✗", None: "–"}


def stability_section(record: StudyRecord, scores: ScoreFormat, courses: Sequence[Course]) -> Html:
    """What the trials' telemetry shows; `courses` are of all trials."""
    parts = [tag("h3", "Where it broke"), *_collapse(record)]
    if not any(course.steps for course in courses):
        parts.append(tag("p", "No trial has left telemetry with gradient norms."))
    else:
        parts += [
            tag("h3", "Gradient norms"),
            *_norms(record, scores, courses),
            tag("h3", "Loss spikes"),
            *_spikes(record, courses),
            tag("h3", "Learning rates as applied"),
            *_rates(record, courses),
            tag("h3", "Loss scale"),
            *_scales(record, courses),
        ]
    return join((*parts, tag("h3", "Checklist"), *_checklist(courses)))


def _collapse(record: StudyRecord) -> Iterator[Html]:
    obstacle = collapse_obstacle(record)
    if obstacle is not None:
        yield tag("p", obstacle)
        return
    found = collapse_table(record)
    yield paragraphs(collapse_sentences(found))
    yield embed(
        "collapse", draw_collapse(record, found), "Depth against learning rate, by health verdict."
    )


def _norms(record: StudyRecord, scores: ScoreFormat, courses: Sequence[Course]) -> Iterator[Html]:
    clip = (record.declaration.get("protocol") or {}).get("grad_clip")
    yield embed(
        "gradients",
        draw_bands(band_table(courses), clip),
        "Median gradient norm by training step, with a band, for each depth.",
    )
    low, high = (f"{100 * bound:.0f} %" for bound in BAND)
    yield tag(
        "p",
        "The global L2 norm of the gradient before clipping. A line is the median over the trials "
        f"of one depth; its band holds what lies between the {low} and {high} quantiles.",
        class_="note",
    )
    every = norms_of_courses(record, courses)
    yield folded(
        "Every trial",
        join(
            (
                embed(
                    "gradients-each",
                    draw_grad_norms(every, scores, clip),
                    "Gradient norm of each trial by training step.",
                ),
                paragraphs(grad_norm_sentences(record, every), class_="note"),
            )
        ),
    )
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
        "trial", DEPTH, "median", "95 %", "largest", "steps above 10", "loss spikes", "health",
    )  # fmt: skip
    if rows and len(rows) <= MOST_ROWS:
        numbers = table("Gradient norms in numbers", heads, rows, numeric=range(7), sortable=True)
        yield folded("The numbers", numbers)


def _spikes(record: StudyRecord, courses: Sequence[Course]) -> Iterator[Html]:
    found = spike_table(courses)
    yield tag("p", spike_sentence(found, courses))
    if not found.empty:
        yield embed("spikes", draw_spikes(found, record.grid), "Loss spikes by training step.")
        yield tag(
            "p",
            "A spike lies above the median of the 25 steps before it by six robust standard "
            "deviations and by half of that median; one that lasts counts once.",
            class_="note",
        )


def _rates(record: StudyRecord, courses: Sequence[Course]) -> Iterator[Html]:
    found = line_table(record, courses, "learning_rate")
    figure = draw_lines(found, "learning_rate", "learning rate", record.grid)
    yield embed("rates", figure, "Learning rate of each trial by training step.")
    yield from _left_out(found["number"].nunique(), courses)


def _scales(record: StudyRecord, courses: Sequence[Course]) -> Iterator[Html]:
    yield paragraphs(scale_sentences(courses))
    found = line_table(record, courses, "amp_scale")
    if not found.empty:
        figure = draw_lines(found, "amp_scale", "loss scale", record.grid)
        yield embed("scales", figure, "Loss scale of each trial by training step.")
        yield from _left_out(found["number"].nunique(), courses)


def _left_out(drawn: int, courses: Sequence[Course]) -> Iterator[Html]:
    known = sum(course.steps > 0 for course in courses)
    if drawn < known:
        said = f"{drawn} of {count(known, 'trial')} are drawn, evenly spaced."
        yield tag("p", said, class_="note")


def _checklist(courses: Sequence[Course]) -> Iterator[Html]:
    told = [course for course in courses if course.checks]
    if not told:
        yield tag("p", "No trial has begun.")
        return
    names = [check.name for check in told[0].checks]
    yield tag("ul", *(tag("li", _tally(told, at)) for at in range(len(names))))
    rows = (
        (
            course.trial.number,
            verdict_label(verdict_of(course.trial)),
            *(_check_cell(check) for check in course.checks),
        )
        for course in told
    )
    heads = ("trial", "health", *names)
    if len(told) > MOST_ROWS:
        yield tag("p", "The checklist of each trial opens with it, under Trials.", class_="note")
        return
    yield folded(
        "The checklist of every trial",
        table("Checklist of every trial", heads, rows, numeric=(0,), sortable=True),
    )


def _tally(courses: Sequence[Course], at: int) -> str:
    """How many trials pass a check and fail it: `no loss spikes: 34 pass, 6 fail`."""
    verdicts = [course.checks[at].passed for course in courses]
    passed, failed = verdicts.count(True), verdicts.count(False)
    told = f"{passed} pass, {failed} fail" if passed or failed else "applies to none"
    unknown = "" if not (passed or failed) else f", {len(verdicts) - passed - failed} unknown"
    return f"{courses[0].checks[at].name}: {told}{unknown if verdicts.count(None) else ''}"


def verdict_label(verdict: str) -> Html:
    """A health verdict in words behind its mark."""
    look = HEALTH.get(verdict)
    sign = tag("span", look.sign if look else "", class_="sign", aria_hidden="true")
    return tag("span", sign, f" {verdict}", class_=f"outcome {verdict}")


def _check_cell(check: Check) -> Html:
    """Fails sort first, then what nothing is known of."""
    order = {False: "a", None: "b", True: "c"}[check.passed]
    sign = tag("span", _SIGNS[check.passed], class_="sign", aria_hidden="true")
    return tag(
        "td",
        sign,
        f" {check.verdict}: {check.said}" if check.passed is not None else f" {check.said}",
        class_=f"check {check.verdict}" if check.passed is not None else "check",
        data_sort=order,
    )
