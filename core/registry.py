"""The tasks by name; each described in a module that need not import torch.

`package.module:Task` names a task of the user's own: the `TaskSpec` called `Task` in that module.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from core.errors import SettingsError, did_you_mean
from core.task import TaskSpec

if TYPE_CHECKING:
    from core.settings import RunConfig

# One line a task.
_MODULES = {
    "amplifier": "core.amplifier.spec",
    "speech": "core.speech.spec",
    "translation": "core.translation.spec",
}

_OWN = "package.module:Task for one of your own"


def all_tasks() -> list[TaskSpec]:
    """The descriptions of all tasks that come with the package."""
    return [find_task(name) for name in _MODULES]


def is_own(name: str) -> bool:
    """Whether a name is that of a task of the user's own, which would have to be imported."""
    return ":" in name


def find_task(name: str, *, beside: Sequence[Path] = ()) -> TaskSpec:
    """The description of the task called `name`, under that name.

    The module of a task of one's own is looked for where Python looks, then in the folders
    `beside`. Those are added to the end of `sys.path`, for what the module imports in its turn and
    for workers, which inherit it.

    Raises: SettingsError if there is none.
    """
    if is_own(name):
        return _find_own(name, beside)
    if name not in _MODULES:
        raise SettingsError(
            "unknown task",
            got=name,
            allowed=", ".join((*sorted(_MODULES), f"or {_OWN}")),
            way_out=did_you_mean(name, _MODULES),
        )
    spec = import_module(_MODULES[name]).SPEC
    assert isinstance(spec, TaskSpec)
    return spec


def digest_of_shared(config: RunConfig) -> str:
    """SHA-256 of what runs trained as one have in common: all but seed and fine-tuning."""
    structure = find_task(config.task).structure_group
    groups = {structure: config.groups[structure]}
    return config.model_copy(update={"seed": 0, "groups": groups}).digest()


def _find_own(name: str, beside: Sequence[Path]) -> TaskSpec:
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise SettingsError("this names no task", got=name, allowed=_OWN)
    for folder in map(str, beside):
        if folder not in sys.path:
            sys.path.append(folder)
    module = _import_own(module_name)
    where = f"task {name!r}"
    if not hasattr(module, attribute):
        raise SettingsError(
            f"module {module_name!r} ({module.__file__}) has no {attribute!r}",
            where=where,
            allowed=", ".join(_specs_in(module)) or "the name of a TaskSpec, and it has none",
        )
    spec = getattr(module, attribute)
    if not isinstance(spec, TaskSpec):
        raise SettingsError(
            "this is no TaskSpec",
            where=where,
            got=spec.__name__ if isinstance(spec, type) else type(spec).__name__,
            allowed=", ".join(_specs_in(module)) or None,
            way_out="Name the instance of core.task.TaskSpec that describes the task.",
        )
    if spec.structure_group not in spec.groups:
        raise SettingsError(
            "its structure_group is none of its groups",
            where=where,
            got=spec.structure_group,
            allowed=", ".join(spec.groups),
        )
    # Whatever it calls itself, it is found by this.
    return replace(spec, name=name)


def _import_own(name: str) -> ModuleType:
    """Raises: SettingsError, with the line that failed, for whatever the import raises."""
    try:
        return import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise SettingsError(
                f"there is no module {error.name!r}",
                where=f"task module {name!r}",
                way_out="Put its folder on PYTHONPATH; a study's file that names it may also lie "
                "beside it, or the command be given in its folder.",
            ) from None
        if isinstance(error, SyntaxError):
            place = f"{error.filename}, line {error.lineno}"
        else:
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{last.filename}, line {last.lineno}"
        raise SettingsError(
            f"it cannot be imported: {type(error).__name__}: {error} ({place})",
            where=f"task module {name!r}",
        ) from error


def _specs_in(module: ModuleType) -> list[str]:
    """The names of the TaskSpecs in a module."""
    return [key for key, value in vars(module).items() if isinstance(value, TaskSpec)]
