"""What a reader needs to trust the numbers: data, settings, versions, what the machine was."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd

from core.errors import UserError
from core.sealed import read_sealed
from hpo import __version__
from hpo.analysis.formats import value_text
from hpo.analysis.settings import SECTIONS, flatten
from hpo.analysis.tables import text_table
from hpo.records import SCHEMA_VERSION, Entrant, StudyRecord

_PACKAGES = ("optuna", "torch", "tokenizers", "sacrebleu", "numpy")


def settings_table(record: StudyRecord) -> pd.DataFrame:
    """One row a setting of the study: section, name (dotted), value as text."""
    rows = [
        (section, name, value_text(value))
        for section in SECTIONS
        for name, value in flatten(record.declaration.get(section) or {})
    ]
    return text_table(rows, ["section", "name", "value"])


def facts_table(record: StudyRecord) -> pd.DataFrame:
    """One row a fact: name and value as text."""
    facts = record.facts
    rows: list[tuple[str, object]] = [
        ("task", record.task),
        ("metric", f"{record.metric.name}, {record.metric.direction}"),
        ("study's seed", record.declaration.get("seed")),
        *(("fresh seeds of the selected", one.seeds) for one in _selected(record)),
        *([] if record.lock is None else [("protocol", record.lock.short)]),
        *(("test score computed as", signature) for signature in _signatures(record)),
        *((f"{name} digest", digest) for name, digest in (facts.get("digests") or {}).items()),
        *((_spaced(name), number) for name, number in (facts.get("counts") or {}).items()),
        *(
            (f"best trial: {_spaced(name)}", fact)
            for name, fact in flatten(_facts_of_best(record))
        ),
        ("run folders' schema version", SCHEMA_VERSION),
        ("hpo", __version__),
        ("Python", platform.python_version()),
        *((name, package_version(name)) for name in _PACKAGES),
    ]
    return text_table(((name, value_text(value)) for name, value in rows), ["name", "value"])


def _selected(record: StudyRecord) -> list[Entrant]:
    finals = record.finals
    return [one for one in finals.entrants if one.trial == finals.selected] if finals else []


def _signatures(record: StudyRecord) -> list[str]:
    """How the test score was, or will be, computed: one line, more where the ledger has others."""
    locked = None if record.lock is None else record.lock.signature
    read = [reading.signature for reading in record.readings]
    return list(dict.fromkeys(signature for signature in (locked, *read) if signature))


def _facts_of_best(record: StudyRecord) -> dict[str, Any]:
    """What the best trial's outcome says of machine and model; empty without an outcome."""
    best = record.best
    if best is None:
        return {}
    try:
        outcome = read_sealed(best.folder / "outcome.json")
    except (OSError, UserError):
        # The page is about the numbers in the storage; a lost file costs these lines only.
        return {}
    facts: Any = outcome
    for name in ("outcome", "facts"):
        facts = facts.get(name) if isinstance(facts, dict) else None
    return facts if isinstance(facts, dict) else {}


def package_version(package: str) -> str:
    """The installed version, without importing the package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _spaced(name: str) -> str:
    return name.replace("_", " ")
