from __future__ import annotations

import itertools
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from toy_bench import MakeStudy

from core.errors import SettingsError
from hpo import trials
from hpo.declarations import Study
from hpo.samplers import build_sampler, count_points
from hpo.sampling import suggest

NARROW = """
task = "toy"
[parameters]
"model.width" = { type = "int", low = 2, high = 4 }
"model.kind" = { type = "categorical", choices = ["fine", "crash"] }
[parameters."finetune.rate"]
type = "float"
low = 0.1
high = 0.7
step = 0.3
when = { "model.kind" = "fine" }
"""
"""3 widths x (3 rates + 1): 12 points."""


def _draw(study: Study, found: optuna.Study, *, upto: int | None = None) -> optuna.Trial:
    """Takes up the trial begun last, or begins one, and suggests its first `upto` parameters."""
    running = [one.number for one in found.get_trials(states=(TrialState.RUNNING,))]
    number = running[0] if running else trials.create(found, {}, {})
    sampler = build_sampler(
        study.sampler, seed=study.seed, number=number, conditional=study.space.is_conditional
    )
    own = trials.with_methods(found, sampler, optuna.pruners.NopPruner())
    trial = trials.take_up(own, number)
    if upto is None:
        suggest(study.space, trial)
    else:
        trial.suggest_int("model.width", 2, 97)
    return trial


def _run(study: Study, number: int, *, cut: bool = False) -> list[dict[str, Any]]:
    """Parameters of `number` trials, each told a value; with `cut` each is taken up twice."""
    found = optuna.create_study(direction="maximize")
    for _ in range(number):
        if cut:
            _draw(study, found, upto=1)
        trial = _draw(study, found)
        trial.study.tell(trial.number, float(trial.params["model.width"]))
    return [trial.params for trial in found.get_trials()]


def test_it_models_what_optuna_would_find_that_all_trials_share(make_study: MakeStudy) -> None:
    study = make_study()
    found = optuna.create_study(direction="maximize")
    for state in (TrialState.FAIL, TrialState.RUNNING, TrialState.PRUNED, TrialState.COMPLETE):
        number = trials.create(found, {}, {})
        sampler = build_sampler(study.sampler, seed=3, number=number, conditional=False)
        trial = trials.take_up(
            trials.with_methods(found, sampler, optuna.pruners.NopPruner()), number
        )
        suggest(study.space, trial)
        stored = trials.frozen(found, number)
        stock = optuna.samplers.TPESampler(multivariate=True)
        shared = sampler.infer_relative_search_space(found, stored)
        assert shared == stock.infer_relative_search_space(found, stored)
        assert list(shared) == sorted(shared)
        if state.is_finished():
            values = 1.0 if state == TrialState.COMPLETE else None
            found.tell(number, values, state=state)
    assert len(stock.infer_relative_search_space(found, stored)) == 2


@pytest.mark.parametrize("name", ["tpe", "random", "gp", "qmc"])
def test_the_same_seed_draws_the_same_study(name: str, make_study: MakeStudy) -> None:
    study = make_study(overrides={"sampler.name": name})
    assert _run(study, 14) == _run(study, 14)
    assert _run(make_study(overrides={"sampler.name": name, "seed": 5}), 3) != _run(study, 3)


@pytest.mark.parametrize("name", ["tpe", "random", "gp", "qmc"])
def test_a_trial_cut_off_between_two_parameters_comes_out_the_same(
    name: str, make_study: MakeStudy
) -> None:
    study = make_study(overrides={"sampler.name": name})
    assert _run(study, 14, cut=True) == _run(study, 14)


def test_trials_differ_though_each_is_seeded_anew(make_study: MakeStudy) -> None:
    drawn = _run(make_study(overrides={"sampler.name": "random"}), 20)
    assert len({trial["finetune.rate"] for trial in drawn}) == 20


@pytest.mark.parametrize("kind", ["sobol", "halton"])
def test_a_sequence_fills_the_space_evenly(kind: str, make_study: MakeStudy) -> None:
    study = make_study(overrides={"sampler.name": "qmc", "sampler.qmc_type": kind})
    drawn = [trial["model.width"] for trial in _run(study, 33)][1:]  # the first is random
    # 96 widths in eight equal parts of 12: 4 of 32 points in each, plus or minus one for the
    # point of the sequence that the first trial left unused.
    held = [sum((width - 2) // 12 == part for width in drawn) for part in range(8)]
    assert all(3 <= number <= 5 for number in held)
    assert len({trial["finetune.rate"] for trial in _run(study, 33)}) == 33


def test_points_given_by_hand_leave_no_gap_in_the_sequence(make_study: MakeStudy) -> None:
    study = make_study(overrides={"sampler.name": "qmc"})
    plain = _run(study, 4)
    found = optuna.create_study(direction="maximize")
    by_hand = {"model.width": 5, "finetune.rate": 1e-3}
    trials.create(found, by_hand, {})
    drawn = []
    for _ in range(4):
        trial = _draw(study, found)
        trial.study.tell(trial.number, 1.0)
        drawn.append(trial.params)
    assert drawn[0] == by_hand
    # The first of each study is no point of the sequence, but counts as one unless by hand.
    assert drawn[2:] == plain[1:3]


def test_the_process_proposes_once_enough_trials_are_complete(make_study: MakeStudy) -> None:
    study = make_study(overrides={"sampler.name": "gp", "sampler.n_startup_trials": 4})
    drawn = _run(study, 9)
    # Wider is better, and known to be so after four trials.
    assert all(trial["model.width"] > 60 for trial in drawn[-3:])


@pytest.mark.parametrize("name", ["gp", "qmc"])
def test_conditional_parameters_are_drawn_too(name: str, make_study: MakeStudy) -> None:
    overrides = {"sampler.name": name}
    if name == "gp":
        overrides["sampler.n_startup_trials"] = "2"
    drawn = _run(make_study(overrides=overrides, space=NARROW), 9)
    assert {"finetune.rate" in trial for trial in drawn} == {True, False}


def test_brute_force_tries_every_point_once_and_then_asks_to_stop(make_study: MakeStudy) -> None:
    study = make_study(overrides={"sampler.name": "brute_force"}, space=NARROW)
    found = optuna.create_study(direction="maximize")
    for count in range(12):
        trial = _draw(study, found)
        if count < 11:
            trial.study.tell(trial.number, 1.0)
        else:
            # Optuna's way to say so; the trial is recorded nonetheless.
            with pytest.raises(RuntimeError, match=r"Study\.stop"):
                trial.study.tell(trial.number, 1.0)
    points = {tuple(sorted(trial.params.items())) for trial in found.get_trials()}
    assert len(points) == 12
    assert all(trial.state == TrialState.COMPLETE for trial in found.get_trials())


def test_a_conditional_space_is_grouped_without_a_warning(make_study: MakeStudy) -> None:
    study = make_study(
        overrides={"sampler.name": "tpe", "sampler.n_startup_trials": 2}, space=NARROW
    )
    drawn = _run(study, 8)
    assert any("finetune.rate" not in trial for trial in drawn)


@pytest.mark.parametrize("at_most", [1, 5, 12, 13, 1000])
def test_points_are_counted_no_further_than_asked(at_most: int, make_study: MakeStudy) -> None:
    assert count_points(make_study(space=NARROW).space, at_most) == min(12, at_most)


def test_derived_parameters_count_by_what_is_drawn(make_study: MakeStudy) -> None:
    space = """
task = "toy"
[parameters]
"finetune.rate" = { type = "float", low = 0.1, high = 0.1 }
"model.width" = { type = "multiple", of = "protocol.eval_every", factors = [1, 2, 3, 4, 5] }
"""
    assert count_points(make_study(space=space).space, 100) == 5


def test_an_endless_parameter_cannot_be_counted(make_study: MakeStudy) -> None:
    with pytest.raises(SettingsError, match=r"'finetune\.rate', which has no step.*random"):
        count_points(make_study().space, 10)


def test_counting_agrees_with_listing(make_study: MakeStudy) -> None:
    space = """
task = "toy"
[parameters]
"model.width" = { type = "int", low = 3, high = 11, step = 4 }
"model.kind" = { type = "categorical", choices = ["fine", "crash", "memory", "silent"] }
"finetune.rate" = { type = "float", low = 0.25, high = 1.0, step = 0.25 }
"""
    listed = list(itertools.product((3, 7, 11), range(4), (0.25, 0.5, 0.75, 1.0)))
    assert count_points(make_study(space=space).space, 10**6) == len(listed)
