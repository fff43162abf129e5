import numpy as np
import pandas as pd
import pytest
from made_study import made_study

from hpo.analysis import grad_norms
from hpo.analysis.formats import ScoreFormat
from hpo.analysis.grad_norms import (
    COLUMNS,
    draw_grad_norms,
    grad_norm_sentences,
    grad_norm_table,
    health_table,
)
from hpo.analysis.histories import COLUMNS as COLUMNS_OF_HISTORY
from hpo.analysis.histories import read_history


def test_short_histories_are_kept_step_by_step(tmp_path):
    record = made_study(tmp_path, trials=3)
    table = grad_norm_table(record)
    for trial in record.trials:
        whole = read_history(trial.folder)
        rows = table[table["number"] == trial.number]
        assert rows["step"].tolist() == whole["step"].tolist()
        assert rows["grad_norm"].to_numpy() == pytest.approx(whole["grad_norm"].to_numpy())


@pytest.mark.parametrize("steps", [199, 200, 201, 1009])
def test_long_histories_are_thinned_and_keep_their_peaks(tmp_path, steps):
    record = made_study(tmp_path, trials=2, telemetry_steps=steps)
    table = grad_norm_table(record)
    for trial in record.trials:
        whole = read_history(trial.folder)
        rows = table[table["number"] == trial.number]
        assert len(rows) <= 200
        assert rows["grad_norm"].max() == pytest.approx(whole["grad_norm"].max())
        assert rows["step"].is_monotonic_increasing
        norm_at = whole.set_index("step")["grad_norm"]
        assert rows["grad_norm"].tolist() == norm_at[rows["step"]].tolist()


def test_norms_that_are_not_finite_are_marked_and_keep_no_number(tmp_path):
    record = made_study(tmp_path)
    table = grad_norm_table(record)
    bad = table[table["nonfinite"]]
    assert set(bad["number"]) == {6}
    figure = draw_grad_norms(table, ScoreFormat.of(record), 1.0)
    crosses = next(trace for trace in figure.data if trace.name == "NaN or infinite")
    assert crosses.x == (80,)
    assert crosses.y[0] > 10  # the height of the step before


def test_a_history_without_one_finite_norm_is_drawn_without_a_point(tmp_path):
    record = made_study(tmp_path, trials=1)
    rows = {name: [0.0, 0.0] for name in COLUMNS_OF_HISTORY}
    broken = pd.DataFrame(rows | {"step": [1, 2], "grad_norm": [np.nan, np.inf]})
    broken.to_parquet(record.trials[0].folder / "telemetry.parquet")
    table = grad_norm_table(record)
    assert table["grad_norm"].isna().all()
    assert table["nonfinite"].all()
    assert draw_grad_norms(table, ScoreFormat.of(record), None).data


def test_missing_and_torn_telemetry_leave_their_trials_out(tmp_path):
    record = made_study(tmp_path, trials=4)
    (record.trials[1].folder / "telemetry.parquet").unlink()
    torn = record.trials[2].folder / "telemetry.parquet"
    torn.write_bytes(torn.read_bytes()[:-7])
    table = grad_norm_table(record)
    assert set(table["number"]) == {0, 3}
    assert grad_norm_sentences(record, table)[-1] == "2 trials left no telemetry."


def test_without_telemetry_there_is_an_empty_table(tmp_path):
    table = grad_norm_table(made_study(tmp_path, with_telemetry=False))
    assert table.empty
    assert list(table) == COLUMNS


def test_lines_are_coloured_by_depth_on_a_log_axis_with_clip_and_alarm(tmp_path):
    record = made_study(tmp_path)
    figure = draw_grad_norms(grad_norm_table(record), ScoreFormat.of(record), 0.5)
    assert figure.layout.yaxis.type == "log"
    assert {shape.y0 for shape in figure.layout.shapes} == {10.0, 0.5}
    depths = {t.parameters["model.num_layers"] for t in record.trials if t.curve}
    names = {trace.name for trace in figure.data}
    assert names == {f"depth {depth}" for depth in depths} | {"NaN or infinite"}


def test_without_depth_lines_are_coloured_by_score(tmp_path):
    record = made_study(tmp_path)
    for trial in record.trials:
        del trial.parameters["model.num_layers"]
    figure = draw_grad_norms(grad_norm_table(record), ScoreFormat.of(record), 1.0)
    bar = next(trace for trace in figure.data if trace.marker.showscale)
    assert bar.marker.colorbar.title.text == "BLEU"
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    assert len({trace.line.color for trace in lines}) > 3


def test_points_of_many_trials_stay_within_what_a_browser_draws(tmp_path, monkeypatch):
    monkeypatch.setattr(grad_norms, "MOST_TRIALS", 50)
    monkeypatch.setattr(grad_norms, "ALL_POINTS", 1_000)
    record = made_study(tmp_path, trials=61, with_texts=False)
    table = grad_norm_table(record)
    assert table["number"].nunique() <= 50
    assert len(table) <= 1_000
    assert table.groupby("number").size().max() <= 20
    assert any("50 of 61 trials are drawn" in said for said in grad_norm_sentences(record, table))


def test_health_is_told_in_numbers(tmp_path):
    table = health_table(made_study(tmp_path)).set_index("number")
    assert 9 not in table.index  # failed before its first step
    assert table.loc[6, "verdict"] == "diverged"
    assert table.loc[6, "alarms"] > 0
