from __future__ import annotations

import dataclasses

import pytest

from core.task import Metric
from hpo.finals.headline import headline
from hpo.records import TestReading, TestScore

BLEU = Metric("BLEU", "", "maximize", 0.0)
NMSE = Metric("NMSE", "dB", "minimize", 0.0)


def opening(*runs: tuple[int, int | None, float]) -> TestReading:
    scores = tuple(TestScore(trial, seed, value, 1.0) for trial, seed, value in runs)
    return TestReading("2026", 3, scores, "sig", "d")


def test_the_three_lines() -> None:
    reading = opening(
        (3, None, 34.561), (3, 1, 34.0), (3, 2, 34.3), (3, 3, 34.0), (7, None, 30.0), (7, 1, 33.0)
    )
    # t(2, 0.975) = 4.3027; the spread of 34.0, 34.3, 34.0 is 0.1732.
    assert headline(reading, BLEU).lines("FINAL_TEST_BLEU") == [
        "FINAL_TEST_BLEU = 34.56 (sig)",
        "CLEAN_TEST_BLEU = 34.10 +- 0.43 (n=3)",
        "SELECTION_BIAS = 0.46",
    ]


def test_the_best_single_run_may_be_another_configurations() -> None:
    told = headline(opening((3, 1, 30.0), (3, 2, 31.0), (7, 2, 33.0)), BLEU)
    assert (told.final.trial, told.final.seed) == (7, 2)
    assert told.clean is not None
    assert told.clean.mean == 30.5
    assert told.bias == 2.5


def test_where_lower_is_better_the_bias_is_how_much_lower() -> None:
    reading = opening((3, None, -38.2), (3, 1, -37.0), (3, 2, -37.4))
    assert headline(reading, NMSE).lines("FINAL_TEST_NMSE_DB") == [
        "FINAL_TEST_NMSE_DB = -38.20 (sig)",
        "CLEAN_TEST_NMSE_DB = -37.20 +- 2.54 (n=2)",
        "SELECTION_BIAS = 1.00",
    ]


@pytest.mark.parametrize("runs", [[(3, None, 34.561)], [(3, None, 34.561), (3, 1, 33.0)]])
def test_below_two_fresh_seeds_there_is_one_line(
    runs: list[tuple[int, int | None, float]],
) -> None:
    assert headline(opening(*runs), BLEU).lines("FINAL_TEST_BLEU") == [
        "FINAL_TEST_BLEU = 34.56 (sig)"
    ]


def test_a_mean_over_some_of_the_repeats_is_not_told() -> None:
    reading = opening((3, None, 34.5), (3, 1, 34.0), (3, 2, 34.3), (7, 3, 30.0))
    told = headline(dataclasses.replace(reading, fresh=3), BLEU)
    assert (told.clean, told.bias) == (None, None)
    assert told.lines("FINAL_TEST_BLEU") == ["FINAL_TEST_BLEU = 34.50 (sig)"]
    assert headline(dataclasses.replace(reading, fresh=2), BLEU).clean is not None


def test_a_subtraction_of_equals_is_plain_zero() -> None:
    told = headline(opening((3, 1, -5.0), (3, 2, -5.0)), NMSE)
    assert told.lines("F")[-1] == "SELECTION_BIAS = 0.00"
