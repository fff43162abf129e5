"""Reads a search space from its file and checks it against core's own settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from core.errors import SettingsError, did_you_mean
from core.registry import find_task, is_own
from core.settings import Settings
from core.task import TaskSpec
from hpo.declarations.errors import Location, choice_help, explain, key_of, read_model
from hpo.declarations.files import read_toml
from hpo.declarations.parameters import (
    KINDS,
    CategoricalParameter,
    DivisorParameter,
    FloatParameter,
    IntParameter,
    MultipleParameter,
    Parameter,
)
from hpo.declarations.references import check_references, extent_of
from hpo.declarations.space import SearchSpace
from hpo.mistakes import DeclarationError
from hpo.names import label


class SpaceFile(Settings):
    """The top of a search space's file."""

    description: str = ""
    task: str
    settings: dict[str, Any] = Field(default_factory=dict)
    parameters: dict[str, Any] = Field(default_factory=dict)


def read_space(path: Path, protocol: Settings | None = None) -> SearchSpace:
    """The search space in a file, checked.

    `protocol` is that of the study which uses the space; the task's default stands in for it where
    a space is checked alone.

    Raises: DeclarationError for the first mistake found.
    """
    where = label(path)
    file = read_model(SpaceFile, read_toml(path), where=lambda _: where)
    spec = task_named(file.task, where=where, path=path)
    reader = _Reader(spec, where)
    settings = reader.read_settings(file.settings)
    parameters = reader.read_parameters(file.parameters)
    for name in settings.keys() & parameters.keys():
        if not parameters[name].when:
            raise DeclarationError(
                "is both in [settings] and in [parameters]",
                key=key_of((name,)),
                where=where,
                allowed="both only with `when`, to say what holds where it is not drawn",
            )
    space = SearchSpace(
        name=path.stem,
        description=file.description,
        task=spec.name,
        path=path,
        settings=settings,
        parameters=parameters,
        fixed=_fixed_values(spec, settings, protocol or spec.protocol()),
    )
    check_references(space, known=reader.names, where=where)
    reader.check_bounds(space)
    return space


def task_named(name: str, *, where: str, path: Path, may_import: bool = True) -> TaskSpec:
    """The task that the file at `path` names.

    One of the user's own is looked for where Python looks, beside that file and in the current
    folder, in this order. Raises: DeclarationError if there is none, or it is one's own and not
    to be imported.
    """
    if not may_import and is_own(name):
        raise DeclarationError("a task of one's own is not imported here", where=where, got=name)
    try:
        return find_task(name, beside=(path.absolute().parent, Path.cwd()))
    except SettingsError as error:
        raise DeclarationError(
            error.what if error.where is None else f"{error.where}: {error.what}",
            where=where,
            got=error.got,
            allowed=error.allowed,
            way_out=error.way_out,
        ) from None


def flatten(table: Mapping[str, Any], groups: Iterable[str], *, where: str) -> dict[str, Any]:
    """A table by dotted names, however it was written: `"model.norm" = 1` or `model.norm = 1`."""
    groups = set(groups)
    flat: dict[str, Any] = {}
    for key, value in table.items():
        nested = key in groups and isinstance(value, dict)
        entries = (
            {f"{key}.{inner}": one for inner, one in value.items()} if nested else {key: value}
        )
        for name, one in entries.items():
            if name in flat:
                raise DeclarationError("is given twice", key=key_of((name,)), where=where)
            flat[name] = one
    return flat


def _fixed_values(
    spec: TaskSpec, settings: Mapping[str, Any], protocol: Settings
) -> dict[str, Any]:
    defaults = {
        f"{group}.{name}": field.get_default(call_default_factory=True, validated_data={})
        for group, model in spec.groups.items()
        for name, field in model.model_fields.items()
        if not field.is_required()
    }
    numbers = {
        f"protocol.{name}": value
        for name in type(protocol).model_fields
        if isinstance(value := getattr(protocol, name), int | float)
        and not isinstance(value, bool)
    }
    return {**defaults, **settings, **numbers}


class _Reader:
    """Reads one file's names and values as core knows them."""

    def __init__(self, spec: TaskSpec, where: str) -> None:
        self._spec = spec
        self._where = where
        self.names = [
            f"{group}.{name}"
            for group, model in spec.groups.items()
            for name in model.model_fields
        ]

    def read_settings(self, table: Mapping[str, Any]) -> dict[str, Any]:
        """The [settings] as core takes them."""
        flat = flatten(table, self._spec.groups, where=self._where)
        for name in flat:
            self._check_name(name, "setting")
        return {
            name: self._core_value(name, value, ("settings", name)) for name, value in flat.items()
        }

    def read_parameters(self, table: Mapping[str, Any]) -> dict[str, Parameter]:
        """The [parameters], each in its kind; references between them are not looked at."""
        flat = flatten(table, self._spec.groups, where=self._where)
        for name in flat:
            self._check_name(name, "parameter")
        return {name: self._read_parameter(name, one) for name, one in flat.items()}

    def _check_name(self, name: str, noun: str) -> None:
        if name not in self.names:
            raise DeclarationError(
                f"unknown {noun} {name!r}", where=self._where, **choice_help(name, self.names)
            )

    def _read_parameter(self, name: str, table: object) -> Parameter:
        at = ("parameters", name)
        if not isinstance(table, dict):
            raise DeclarationError(
                "must be a table",
                key=key_of(at),
                where=self._where,
                got=table,
                way_out="A value that does not vary belongs in [settings].",
            )
        kind = table.get("type")
        if kind is None:
            raise DeclarationError(
                "is missing",
                key=key_of((*at, "type")),
                where=self._where,
                allowed=", ".join(KINDS),
            )
        if not isinstance(kind, str) or kind not in KINDS:
            raise DeclarationError(
                "is no kind of parameter",
                key=key_of((*at, "type")),
                where=self._where,
                got=kind,
                allowed=", ".join(KINDS),
                way_out=did_you_mean(kind, KINDS),
            )
        if isinstance(table.get("when"), dict):
            when = flatten(table["when"], self._spec.groups, where=self._where)
            table = {**table, "when": when}
        parameter = read_model(KINDS[kind], table, where=lambda _: self._where, at=at)
        if isinstance(parameter, CategoricalParameter):
            choices = tuple(
                self._core_value(name, choice, (*at, "choices", place))
                for place, choice in enumerate(parameter.choices)
            )
            return parameter.model_copy(update={"choices": choices})
        return parameter

    def check_bounds(self, space: SearchSpace) -> None:
        """Both ends of every parameter against core's own bounds, by constructing its settings.

        Raises: DeclarationError for a value that core refuses.
        """
        for name, parameter in space.parameters.items():
            at = ("parameters", name)
            if isinstance(parameter, MultipleParameter):
                bases, factors = extent_of(space, parameter.of), parameter.factors
                for value in (
                    parameter.times(factor, base)
                    for base in bases
                    for factor in (factors[0], factors[-1])
                ):
                    self._core_value(name, value, at)
            elif isinstance(parameter, DivisorParameter):
                for place, choice in enumerate(parameter.choices):
                    self._core_value(name, choice, (*at, "choices", place))
            elif isinstance(parameter, IntParameter | FloatParameter):
                for end in ("low", "high"):
                    self._core_value(name, getattr(parameter, end), (*at, end))

    def _core_value(self, name: str, value: Any, at: Location) -> Any:
        """A value as core's settings take it.

        Raises: DeclarationError at `at` if they refuse it.
        """
        group, field = name.split(".", 1)
        model = self._spec.groups[group]
        try:
            return getattr(model(**{field: value}), field)
        except ValidationError as error:
            where = self._where
            raise explain(error, model, where=lambda _: where, at=at, skip=1) from None
