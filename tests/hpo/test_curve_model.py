"""Laws of the model of learning curves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from hpo.schedulers.curve_model import CurveModel, Floats, Places, Runs, Shape, _Layout, _Pairs

PROGRESS = np.array([0.2, 0.5, 0.8, 1.0])


def one_segment(features: int) -> Shape:
    return Shape(np.arange(features), np.ones(features, dtype=bool), 1)


def runs_at(features: Floats) -> Runs:
    numbers = np.arange(len(features))
    return Runs(features, numbers, numbers)


def new_at(features: Floats) -> Runs:
    nobody = np.full(len(features), -1)
    return Runs(features, nobody, nobody)


def ends(count: int, segment: int = 0) -> Places:
    return Places(np.arange(count), np.full(count, segment), np.ones(count))


def curves(
    generator: np.random.Generator, count: int, *, early: float
) -> tuple[Runs, Places, Floats, Floats]:
    """Runs whose early value is `early` times the end, and some noise; what is seen, and ends."""
    features = generator.random((count, 2))
    quality = np.sin(3 * features[:, 0]) + features[:, 1] - 1 + 0.1 * generator.normal(size=count)
    of, progress, value = [], [], []
    for run in range(count):
        seen = 4 if run < count // 2 else 1
        for place in PROGRESS[:seen]:
            share = early + (1 - early) * (place - 0.2) / 0.8
            of.append(run)
            progress.append(place)
            value.append(2 * (place - 1) + share * quality[run] + 0.05 * generator.normal())
    at = Places(np.array(of), np.zeros(len(of), dtype=np.int64), np.array(progress))
    return runs_at(features), at, np.array(value), quality


@pytest.mark.parametrize("segments", [1, 2])
def test_the_gradient_is_that_of_the_loss(segments: int) -> None:
    generator = np.random.default_rng(0)
    shape = Shape(np.array([0, 1, 1, 2]), np.array([True, True, True, segments == 1]), segments)
    group = np.arange(7) // 2 if segments == 2 else np.arange(7)
    runs = Runs(generator.random((7, 4)), np.arange(7), group)
    count = 31
    at = Places(
        generator.integers(0, 7, count),
        generator.integers(0, segments, count),
        generator.random(count),
    )
    pairs = _Pairs(_Layout(shape), runs, at, generator.normal(size=count))
    theta = _Layout(shape).prior()[0] + 0.1 * generator.normal(size=_Layout(shape).size)
    numeric = approx_fprime(theta, lambda one: pairs.loss(one)[0], 1e-6)
    # Forward differences of a step of 1e-6 are good to about 1e-4 of the largest entry.
    np.testing.assert_allclose(pairs.loss(theta)[1], numeric, atol=1e-4 * np.abs(numeric).max())


def test_variances_are_the_diagonal_of_the_covariance() -> None:
    generator = np.random.default_rng(1)
    shape = Shape(np.arange(3), np.array([True, False, True]), 2)
    runs = runs_at(generator.random((5, 3)))
    at = Places(np.arange(5), np.array([0, 1, 0, 1, 1]), generator.random(5))
    model = CurveModel(shape)
    np.testing.assert_allclose(
        np.diag(model.covariance(runs, at, runs, at)), model.variance(at), rtol=1e-9
    )


@pytest.mark.parametrize("early", [0.8, 0.0, -0.6])
def test_it_learns_what_early_values_say_of_the_end(early: float) -> None:
    """With the right sign, or that they say nothing."""
    runs, at, values, _ = curves(np.random.default_rng(2), 41, early=early)
    belief = CurveModel(one_segment(2)).fitted(runs, at, values).given(runs, at, values)
    pair = np.full((2, 2), 0.5)
    # Two more runs of one configuration, the first high at its first report, the second low.
    both = Runs(np.concatenate([runs.features, pair]), np.arange(43), np.arange(43))
    first = Places(np.array([41, 42]), np.zeros(2, dtype=np.int64), np.full(2, 0.2))
    level = belief.predict(both, first)[0]
    more = Places(
        *(
            np.concatenate(pair)
            for pair in (
                (at.of, first.of),
                (at.segment, first.segment),
                (at.progress, first.progress),
            )
        )
    )
    told = np.concatenate([values, level + np.array([0.3, -0.3])])
    mean = belief.model.given(both, more, told).predict(
        both, Places(np.array([41, 42]), np.zeros(2, dtype=np.int64), np.ones(2))
    )[0]
    gain = mean[0] - mean[1]
    if early > 0:
        assert gain > 0.03
    else:
        assert gain < 0.3


def test_its_intervals_hold_what_they_promise() -> None:
    """90 percent of 160 ends within the 90 percent interval; binomial noise is 2.4 points, and
    hyperparameters that were fitted make intervals a little narrow."""
    inside = []
    for seed in range(8):
        runs, at, values, quality = curves(np.random.default_rng(seed), 40, early=0.7)
        belief = CurveModel(one_segment(2)).fitted(runs, at, values).given(runs, at, values)
        mean, variance, _ = belief.predict(runs, ends(40))
        inside += list((np.abs(quality - mean) < 1.645 * np.sqrt(variance))[20:])
    assert 0.75 < np.mean(inside) <= 1.0


def test_a_run_of_its_own_is_known_better_than_its_configuration() -> None:
    runs, at, values, _ = curves(np.random.default_rng(4), 41, early=0.8)
    belief = CurveModel(one_segment(2)).fitted(runs, at, values).given(runs, at, values)
    own = belief.predict(runs, ends(41))[1]
    fresh = belief.predict(new_at(runs.features), ends(41))[1]
    assert (own <= fresh + 1e-9).all()


def test_the_end_of_a_second_segment_follows_the_first_as_far_as_ended_runs_did() -> None:
    """Whatever the first segment's sign and unit: here the lower the better."""
    generator = np.random.default_rng(5)
    features = generator.random((24, 1))
    quality = generator.normal(size=24)
    known = np.arange(16)
    at = Places(
        np.concatenate([np.arange(24), known]),
        np.concatenate([np.zeros(24), np.ones(16)]).astype(np.int64),
        np.concatenate([np.full(24, 0.9), np.ones(16)]),
    )
    values = np.concatenate([-quality, quality[:16]])
    shape = Shape(np.array([0]), np.array([True]), 2)
    runs = runs_at(features)
    belief = CurveModel(shape).fitted(runs, at, values).given(runs, at, values)
    mean = belief.predict(runs, ends(24, segment=1))[0]
    assert np.corrcoef(mean[16:], quality[16:])[0, 1] > 0.8
