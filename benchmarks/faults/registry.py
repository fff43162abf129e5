"""The faults, by family: one module each, which lists its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from benchmarks.faults.rig import Bench, Row

FAMILIES = (
    "workers",
    "drivers",
    "moments",
    "signals",
    "silence",
    "breakdowns",
    "ownership",
    "endurance",
    "files",
    "servers",
    "calls",
    "cluster",
)
"""Modules of this package, each with its faults in `FAULTS`."""


@dataclass(frozen=True)
class Fault:
    """A way for things to go wrong."""

    name: str
    family: str
    run: Callable[[Bench, Row], None]
    """Injects it, and counts what came of it in the row."""


def all_faults() -> list[Fault]:
    """The faults of all families, in order."""
    modules = [import_module(f"benchmarks.faults.{family}") for family in FAMILIES]
    return [fault for module in modules for fault in module.FAULTS]
