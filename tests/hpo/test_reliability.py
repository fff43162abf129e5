from __future__ import annotations

import itertools
import math
import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from hpo.reliability import LEAST, first_good, measure, measure_at

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=11, unique=True)


@given(VALUES, st.randoms(use_true_random=False))
def test_without_ties_it_is_kendalls_tau(values: list[float], rng: object) -> None:
    finals = sorted(values, key=lambda _: rng.random())  # type: ignore[attr-defined]
    found = measure(values, finals)
    assert found.tau == pytest.approx(kendalltau(values, finals).statistic)
    if found.low is not None and found.high is not None and found.tau is not None:
        assert -1 <= found.low <= found.tau <= found.high <= 1


@given(VALUES, st.randoms(use_true_random=False))
def test_it_hangs_on_ranks_alone_and_has_no_direction(values: list[float], rng: object) -> None:
    finals = sorted(values, key=lambda _: rng.random())  # type: ignore[attr-defined]
    ranks = [float(sorted(values).index(value)) for value in values]
    assert measure(values, finals) == measure(ranks, finals)
    turned = measure([-value for value in values], [-value for value in finals])
    assert turned == measure(values, finals)


def test_tied_values_say_nothing() -> None:
    assert measure([0.0] * 9, [float(n) for n in range(9)]).tau == 0
    # One of 10 pairs is tied, the others agree.
    assert measure([1, 1, 2, 3, 4], [1, 2, 3, 4, 5]).tau == pytest.approx(0.9)


def test_nothing_is_known_of_too_few() -> None:
    assert measure([1.0], [2.0]).tau is None
    four = measure([1, 2, 3, 4], [1, 2, 3, 4])
    assert (four.n, four.tau, four.low, four.is_good) == (4, 1.0, None, False)
    five = measure([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    assert five.is_good
    # tanh(atanh(10 / 11) - 1.2816 sqrt(0.437)): one tied pair beside ten that agree
    assert five.low == pytest.approx(0.5883, abs=1e-4)


@pytest.mark.parametrize(("n", "wrong", "good"), [(5, 1, False), (6, 1, True), (6, 2, False)])
def test_how_many_pairs_may_disagree(n: int, wrong: int, good: bool) -> None:
    orders = (
        order
        for order in itertools.permutations(range(n))
        if sum(a > b for a, b in itertools.combinations(order, 2)) == wrong
    )
    found = {measure(order, range(n)).is_good for order in orders}
    assert found == {good}


def test_steps_are_measured_on_the_trials_that_have_them() -> None:
    complete = [({10: -float(n), 20: float(n)}, float(n)) for n in range(7)]
    complete.append(({20: 7.0}, 7.0))
    assert (measure_at(10, complete).n, measure_at(10, complete).tau) == (7, -1.0)
    assert (measure_at(20, complete).n, measure_at(20, complete).tau) == (8, 1.0)
    assert measure_at(30, complete).n == 0


def test_it_tells_when_a_step_was_first_good() -> None:
    complete = [({10: float(n)}, float(n)) for n in range(9)]
    assert first_good(10, complete) == LEAST
    assert first_good(20, complete) is None
    assert first_good(10, [({10: 0.0}, 1.0), *complete]) == 6


def test_when_a_step_was_first_good_is_as_if_each_trial_had_been_waited_for() -> None:
    rng = random.Random(1)
    for noise in (0.5, 2.0, 8.0):
        complete = []
        for n in range(60):
            early = {10: round(n + noise * rng.gauss(0, 10), -1)} if rng.random() < 0.9 else {}
            complete.append((early, float(n)))
        ends = range(LEAST, len(complete) + 1)
        waited = (n for n in ends if measure_at(10, complete[:n]).is_good)
        assert first_good(10, complete) == next(waited, None)


def test_thousands_of_trials_take_no_table_of_all_their_pairs() -> None:
    values = [float(n * 7919 % 3001) for n in range(3001)]
    tracemalloc.start()
    measure(values, values[::-1])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20  # of 4.5 million pairs


def test_a_score_that_is_no_number_has_no_rank() -> None:
    complete = [({10: float(n)}, float(n)) for n in range(9)]
    broken = [({10: math.nan}, 3.0), ({10: 4.0}, math.inf), *complete]
    assert measure_at(10, broken) == measure_at(10, complete)
    assert first_good(10, broken) == LEAST + 2
