"""Trials read as plain rows against Optuna's own reading of them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import InMemoryStorage, RDBStorage, get_storage
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.storage import close
from hpo.storage import rows as module
from hpo.storage.database import StorageError
from hpo.storage.rows import RowStorage, adopt

DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "norm": CategoricalDistribution(("pre", "post", None)),
    "learning_rate": FloatDistribution(1e-5, 1e-1, log=True),
    "num_layers": IntDistribution(1, 12),
}


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[RowStorage]:
    made = RowStorage(f"sqlite:///{tmp_path}/hpo.db")
    yield made
    close(made)


def made_trial(number: int, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    curves = [{1: 0.5, 2: math.inf}, {3: -math.inf, 1: math.nan}, {}]
    values = [0.25, math.inf, -math.inf]
    return create_trial(
        state=state,
        value=values[number % 3] if state == TrialState.COMPLETE else None,
        params={
            "norm": (None, "post")[number % 2],
            "learning_rate": 1e-3,
            "num_layers": number % 9 + 1,
        },
        distributions=DISTRIBUTIONS,
        user_attrs={"reason": "wide äöü", "health": {"spikes": [number]}, "attempt": number},
        system_attrs={"grid_id": number},
        intermediate_values=curves[number % 3],
    )


def filled(storage: RowStorage, trials: int = 7) -> int:
    """A study whose trials lie between those of another one."""
    own, other = (
        storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], name) for name in "ab"
    )
    for number in range(trials):
        storage.create_new_trial(own, made_trial(number))
        storage.create_new_trial(other, made_trial(number + 1))
    storage.create_new_trial(own)
    storage.create_new_trial(own, made_trial(trials, TrialState.PRUNED))
    return own


def told(trials: list[FrozenTrial]) -> list[str]:
    """What there is to tell of each trial: NaN is not itself, and Optuna's order is none."""
    return [
        repr(
            [
                (name, sorted(part.items()) if isinstance(part, dict) else part)
                for name, part in vars(trial).items()
            ]
        )
        for trial in trials
    ]


@pytest.mark.parametrize("at_once", [1, 2, 500])
def test_trials_are_read_as_optuna_reads_them(
    storage: RowStorage, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(module, "_READ_AT_ONCE", at_once)
    study = filled(storage)
    for states in (None, (TrialState.COMPLETE,), (TrialState.RUNNING, TrialState.PRUNED)):
        for included, after in ((set(), -1), ({1, 5}, 9), (set(), 9), ({1, 13}, 9)):
            ours = storage._get_trials(study, states, included, after)
            theirs = RDBStorage._get_trials(storage, study, states, included, after)
            assert told(ours) == told(theirs), (states, included, after)
    assert len(storage.get_all_trials(study)) == 9


def test_a_study_that_is_not_there_is_an_error_as_optunas(storage: RowStorage) -> None:
    with pytest.raises(KeyError):
        storage.get_all_trials(7)


def test_equal_distributions_are_one_object(storage: RowStorage) -> None:
    found = storage.get_all_trials(filled(storage), deepcopy=False)
    drawn = [trial.distributions["norm"] for trial in found if trial.params]
    assert len({id(one) for one in drawn}) == 1


def test_a_trial_that_ends_is_read_anew_through_optunas_cache(storage: RowStorage) -> None:
    study = filled(storage)
    cached = get_storage(storage)
    (running,) = cached.get_all_trials(study, states=(TrialState.RUNNING,))
    storage.set_trial_state_values(running._trial_id, TrialState.COMPLETE, [4.0])
    assert not cached.get_all_trials(study, states=(TrialState.RUNNING,))
    assert cached.get_trial(running._trial_id).value == 4.0


def test_adopted_trials_are_as_added_ones_and_leave_what_was_read_alone(
    storage: RowStorage,
) -> None:
    found = storage.get_all_trials(filled(storage), deepcopy=False)
    before = told(found)
    adopting = InMemoryStorage()
    study = adopting.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "a")
    adopt(adopting, study, found)
    added = optuna.create_study(direction="maximize")
    added.add_trials(found)
    adopted = optuna.load_study(study_name="a", storage=adopting)
    assert told(adopted.trials) == told(added.trials)
    assert adopted.best_trial.number == added.best_trial.number

    (running,) = (trial for trial in adopted.trials if not trial.state.is_finished())
    adopting.set_trial_user_attr(running._trial_id, "reason", "changed")
    adopting.set_trial_state_values(running._trial_id, TrialState.FAIL)
    assert told(found) == before
    assert adopting.create_new_trial(study) == len(found)


def test_a_gap_between_trials_is_no_study(storage: RowStorage) -> None:
    found = storage.get_all_trials(filled(storage), deepcopy=False)
    adopting = InMemoryStorage()
    study = adopting.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "a")
    with pytest.raises(StorageError, match=r"trial 2 is missing.*trial 3.*hpo repair a"):
        adopt(adopting, study, [*found[:2], *found[3:]])


@pytest.fixture
def in_india(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_india")
def test_times_are_of_here(storage: RowStorage) -> None:
    before = datetime.now()
    study = filled(storage, trials=1)
    (first, *_) = storage.get_all_trials(study)
    assert first.datetime_start is not None
    assert before <= first.datetime_start <= datetime.now()
    with storage.engine.connect() as connection:
        (stored,) = connection.exec_driver_sql("SELECT datetime_start FROM trials LIMIT 1").one()
    assert datetime.fromisoformat(stored) == first.datetime_start - timedelta(hours=5, minutes=30)
