"""`trial.json`: all that the database knows of a trial, so that it can be rebuilt without."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from core.errors import DamagedFileError
from core.sealed import read_sealed
from hpo.folders import StudyFolder, finite, write_record
from hpo.records import SCHEMA_VERSION

STATE_NAMES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "paused",
}
_STATES = {name: state for state, name in STATE_NAMES.items()}
_OWN = ("health", "cost", "device", "reason", "outcome", "attempt")
_FILE = "trial.json"


def write_trial(folder: StudyFolder, trial: FrozenTrial, names: Sequence[str]) -> None:
    """Writes a trial's `trial.json`; `names` are those of the realised parameters, in order."""
    write_record(folder.trial(trial.number) / _FILE, described_trial(trial, names))


def is_written(folder: StudyFolder, trial: FrozenTrial, names: Sequence[str]) -> bool:
    """Whether a trial's file says what is known of it."""
    try:
        stored = read_sealed(folder.trial(trial.number) / _FILE)
    except (OSError, DamagedFileError):
        return False
    return bool(stored == finite(described_trial(trial, names)))


def read_trial(folder: StudyFolder, number: int) -> FrozenTrial:
    """The trial as it was when its file was last written.

    Raises: FileNotFoundError; DamagedFileError if its file is not what was written.
    """
    path = folder.trial(number) / _FILE
    return trial_of(read_sealed(path), number, where=str(path))


def trial_of(stored: Mapping[str, Any], number: int, *, where: str) -> FrozenTrial:
    """The trial that `described_trial` described. Raises: DamagedFileError."""
    try:
        trial = create_trial(
            state=_STATES[stored["state"]],
            value=stored["value"],
            params=stored["drawn"],
            distributions={
                name: json_to_distribution(json.dumps(one))
                for name, one in stored["distributions"].items()
            },
            user_attrs=stored["parameters"]
            | {key: stored[key] for key in _OWN if stored[key] is not None}
            | stored["attributes"],
            system_attrs=stored["system_attributes"],
            # Written once as null: infinities, of which nobody knows the sign any more.
            intermediate_values={
                int(step): float(value)
                for step, value in stored["curve"].items()
                if value is not None
            },
        )
        trial.datetime_start = _moment(stored["started"])
        trial.datetime_complete = _moment(stored["ended"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedFileError(f"this is no trial ({error!r})", where=where) from error
    trial.number = number
    return trial


def described_trial(trial: FrozenTrial, names: Sequence[str]) -> Mapping[str, Any]:
    """A trial as it is written."""
    attributes = trial.user_attrs
    return {
        "schema_version": SCHEMA_VERSION,
        "number": trial.number,
        "state": STATE_NAMES[trial.state],
        "value": trial.value,
        "parameters": {key: attributes[key] for key in names if key in attributes},
        **{key: attributes.get(key) for key in _OWN},
        "drawn": dict(sorted(trial.params.items())),
        "distributions": {
            name: json.loads(distribution_to_json(one))
            for name, one in sorted(trial.distributions.items())
        },
        "constraints": trial.constraints,
        "started": trial.datetime_start.isoformat() if trial.datetime_start else None,
        "ended": trial.datetime_complete.isoformat() if trial.datetime_complete else None,
        "curve": {
            # JSON has no number for the rest.
            str(step): value if math.isfinite(value) else str(value)
            for step, value in sorted(trial.intermediate_values.items())
        },
        "attributes": {
            key: value
            for key, value in sorted(attributes.items())
            if key not in names and key not in _OWN
        },
        "system_attributes": dict(sorted(trial.system_attrs.items())),
    }


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
