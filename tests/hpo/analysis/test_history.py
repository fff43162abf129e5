import math

import pytest
from made_study import BLEU, NMSE, made_study

from hpo.analysis.formats import ScoreFormat
from hpo.analysis.history import draw_history, history_table


@pytest.mark.parametrize("metric", [BLEU, NMSE], ids=lambda metric: metric.direction)
def test_running_best_looks_at_complete_trials_only_and_never_gets_worse(tmp_path, metric):
    record = made_study(tmp_path, metric=metric, trials=23)
    table = history_table(record)

    assert table["number"].tolist() == list(range(23))
    seen = []
    for row in table.itertuples():
        if row.outcome == "complete":
            seen.append(row.value)
        expected = (max if metric is BLEU else min)(seen)
        assert row.running_best == expected
    assert table["running_best"].iloc[-1] == record.best.value


def test_a_score_of_a_pruned_trial_is_no_best(tmp_path):
    record = made_study(tmp_path, trials=3, states={0: "pruned", 1: "failed", 2: "complete"})
    best = history_table(record)["running_best"].tolist()
    assert math.isnan(best[0])
    assert math.isnan(best[1])
    assert best[2] == record.trials[2].value


def test_unfinished_trials_are_not_in_the_history(tmp_path):
    record = made_study(tmp_path, trials=5, states={1: "running", 3: "paused", 4: "interrupted"})
    assert history_table(record)["number"].tolist() == [0, 2]


def test_the_picture_marks_each_outcome_and_puts_failures_on_the_worse_edge(tmp_path):
    for metric, edge in ((BLEU, 0.03), (NMSE, 0.97)):
        record = made_study(tmp_path, metric=metric)
        figure = draw_history(history_table(record), ScoreFormat.of(record))
        traces = {trace.name: trace for trace in figure.data}
        assert set(traces) == {
            "best complete so far",
            "complete",
            "pruned",
            "diverged",
            "failed, no score",
        }
        assert traces["failed, no score"].y == (edge,)
        assert traces["diverged"].x == (6,)
        assert (
            len({trace.marker.symbol for name, trace in traces.items() if "best" not in name}) == 4
        )


def test_an_empty_history_is_drawn_as_an_empty_figure(tmp_path):
    record = made_study(tmp_path, trials=0)
    assert not draw_history(history_table(record), ScoreFormat.of(record)).data
