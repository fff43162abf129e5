"""One line for each mistake in a declaration: where, which key, which rule, what it got."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from core.errors import did_you_mean
from hpo.mistakes import DeclarationError

Location = tuple[str | int, ...]
"""Keys and list positions that lead from the top of a file to a value."""

_Model = TypeVar("_Model", bound=BaseModel)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def choice_help(name: object, names: Iterable[str]) -> dict[str, str | None]:
    """The error's parts `allowed` and `way_out`: the nearest name, or all of them."""
    names = list(names)
    near = did_you_mean(name, names)
    return {"allowed": None if near else ", ".join(names) or "nothing", "way_out": near}


def key_of(location: Location) -> str:
    """A location as TOML writes it: `parameters."model.d_model".choices[2]`."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            text += ("." if text else "") + (part if _BARE_KEY.fullmatch(part) else f'"{part}"')
    return text


def read_model(
    model: type[_Model],
    table: object,
    *,
    where: Callable[[Location], str],
    at: Location = (),
) -> _Model:
    """A settings model made of a table.

    `where` names the file or the option that declared a location; `at` is the table's own.
    Raises: DeclarationError for the first thing wrong with the table.
    """
    if not isinstance(table, Mapping):
        raise DeclarationError("must be a table", key=key_of(at), where=where(at), got=table)
    try:
        return model.model_validate(dict(table))
    except ValidationError as error:
        raise explain(error, model, where=where, at=at) from None


def explain(
    error: ValidationError,
    model: type[BaseModel],
    *,
    where: Callable[[Location], str],
    at: Location = (),
    skip: int = 0,
) -> DeclarationError:
    """Pydantic's error as ours: an unknown key if there is one, as it explains the rest.

    `skip` leaves out that many parts of pydantic's location, where `at` already names the value.
    """
    details = error.errors(include_url=False)
    first = next((one for one in details if one["type"] == "extra_forbidden"), details[0])
    location = at + first["loc"][skip:]
    rule, parts = _rule(first, model)
    if first["type"] == "extra_forbidden":
        section = key_of(location[:-1])
        what = f"unknown key {str(location[-1])!r}" + (f" in [{section}]" if section else "")
        return DeclarationError(what, where=where(location), **parts)
    return DeclarationError(rule, key=key_of(location) or None, where=where(location), **parts)


_TYPE_RULES = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a table",
    "mapping_type": "must be a table",
    "model_type": "must be a table",
    "tuple_type": "must be a list",
}
_BOUND_RULES = {
    "greater_than": ("gt", ">"),
    "greater_than_equal": ("ge", ">="),
    "less_than": ("lt", "<"),
    "less_than_equal": ("le", "<="),
}


def _rule(detail: ErrorDetails, model: type[BaseModel]) -> tuple[str, dict[str, Any]]:
    """What a value broke, and the error's other parts."""
    kind, got = detail["type"], detail["input"]
    context: Mapping[str, Any] = detail.get("ctx", {})
    if kind == "extra_forbidden":
        return "", choice_help(detail["loc"][-1], _keys_of(model, detail["loc"][:-1]))
    if kind == "missing":
        return "is missing", {}
    if kind == "value_error":
        return f"is refused: {context['error']}", {}
    parts: dict[str, Any] = {"got": got}
    if kind in _BOUND_RULES:
        name, sign = _BOUND_RULES[kind]
        rule = f"must be {sign} {context[name]}"
    elif kind == "literal_error":
        names = re.findall(r"'([^']*)'", str(context["expected"]))
        rule = "must be one of the known names"
        parts |= {"allowed": ", ".join(names), "way_out": did_you_mean(got, names)}
    elif kind == "string_pattern_mismatch":
        rule = f"must match {context['pattern']}"
    else:
        message = detail["msg"][:1].lower() + detail["msg"][1:]
        rule = _TYPE_RULES.get(kind, f"is refused: {message}")
    return rule, parts


def _keys_of(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The keys that a model knows at a path below it."""
    for part in path:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
