"""The adapter for what Optuna does not offer officially: one trial's way between states.

`Study.ask` takes up any WAITING trial before it makes a new one, and a paused trial is WAITING. So
trials are created and taken up here, by id, and nobody calls `ask`. Relies on `Trial(study, id)`
and on names with an underscore; tested against the pinned version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from hpo.attributes import FIRST_STARTED, PAUSED_STEP
from hpo.storage.steadfast import SteadfastStorage


def with_methods(study: Study, sampler: BaseSampler, pruner: BasePruner) -> Study:
    """The same study with its own sampler and an empty cache of trials."""
    return Study(study.study_name, study._storage, sampler, pruner)


def create(study: Study, fixed: Mapping[str, Any], attributes: Mapping[str, Any]) -> int:
    """Creates a RUNNING trial and returns its number.

    `fixed` are drawn values that suggestions will give back; `attributes` are set in the same
    transaction, so that a crash leaves no trial without them.
    """
    template = create_trial(
        state=TrialState.RUNNING,
        system_attrs={"fixed_params": dict(fixed)} if fixed else {},
        user_attrs=dict(attributes),
    )
    identifier = study._storage.create_new_trial(study._study_id, template_trial=template)
    return study._storage.get_trial(identifier).number


def take_up(study: Study, number: int) -> Trial:
    """The RUNNING trial `number`, ready to suggest, report and be told."""
    return Trial(study, _id_of(study, number))


def overwrite(
    study: Study, number: int, drawn: Mapping[str, tuple[Any, BaseDistribution]]
) -> None:
    """Gives a RUNNING trial other drawn values than it was suggested; see them with `take_up`."""
    identifier = _id_of(study, number)
    for name, (value, distribution) in drawn.items():
        internal = distribution.to_internal_repr(value)
        study._storage.set_trial_param(identifier, name, internal, distribution)


def pause(study: Study, number: int, step: int) -> None:
    """RUNNING -> WAITING at `step`: no sampler looks at it, and it can be thawed."""
    identifier = _id_of(study, number)
    stored = study._storage.get_trial(identifier)
    with transaction(study):
        if FIRST_STARTED not in stored.user_attrs and stored.datetime_start is not None:
            started = stored.datetime_start.isoformat()
            study._storage.set_trial_user_attr(identifier, FIRST_STARTED, started)
        study._storage.set_trial_user_attr(identifier, PAUSED_STEP, step)
        study._storage.set_trial_state_values(identifier, TrialState.WAITING)


def thaw(study: Study, number: int) -> None:
    """WAITING -> RUNNING."""
    study._storage.set_trial_state_values(_id_of(study, number), TrialState.RUNNING)


def set_attributes(study: Study, number: int, attributes: Mapping[str, Any]) -> None:
    """Sets user attributes in one transaction."""
    identifier = _id_of(study, number)
    with transaction(study):
        for key, value in attributes.items():
            study._storage.set_trial_user_attr(identifier, key, value)


def set_system_attributes(study: Study, values: Mapping[str, Any]) -> None:
    """Sets attributes of the study that are other programs', in one transaction."""
    with transaction(study):
        for key, value in values.items():
            study._storage.set_study_system_attr(study._study_id, key, value)


def transaction(study: Study) -> AbstractContextManager[None]:
    """What is changed within is stored as a whole or not at all."""
    storage = study._storage
    # A study in memory alone has nothing else to be stored in.
    return storage.transaction() if isinstance(storage, SteadfastStorage) else nullcontext()


def sync(study: Study, is_over: Callable[[], bool]) -> bool:
    """Waits until all that was changed is in the database; false if `is_over` before.

    Raises: StorageError if the database was away for too long.
    """
    storage = study._storage
    return storage.sync(is_over) if isinstance(storage, SteadfastStorage) else True


def failure(study: Study) -> BaseException | None:
    """Why no change is stored any more; `None` while they are."""
    storage = study._storage
    return storage.failure if isinstance(storage, SteadfastStorage) else None


def paused(among: Iterable[FrozenTrial]) -> dict[int, int]:
    """Number -> step of the paused trials."""
    # Not asked of Optuna by `states=(WAITING,)`: its memory storage then begins at the first of
    # last time, as no trial is supposed to go back to waiting.
    return {
        trial.number: int(trial.user_attrs[PAUSED_STEP])
        for trial in among
        if trial.state == TrialState.WAITING and PAUSED_STEP in trial.user_attrs
    }


def curve_of(trial: Trial) -> Mapping[int, float]:
    """Step -> value of what has been reported, by earlier attempts too."""
    return trial._cached_frozen_trial.intermediate_values


def frozen(study: Study, number: int) -> FrozenTrial:
    """A trial as it is stored now."""
    return study._storage.get_trial(_id_of(study, number))


def finished(study: Study) -> list[FrozenTrial]:
    """The trials that count against the budget, by number."""
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    return study.get_trials(deepcopy=False, states=states)


def best(study: Study) -> FrozenTrial | None:
    """The complete trial with the best value, the earliest among equals; `None` without one.

    Optuna's own raises where there is none, and looks at constraints, which no complete trial of
    ours violates.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
    return min(complete, key=lambda one: (sign * (one.value or 0.0), one.number), default=None)


def _id_of(study: Study, number: int) -> int:
    return study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
