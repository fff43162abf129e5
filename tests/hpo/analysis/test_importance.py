import optuna
import pandas as pd
import pytest
from made_study import NMSE, made_study

from hpo.analysis import importance
from hpo.analysis.importance import (
    ALL,
    COLUMNS,
    FANOVA,
    PED_ANOVA,
    draw_importance,
    importance_notes,
    importance_obstacle,
    importance_sentences,
    importance_table,
    leaders,
    scopes_of,
)
from hpo.analysis.palette import UNCLEAR


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return made_study(
        tmp_path_factory.mktemp("made"), trials=29, with_texts=False, with_telemetry=False
    )


@pytest.fixture(scope="module")
def whole(record):
    return importance_table(record)


@pytest.fixture(scope="module")
def table(whole):
    return whole[whole["scope"] == ALL]


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


def test_the_same_study_has_the_same_importances(record, whole):
    assert importance_table(record).equals(whole)


def test_the_groups_are_told_separately_and_together(whole):
    scopes = dict(scopes_of(whole))
    assert scopes == {
        "all": "All parameters together",
        "finetune": "Within fine-tuning (finetune)",
        "model": "Within structure (model)",
        "groups": "The groups",
    }
    for (_, method), rows in whole.groupby(["scope", "method"]):
        assert rows["importance"].sum() == pytest.approx(1), method
    keys = zip(whole["scope"], whole["method"], whole["parameter"], strict=True)
    shares = dict(zip(keys, whole["importance"], strict=True))
    for method in (PED_ANOVA, FANOVA):
        of_model = sum(
            share
            for (scope, how, name), share in shares.items()
            if (scope, how) == ("all", method) and name.startswith("model.")
        )
        assert shares["groups", method, "model"] == pytest.approx(of_model)
        within = shares["model", method, "model.num_layers"]
        assert within == pytest.approx(shares["all", method, "model.num_layers"] / of_model)


def test_bars_that_overlap_zero_or_another_are_not_clear_and_are_drawn_grey(whole):
    for (_, _), rows in whole.groupby(["scope", "method"]):
        bars = rows[["low", "high"]].to_numpy().tolist()
        for is_clear, (low, high) in zip(rows["is_clear"], bars, strict=True):
            apart = [other for other in bars if other != [low, high]]
            overlaps = any(low <= over and under <= high for under, over in apart)
            assert is_clear == (low >= 0.01 and not overlaps)
    rows = pd.DataFrame(
        [
            ("all", "a.x", PED_ANOVA, 0.7, 0.6, 0.8, True),
            ("all", "a.y", PED_ANOVA, 0.3, 0.0, 0.4, False),
        ],
        columns=COLUMNS,
    )
    clear, unclear = draw_importance(rows).data
    assert (clear.name, clear.y) == ("PED-ANOVA", ("a.<br>x",))
    assert unclear.name == "PED-ANOVA, not told apart"
    assert unclear.marker.color == UNCLEAR != clear.marker.color
    assert unclear.error_x.arrayminus == (0.3,)


def test_the_words_say_what_leads_and_whether_that_is_known(whole):
    said = importance_sentences(whole)
    assert leaders(whole)[0] in said[0]
    assert ("overlaps another's" in said[0]) != ("no other parameter's bar" in said[0])
    assert any(one.startswith("By fANOVA, of the groups: ") for one in said)


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
    assert {bar.offsetgroup for bar in figure.data} == {PED_ANOVA, FANOVA}
    first = [bar for bar in figure.data if bar.offsetgroup == PED_ANOVA]
    shares = {name: share for bar in first for name, share in zip(bar.y, bar.x, strict=True)}
    order = [name for name in figure.layout.yaxis.categoryarray if name in shares]
    assert [shares[name] for name in order] == sorted(shares.values(), reverse=True)
    assert all(end >= 0 for bar in figure.data for end in bar.error_x.array)
