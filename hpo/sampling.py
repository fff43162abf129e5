"""Draws points of a search space by Optuna; an invalid combination cannot be drawn."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import BaseTrial

from hpo.declarations.assembly import build_config, build_repeat
from hpo.declarations.parameters import (
    CategoricalParameter,
    FloatParameter,
    IntParameter,
    Parameter,
)
from hpo.declarations.points import drawn_values
from hpo.declarations.space import SearchSpace

__all__ = [
    "SpacePoints",
    "build_config",
    "build_repeat",
    "displayed_name",
    "distributions",
    "drawn_values",
    "suggest",
]


def suggest(space: SearchSpace, trial: BaseTrial) -> dict[str, Any]:
    """Realised values, under core's names, of the parameters that a trial draws.

    What is conditional and not drawn is left out: `build_config` completes it.
    """

    def choose(name: str, parameter: Parameter, base: Any) -> Any:
        drawn = parameter.drawn_name(name)
        if isinstance(parameter, IntParameter):
            return trial.suggest_int(
                drawn, parameter.low, parameter.high, step=parameter.step, log=parameter.log
            )
        if isinstance(parameter, FloatParameter):
            return trial.suggest_float(
                drawn, parameter.low, parameter.high, step=parameter.step, log=parameter.log
            )
        if isinstance(parameter, CategoricalParameter):
            return trial.suggest_categorical(drawn, parameter.choices)
        return trial.suggest_int(drawn, 0, len(parameter.table) - 1)

    return space.walk(choose)


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """What Optuna draws from, by the names that it uses; conditional parameters included."""
    return {
        parameter.drawn_name(name): _distribution(parameter)
        for name, parameter in space.parameters.items()
    }


def _distribution(parameter: Parameter) -> BaseDistribution:
    if isinstance(parameter, IntParameter):
        return IntDistribution(
            parameter.low, parameter.high, step=parameter.step, log=parameter.log
        )
    if isinstance(parameter, FloatParameter):
        return FloatDistribution(
            parameter.low, parameter.high, step=parameter.step, log=parameter.log
        )
    if isinstance(parameter, CategoricalParameter):
        return CategoricalDistribution(parameter.choices)
    return IntDistribution(0, len(parameter.table) - 1)


class SpacePoints:
    """The points of a search space in drawn values. See `hpo.schedulers.Points`."""

    def __init__(self, space: SearchSpace, structure_group: str) -> None:
        self._space = space
        self._structure_group = structure_group

    @cached_property
    def distributions(self) -> Mapping[str, BaseDistribution]:
        """See `Points.distributions`."""
        return distributions(self._space)

    @cached_property
    def structure(self) -> frozenset[str]:
        """See `Points.structure`."""
        return frozenset(
            parameter.drawn_name(name)
            for name, parameter in self._space.parameters.items()
            if name.partition(".")[0] == self._structure_group
        )

    def draw(
        self, generator: np.random.Generator, fixed: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """See `Points.draw`."""
        rng = random.Random(int(generator.integers(2**63)))  # noqa: S311 - no secret
        given = fixed or {}
        drawn: dict[str, Any] = {}

        def choose(name: str, parameter: Parameter, base: Any) -> Any:
            key = parameter.drawn_name(name)
            drawn[key] = given[key] if key in given else parameter.draw(rng, base)
            return drawn[key]

        self._space.walk(choose)
        return drawn

    def realise(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """What the model is built from, by core's names, of a point in drawn values."""
        return self._space.walk(lambda name, parameter, _base: drawn[parameter.drawn_name(name)])


def displayed_name(optuna_name: str) -> str:
    """Core's name of what Optuna draws, which for derived parameters is a position in a table.

    Core's names have one dot, so only those of positions have two.
    """
    group, field, *_ = (*optuna_name.split("."), "")
    return f"{group}.{field}" if optuna_name.count(".") == 2 else optuna_name
