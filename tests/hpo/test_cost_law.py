"""The law of seconds: what it says before and after it has seen something."""

from __future__ import annotations

import math
import random

import pytest

from core.task import Load
from hpo.cost_law import Law, Part, Prior

PRIOR = Prior(seconds_per_flop=1e-10, flop_sd=1.0, seconds_per_call=1e-5, call_sd=0.7)
SMALL, LARGE = Load(3e7, 100), Load(5e10, 400)


def law() -> Law:
    return Law(("first", "second"), PRIOR, pivot=1e9)


def seconds(found: Law, kind: str, load: Load, run: object = None) -> float:
    return math.exp(found.estimate(kind, load, run).log_s)


def test_before_anything_is_seen_the_prior_speaks() -> None:
    assert seconds(law(), "first", LARGE) == pytest.approx(5e10 * 1e-10 + 400 * 1e-5)
    assert seconds(law(), "first", SMALL) == pytest.approx(3e7 * 1e-10 + 100 * 1e-5)


def test_it_finds_the_power_and_the_overhead_that_made_the_observations() -> None:
    found, rng = law(), random.Random(5)
    for run in range(40):
        load = Load(10 ** rng.uniform(7, 11), rng.uniform(50, 700))
        truth = 1e9 * 3e-11 * (load.flops / 1e9) ** 0.93 + load.calls * 3e-5
        found.observe(run, [Part("first", 1.0, load)], truth)
        found.fit()
    for load in (SMALL, LARGE, Load(1e9, 60)):
        truth = 1e9 * 3e-11 * (load.flops / 1e9) ** 0.93 + load.calls * 3e-5
        # Priors still pull a little: within a twentieth.
        assert seconds(found, "first", load) == pytest.approx(truth, rel=0.05)


def test_one_kind_teaches_another() -> None:
    found = law()
    before = seconds(found, "second", LARGE)
    found.observe(0, [Part("first", 10.0, LARGE)], 10 * 20.0)
    found.fit()
    assert seconds(found, "second", LARGE) > 2 * before
    spread = found.estimate("second", LARGE).variance
    assert (
        found.estimate("first", LARGE).variance < spread < law().estimate("second", LARGE).variance
    )


def test_parts_are_taken_together() -> None:
    found = law()
    for run in range(30):
        parts = [Part("first", 7.0, LARGE), Part("second", 1.0, LARGE)]
        found.observe(run, parts, 7 * 2.0 + 1 * 6.0)
        found.observe((run, "alone"), [Part("second", 3.0, LARGE)], 3 * 6.0)
        found.fit()
    # The offset's prior holds the second a little nearer to the first.
    assert seconds(found, "first", LARGE) == pytest.approx(2.0, rel=0.15)
    assert seconds(found, "second", LARGE) == pytest.approx(6.0, rel=0.15)


def test_a_runs_own_speed_counts_for_the_run() -> None:
    found = law()
    for run in range(20):
        found.observe(run, [Part("first", 1.0, LARGE)], 2.0)
    found.observe("slow", [Part("first", 1.0, LARGE)], 6.0, sd=0.01)
    found.fit()
    assert seconds(found, "first", LARGE, "slow") == pytest.approx(6.0, rel=0.1)
    assert seconds(found, "first", LARGE) == pytest.approx(2.0, rel=0.25)
    assert seconds(found, "second", LARGE, "slow") > 2 * seconds(found, "second", LARGE, 3)


def test_an_observation_takes_the_place_of_the_runs_earlier_one() -> None:
    found, other = law(), law()
    found.observe(1, [Part("first", 1.0, LARGE)], 50.0)
    for one in (found, other):
        one.observe(1, [Part("first", 1.0, LARGE)], 2.0)
        one.fit()
    assert found.count == 1
    assert seconds(found, "first", LARGE) == seconds(other, "first", LARGE)


def test_what_is_old_is_forgotten() -> None:
    found = law()
    for run in range(300):
        found.observe(run, [Part("first", 1.0, LARGE)], 2.0 if run < 150 else 5.0)
    found.fit()
    assert found.count == 128
    assert seconds(found, "first", LARGE) == pytest.approx(5.0, rel=0.02)
