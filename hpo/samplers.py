"""What proposes parameters, its randomness derived from (study seed, trial number)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    GPSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.samplers._gp.sampler import _get_params
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from core.errors import SettingsError
from core.settings import derive_seed
from hpo.declarations import SamplerSettings
from hpo.declarations.parameters import FloatParameter, IntParameter, Parameter
from hpo.declarations.space import SearchSpace
from hpo.declarations.study import BruteForceSettings, GpSettings, QmcSettings, TpeSettings


def build_sampler(
    settings: SamplerSettings, *, seed: int, number: int, conditional: bool
) -> BaseSampler:
    """The sampler for trial `number`: what it draws depends on the seed, the number and the study.

    `conditional` says that some trials draw parameters that others do not.
    """

    def make(derived_seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            # Brute force and `group` are marked experimental; the versions in use are tested here.
            warnings.simplefilter("ignore", ExperimentalWarning)
            if isinstance(settings, TpeSettings):
                kind = TPESampler if conditional else _TpeOfOneSpace
                return kind(
                    n_startup_trials=settings.n_startup_trials,
                    n_ei_candidates=settings.n_ei_candidates,
                    multivariate=settings.multivariate,
                    group=settings.multivariate and conditional,
                    seed=derived_seed,
                )
            if isinstance(settings, BruteForceSettings):
                return BruteForceSampler(seed=derived_seed)
            if isinstance(settings, GpSettings):
                return _ResumableGp(
                    seed=derived_seed,
                    n_startup_trials=settings.n_startup_trials,
                    warn_independent_sampling=False,
                )
            if isinstance(settings, QmcSettings):
                return _NumberedQmc(
                    number,
                    qmc_type=settings.qmc_type,
                    scramble=True,
                    # One sequence for all trials: its scrambling is the study's.
                    seed=derive_seed(seed, "sampler"),
                    independent_sampler=RandomSampler(seed=derived_seed),
                    warn_independent_sampling=False,
                )
            return RandomSampler(seed=derived_seed)

    return _SeededByTrial(make, seed, number)


class _SeededByTrial(BaseSampler):
    """A sampler with fresh randomness for each parameter that it draws alone.

    A driver that is killed between two parameters of a trial draws the second when it comes back,
    from the same randomness as if nothing had happened.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int, number: int) -> None:
        self._make = make
        self._key = (seed, "sampler", number)
        self._sampler = make(derive_seed(*self._key))

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        sampler = self._make(derive_seed(*self._key, param_name))
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._sampler.before_trial(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._sampler.after_trial(study, trial, state, values)


class _TpeOfOneSpace(TPESampler):
    """Optuna's, told that all trials draw the same parameters.

    Optuna's compares those of all trials anew for each sampler, which at a thousand of them takes
    longer than to propose.
    """

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        if not self._is_multivariate(study):
            return {}
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        any_finished = study._get_trials(deepcopy=False, states=states, use_cache=True)[-1:]
        return {
            name: distribution
            for one in any_finished
            for name, distribution in sorted(one.distributions.items())
            if not distribution.single()
        }


class _ResumableGp(GPSampler):
    """Optuna's, but a trial that is taken up again gets the point that it was given before.

    Optuna's would hold the trial's own point for another's that is under way, and keep off it.
    """

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        given = _get_params(trial)
        if search_space and given.keys() >= search_space.keys():
            return {name: given[name] for name in search_space}
        return super().sample_relative(study, trial, search_space)


class _NumberedQmc(QMCSampler):
    """Optuna's, but a trial's place in the sequence follows from its number.

    Optuna's counts draws in the study's attributes, so that a trial taken up again would be given
    another point, and the one after it, too.
    """

    def __init__(self, number: int, **settings: Any) -> None:
        super().__init__(**settings)
        self._number = number

    def _find_sample_id(self, study: Study, search_space: dict[str, BaseDistribution]) -> int:
        # Points that were given as a whole leave no gap in the sequence.
        return sum(
            other.number < self._number
            and not search_space.keys() <= other.system_attrs.get("fixed_params", {}).keys()
            for other in study.get_trials(deepcopy=False)
        )


def count_points(space: SearchSpace, at_most: int) -> int:
    """How many different points the space can draw, counted up to `at_most`.

    Raises: SettingsError for a parameter with infinitely many values.
    """
    path: list[int] = []
    for points in range(1, at_most + 1):
        sizes = _sizes_along(space, path)
        path += [0] * (len(sizes) - len(path))
        while path and path[-1] + 1 == sizes[len(path) - 1]:
            path.pop()
        if not path:
            return points
        path[-1] += 1
    return at_most


def _sizes_along(space: SearchSpace, path: Sequence[int]) -> list[int]:
    """How many values each parameter has that is drawn when the first take the values at the
    positions in `path` and the others their first."""
    sizes: list[int] = []

    def choose(name: str, parameter: Parameter, _base: Any) -> Any:
        values = _raw_values(name, parameter)
        place = path[len(sizes)] if len(sizes) < len(path) else 0
        sizes.append(len(values))
        return values[place]

    space.walk(choose)
    return sizes


def _raw_values(name: str, parameter: Parameter) -> Sequence[Any]:
    if isinstance(parameter, IntParameter):
        return parameter.values
    if isinstance(parameter, FloatParameter):
        if parameter.low == parameter.high:
            return (parameter.low,)
        if parameter.step is None:
            raise SettingsError(
                f"sampler brute_force cannot try all values of {name!r}, which has no step",
                way_out="Give it a step, or use sampler tpe or random.",
            )
        steps = round((parameter.high - parameter.low) / parameter.step)
        return [parameter.low + step * parameter.step for step in range(steps + 1)]
    if parameter.type == "categorical":
        return parameter.choices
    return range(len(parameter.table))
