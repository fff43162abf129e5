"""The tasks by name; each described in a module that imports no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from core.errors import SettingsError, did_you_mean
from core.task import TaskSpec

if TYPE_CHECKING:
    from core.settings import RunConfig

_MODULES = {
    "amplifier": "core.amplifier.spec",
    "translation": "core.translation.spec",
}


def all_tasks() -> list[TaskSpec]:
    """The descriptions of all tasks."""
    return [find_task(name) for name in _MODULES]


def find_task(name: str) -> TaskSpec:
    """The description of the task called `name`.

    Raises: SettingsError if there is none.
    """
    if name not in _MODULES:
        raise SettingsError(
            "unknown task",
            got=name,
            allowed=", ".join(sorted(_MODULES)),
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
