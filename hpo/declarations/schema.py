"""JSON Schemas of studies and search spaces, for editors that complete and check.

They say what can be said of one value by itself: names, types and bounds. What hangs together (a
`when`, a base, a grid, the points of a space) is `hpo validate`'s to check.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core.core_schema import ModelSchema

from core.atomic import make_folder, replace_text
from core.registry import all_tasks
from core.settings import Settings
from core.task import TaskSpec
from hpo.declarations.parameters import Parameter
from hpo.declarations.space_file import SpaceFile
from hpo.declarations.study import (
    DEFAULT_NAMES,
    PRUNERS,
    SAMPLERS,
    SCHEDULERS,
    PrunerSettings,
    SamplerSettings,
    SchedulerSettings,
)
from hpo.declarations.study_file import StudyFile
from hpo.mistakes import DeclarationError
from hpo.names import label

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BY_NAME: Mapping[str, type[BaseModel]] = {**SAMPLERS, **PRUNERS, **SCHEDULERS}


def schemas() -> dict[str, dict[str, Any]]:
    """The schemas by name: `study` and `search_space`."""
    specs = [*all_tasks(), None]
    return {
        "study": _schema([_study_model(spec) for spec in specs]),
        "search_space": _schema([_space_model(spec) for spec in specs]),
    }


def write_schemas(made: Mapping[str, Mapping[str, Any]], folder: Path) -> list[Path]:
    """Writes each schema as NAME.json into `folder`; returns where.

    Raises: DeclarationError if it cannot be written there; DiskFullError.
    """
    paths = [folder / f"{name}.json" for name in made]
    try:
        make_folder(folder)
        for path, schema in zip(paths, made.values(), strict=True):
            replace_text(path, schema_text(schema))
    except OSError as error:
        raise DeclarationError(f"cannot be written ({error})", where=label(folder)) from error
    return paths


def schema_text(schema: Mapping[str, Any]) -> str:
    """A schema as its file has it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _schema(models: Sequence[type[BaseModel]]) -> dict[str, Any]:
    """What fits one of the models, a task's each."""
    found, schema = models_json_schema(
        [(model, "validation") for model in models], schema_generator=_Generator
    )
    return {
        "$schema": _DIALECT,
        "anyOf": [found[model, "validation"] for model in models],
        "$defs": schema["$defs"],
    }


def _left_out(description: str | None = None, alias: str | None = None) -> Any:
    """A field that may be left out; its default is not the file's to tell."""
    return Field(default_factory=lambda: None, description=description, alias=alias)


_OwnName = Annotated[str, Field(pattern=r"^\w+(\.\w+)*:\w+$")]
"""`package.module:Task`, whose settings are not known here."""
_OWN_STUDY = "A study of a task of one's own."
_OWN_SPACE = "A search space of a task of one's own."


def _study_model(spec: TaskSpec | None) -> type[BaseModel]:
    """What a study's file may say; without a task, that of one whose settings are not known."""
    fields: dict[str, Any] = {
        "sampler": (SamplerSettings, _left_out()),
        "pruner": (PrunerSettings, _left_out()),
        "scheduler": (SchedulerSettings, _left_out()),
    }
    if spec is None:
        fields |= {"task": (_OwnName, ...)}
        return create_model("OwnStudy", __base__=StudyFile, __doc__=_OWN_STUDY, **fields)
    fields |= {
        "task": (Literal[spec.name], ...),
        "protocol": (spec.protocol, _left_out()),
        "data": (spec.data, _left_out()),
        "enqueue": (list[_settings_model(spec, "Point", _Factor)], _left_out()),  # type: ignore[misc]
    }
    name, doc = f"{spec.name.title()}Study", f"A study of task {spec.name}."
    return create_model(name, __base__=StudyFile, __doc__=doc, **fields)


def _space_model(spec: TaskSpec | None) -> type[BaseModel]:
    """What a search space's file may say, as `_study_model`."""
    if spec is None:
        own: dict[str, Any] = {"task": (_OwnName, ...)}
        return create_model("OwnSearchSpace", __base__=SpaceFile, __doc__=_OWN_SPACE, **own)
    kind = Annotated[Parameter, Field(discriminator="type")]
    kinds = {
        group: dict.fromkeys(model.model_fields, kind) for group, model in spec.groups.items()
    }
    fields: dict[str, Any] = {
        "task": (Literal[spec.name], ...),
        "settings": (_settings_model(spec, "Settings"), _left_out()),
        "parameters": (_table_model("Parameters", spec, kinds), _left_out()),
    }
    name, doc = f"{spec.name.title()}SearchSpace", f"A search space of task {spec.name}."
    return create_model(name, __base__=SpaceFile, __doc__=doc, **fields)


class _Factor(Settings):
    """Of a derived parameter: the value that it has with this factor."""

    factor: float


def _settings_model(spec: TaskSpec, title: str, *also: Any) -> type[BaseModel]:
    """A table of values that core takes, each of which may be one of `also` instead."""
    types: dict[str, dict[str, Any]] = {}
    for group, model in spec.groups.items():
        types[group] = {}
        for name, field in model.model_fields.items():
            bounded = Annotated[field.annotation, *field.metadata, Field()]  # type: ignore[name-defined]
            types[group][name] = reduce(or_, also, bounded)
    return _table_model(title, spec, types)


def _table_model(
    title: str, spec: TaskSpec, types: Mapping[str, Mapping[str, Any]]
) -> type[BaseModel]:
    """A table by core's names, in either way of writing: `"model.norm"`, or `norm` in `model`."""
    fields: dict[str, Any] = {}
    for group, own in types.items():
        docs = _field_docs(spec.groups[group])
        inner: dict[str, Any] = {
            name: (one, _left_out(docs.get(name))) for name, one in own.items()
        }
        for name, one in own.items():
            alias = f"{group}.{name}"
            fields[f"{group}__{name}"] = (one, _left_out(docs.get(name), alias))
        name = f"{spec.name.title()}{title}Of{group.title()}"
        inner_model = create_model(name, __base__=Settings, **inner)
        fields[group] = (inner_model, _left_out())
    return create_model(f"{spec.name.title()}{title}", __base__=Settings, **fields)


class _Generator(GenerateJsonSchema):
    """Describes fields by the docstrings under them; only a default's name may be left out."""

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        made, model = super().model_schema(schema), schema["cls"]
        for name, text in _field_docs(model).items():
            if name in made.get("properties", {}):
                made["properties"][name].setdefault("description", text)
        for name, named in _BY_NAME.items():
            if named is model and name not in DEFAULT_NAMES.values():
                made["required"] = ["name", *made.get("required", [])]
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _field_docs(model: type[BaseModel]) -> dict[str, str]:
    """The docstrings under a model's fields, as one line each."""
    docs: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not (issubclass(base, Settings) and base.__module__.startswith(("core.", "hpo."))):
            continue
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, TypeError):  # made here, not written
            continue
        assert isinstance(tree, ast.ClassDef)
        for field, below in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                text = ast.literal_eval(below.value)
                docs[ast.unparse(field.target)] = " ".join(text.split())
    return docs
