"""The report's first section: the answer."""

from __future__ import annotations

from hpo.analysis.answer import (
    answer_table,
    gain,
    gain_sentences,
    reading_sentences,
    readings_table,
)
from hpo.analysis.curves import stage_sentences
from hpo.analysis.finals import finals_sentences, interval_text, run_name
from hpo.analysis.formats import ScoreFormat, value_text
from hpo.analysis.markup import Html, join, paragraphs, table, tag
from hpo.analysis.tables import rows_of
from hpo.finals.headline import headline
from hpo.records import StudyRecord


def result_section(record: StudyRecord, scores: ScoreFormat) -> Html:
    """The best configuration, what it gained, and the readings of the test set."""
    best, gained = record.best, gain(record)
    tiles: list[tuple[str, object, object]] = []
    if best is not None:
        tiles.append(
            (
                f"best validation {record.metric.name}",
                scores.text(best.value),
                f"trial {best.number}",
            )
        )
        start = record.start
        if gained and start is not None and best.value is not None and start.value is not None:
            by = scores.difference(*sorted((best.value, start.value), reverse=True))
            tiles.append(
                (
                    "better than the start by",
                    by,
                    f"trial {start.number}: {scores.text(start.value)}",
                )
            )
    if record.readings:
        told = headline(record.readings[-1], record.metric)
        best_run = (scores.text(told.final.value), run_name(told.final))
        tiles.append((f"test {record.metric.name}", *best_run))
        if told.clean is not None:
            over = f"mean over {told.clean.n} fresh seeds"
            tiles.append(("the same, clean", interval_text(told.clean, scores), over))
    parts: list[Html] = [
        tag("div", *(_tile(*tile) for tile in tiles), class_="tiles") if tiles else Html(""),
        paragraphs(
            [*gain_sentences(record, scores), *finals_sentences(record, scores)], class_="lead"
        ),
        # The finals tell of the same configuration's last stage on fresh seeds.
        paragraphs([] if record.finals else stage_sentences(record, scores)[:1]),
    ]
    if best is not None:
        both = (_configuration(record), tag("div", _readings(record, scores)))
        parts.append(tag("div", *both, class_="columns"))
    return join(parts)


def _tile(name: str, number: object, below: object) -> Html:
    return tag(
        "div",
        tag("span", name, class_="name"),
        tag("strong", number),
        tag("span", below, class_="below"),
        class_="tile",
    )


def _configuration(record: StudyRecord) -> Html:
    found = answer_table(record)
    has_start = bool(record.declaration.get("enqueue"))
    rows = [
        [
            tag("code", row["parameter"]),
            *([value_text(row["start"])] if has_start else []),
            tag("strong", value_text(row["best"])) if row["differs"] else value_text(row["best"]),
        ]
        for row in rows_of(found)
    ]
    heads = ["parameter", *(["start"] if has_start else []), "best"]
    note = " (bold: not as at the start)" if has_start else ""
    return table(f"Best configuration{note}", heads, rows, numeric=range(1, len(heads)))


def _readings(record: StudyRecord, scores: ScoreFormat) -> Html:
    said = paragraphs(reading_sentences(record))
    if not record.readings:
        return said
    rows = [
        (
            _utc(row["when"]),
            tag("strong", row["run"]) if row["is_final"] else row["run"],
            scores.text(row["value"]),
            scores.text(row["validation"]),
        )
        for row in rows_of(readings_table(record))
    ]
    heads = ("read (UTC)", "run", f"test {record.metric.name}", "validation")
    signatures = dict.fromkeys(reading.signature for reading in record.readings)
    computed = (
        tag("p", "Computed as ", tag("code", one), class_="signature") for one in signatures
    )
    return join((table("Readings of the test set", heads, rows, numeric=(2, 3)), *computed, said))


def _utc(when: str) -> str:
    """A time in ISO 8601 to the minute."""
    return when[:16].replace("T", " ")
