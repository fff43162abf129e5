"""The command that runs the study again, or goes on with it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from core.errors import UserError
from hpo.analysis.settings import SECTIONS, flatten
from hpo.declarations import declared_studies, load_study
from hpo.durations import duration_option
from hpo.records import StudyRecord

_DEFAULT_RUNS_DIR = "runs"


def command_again(record: StudyRecord, prog: str = "python -m hpo") -> str:
    """The command line, with an option for each value in which the study differs from its file.

    The options of its last run follow; `prog` is how the program is called. Without the file, or
    where it no longer loads, the options that override it cannot be known and are left out. So
    they are with a task of the user's own: what a database names is not imported.
    """
    declared = record.declaration
    path = Path(str(declared.get("path") or record.name))
    names = {study.path.absolute(): study.name for study in declared_studies()}
    words = [*prog.split(), "run", "--study", names.get(path.absolute(), _from_here(path))]
    try:
        in_file = load_study(str(path), may_import=False).as_json()
    except UserError:
        in_file = dict(declared)
    if in_file.get("name") != record.name:
        words += ["--name", record.name]
    words += ["--trials", str(record.total)]
    if declared.get("seed") != in_file.get("seed"):
        words += ["--seed", str(declared.get("seed"))]
    for section in SECTIONS:
        before = dict(flatten(in_file.get(section) or {}))
        for name, value in flatten(declared.get(section) or {}):
            if (section, name) == ("data", "source") and value != before.get(name):
                words += ["--data", str(value)]
            # TOML has no null: what was unset cannot be set to nothing.
            elif value is not None and value != before.get(name):
                words += ["--set", f"{section}.{name}={_as_toml(value)}"]
    limit_s = declared.get("trial_time_limit_s")
    if limit_s is not None and limit_s != in_file.get("trial_time_limit_s"):
        words += ["--trial-time-limit", duration_option(limit_s)]
    words += _options_of(record)
    if record.warm_start:
        words += ["--warm-start", *record.warm_start]
    runs_dir = _from_here(record.folder.parent)
    if runs_dir != _DEFAULT_RUNS_DIR:
        words += ["--runs-dir", runs_dir]
    if record.storage is not None:
        words += ["--storage", record.storage]
    return shlex.join(words)


def _options_of(record: StudyRecord) -> list[str]:
    """The last run's own; another reading of the test set only where that may not have come."""
    words = []
    for name, value in record.options.items():
        option = f"--{name.removesuffix('_s').replace('_', '-')}"
        if name == "again":
            words += [option] if record.stopped in ("", "interrupted") else []
        elif name == "time_limit_s":
            words += [option, duration_option(value)]
        else:
            words += [option, ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    return words


def _from_here(path: Path) -> str:
    """The path relative to the current folder where it lies below it, else absolute."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def _as_toml(value: Any) -> str:
    """The value as the right side of `--set` takes it: a word stands for itself."""
    if (
        isinstance(value, str)
        and value.isidentifier()
        and value not in ("true", "false", "inf", "nan")
    ):
        return value
    return json.dumps(value, ensure_ascii=False)
