"""Checks what parameters say of each other: `when`, and the `of` of derived ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hpo.declarations.errors import choice_help, key_of
from hpo.declarations.parameters import (
    CategoricalParameter,
    DivisorParameter,
    FloatParameter,
    IntParameter,
    MultipleParameter,
    is_number,
    is_same,
)
from hpo.declarations.space import SearchSpace
from hpo.mistakes import DeclarationError

_MOST_ENUMERATED = 10_000


def check_references(space: SearchSpace, *, known: Iterable[str], where: str) -> None:
    """Checks every `when` and `of`; `known` are the names that core has.

    Raises: DeclarationError for a reference to nothing, to itself, to what is declared later, for
    a condition that never holds, and for a base that cannot be derived from.
    """
    checker = _Checker(space, where)
    for name in space.parameters:
        checker.check_order(name)
        checker.check_fallback(name)
    for name, parameter in space.parameters.items():
        for parent in parameter.conditions():
            checker.check_condition(name, parent)
        if conditions_of(space, name) is None:
            raise checker.error(name, "when", "never holds: its conditions exclude each other")
        if isinstance(parameter, MultipleParameter | DivisorParameter):
            checker.check_base(name, parameter, known)


def conditions_of(space: SearchSpace, name: str) -> dict[str, list[Any]] | None:
    """Parent -> values under which a parameter is drawn, its parents' own conditions included.

    `None` if no value of some parent satisfies them all.
    """
    merged: dict[str, list[Any]] = {}
    own = space.parameters[name].conditions()
    inherited = [conditions_of(space, parent) for parent in own]
    for conditions in (own, *inherited):
        if conditions is None:
            return None
        for parent, values in conditions.items():
            both = merged.get(parent, values)
            merged[parent] = [one for one in values if any(is_same(one, two) for two in both)]
    return merged if all(merged.values()) else None


def extent_of(space: SearchSpace, name: str) -> tuple[Any, Any]:
    """The smallest and largest number that a name can stand for."""
    parameter = space.parameters.get(name)
    if parameter is None:
        return space.fixed[name], space.fixed[name]
    if isinstance(parameter, IntParameter | FloatParameter):
        ends = [parameter.low, parameter.high]
    elif isinstance(parameter, MultipleParameter):
        ends = [
            parameter.times(factor, base)
            for base in extent_of(space, parameter.of)
            for factor in (parameter.factors[0], parameter.factors[-1])
        ]
    else:
        ends = list(parameter.choices)
    if parameter.when:
        ends.append(space.fixed[name])
    return min(ends), max(ends)


def _whole_values(space: SearchSpace, name: str, *, drawn: bool) -> list[range] | None:
    """All whole numbers that a name can stand for; `None` if others are among them, or too many.

    `drawn` leaves out the value that holds while a conditional parameter is not drawn.
    """
    parameter = space.parameters.get(name)
    if parameter is None:
        return _singles([space.fixed[name]])
    if isinstance(parameter, IntParameter):
        values: list[range] | None = [parameter.values]
    elif isinstance(parameter, CategoricalParameter | DivisorParameter):
        values = _singles(parameter.choices)
    elif isinstance(parameter, MultipleParameter):
        bases = _whole_values(space, parameter.of, drawn=False)
        values = None if bases is None else _multiples(bases, parameter)
    else:
        values = None
    if parameter.when and not drawn and values is not None:
        fallback = _singles([space.fixed[name]])
        return None if fallback is None else values + fallback
    return values


def _singles(values: Iterable[Any]) -> list[range] | None:
    values = list(values)
    if any(isinstance(one, bool) or not isinstance(one, int) for one in values):
        return None
    return [range(one, one + 1) for one in values]


def _multiples(bases: list[range], parameter: MultipleParameter) -> list[range] | None:
    if all(factor.is_integer() and factor > 0 for factor in parameter.factors):
        return [
            range(base.start * whole, base[-1] * whole + 1, base.step * whole)
            for base in bases
            for whole in map(int, parameter.factors)
        ]
    if sum(map(len, bases)) * len(parameter.factors) > _MOST_ENUMERATED:
        return None
    return _singles(
        parameter.times(factor, one)
        for base in bases
        for one in base
        for factor in parameter.factors
    )


class _Checker:
    """Checks the references of one space."""

    def __init__(self, space: SearchSpace, where: str) -> None:
        self._space = space
        self._where = where
        self._places = {name: place for place, name in enumerate(space.parameters)}

    def error(self, name: str, key: str, what: str, **parts: Any) -> DeclarationError:
        """An error about a key of a parameter."""
        at = key_of(("parameters", name, key))
        return DeclarationError(what, key=at, where=self._where, **parts)

    def _references(self, name: str) -> dict[str, str]:
        """Parameter referred to -> the key that does."""
        parameter = self._space.parameters[name]
        found = dict.fromkeys(parameter.conditions(), "when")
        if isinstance(parameter, MultipleParameter | DivisorParameter):
            found[parameter.of] = "of"
        return {other: key for other, key in found.items() if other in self._places}

    def check_order(self, name: str) -> None:
        """Raises: DeclarationError if a parameter refers to a later one, or in a circle."""
        for other, key in self._references(name).items():
            way_back = self._way(other, name, ())
            if way_back is not None:
                cycle = " -> ".join((name, *way_back))
                raise self.error(name, key, f"forms a cycle: {cycle}")
            if self._places[other] > self._places[name]:
                raise self.error(
                    name,
                    key,
                    f"refers to {other!r}, which is declared later",
                    way_out=f"Move {other!r} above it.",
                )

    def check_fallback(self, name: str) -> None:
        """Raises: DeclarationError if nothing says what holds where a parameter is not drawn."""
        if self._space.parameters[name].when and name not in self._space.fixed:
            raise DeclarationError(
                "has no value while it is not drawn",
                key=key_of(("parameters", name)),
                where=self._where,
                way_out=f"Give {name!r} in [settings] as well.",
            )

    def _way(self, start: str, end: str, been: tuple[str, ...]) -> tuple[str, ...] | None:
        """The references that lead from one parameter to another; `None` if none do."""
        if start == end:
            return (*been, start)
        if start in been:
            return None
        ways = (self._way(other, end, (*been, start)) for other in self._references(start))
        return next((way for way in ways if way is not None), None)

    def check_condition(self, name: str, parent: str) -> None:
        """Raises: DeclarationError if a parent does not exist or never takes a value named."""
        if parent not in self._places:
            raise self.error(
                name,
                "when",
                f"refers to {parent!r}, which is no parameter of this space",
                **choice_help(parent, (other for other in self._places if other != name)),
            )
        values = self._space.parameters[name].conditions()[parent]
        if not values:
            raise self.error(name, "when", f"never holds: it names no value of {parent!r}")
        for value in values:
            if not self._can_take(parent, value):
                described = self._describe(parent)
                raise self.error(
                    name,
                    "when",
                    f"never holds: {parent!r} does not take this value",
                    got=value,
                    allowed=described,
                )

    def _describe(self, name: str) -> str:
        parameter = self._space.parameters[name]
        if isinstance(parameter, FloatParameter) and not parameter.is_finite:
            return "values of a parameter that has a step or choices"
        if isinstance(parameter, MultipleParameter | DivisorParameter):
            return f"what {name!r} derives from {parameter.of!r}"
        return parameter.describe(None)

    def _can_take(self, name: str, value: object) -> bool:
        parameter = self._space.parameters[name]
        if isinstance(parameter, FloatParameter) and not parameter.is_finite:
            return False  # one value of a continuum is drawn with probability zero
        if not isinstance(parameter, MultipleParameter | DivisorParameter):
            return parameter.invert(value, None) is not None
        if not is_number(value):
            return False
        values = _whole_values(self._space, name, drawn=True)
        return values is None or any(value in one for one in values)

    def check_base(
        self, name: str, parameter: MultipleParameter | DivisorParameter, known: Iterable[str]
    ) -> None:
        """Raises: DeclarationError if `of` names nothing, no number, or nothing divisible."""
        of = parameter.of
        if of not in self._places and of not in self._space.fixed:
            names = {*known, *self._space.fixed} - {name}
            raise self.error(
                name, "of", f"refers to unknown {of!r}", **choice_help(of, sorted(names))
            )
        base = self._space.parameters.get(of)
        choices = base.choices if isinstance(base, CategoricalParameter) else ()
        fixed = [self._space.fixed[of]] if base is None or base.when else []
        if not all(is_number(value) for value in (*choices, *fixed)):
            raise self.error(name, "of", f"refers to {of!r}, which is not a number")
        if isinstance(parameter, MultipleParameter):
            return
        least = parameter.choices[0]
        values = _whole_values(self._space, of, drawn=False)
        if values is None or not all(_divides(least, one) for one in values):
            raise self.error(
                name,
                "choices",
                f"must begin with a divisor of every value that {of!r} can take",
                got=least,
                way_out="Begin with 1, which divides all whole numbers.",
            )


def _divides(divisor: int, values: range) -> bool:
    if values.start < 1 or values.start % divisor:
        return False
    return len(values) == 1 or values.step % divisor == 0
