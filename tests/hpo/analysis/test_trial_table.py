import pytest
from made_study import made_study

from hpo.analysis.trial_tables import cost_table, trials_table
from hpo.analysis.trials import choose_trials, cost_sentences, outcome_of, seconds_of, tally_text


def test_each_trial_has_a_row_with_outcome_reason_and_parameters(tmp_path):
    record = made_study(tmp_path)
    table = trials_table(record)
    assert table["number"].tolist() == list(range(17))
    row = table.iloc[6]
    assert (row["outcome"], row["reason"]) == ("diverged", "loss became NaN at step 83")
    assert table.iloc[4]["reason"] == "below the median of the others at step 80"
    assert table.iloc[0]["model.num_layers"] == 3
    assert isinstance(table.iloc[0]["model.num_layers"], int)
    assert table.iloc[0]["finetune.warmup_steps"] is None  # not drawn for pre-norm
    assert table.iloc[3]["attempts"] == 2


def test_the_time_of_a_trial_is_the_sum_of_its_costs_else_its_span(tmp_path):
    record = made_study(tmp_path, trials=3)
    trial = record.trials[2]
    assert seconds_of(trial) == pytest.approx(0.4 + 7.5 + 200 / 17 + 2.25)
    trial.cost.clear()
    assert seconds_of(trial) == 23


def test_costs_add_up_over_the_study(tmp_path):
    record = made_study(tmp_path, trials=4)
    table = cost_table(record).set_index("what")["seconds"]
    assert table["evaluating"] == 9
    assert table.is_monotonic_decreasing
    assert "waiting for another trial's stage" not in table
    assert cost_sentences(record) == [
        "20 min 34 s on the clock over all runs of the study.",
        "Stage pretrain: 1 of 4 trials took it from the cache, 7.0 s saved.",
        "Largest memory of a trial: 0.49 GiB.",
    ]


def test_a_study_tells_its_trials_by_outcome(tmp_path):
    assert tally_text(made_study(tmp_path)) == (
        "17 of 20 trials finished: 13 complete, 2 pruned, 1 diverged, 1 failed"
    )
    assert tally_text(made_study(tmp_path, trials=0)) == "0 of 3 trials finished"


def test_a_complete_trial_is_complete_whatever_its_health(tmp_path):
    trial = made_study(tmp_path, states={6: "complete"}).trials[6]
    trial.health["verdict"] = "collapsed"
    assert outcome_of(trial) == "complete"


@pytest.mark.parametrize("limit", [1, 2, 5, 17, 19])
def test_a_choice_of_trials_always_holds_the_best(tmp_path, limit):
    record = made_study(tmp_path, with_texts=False, with_telemetry=False)
    chosen = choose_trials(record, limit)
    assert len(chosen) == min(limit, 17)
    assert record.best in chosen
    numbers = [trial.number for trial in chosen]
    assert numbers == sorted(set(numbers))
