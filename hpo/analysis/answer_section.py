"""The report's first section: the answer, what it cost, and what it rests on."""

from __future__ import annotations

from collections.abc import Iterator

from hpo.analysis.answer import (
    answer_table,
    gain,
    gain_sentences,
    reading_sentences,
    readings_table,
)
from hpo.analysis.command import command_again
from hpo.analysis.curves import stage_sentences
from hpo.analysis.facts import facts_table
from hpo.analysis.finals import entrant, finals_rows, finals_sentences, interval_text, run_name
from hpo.analysis.formats import ScoreFormat, count, duration, value_text
from hpo.analysis.markup import Html, join, paragraphs, table, tag, term_list
from hpo.analysis.tables import rows_of
from hpo.analysis.trials import cost_sentences
from hpo.finals.headline import headline
from hpo.finals.statistics import Interval
from hpo.records import StudyRecord

Tile = tuple[str, object, object]
"""A name, a figure, and what stands below it."""


def answer_section(record: StudyRecord, scores: ScoreFormat) -> Html:
    """The best configuration, what it gained and cost, the readings of the test set, the finals,
    the command that runs it again, and versions, seeds, digests and signature."""
    parts: list[Html] = [
        tag("div", *(_tile(*tile) for tile in _tiles(record, scores)), class_="tiles"),
        paragraphs(
            [*gain_sentences(record, scores), *finals_sentences(record, scores)], class_="lead"
        ),
        # The finals tell of the same configuration's last stage on fresh seeds.
        paragraphs([] if record.finals else stage_sentences(record, scores)[:1]),
    ]
    if record.best is not None:
        both = (_configuration(record), tag("div", _readings(record, scores)))
        parts.append(tag("div", *both, class_="columns"))
    if record.finals is not None:
        parts.append(_finals(record, scores))
    parts += [
        tag("h3", "What it cost"),
        paragraphs(cost_sentences(record)),
        tag("h3", "Run it again"),
        tag("pre", tag("code", command_again(record)), tabindex="0"),
        tag("h3", "What it rests on"),
        term_list((row["name"], row["value"]) for row in rows_of(facts_table(record))),
    ]
    return join(parts)


def _tiles(record: StudyRecord, scores: ScoreFormat) -> Iterator[Tile]:
    best, gained, finals = record.best, gain(record), record.finals
    if best is not None:
        name = f"best validation {record.metric.name}"
        yield name, scores.text(best.value), f"trial {best.number}, one run"
        selected = None if finals is None else entrant(finals, finals.selected)
        if selected is not None:
            found = Interval(selected.mean, selected.half_width, len(selected.values))
            below = f"trial {selected.trial}, mean over {count(found.n, 'fresh seed')}"
            yield (
                f"validation {record.metric.name} on fresh seeds",
                interval_text(found, scores),
                below,
            )
        start = record.start
        if gained and start is not None and best.value is not None and start.value is not None:
            by = scores.difference(*sorted((best.value, start.value), reverse=True))
            below = f"trial {start.number}: {scores.text(start.value)}"
            yield "better than the start by", by, below
    if record.readings:
        told = headline(record.readings[-1], record.metric)
        yield f"test {record.metric.name}", scores.text(told.final.value), run_name(told.final)
        if told.clean is not None:
            over = f"mean over {told.clean.n} fresh seeds"
            yield "the same, clean", interval_text(told.clean, scores), over
    if record.trials:
        yield "it took", duration(record.elapsed_s), f"{count(len(record.trials), 'trial')}"


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
    return join(
        (
            tag("h3", "Finals"),
            table("Finalists", heads, rows, numeric=(1, 2)),
            tag("p", said, class_="note"),
        )
    )


def _utc(when: str) -> str:
    """A time in ISO 8601 to the minute."""
    return when[:16].replace("T", " ")
