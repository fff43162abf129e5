"""The adapter against the pinned Optuna: what it does unofficially must go on working."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from hpo import attributes, trials
from hpo.storage import locate
from hpo.storage.steadfast import keep_in_memory


@pytest.fixture(params=["sqlite", "memory"])
def study(request: pytest.FixtureRequest, tmp_path: Path) -> optuna.Study:
    if request.param == "memory":
        return optuna.create_study(direction="maximize", study_name="x")
    storage = keep_in_memory(locate(None, tmp_path), "x")
    request.addfinalizer(lambda: storage.__exit__(None, None, None))
    return optuna.create_study(storage=storage.__enter__(), direction="maximize", study_name="x")


def _start(study: optuna.Study, fixed: dict[str, float] | None = None) -> optuna.Trial:
    trial = trials.take_up(study, trials.create(study, fixed or {}, {"enqueued": "y"}))
    trial.suggest_float("a", 0.0, 1.0)
    return trial


def test_a_trial_is_created_running_with_its_attributes(study: optuna.Study) -> None:
    trial = _start(study, {"a": 0.25})
    stored = trials.frozen(study, trial.number)
    assert (stored.number, stored.state) == (0, TrialState.RUNNING)
    assert stored.params == {"a": 0.25}
    assert stored.user_attrs == {"enqueued": "y"}
    assert stored.datetime_start is not None
    assert trials.create(study, {}, {}) == 1


def test_a_paused_trial_keeps_all_it_has_and_nobody_else_gets_it(study: optuna.Study) -> None:
    trial = _start(study, {"a": 0.75})
    trial.report(2.5, 20)
    started = trials.frozen(study, 0).datetime_start
    trials.pause(study, 0, 20)
    assert trials.paused(study.get_trials()) == {0: 20}
    assert trials.frozen(study, 0).state == TrialState.WAITING

    other = _start(study)  # a plain `ask` would have popped the paused one
    assert other.number == 1
    assert [one.number for one in study.get_trials(states=(TrialState.WAITING,))] == [0]

    trials.thaw(study, 0)
    thawed = trials.take_up(study, 0)
    assert trials.paused(study.get_trials()) == {}
    assert thawed.suggest_float("a", 0.0, 1.0) == 0.75
    assert trials.curve_of(thawed) == {20: 2.5}
    thawed.report(3.5, 40)
    study.tell(0, 3.5)
    stored = trials.frozen(study, 0)
    assert (stored.state, stored.value) == (TrialState.COMPLETE, 3.5)
    assert stored.user_attrs[attributes.FIRST_STARTED] == started.isoformat()


def test_an_ask_would_take_the_paused_trial(study: optuna.Study) -> None:
    """Why nobody here calls `ask`; should this fail, the adapter is no longer needed for it."""
    _start(study)
    trials.pause(study, 0, 20)
    assert study.ask().number == 0


def test_attributes_are_set_together(study: optuna.Study) -> None:
    trial = _start(study)
    trials.set_attributes(study, 0, {"b": 1, "c": None})
    trials.set_attributes(study, 0, {"c": [2], "d": {"e": "f"}})
    expected = {"enqueued": "y", "b": 1, "c": [2], "d": {"e": "f"}}
    assert trials.frozen(study, 0).user_attrs == expected
    assert study.get_trials()[0].user_attrs == expected
    study.tell(trial.number, 1.0)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        trials.set_attributes(study, 0, {"b": 2})


@pytest.mark.parametrize(("direction", "expected"), [("maximize", 1), ("minimize", 0)])
def test_the_best_is_the_earliest_among_equals(direction: str, expected: int) -> None:
    study = optuna.create_study(direction=direction)
    assert trials.best(study) is None
    for value in (2.0, 5.0, 2.0, 5.0):
        study.tell(_start(study).number, value)
    study.tell(_start(study).number, state=TrialState.FAIL)
    best = trials.best(study)
    assert best is not None
    assert best.number == expected
    assert len(trials.finished(study)) == 5


def test_each_trial_may_have_a_sampler_of_its_own(study: optuna.Study) -> None:
    nop = optuna.pruners.NopPruner()
    for seed in (11, 13, 11):
        own = trials.with_methods(study, optuna.samplers.RandomSampler(seed=seed), nop)
        number = trials.create(study, {}, {})
        trials.take_up(own, number).suggest_float("a", 0.0, 1.0)
    first, second, third = (trial.params["a"] for trial in study.get_trials())
    assert first == third != second
