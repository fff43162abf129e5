"""What the commands print for programs: one JSON object each (see docs/other-tools.md).

No value is NaN or infinite: such numbers are null. Times are UTC, ISO 8601.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.analysis.trials import outcome_of, seconds_of, stage_of
from hpo.folders import finite
from hpo.records import StudyRecord, TrialRecord

if TYPE_CHECKING:
    from hpo.declarations import Declared
    from hpo.declarations.validation import Checked
    from hpo.plan import Plan
    from hpo.reading import StudySummary

SCHEMA_VERSION = 1
"""Raised when a key goes or changes meaning, not when one is added."""


def document(told: Mapping[str, Any]) -> str:
    """`told` as JSON in lines, `schema_version` first unless it has its own."""
    whole = finite({"schema_version": SCHEMA_VERSION, **told})
    return json.dumps(whole, indent=2, allow_nan=False, default=_plain)


def study(record: StudyRecord) -> dict[str, Any]:
    """A study and all its trials."""
    from hpo.reading import state_of  # loads Optuna, which whoever tells a study has loaded

    best = record.best
    return {
        "name": record.name,
        "task": record.task,
        "description": record.declaration.get("description") or "",
        "state": state_of(record),
        "metric": asdict(record.metric),
        "protocol": None if record.lock is None else record.lock.hash,
        "stages": [{"name": name, "steps": steps} for name, steps in record.grid.stages],
        "eval_every": record.grid.eval_every,
        "finished": record.finished,
        "total": record.total,
        "elapsed_s": record.elapsed_s,
        "best": None if best is None else {"trial": best.number, "value": best.value},
        "start": None if record.start is None else record.start.number,
        "selected": None if record.finals is None else record.finals.selected,
        "finals": [] if record.finals is None else [asdict(one) for one in record.finals.entrants],
        "test": [asdict(one) for one in record.readings],
        "openings": record.openings,
        "notes": list(record.facts.get("notes") or ()),
        "warm_start": list(record.warm_start),
        "quarantined": dict(record.quarantined),
        "folder": record.folder,
        "trials": [trial(record, one) for one in record.trials],
    }


def trial(record: StudyRecord, one: TrialRecord) -> dict[str, Any]:
    """One trial of a study."""
    return {
        "number": one.number,
        "state": one.state,
        "outcome": outcome_of(one),
        "value": one.value,
        "step": max(one.curve, default=0),
        "reason": one.reason,
        "parameters": dict(one.parameters),
        "curve": [
            {"step": step, "stage": stage_of(record.grid, step)[0], "value": value}
            for step, value in sorted(one.curve.items())
        ],
        "health": dict(one.health),
        "cost": dict(one.cost),
        "seconds": seconds_of(one),
        "started": one.started,
        "ended": one.ended,
        "attempts": one.attempts,
        "device": one.device,
        "from_prior": one.is_from_prior,
        "folder": one.folder,
    }


def studies(declared: Sequence[Declared], summaries: Sequence[StudySummary]) -> dict[str, Any]:
    """All studies by name, the declared and those that were run."""
    files, run = {one.name: one for one in declared}, {one.name: one for one in summaries}
    return {
        "studies": [
            _listed(name, files.get(name), run.get(name)) for name in sorted({*files, *run})
        ]
    }


def _listed(name: str, file: Declared | None, run: StudySummary | None) -> dict[str, Any]:
    return {
        "name": name,
        "state": "declared" if run is None else run.state,
        "file": None if file is None else file.path,
        "description": "" if file is None else file.description,
        "problem": file.problem or None if file else None,
        "finished": None if run is None else run.finished,
        "total": None if run is None else run.total,
        "best": None if run is None else {"trial": run.best_trial, "value": run.best},
        "metric": None if run is None else asdict(run.metric),
        "elapsed_s": None if run is None else run.elapsed_s,
    }


def plan(made: Plan) -> dict[str, Any]:
    """What a study will take, or a limit buy."""
    return {**asdict(made), "total_s": made.total_s}


def validated(files: Sequence[tuple[Checked, str | None]]) -> dict[str, Any]:
    """Files that were checked, each with what is to be warned of."""
    return {
        "files": [
            {
                "kind": one.kind,
                "name": one.name,
                "file": one.path,
                "summary": one.summary,
                "problem": None if one.problem is None else str(one.problem),
                "warning": warning,
            }
            for one, warning in files
        ]
    }


def _plain(value: object) -> str:
    """A path or a time as text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat("T", "seconds")
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON")
