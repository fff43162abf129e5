from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from core.task import Metric
from hpo.finals.statistics import chance_of, combine, interval, is_behind, lead, select, ties

BLEU = Metric("BLEU", "", "maximize", 0.0)
NMSE = Metric("NMSE", "dB", "minimize", 0.0)
scores = st.floats(-50, 50, allow_nan=False)
several = st.lists(scores, min_size=2, max_size=7)


def by_seed(*values: float) -> dict[int, float]:
    return dict(enumerate(values, start=1))


@given(several)
def test_the_interval_is_scipys(values: list[float]) -> None:
    found = interval(values)
    assert found.half_width is not None
    spread = stats.sem(values)
    half = stats.t.ppf(0.975, len(values) - 1) * spread
    assert found.half_width == pytest.approx(half, rel=1e-6, abs=1e-9)
    assert found.n == len(values)


def test_one_value_has_no_interval() -> None:
    assert interval([3.5]) == type(interval([3.5]))(3.5, None, 1)


@given(several)
def test_the_chance_is_the_one_sided_paired_t_tests(differences: list[float]) -> None:
    found = chance_of(differences)
    assert 0 <= found <= 1
    if max(differences) - min(differences) > 1e-6:
        expected = stats.ttest_1samp(differences, 0, alternative="greater").pvalue
        assert found == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("differences", "expected"), [([], 1), ([9.0], 1), ([0.0, 0.0], 1), ([2.0, 2.0], 0)]
)
def test_what_has_no_spread(differences: list[float], expected: float) -> None:
    assert chance_of(differences) == expected


def test_the_lead_is_positive_where_it_is_better_and_needs_common_seeds() -> None:
    one, other = {1: 3.0, 2: 5.0, 4: 9.0}, {2: 4.0, 3: 7.0, 4: 7.0}
    assert lead(one, other, BLEU) == [1.0, 2.0]
    assert lead(one, other, NMSE) == [-1.0, -2.0]


def test_clearly_behind_needs_two_seeds_and_a_steady_difference() -> None:
    leader = by_seed(30.0, 31.0, 32.0)
    assert not is_behind(by_seed(3.0), leader, BLEU)
    assert is_behind(by_seed(27.0, 28.2), leader, BLEU)
    assert not is_behind(by_seed(29.9, 27.0), leader, BLEU)
    assert not is_behind(by_seed(33.0, 34.2), leader, BLEU)
    assert is_behind(by_seed(33.0, 34.2), leader, NMSE)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, None),
        ({7: {}, 3: {}}, None),
        ({7: by_seed(30), 3: by_seed(31)}, 3),
        ({7: by_seed(30), 3: by_seed(30)}, 7),
        # Nobody is ahead for having more repeats: the seeds that both have decide.
        ({7: by_seed(30, 31), 3: by_seed(35)}, 3),
        ({7: {1: 34.0}, 9: {1: 30.0, 2: 30.2}}, 7),
        ({7: {1: 34.0, 3: 33.0}, 9: {1: 30.0, 2: 36.0, 3: 30.0}}, 7),
        # A single lucky repeat does not beat three on other seeds.
        ({7: by_seed(30, 31, 30), 3: {4: 35}}, 7),
        ({3: {4: 35}, 7: by_seed(30, 31, 30)}, 7),
        # As many on other seeds: the means, for want of better.
        ({7: {2: 0.0}, 3: {1: 30.0}}, 3),
        # Means over the seeds that both have: seed 3 is a hard one.
        ({7: by_seed(30, 31, 20), 3: by_seed(29, 31)}, 7),
        # A broken worker's repeat is missing: the mean over seeds 1 and 3.
        ({7: {1: 30.0, 3: 20.0}, 3: by_seed(29, 40, 19.5)}, 7),
        # Who is clearly behind does not narrow the common seeds.
        ({7: by_seed(30, 31, 29), 3: by_seed(30.5, 31, 27), 5: by_seed(10, 11)}, 7),
    ],
)
def test_selection(values: dict[int, dict[int, float]], expected: int | None) -> None:
    assert select(values, BLEU) == expected
    mirrored = {
        trial: {seed: -value for seed, value in one.items()} for trial, one in values.items()
    }
    assert select(mirrored, NMSE) == expected


@given(
    st.dictionaries(
        st.integers(0, 9), st.dictionaries(st.integers(1, 3), scores, max_size=3), max_size=4
    )
)
def test_somebody_is_selected_wherever_somebody_was_repeated(
    values: dict[int, dict[int, float]],
) -> None:
    chosen = select(values, BLEU)
    assert (chosen is None) is not any(values.values())
    assert chosen is None or values[chosen]


@given(st.dictionaries(st.integers(0, 9), st.lists(scores, max_size=3), min_size=1, max_size=4))
def test_who_beats_all_others_on_common_seeds_is_selected(values: dict[int, list[float]]) -> None:
    held = {trial: by_seed(*one) for trial, one in values.items() if one}
    for trial, one in held.items():
        others = [lead(one, other, BLEU) for number, other in held.items() if number != trial]
        if all(math.fsum(ahead) > 1e-6 for ahead in others):
            assert select(held, BLEU) == trial


def test_it_takes_both_kinds_of_luck_to_be_ruled_out() -> None:
    best, behind, near = by_seed(30, 31, 32), by_seed(27, 28.2, 29), by_seed(29.9, 31.5, 31)
    assert not ties(behind, best, BLEU, None)
    assert not ties(behind, best, BLEU, 0.01)
    assert ties(behind, best, BLEU, 0.3)
    assert ties(near, best, BLEU, 0.01)
    assert ties(by_seed(3), best, BLEU, None)
    assert not ties(by_seed(3), best, BLEU, 0.01)


def test_the_median_over_seeds_combines() -> None:
    assert combine([]) is None
    assert combine([0.01, 0.4, 0.02]) == 0.02
    assert math.isclose(combine([0.1, 0.2]) or 0, 0.15)
