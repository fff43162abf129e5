"""Who worked on what and when: the table, its words and its figure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from made_study import made_study

from hpo.analysis.report import render
from hpo.analysis.tables import rows_of
from hpo.analysis.timeline import (
    draw_timeline,
    timeline_note,
    timeline_sentences,
    timeline_table,
)
from hpo.spans import Span
from tests.hpo.made_records import record, trial

BEGUN = datetime(2026, 3, 1, 22, tzinfo=UTC)


def ran(
    number: int, place: str, begin_s: float, end_s: float | None, how: str, seed: int | None = None
) -> Span:
    ended = None if end_s is None else BEGUN + timedelta(seconds=end_s)
    return Span(number, place, BEGUN + timedelta(seconds=begin_s), ended, how, seed)


NIGHT = 9 * 3600.0
"""Seconds between the two runs of the study below."""


@pytest.fixture
def study() -> Any:
    """Two slots: a breakdown, a run cut off, nine hours later its rest and a repeat."""
    return record(
        trial(
            0, spans=(ran(0, "cpu 10", 0, 40, "retried"), ran(0, "cpu 10", 41, 100, "complete"))
        ),
        trial(
            1,
            spans=(
                ran(1, "cpu 2", 0, 80, "killed"),
                ran(1, "cpu 2", NIGHT + 80, NIGHT + 100, "complete"),
            ),
            cost={"cache_hit": True},
        ),
        trial(2, "interrupted", spans=(ran(2, "cpu 2", 85, None, "killed"),)),
        repeat_spans=(ran(1, "cpu 10", NIGHT + 90, NIGHT + 190, "complete", 2),),
    )


def test_every_attempt_is_a_row_and_the_night_between_two_runs_is_cut_out(study: Any) -> None:
    rows = [
        (row["place"], row["trial"], row["seed"], row["attempt"], row["start_s"], row["outcome"])
        for row in rows_of(timeline_table(study))
    ]
    # The second run begins where the first one ended, at second 100.
    assert rows == [
        ("cpu 10", 0, None, 1, 0, "retried"),
        ("cpu 2", 1, None, 1, 0, "killed"),
        ("cpu 10", 0, None, 2, 41, "complete"),
        ("cpu 2", 1, None, 2, 100, "complete"),
        ("cpu 10", 1, 2, 1, 110, "complete"),
    ]
    cached = [row["from_cache"] for row in rows_of(timeline_table(study))]
    assert cached == [False, True, False, True, False]


def test_the_words_tell_how_busy_each_slot_was_and_what_was_lost(study: Any) -> None:
    assert timeline_sentences(study, timeline_table(study)) == [
        "Busy share of the 3 min 30 s between first and last attempt: cpu 2 48 %, cpu 10 95 %.",
        "1 attempt broke down and was tried again.",
        "1 attempt was killed with its driver.",
    ]


def test_the_figure_has_a_row_a_slot_in_order_and_a_bar_an_attempt(study: Any) -> None:
    figure = draw_timeline(timeline_table(study))
    assert list(figure.layout.yaxis.categoryarray) == ["cpu 10", "cpu 2"]  # from below
    bars = {bar.name: list(zip(bar.y, bar.text, strict=True)) for bar in figure.data}
    assert bars["complete"] == [("cpu 10", "0"), ("cpu 2", "1"), ("cpu 10", "1 s2")]
    assert bars.keys() == {"complete", "retried", "killed"}
    assert [line.x0 for line in figure.layout.shapes] == [pytest.approx(100 / 60)]


def test_a_running_attempt_goes_on_until_now() -> None:
    begun = datetime.now(UTC) - timedelta(seconds=30)
    attempt = Span(0, "gpu 0", begun, None, "running")
    (row,) = rows_of(timeline_table(record(trial(0, "running", None, spans=(attempt,)))))
    assert 30 <= row["seconds"] < 300


def test_names_are_text_in_the_figure() -> None:
    attempt = ran(0, "<b>node</b> gpu 0", 0, 5, "complete")
    figure = draw_timeline(timeline_table(record(trial(0, spans=(attempt,)))))
    assert figure.data[0].y == ("&lt;b&gt;node&lt;/b&gt; gpu 0",)


def test_the_report_has_it_only_where_something_is_known(tmp_path: Path) -> None:
    assert 'id="figure-timeline"' in render(made_study(tmp_path / "made", trials=5))
    assert 'id="figure-timeline"' not in render(made_study(tmp_path / "none", trials=0))


def test_what_broke_down_has_its_number_too(study: Any) -> None:
    figure = draw_timeline(timeline_table(study))
    # Trial 0 was retried and trial 1 killed with its driver: their fills leave text no room.
    told = [(note.text, note.y) for note in figure.layout.annotations]
    assert sorted(told) == [("0", "cpu 10"), ("1", "cpu 2")]


def test_the_note_tells_of_nothing_that_is_not_drawn(study: Any) -> None:
    note = timeline_note(timeline_table(study))
    assert "fresh seed 2" in note
    assert "at a dotted line" in note
    plain = record(trial(0, spans=(ran(0, "cpu", 0, 40, "complete"),)))
    assert timeline_note(timeline_table(plain)) == (
        "Each bar is one attempt at a trial, by its number."
    )
