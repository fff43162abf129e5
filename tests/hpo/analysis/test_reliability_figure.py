import dataclasses

import pytest
from made_records import record, trial
from made_study import made_study

from core.task import Grid, Metric
from hpo.analysis.reliability import (
    draw_reliability,
    reliability_note,
    reliability_sentences,
    reliability_table,
)
from hpo.analysis.tables import rows_of
from hpo.reliability import ENOUGH

GRID = Grid((("pretrain", 20), ("finetune", 20)), 10)


def study(number, *, pruner=None, reverse=False, **more):
    """Complete trials whose order at step 10 is the contrary of the final one, and later it."""
    sign = -1.0 if reverse else 1.0
    trials = [
        trial(n, value=sign * n, curve={10: -sign * n, 20: sign * n, 30: sign * n, 40: sign * n})
        for n in range(number)
    ]
    return record(*trials, grid=GRID, declaration={"pruner": pruner or {"name": "median"}}, **more)


@pytest.mark.parametrize("reverse", [False, True])
def test_each_step_before_the_last_has_a_row(reverse):
    metric = (
        Metric("loss", "", "minimize", 0.0) if reverse else Metric("BLEU", "", "maximize", 0.0)
    )
    rows = rows_of(reliability_table(study(7, reverse=reverse, metric=metric)))
    assert [(row["stage"], row["step"], row["n"]) for row in rows] == [
        ("pretrain", 10, 7),
        ("pretrain", 20, 7),
        ("finetune", 30, 7),
    ]
    assert [row["tau"] for row in rows] == [-1, 1, 1]
    assert [row["is_good"] for row in rows] == [False, True, True]
    assert [row["first_good"] for row in rows] == [None, 5, 5]


def test_few_trials_have_a_tau_without_bounds_and_one_has_none():
    (row, *_) = rows_of(reliability_table(study(4)))
    assert (row["tau"], row["low"], row["high"]) == (-1, None, None)
    assert reliability_table(study(1)).empty


def test_only_complete_trials_are_measured():
    whole = study(6)
    more = trial(99, "pruned", 50.0, curve={10: 50.0, 20: -50.0})
    with_pruned = dataclasses.replace(whole, trials=(*whole.trials, more))
    assert reliability_table(with_pruned).equals(reliability_table(whole))


@pytest.mark.parametrize(
    ("number", "pruner", "said"),
    [
        (7, {"name": "median"}, "only where that was known: step 20 from 5 complete trials on; "),
        (4, {"name": "median"}, "Pruner median therefore stopped nobody."),
        (7, {"name": "median", "trust": "always"}, "whatever these figures were"),
        (7, {"name": "none"}, "Pruner none compares no trials"),
        (
            7,
            {"name": "patient", "around": {"name": "median", "trust": "always"}},
            "Pruner patient stopped trials whatever",
        ),
    ],
)
def test_it_says_what_the_pruner_made_of_it(number, pruner, said):
    found = study(number, pruner=pruner)
    first, second = reliability_sentences(found, reliability_table(found))
    assert said in second
    assert ("at steps 20, 30." in first) is (number == 7)


def test_a_scheduler_that_asks_no_pruner_is_named():
    found = study(7)
    found = dataclasses.replace(
        found, declaration={**found.declaration, "scheduler": {"name": "thaw"}}
    )
    assert (
        "Scheduler thaw asks no pruner"
        in reliability_sentences(found, reliability_table(found))[1]
    )


def test_the_figure_draws_each_step_once_with_its_bounds():
    table = reliability_table(study(7))
    figure = draw_reliability(table, GRID)
    good, bad = figure.data
    assert (good.x, bad.x) == ((20, 30), (10,))
    (row,) = rows_of(table[table["step"] == 20])
    assert good.y[0] - good.error_y.arrayminus[0] == pytest.approx(row["low"])
    assert str(ENOUGH) in reliability_note(table)
    assert "7 complete trials" in reliability_note(table)


def test_a_made_study_has_its_figure(tmp_path):
    found = made_study(tmp_path)
    table = reliability_table(found)
    assert set(table["stage"]) == {"pretrain", "finetune"}
    assert draw_reliability(table, found.grid).data
