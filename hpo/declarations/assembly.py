"""Turns points of a search space into the settings of runs, and proves that every point can be."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from core.settings import RunConfig, Settings, canonical_json, derive_seed
from core.task import Facts, TaskSpec
from hpo.declarations.errors import explain
from hpo.declarations.parameters import Parameter
from hpo.declarations.references import conditions_of
from hpo.declarations.space import SearchSpace
from hpo.mistakes import DeclarationError
from hpo.names import label

if TYPE_CHECKING:
    from hpo.declarations.study import Study

_PROBES = 500
"""Points drawn at load: a fault in one point of a hundred is missed less than once in 150."""


def build_groups(
    space: SearchSpace, spec: TaskSpec, realised: Mapping[str, Any], *, where: str
) -> dict[str, Settings]:
    """Every group of a task's settings at one point, complete with defaults.

    Raises: DeclarationError if core refuses the point.
    """
    tables: dict[str, dict[str, Any]] = {group: {} for group in spec.groups}
    for name, value in {**space.settings, **realised}.items():
        group, field = name.split(".", 1)
        tables[group][field] = value
    groups = {}
    for group, model in spec.groups.items():
        try:
            groups[group] = model(**tables[group])
        except ValidationError as error:
            raise explain(error, model, where=lambda _: where, at=(group,)) from None
    return groups


def groups_at(study: Study, realised: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every group at one point as a `RunConfig` has it: JSON, complete with defaults."""
    groups = build_groups(study.space, study.spec, realised, where=label(study.space.path))
    return {name: settings.model_dump(mode="json") for name, settings in groups.items()}


def build_config(
    study: Study, realised: Mapping[str, Any], facts: Facts, trial_number: int
) -> RunConfig:
    """The configuration of one trial: its groups complete with defaults, its seeds derived.

    Trials of one structure share `structure_seed`, and so their stage A.
    """
    return _config(study, realised, facts, ("structure",), ("trial", trial_number))


def build_repeat(
    study: Study, realised: Mapping[str, Any], facts: Facts, final_seed: int
) -> RunConfig:
    """The configuration of one repeat in the finals, on fresh seed `final_seed`, from 1.

    Finalists have equal seeds on the same fresh seed, so that their differences are paired, and
    those of one structure share stage A there.
    """
    fresh = ("finals", final_seed)
    return _config(study, realised, facts, ("structure", *fresh), fresh)


def _config(
    study: Study,
    realised: Mapping[str, Any],
    facts: Facts,
    structure_seed_of: tuple[object, ...],
    seed_of: tuple[object, ...],
) -> RunConfig:
    groups = groups_at(study, realised)
    structure = canonical_json(groups[study.spec.structure_group])
    return RunConfig(
        task=study.task,
        groups=groups,
        protocol=study.protocol.model_dump(mode="json"),
        data=study.data.model_dump(mode="json"),
        data_digest=facts.digests["data"],
        structure_seed=derive_seed(study.seed, *structure_seed_of, structure),
        seed=derive_seed(study.seed, *seed_of),
    )


def end_points(space: SearchSpace) -> Iterator[dict[str, Any]]:
    """Points at both ends of every range: all low, all high, and each one among the others.

    A conditional parameter is drawn in at least two of them.
    """
    for last in (False, True):
        yield space.walk(_AtEnds({}, {}, last=last))
        for name in space.parameters:
            conditions = conditions_of(space, name) or {}
            for own in (False, True):
                yield space.walk(_AtEnds(conditions, {name: own}, last=last))


class _AtEnds:
    """Chooses ends: the first or `last` of all parameters, other ends for some, and the values of
    those that a condition rests on."""

    def __init__(
        self, conditions: Mapping[str, list[Any]], own: Mapping[str, bool], *, last: bool
    ) -> None:
        self._conditions = conditions
        self._own = own
        self._last = last

    def __call__(self, name: str, parameter: Parameter, base: Any) -> Any:
        for value in self._conditions.get(name, ()):
            raw = parameter.invert(value, base)
            if raw is not None:
                return raw
        return parameter.raw_end(base, last=self._own.get(name, self._last))


def check_points(
    space: SearchSpace, spec: TaskSpec, protocol: Settings, *, where: str, probes: int = _PROBES
) -> None:
    """Builds the settings at both ends of every range and at points drawn from the whole space.

    Raises: DeclarationError if one of them cannot be built, with the values that it has.
    """
    rng = random.Random(0)  # noqa: S311 - probes, not secrets: the same ones at every load
    points = list(end_points(space))
    points += [
        space.walk(lambda _, parameter, base: parameter.draw(rng, base)) for _ in range(probes)
    ]
    for point in points:
        check_point(space, spec, protocol, point, where=where)


def check_point(
    space: SearchSpace,
    spec: TaskSpec,
    protocol: Settings,
    realised: Mapping[str, Any],
    *,
    where: str,
) -> None:
    """Raises: DeclarationError if core cannot build a run at a point."""
    try:
        groups = build_groups(space, spec, realised, where=where)
        spec.check(groups, protocol)
    except (DeclarationError, ValueError) as error:
        what = error.what if isinstance(error, DeclarationError) else str(error)
        point = ", ".join(f"{name} = {value}" for name, value in realised.items())
        raise DeclarationError(
            f"some points cannot be built: {what}",
            where=where,
            way_out=f"The first such point: {point}." if point else None,
        ) from None
