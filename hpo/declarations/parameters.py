"""The kinds of parameter that a search space may declare, and what each can draw.

What Optuna draws is the *raw* value; what the model is built from, and people see, the *realised*
one. They differ for derived parameters, which draw a position in a fixed table: Optuna does not
let choices change within a study, and a combination that is derived cannot be drawn wrong.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal, Self, TypeGuard

from pydantic import BeforeValidator, Field, model_validator

from core.settings import Settings

_LARGEST_WHOLE = 2**53
"""Storages keep drawn numbers as floats, which hold whole numbers exactly up to here."""

Whole = Annotated[int, Field(ge=-_LARGEST_WHOLE, le=_LARGEST_WHOLE)]


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a finite number; `true` is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)


def is_same(one: object, other: object) -> bool:
    """Equality that tells `true` from 1, as TOML does, and takes 1 for 1.0, as settings do."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _kind_of(choice: object) -> str:
    if isinstance(choice, bool):
        return "true/false"
    if isinstance(choice, str):
        return "string"
    if isinstance(choice, float) and math.isfinite(choice):
        return "number"
    if isinstance(choice, int) and abs(choice) <= _LARGEST_WHOLE:
        return "number"
    raise ValueError("choices may hold finite numbers, strings, or true and false")


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class _Parameter(Settings):
    """What all kinds share."""

    when: dict[str, Any] | None = None
    """Parameters declared earlier -> the value, or list of values, that lets this one be drawn."""

    def holds(self, realised: Mapping[str, Any]) -> bool:
        """Whether it is drawn after what was drawn before; a parent that was not drawn says no."""
        return all(
            parent in realised and any(is_same(realised[parent], value) for value in values)
            for parent, values in self.conditions().items()
        )

    def conditions(self) -> dict[str, list[Any]]:
        """`when`, with single values as lists of one."""
        return {
            parent: values if isinstance(values, list) else [values]
            for parent, values in (self.when or {}).items()
        }

    def drawn_name(self, name: str) -> str:
        """The name under which Optuna draws the parameter called `name`."""
        return name


class _Range(_Parameter):
    """Numbers from `low` to `high`, both included."""

    low: Any
    high: Any
    log: bool = False
    """Draw evenly in the logarithm."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high})")
        if self.log and self.low <= 0:
            raise ValueError(f"log = true needs low > 0, and low is {self.low}")
        step: float | None = getattr(self, "step", None)
        if self.log and step not in (None, 1):
            raise ValueError("log = true and step exclude each other")
        if step is not None and _fraction(self.high, self.low) % Fraction(repr(step)):
            raise ValueError(
                f"step ({step}) does not divide the range, low ({self.low}) to high ({self.high})"
            )
        return self

    def raw_end(self, base: object, *, last: bool) -> Any:
        """The first or last raw value."""
        return self.high if last else self.low

    def describe(self, base: object) -> str:
        """What it can draw, for people."""
        step = getattr(self, "step", None)
        return f"{self.low} to {self.high}" + (f" in steps of {step}" if step else "")


class IntParameter(_Range):
    """Whole numbers."""

    type: Literal["int"]
    low: Whole
    high: Whole
    step: Annotated[int, Field(ge=1, le=_LARGEST_WHOLE)] = 1

    def realise(self, raw: Any, base: object) -> int:
        """The realised value of a raw one."""
        return int(raw)

    def invert(self, value: object, base: object) -> int | None:
        """The raw value that realises `value`; `None` if there is none."""
        if not isinstance(value, int) or isinstance(value, bool):
            return None
        return value if value in self.values else None

    def draw(self, rng: random.Random, base: object) -> int:
        """A raw value drawn evenly."""
        return self.low + self.step * rng.randrange((self.high - self.low) // self.step + 1)

    @property
    def values(self) -> range:
        """All values, in order."""
        return range(self.low, self.high + 1, self.step)


class FloatParameter(_Range):
    """Real numbers, or those a whole number of steps above `low`."""

    type: Literal["float"]
    low: float
    high: float
    step: Annotated[float, Field(gt=0)] | None = None

    @property
    def is_finite(self) -> bool:
        """Whether it has a finite number of values."""
        return self.step is not None or self.low == self.high

    def realise(self, raw: Any, base: object) -> float:
        """The realised value; on a grid the short decimal, 0.15 for 0.15000000000000002."""
        if self.step is None:
            return float(raw)
        steps = round((float(raw) - self.low) / self.step)
        return float(Fraction(repr(self.low)) + steps * Fraction(repr(self.step)))

    def invert(self, value: object, base: object) -> float | None:
        """The raw value that realises `value`; `None` if there is none."""
        if not is_number(value) or not self.low <= value <= self.high:
            return None
        return float(value) if self.realise(value, base) == value else None

    def draw(self, rng: random.Random, base: object) -> float:
        """A raw value drawn evenly, in the logarithm if so declared."""
        if self.log:
            drawn = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
            return min(max(drawn, self.low), self.high)
        drawn = rng.uniform(self.low, self.high)
        return drawn if self.step is None else self.realise(drawn, base)


class CategoricalParameter(_Parameter):
    """One of several values without an order."""

    type: Literal["categorical"]
    choices: Annotated[tuple[Any, ...], BeforeValidator(_as_tuple)]

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if not self.choices:
            raise ValueError("choices is empty")
        kinds = {_kind_of(one) for one in self.choices}
        if len(kinds) > 1:
            raise ValueError(f"choices mixes kinds of value: {', '.join(sorted(kinds))}")
        _refuse_repeats("choices", self.choices)
        return self

    def realise(self, raw: Any, base: object) -> Any:
        """The realised value of a raw one."""
        return raw

    def invert(self, value: object, base: object) -> Any | None:
        """The choice that equals `value`; `None` if there is none."""
        return next((one for one in self.choices if is_same(one, value)), None)

    def raw_end(self, base: object, *, last: bool) -> Any:
        """The first or last choice."""
        return self.choices[-1 if last else 0]

    def draw(self, rng: random.Random, base: object) -> Any:
        """A choice."""
        return rng.choice(self.choices)

    def describe(self, base: object) -> str:
        """What it can draw, for people."""
        return ", ".join(map(str, self.choices))


class _Derived(_Parameter):
    """A position in a fixed ascending table, realised with the value of another name, the base."""

    of: str
    """A parameter declared earlier, a setting, or a whole number of the study's `protocol`."""

    @property
    def table(self) -> tuple[float, ...]:
        raise NotImplementedError

    def realise(self, raw: Any, base: Any) -> Any:
        """The value that a position in the table stands for."""
        raise NotImplementedError

    def drawn_name(self, name: str) -> str:
        return f"{name}.index"

    def invert(self, value: object, base: object) -> int | None:
        """The first position that realises `value`; `None` if there is none."""
        positions = range(len(self.table))
        return next((raw for raw in positions if is_same(self.realise(raw, base), value)), None)

    def raw_end(self, base: object, *, last: bool) -> int:
        """The first or last position."""
        return len(self.table) - 1 if last else 0

    def draw(self, rng: random.Random, base: object) -> int:
        """A position drawn evenly."""
        return rng.randrange(len(self.table))

    def describe(self, base: object) -> str:
        """What it can draw, for people."""
        values = dict.fromkeys(self.realise(raw, base) for raw in range(len(self.table)))
        return f"{', '.join(map(str, values))} while {self.of} is {base}"


class MultipleParameter(_Derived):
    """A factor times the base, rounded to a whole number where the base is one."""

    type: Literal["multiple"]
    factors: Annotated[tuple[float, ...], BeforeValidator(_as_tuple)]

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        _refuse_disorder("factors", self.factors)
        return self

    @property
    def table(self) -> tuple[float, ...]:
        return self.factors

    def realise(self, raw: Any, base: Any) -> Any:
        return self.times(self.factors[int(raw)], base)

    @staticmethod
    def times(factor: float, base: float) -> float:
        """factor x base, a whole number if the base is one."""
        if isinstance(base, int):
            return round(Fraction(repr(factor)) * base)
        return factor * base


class DivisorParameter(_Derived):
    """The largest choice that divides the base among those up to the drawn one."""

    type: Literal["divisor"]
    choices: Annotated[tuple[Annotated[Whole, Field(ge=1)], ...], BeforeValidator(_as_tuple)]

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        _refuse_disorder("choices", self.choices)
        return self

    @property
    def table(self) -> tuple[int, ...]:
        return self.choices

    def realise(self, raw: Any, base: Any) -> int:
        """Raises: StopIteration if none divides the base, which loading has ruled out."""
        return next(one for one in reversed(self.choices[: int(raw) + 1]) if base % one == 0)


Parameter = (
    IntParameter | FloatParameter | CategoricalParameter | MultipleParameter | DivisorParameter
)
KINDS: dict[str, type[Parameter]] = {
    "int": IntParameter,
    "float": FloatParameter,
    "categorical": CategoricalParameter,
    "multiple": MultipleParameter,
    "divisor": DivisorParameter,
}


def _fraction(high: float, low: float) -> Fraction:
    """high - low in exact decimals, in which 0.3 - 0.1 is 0.2."""
    return Fraction(repr(high)) - Fraction(repr(low))


def _refuse_repeats(name: str, values: tuple[Any, ...]) -> None:
    for place, value in enumerate(values):
        if any(is_same(value, earlier) for earlier in values[:place]):
            raise ValueError(f"{name} holds {value!r} twice")


def _refuse_disorder(name: str, values: tuple[float, ...]) -> None:
    if not values:
        raise ValueError(f"{name} is empty")
    _refuse_repeats(name, values)
    if list(values) != sorted(values):
        raise ValueError(f"{name} must be in ascending order")
