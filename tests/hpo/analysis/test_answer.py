from dataclasses import replace

import pytest
from made_study import BLEU, NMSE, START, made_study, realised

from hpo.analysis.answer import (
    answer_table,
    gain,
    gain_sentences,
    reading_sentences,
    readings_table,
)
from hpo.analysis.formats import ScoreFormat


def told(record):
    return gain_sentences(record, ScoreFormat.of(record))


@pytest.mark.parametrize("metric", [BLEU, NMSE], ids=lambda metric: metric.direction)
def test_the_gain_is_positive_when_the_best_is_better(tmp_path, metric):
    record = made_study(tmp_path, metric=metric)
    assert gain(record) == pytest.approx(abs(record.best.value - record.start.value))
    higher = "higher" if metric is BLEU else "lower"
    assert f" {higher} than the start configuration's " in told(record)[0]
    assert "one seed" in told(record)[1]
    assert metric.name in told(record)[0]
    assert ("BLEU" in told(record)[0]) == (metric is BLEU)


def test_the_difference_is_that_of_the_scores_shown(tmp_path):
    record = made_study(tmp_path)
    scores = ScoreFormat(BLEU, 1)
    assert scores.difference(32.249, 28.151) == "4.0"  # 32.2 less 28.2, not 4.098
    assert told(record)[0].startswith("That is ")


def test_a_start_that_is_still_best_is_said(tmp_path):
    record = made_study(tmp_path)
    start = replace(record.trials[0], value=99.0)
    record = replace(record, trials=(start, *record.trials[1:]))
    assert told(record) == [
        "The start configuration is still the best: none of 12 other complete trials beat it."
    ]


def test_one_other_trial_is_told_as_one(tmp_path):
    record = made_study(tmp_path, trials=2, same_score=True)
    assert told(record) == [
        "The start configuration is still the best: the only other complete trial did not beat it."
    ]


def test_a_lonely_start_has_nothing_to_compare_with(tmp_path):
    record = made_study(tmp_path, trials=1)
    assert told(record) == [
        "Only the start configuration is complete: there is nothing to compare it with."
    ]


@pytest.mark.parametrize(
    ("states", "sentence"),
    [
        (
            {0: "pruned"},
            "The start configuration (trial 0) has no final score to compare with: it is pruned "
            "(below the median of the others at step 80), and stood at 20.85 BLEU.",
        ),
        (
            {0: "failed"},
            "The start configuration (trial 0) has no final score to compare with: it is failed "
            "(the worker was killed (signal 9) three times).",
        ),
    ],
)
def test_a_start_without_a_final_score_is_said(tmp_path, states, sentence):
    record = made_study(tmp_path, states=states)
    assert gain(record) is None
    assert told(record) == [sentence]


def test_a_start_that_is_not_declared_or_not_run_is_said(tmp_path):
    record = made_study(tmp_path, enqueue_start=False)
    assert told(record) == ["A start configuration is not declared, so there is no gain to state."]
    asked = replace(record, declaration={**record.declaration, "enqueue": [realised(START)]})
    assert told(asked) == ["A start configuration has not been run, so there is no gain to state."]
    assert answer_table(asked)["start"].tolist()[0] == 3


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        ({"trials": 0}, "No trial has finished yet."),
        ({"trials": 1, "states": {0: "running"}}, "No trial has finished yet."),
        (
            {"trials": 2, "states": {0: "pruned", 1: "failed"}},
            "No trial is complete: all 2 that finished were pruned or failed.",
        ),
    ],
)
def test_a_study_without_a_best_says_why(tmp_path, plan, sentence):
    record = made_study(tmp_path, **plan)
    assert told(record) == [sentence]
    assert answer_table(record).empty


def test_the_configuration_stands_beside_the_start(tmp_path):
    record = made_study(tmp_path)
    table = answer_table(record).set_index("parameter")
    for name, value in record.best.parameters.items():
        assert table.loc[name, "best"] == value
    for name, value in realised(START).items():
        assert table.loc[name, "start"] == value
    assert bool(table.loc["finetune.learning_rate", "differs"])
    assert not table.loc["finetune.weight_decay", "differs"]


def test_readings_come_with_their_signature_and_their_worth(tmp_path):
    record = made_study(tmp_path)
    reading = record.readings[0]
    assert readings_table(record)["signature"].tolist() == [reading.signature]
    assert any("best of 13" in said for said in reading_sentences(record))
    twice = replace(record, readings=(reading, replace(reading, selected=2)))
    said = reading_sentences(twice)
    assert said[0].startswith("The test set was read 2 times")
    assert (
        said[1] == f"The last reading is of trial 2; the best is now trial {record.best.number}."
    )
    assert reading_sentences(replace(record, readings=()))[0].startswith(
        "The test set has not been read."
    )
