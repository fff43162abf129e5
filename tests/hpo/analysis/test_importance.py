import optuna
import pytest
from made_study import NMSE, made_study

from hpo.analysis import importance
from hpo.analysis.importance import (
    FANOVA,
    PED_ANOVA,
    draw_importance,
    importance_notes,
    importance_obstacle,
    importance_table,
)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return made_study(
        tmp_path_factory.mktemp("made"), trials=29, with_texts=False, with_telemetry=False
    )


@pytest.fixture(scope="module")
def table(record):
    return importance_table(record)


def test_parameters_stand_under_the_names_of_core(table):
    assert set(table.loc[table["method"] == PED_ANOVA, "parameter"]) == {
        "model.num_layers",
        "model.d_ff",
        "model.norm",
        "finetune.learning_rate",
        "finetune.warmup_steps",
    }


def test_shares_of_a_method_add_up_to_one_within_their_bars(table):
    for method in (PED_ANOVA, FANOVA):
        rows = table[table["method"] == method]
        assert rows["importance"].sum() == pytest.approx(1)
        assert (rows["low"] <= rows["high"]).all()
        assert rows[["importance", "low", "high"]].stack().between(0, 1).all()


def test_what_does_not_act_on_the_made_score_is_found_to_be_least(table):
    found = table[table["method"] == FANOVA].set_index("parameter")["importance"]
    assert found.idxmin() == "model.d_ff"
    assert found["model.d_ff"] < 0.1


def test_constant_and_conditional_parameters_are_named_not_drawn(record, table):
    assert "finetune.weight_decay" not in set(table["parameter"])
    assert "finetune.warmup_steps" not in set(table.loc[table["method"] == FANOVA, "parameter"])
    notes = importance_notes(record)
    assert "Left out because they are constant: finetune.weight_decay." in notes
    assert any(note.endswith("judge them: finetune.warmup_steps.") for note in notes)


def test_the_same_study_has_the_same_importances(record, table):
    assert importance_table(record).equals(table)


def test_the_log_level_of_optuna_is_left_as_it_was(record):
    before = optuna.logging.get_verbosity()
    importance_table(record)
    assert optuna.logging.get_verbosity() == before


def test_too_few_trials_are_said_with_the_number_needed(tmp_path):
    record = made_study(tmp_path, trials=7)
    assert importance_obstacle(record) == (
        "Not enough trials: importance needs 10 complete trials, and there are 5."
    )
    assert importance_table(record).empty


@pytest.mark.parametrize(("complete", "enough"), [(9, False), (10, True)])
def test_ten_complete_trials_are_enough(tmp_path, complete, enough):
    states = dict.fromkeys(range(complete), "complete")
    record = made_study(tmp_path, trials=complete, states=states, metric=NMSE, with_texts=False)
    assert (importance_obstacle(record) is None) == enough
    assert importance_table(record).empty != enough


def test_equal_scores_leave_nothing_to_explain(tmp_path):
    record = made_study(tmp_path, same_score=True)
    assert importance_obstacle(record) == (
        "All 13 complete trials have the same score: nothing is to be explained."
    )
    assert importance_table(record).empty


def test_many_trials_are_thinned_for_fanova_and_said(record, monkeypatch):
    monkeypatch.setattr(importance, "MOST_TRIALS", 11)
    assert not importance_table(record).empty
    assert "fANOVA looks at 11 of the trials, evenly spaced." in importance_notes(record)


def test_bars_come_in_the_order_of_the_table(table):
    figure = draw_importance(table)
    assert [bar.name for bar in figure.data] == [PED_ANOVA, FANOVA]
    shares = list(figure.data[0].x)
    assert shares == sorted(shares, reverse=True)
    assert all(end >= 0 for bar in figure.data for end in bar.error_x.array)
