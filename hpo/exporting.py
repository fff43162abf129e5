"""A trained model in the form of other programs, with a card that says what it is."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from core.atomic import write_folder
from core.errors import UserError, did_you_mean
from core.registry import find_task
from core.run import read_config, read_outcome
from core.settings import RunConfig
from core.task import Placement
from hpo import __version__
from hpo.analysis.facts import package_version
from hpo.analysis.settings import flatten
from hpo.kept import KeptRun, opened
from hpo.names import label, without_place
from hpo.slots import threads_per_slot

_CARD = "README.md"
_PACKAGES = ("torch", "tokenizers", "sacrebleu", "transformers", "ctranslate2")


class ExportError(UserError):
    """A model cannot be written in that form, or there."""


def export(run: KeptRun, form: str, folder: Path) -> Path:
    """Writes the run's model in one of its task's forms, with a card, into a new folder.

    Returns the folder, which is there whole or not at all.

    Raises: ExportError for a form that the task does not have, or a place that cannot be written;
        FolderTakenError, DiskFullError, MissingPackageError, and as `core.run.trained`.
    """
    exports = find_task(run.study.task).exports
    if form not in exports:
        raise ExportError(
            f"unknown format for task {run.study.task}",
            where="--format",
            got=form,
            allowed=", ".join(exports) or "none",
            way_out=did_you_mean(form, exports),
        )

    def write(empty: Path) -> None:
        with opened(run, Placement("cpu", threads_per_slot(1))) as (task, model):
            usage = exports[form](task, model, empty)
        (empty / _CARD).write_text(_card(run, usage.replace("FOLDER", folder.name)), "utf-8")

    try:
        write_folder(folder, write)
    except OSError as error:
        raise ExportError(f"cannot be written ({error})", where=label(folder)) from error
    return folder


def _card(run: KeptRun, usage: str) -> str:
    config, metric = read_config(run.folder), run.study.metric.name
    sources = find_task(config.task).sources
    return "\n".join(
        [
            f"# {run.name}",
            "",
            f"A model of task `{run.study.task}`, trained from scratch in a search by hpo-harness "
            f"{__version__}.",
            "",
            "## Load",
            "",
            usage,
            f"## {metric}",
            "",
            *_scores(run),
            "",
            "## Configuration",
            "",
            *_table(dict(config.groups)),
            "",
            "## Data",
            "",
            *_table({**without_place(config.data, sources), "digest": _digests(run)}),
            "",
            "## Protocol",
            "",
            *_table(config.protocol),
            "",
            "## Seeds and versions",
            "",
            *_table({**_seeds(config), **_versions(), "trained": read_outcome(run.folder).facts}),
            "",
        ]
    )


def _scores(run: KeptRun) -> Iterator[str]:
    """The run's scores and how they were computed."""
    study = run.study
    lock = "" if study.lock is None or study.lock.signature is None else study.lock.signature
    yield f"- validation: {run.value:.2f}" + (f" (`{lock}`)" if lock else "")
    for reading in study.readings[-1:]:
        for one in reading.runs:
            if (one.trial, one.seed) == (run.trial, run.seed):
                yield f"- test: {one.value:.2f} (`{reading.signature}`)"


def _digests(run: KeptRun) -> Mapping[str, str]:
    digests: Mapping[str, str] = run.study.facts.get("digests") or {}
    return digests


def _seeds(config: RunConfig) -> dict[str, int]:
    return {"seed": config.seed, "structure_seed": config.structure_seed}


def _versions() -> dict[str, str]:
    return {
        "hpo": __version__,
        "python": platform.python_version(),
        **{name: package_version(name) for name in _PACKAGES},
    }


def _table(values: Mapping[str, Any]) -> Iterator[str]:
    """A Markdown table of dotted names and values, as JSON."""
    yield "| name | value |"
    yield "|---|---|"
    for name, value in flatten(values):
        text = json.dumps(value, ensure_ascii=False).replace("|", "\\|")
        yield f"| `{name}` | {text} |"
