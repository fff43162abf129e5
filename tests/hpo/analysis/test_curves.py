import pytest
from made_study import BLEU, NMSE, ONE_STAGE, made_study

from hpo.analysis.curves import (
    curves_note,
    curves_table,
    draw_curves,
    stage_sentences,
    stage_table,
)
from hpo.analysis.formats import ScoreFormat


def test_every_score_of_every_trial_is_in_the_table_with_its_stage(tmp_path):
    record = made_study(tmp_path)
    table = curves_table(record)
    for trial in record.trials:
        rows = table[table["number"] == trial.number]
        assert dict(zip(rows["step"], rows["value"], strict=True)) == trial.curve
    assert set(table.loc[table["step"] <= 120, "stage"]) == {"pretrain"}
    assert set(table.loc[table["step"] > 120, "stage"]) == {"finetune"}
    assert set(table.loc[table["number"] == 6, "outcome"]) == {"diverged"}
    assert table["is_last"].sum() == sum(bool(trial.curve) for trial in record.trials)


def test_the_score_before_the_last_stage_is_the_line_to_beat(tmp_path):
    record = made_study(tmp_path)
    figure = draw_curves(curves_table(record), record.grid, ScoreFormat.of(record))
    line = next(trace for trace in figure.data if "to beat" in (trace.name or ""))
    assert line.line.dash == "dash"
    assert line.y == (record.best.curve[120],) * 2
    assert line.x == (120, 200)


def test_curves_share_a_trace_with_gaps_between_trials(tmp_path):
    record = made_study(tmp_path)
    figure = draw_curves(curves_table(record), record.grid, ScoreFormat.of(record))
    lines = next(t for t in figure.data if t.legendgroup == "complete" and t.mode == "lines")
    others = [t for t in record.trials if t.state == "complete" and t is not record.best]
    assert lines.y.count(None) == len(others)
    assert len(lines.x) == len(lines.y) == len(lines.customdata)


@pytest.mark.parametrize("metric", [BLEU, NMSE], ids=lambda metric: metric.direction)
def test_a_last_stage_that_hurts_is_said_plainly(tmp_path, metric):
    record = made_study(tmp_path, metric=metric, gain=-5.0)
    scores = ScoreFormat.of(record)
    said = stage_sentences(record, scores)
    before, after = record.best.curve[120], record.best.value
    assert said[0] == (
        f"Stage finetune did not help: the best trial ends at {scores.named(after)}, "
        f"after pretrain it stood at {scores.text(before)}."
    )
    assert said[1].startswith("It improved 0 of 13 ")
    assert said[2].startswith("No complete trial beats what trial ")


def test_a_last_stage_that_helps_is_said_too(tmp_path):
    record = made_study(tmp_path, gain=6.0)
    said = stage_sentences(record, ScoreFormat.of(record))
    assert said[0].startswith("Stage finetune helped: ")
    assert said[1] == "It improved 13 of 13 complete trials."
    assert len(said) == 2


def test_an_equal_score_is_no_help(tmp_path):
    record = made_study(tmp_path, same_score=True)
    assert not stage_table(record)["helped"].any()
    assert "did not help" in stage_sentences(record, ScoreFormat.of(record))[0]


def test_one_stage_has_nothing_to_beat(tmp_path):
    record = made_study(tmp_path, grid=ONE_STAGE)
    scores = ScoreFormat.of(record)
    assert stage_table(record).empty
    assert stage_sentences(record, scores) == []
    figure = draw_curves(curves_table(record), record.grid, scores)
    assert not any("to beat" in (trace.name or "") for trace in figure.data)
    assert not figure.layout.shapes


def test_of_many_trials_some_are_drawn_and_the_best_among_them(tmp_path):
    record = made_study(tmp_path, trials=251, with_texts=False, with_telemetry=False)
    table = curves_table(record)
    assert table["number"].nunique() <= 200
    assert table["is_best"].any()
    assert "200 of 251 trials are drawn" in curves_note(record)
