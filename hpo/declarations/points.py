"""`[[enqueue]]`: points to try first, in realised names, turned into what Optuna draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.declarations.errors import choice_help, key_of
from hpo.declarations.parameters import MultipleParameter, Parameter, is_number
from hpo.declarations.space import SearchSpace
from hpo.mistakes import DeclarationError
from hpo.names import label


def drawn_values(space: SearchSpace, realised: Mapping[str, Any]) -> dict[str, Any]:
    """What Optuna must draw, under its own names, for a point to come out.

    Raises: DeclarationError if the point is incomplete or the space cannot draw it.
    """
    return _invert(space, realised, where=label(space.path), at="point")[1]


def read_point(
    space: SearchSpace, point: Mapping[str, Any], *, where: str, at: str
) -> dict[str, Any]:
    """A point in realised values, checked against the space; `at` says which one in messages.

    A derived value may be given as `{ factor = 0.1 }`, which holds for every base.

    Raises: DeclarationError if the point is incomplete or the space cannot draw it.
    """
    return _invert(space, point, where=where, at=at)[0]


def _invert(
    space: SearchSpace, point: Mapping[str, Any], *, where: str, at: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The point's realised values and its drawn ones."""
    drawn: dict[str, Any] = {}

    def choose(name: str, parameter: Parameter, base: Any) -> Any:
        key = f"{at}.{key_of((name,))}"
        if name not in point:
            raise DeclarationError(
                "is missing", key=key, where=where, allowed=parameter.describe(base)
            )
        raw = _raw_value(parameter, point[name], base)
        if raw is None:
            raise DeclarationError(
                "is not drawn by the search space",
                key=key,
                where=where,
                got=point[name],
                allowed=parameter.describe(base),
            )
        drawn[parameter.drawn_name(name)] = raw
        return raw

    for name in point:
        if name not in space.parameters:
            fixed = name in space.fixed
            raise DeclarationError(
                f"{name!r} is fixed, not a parameter" if fixed else f"unknown parameter {name!r}",
                where=f"{where}: {at}",
                **({} if fixed else choice_help(name, space.parameters)),
            )
    realised = space.walk(choose)
    for name in point:
        if name not in realised:
            when = space.parameters[name].when or {}
            conditions = " and ".join(f"{parent} is {value}" for parent, value in when.items())
            raise DeclarationError(
                f"is out of reach: it is drawn only when {conditions}",
                key=f"{at}.{key_of((name,))}",
                where=where,
                got=point[name],
            )
    return realised, drawn


def _raw_value(parameter: Parameter, value: Any, base: Any) -> Any | None:
    if isinstance(value, dict):
        factor = value.get("factor")
        if (
            not isinstance(parameter, MultipleParameter)
            or len(value) != 1
            or not is_number(factor)
        ):
            return None
        return next((raw for raw, one in enumerate(parameter.factors) if one == factor), None)
    return parameter.invert(value, base)
