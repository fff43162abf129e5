"""The search over time, and where the slots' time went."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from made_study import BLEU, NMSE, made_study

from core.task import Metric
from hpo.analysis.formats import ScoreFormat
from hpo.analysis.history import draw_history, history_sentences, history_table
from hpo.analysis.spent import FINALS, draw_spent, spent_table
from hpo.analysis.timeline import ended_at
from hpo.records import StudyRecord
from hpo.spans import Span


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> StudyRecord:
    return made_study(tmp_path_factory.mktemp("made"), with_texts=False, with_telemetry=False)


@pytest.mark.parametrize("metric", [BLEU, NMSE], ids=lambda metric: metric.direction)
def test_the_best_by_then_looks_at_what_had_ended_not_at_numbers(
    tmp_path: Path, metric: Metric
) -> None:
    study = made_study(tmp_path, metric=metric, with_texts=False, with_telemetry=False)
    late, begin = study.trials[1], study.trials[0].started
    assert begin is not None
    slow = tuple(replace(span, ended=study.trials[9].spans[0].ended) for span in late.spans)
    trials = (*study.trials[:1], replace(late, spans=slow), *study.trials[2:])
    table = history_table(replace(study, trials=trials)).sort_values("seconds")
    assert table["number"].tolist().index(1) > 5
    seen = [math.nan]
    for row in table.itertuples():
        if row.outcome == "complete":
            seen = [value for value in (*seen, row.value) if not math.isnan(value)]
        best = (max if metric is BLEU else min)(seen)
        assert row.best_by_then == best
    assert table["best_by_then"].iloc[-1] == table["running_best"].dropna().iloc[-1]


def test_the_same_trials_are_drawn_over_trials_and_over_time(record: StudyRecord) -> None:
    table, scores = history_table(record), ScoreFormat.of(record)
    by_trial, by_time = (draw_history(table, scores, by=by) for by in ("number", "seconds"))
    names = {trace.name for trace in by_trial.data}
    assert names == {trace.name for trace in by_time.data}
    assert sum(len(t.x) for t in by_time.data if t.mode == "markers") == len(table)
    best = next(trace for trace in by_time.data if trace.mode == "lines")
    assert best.line.shape == "hv"
    assert list(best.x) == sorted(best.x)
    assert best.y[-1] == record.best.value
    assert by_time.layout.xaxis.title.text == "time (minutes)"
    assert max(best.x) == pytest.approx(max(ended_at(record).values()) / 60, abs=1e-3)


def test_many_trials_tell_less_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = made_study(tmp_path, trials=5, with_texts=False, with_telemetry=False)
    table, scores = history_table(record), ScoreFormat.of(record)
    assert "num_layers" in draw_history(table, scores).data[1].hovertext[0]
    monkeypatch.setattr("hpo.analysis.history.MOST_WITH_PARAMETERS", 4)
    assert "num_layers" not in draw_history(table, scores).data[1].hovertext[0]


def test_when_the_best_was_found_is_said_in_trials_and_time(record: StudyRecord) -> None:
    best = record.best
    assert best is not None
    seconds = ended_at(record)[best.number]
    (said,) = history_sentences(record, ScoreFormat.of(record))
    assert f"trial {best.number}, number {best.number + 1} of 17 finished trials" in said
    assert said.endswith(f"{seconds // 60:.0f} min {seconds % 60:02.0f} s into the search.")
    without = replace(record, trials=tuple(replace(one, spans=()) for one in record.trials))
    assert history_sentences(without, ScoreFormat.of(record))[0].endswith("17 finished trials.")


def test_the_slots_time_is_told_by_what_came_of_it(record: StudyRecord) -> None:
    repeat = replace(record.trials[0].spans[0], seed=2)
    study = replace(record, repeat_spans=(repeat,))
    rows = {row.outcome: row for row in spent_table(study).itertuples()}
    assert set(rows) == {
        "complete", "pruned", "diverged", "failed", "broke down, tried again", FINALS,
    }  # fmt: skip
    assert (rows["complete"].attempts, rows["complete"].seconds) == (13, 12 * 23 + 6)
    assert rows["broke down, tried again"].seconds == 7
    assert sum(row.share for row in rows.values()) == pytest.approx(1)
    figure = draw_spent(spent_table(study))
    (bars,) = figure.data
    assert bars.y[0] == "complete"
    assert list(bars.x) == sorted(bars.x, reverse=True)


def test_without_attempts_nothing_is_told(record: StudyRecord) -> None:
    bare = replace(record, trials=tuple(replace(one, spans=()) for one in record.trials))
    assert spent_table(bare).empty
    open_end = (Span(0, "cpu", record.trials[0].spans[0].begun, None, "interrupted"),)
    unknown = replace(record, trials=(replace(record.trials[0], spans=open_end),))
    assert spent_table(unknown).empty
