"""Trials that share a structure, and how many may."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from toy_bench import GRID, MakeStudy

from core.errors import UserError
from core.task import Evaluation, Verdict
from hpo.schedulers import Choice, Propose, Standing
from hpo.schedulers.groups import GroupedScheduler

_WIDTHS = 5


class _Points:
    """Structures 0 to 4, and a rate that is drawn for each trial."""

    distributions: Mapping[str, BaseDistribution] = {
        "model.width": IntDistribution(0, _WIDTHS - 1),
        "finetune.rate": FloatDistribution(0.0, 1.0),
    }
    structure = frozenset({"model.width"})

    def draw(
        self, generator: np.random.Generator, fixed: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        drawn = {
            "model.width": int(generator.integers(_WIDTHS)),
            "finetune.rate": generator.random(),
        }
        return drawn | dict(fixed or {})


class _Costs:
    """A second, whatever is done."""

    def of_new(self, drawn: Mapping[str, Any], until: int) -> float:
        return 1.0

    def to_go(self, number: int, until: int) -> float:
        return 1.0


class _Proposing:
    def choose(self, standing: Standing) -> Choice | None:
        return Propose()

    def judge(self, trial: optuna.Trial, evaluation: Evaluation, standing: Standing) -> Verdict:
        return Verdict.CONTINUE


def _standing(*trials: tuple[int, float]) -> Standing:
    """Complete trials of these structures and values."""
    stored: list[FrozenTrial] = []
    for number, (width, value) in enumerate(trials):
        one = create_trial(
            state=TrialState.COMPLETE,
            value=value,
            params={"model.width": width, "finetune.rate": 0.5},
            distributions=dict(_Points.distributions),
        )
        one.number = number
        stored.append(one)
    return Standing(
        trials=stored,
        running=frozenset(),
        paused={},
        finished=len(stored),
        total=99,
        can_propose=True,
        costs=_Costs(),
    )


def _scheduler(trials_per_structure: int) -> GroupedScheduler:
    return GroupedScheduler(
        _Proposing(),
        _Points(),
        direction="maximize",
        total_steps=10,
        trials_per_structure=trials_per_structure,
        seed=1,
    )


@given(st.integers(2, 4), st.randoms(use_true_random=False))
def test_no_more_share_a_structure_than_may(most: int, random: Any) -> None:
    scheduler, trials = _scheduler(most), list[tuple[int, float]]()
    for _ in range(_WIDTHS * most):
        choice = scheduler.choose(_standing(*trials))
        assert isinstance(choice, Propose)
        # A sampler that likes one structure above all.
        width = choice.drawn.get("model.width", 0)
        trials.append((width, 10.0 * (width == 0) + random.random()))
    assert max(Counter(width for width, _ in trials).values()) <= most


def test_before_anything_is_known_the_sampler_proposes() -> None:
    assert _scheduler(2).choose(_standing((0, 1.0))) == Propose()


def test_where_every_structure_has_all_its_trials_the_sampler_proposes() -> None:
    full = [(width, float(width)) for width in range(_WIDTHS)] * 2
    assert _scheduler(2).choose(_standing(*full)) == Propose()


@pytest.mark.parametrize("most", [3, 9])
def test_a_structure_that_is_much_better_is_taken_again(most: int) -> None:
    known = [(0, 1.0), (1, 1.1), (2, 9.0), (2, 9.1), (3, 0.9)]
    assert _scheduler(most).choose(_standing(*known)) == Propose({"model.width": 2})


def test_brute_force_makes_no_groups(make_study: MakeStudy) -> None:
    forced: dict[str, Any] = {"sampler.name": "brute_force", "scheduler.trials_per_structure": 2}
    with pytest.raises(UserError, match=r"trials_per_structure.*brute_force.*got 2.*Allowed: 1\."):
        make_study(overrides=forced, space=GRID)
    assert make_study(overrides=forced | {"scheduler.name": "thaw"}, space=GRID)
    assert make_study(overrides={"sampler.name": "brute_force"}, space=GRID)
