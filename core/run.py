"""A run from its configuration to its outcome, in a folder of its own.

Torch is loaded by what trains or scores: reading an outcome takes none.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.atomic import make_folder
from core.errors import CheckpointError, DamagedFileError
from core.history import evaluation_from_json
from core.registry import all_tasks, find_task
from core.sealed import read_sealed, write_sealed
from core.settings import RunConfig
from core.task import (
    Cost,
    FusableTask,
    Health,
    OnEvent,
    Outcome,
    OutcomeState,
    Placement,
    Scores,
    Task,
)

if TYPE_CHECKING:
    import torch

SCHEMA_VERSION = 1
"""Of `config.json` and `outcome.json`; raised when they change meaning."""

_CONFIG = "config.json"
_OUTCOME = "outcome.json"
_WAY_OUT = "Delete it, and the run goes on from its checkpoint or begins again."

logger = logging.getLogger(__name__)


def warm() -> None:
    """Loads what runs need, torch first of all, which takes seconds; starts no device."""
    import torch
    from torch.optim import AdamW

    from core.telemetry import Telemetry

    importlib.import_module("core.train")
    for task in all_tasks():
        if task.warm is not None:
            task.warm()
    Telemetry(())  # loads what it writes with
    # The first optimizer of a process loads more than a hundred modules.
    AdamW([torch.zeros(1, requires_grad=True)])


def run(
    config: RunConfig, placement: Placement, folder: Path, cache_dir: Path, on_event: OnEvent
) -> Outcome:
    """Trains `config` in `folder`, or goes on where the folder stands; writes `outcome.json` last.

    A folder that has the final outcome of this configuration returns it at once, without events.
    A damaged outcome is thrown away, and the run goes on from its checkpoint or begins again.
    What runs share, tokenizers and finished stages, lies in `cache_dir`.

    Raises: CheckpointError if the folder holds another configuration, DiskFullError,
        SettingsError where the environment gives the cache a limit that is no size, and what the
        task raises for its data.
    """
    started = time.monotonic()
    from core.checkpoint import remove_checkpoint
    from core.stage_cache import StageCache
    from core.stage_entries import FOLDER, cache_limit
    from core.train import train

    make_folder(folder)
    _take_folder(folder, config)
    outcome = _read_final(folder)
    if outcome is None:
        (folder / _OUTCOME).unlink(missing_ok=True)
        task = find_task(config.task).build(config, placement, cache_dir)
        cache = StageCache(cache_dir / FOLDER, cache_limit())
        outcome = train(task, config, placement, folder, cache, on_event, started=started)
        _write_outcome(folder, outcome)
    if outcome.state is not OutcomeState.PAUSED:
        remove_checkpoint(folder / "checkpoint")
    return outcome


def run_fused(  # noqa: PLR0917  # as `run` has them
    configs: Sequence[RunConfig],
    placement: Placement,
    folders: Sequence[Path],
    cache_dir: Path,
    on_events: Sequence[OnEvent],
    on_outcome: Callable[[int, Outcome], None],
) -> None:
    """Does what `run` does for each of several, which are trained as one (`core.fused`).

    `on_outcome` is called with a run's index as soon as it has left; its folder is then as `run`
    leaves it.

    Raises: what `run` raises, for all that have not left.
    """
    from core.checkpoint import remove_checkpoint
    from core.fused import train_fused
    from core.stage_cache import StageCache
    from core.stage_entries import FOLDER, cache_limit

    left: list[int] = []
    tasks: list[FusableTask] = []
    for index, (config, folder) in enumerate(zip(configs, folders, strict=True)):
        make_folder(folder)
        _take_folder(folder, config)
        outcome = _read_final(folder)
        if outcome is None:
            (folder / _OUTCOME).unlink(missing_ok=True)
            task = find_task(config.task).build(config, placement, cache_dir)
            assert isinstance(task, FusableTask)
            tasks.append(task)
            left.append(index)
        else:
            remove_checkpoint(folder / "checkpoint")
            on_outcome(index, outcome)

    def conclude(place: int, outcome: Outcome) -> None:
        folder = folders[left[place]]
        _write_outcome(folder, outcome)
        if outcome.state is not OutcomeState.PAUSED:
            remove_checkpoint(folder / "checkpoint")
        on_outcome(left[place], outcome)

    train_fused(
        tasks,
        [configs[index] for index in left],
        placement,
        [folders[index] for index in left],
        StageCache(cache_dir / FOLDER, cache_limit()),
        [on_events[index] for index in left],
        conclude,
    )


def fuse_size(config: RunConfig, placement: Placement, cache_dir: Path) -> int:
    """How many runs like one pay when they are trained as one there; see `core.fusing`."""
    from core.fusing import choose_size

    task = find_task(config.task).build(config, placement, cache_dir)
    assert isinstance(task, FusableTask)
    return choose_size(task, placement, config.protocol.get("precision", "auto"))


def score_test(config: RunConfig, placement: Placement, folder: Path, cache_dir: Path) -> Scores:
    """The test score of the weights that a completed run left in `folder`. Raises as `trained`."""
    with trained(config, placement, folder, cache_dir) as (task, model):
        return task.test(model)


@contextmanager
def trained(
    config: RunConfig, placement: Placement, folder: Path, cache_dir: Path
) -> Iterator[tuple[Task, torch.nn.Module]]:
    """The task and the model of a completed run, whose weights lie in `folder`.

    Within, the model is in evaluation on the placement's device, in the protocol's precision.

    Raises: CheckpointError if the weights are missing, damaged or of another configuration, and
        what the task raises for its data.
    """
    import torch

    from core.checkpoint import load_weights
    from core.machine import occupy
    from core.precision import choose

    task = find_task(config.task).build(config, placement, cache_dir)
    threads = task.useful_threads(placement.threads)
    device = occupy(dataclasses.replace(placement, threads=threads))
    model = task.build_model().to(device)
    load_weights(folder / "weights", model, config_digest=config.digest())
    precision = choose(config.protocol.get("precision", "auto"), device)
    model.eval()
    with torch.no_grad(), precision.autocast():
        yield task, model


def read_config(folder: Path) -> RunConfig:
    """The configuration of the run in `folder`.

    Raises: CheckpointError if there is none, or it cannot be read.
    """
    path = folder / _CONFIG
    try:
        return RunConfig.model_validate(_read(path)["config"])
    except (KeyError, ValueError) as error:
        raise DamagedFileError(f"this is no configuration ({error})", where=str(path)) from error


def read_outcome(folder: Path) -> Outcome:
    """The outcome in `folder`: final, or that of a paused run.

    Raises: CheckpointError if there is none, or it cannot be read.
    """
    path = folder / _OUTCOME
    value = _read(path)
    try:
        outcome = value["outcome"]
        return Outcome(
            state=OutcomeState(outcome["state"]),
            step=outcome["step"],
            value=outcome["value"],
            curve=tuple(evaluation_from_json(item) for item in outcome["curve"]),
            health=Health(**outcome["health"]),
            cost=Cost(**outcome["cost"]),
            reason=outcome["reason"],
            facts=outcome["facts"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(
            f"this is no outcome ({error})", where=str(path), way_out=_WAY_OUT
        ) from error


def _take_folder(folder: Path, config: RunConfig) -> None:
    """Writes `config.json`, unless the folder is already somebody else's.

    Where it is damaged nobody knows whose outcome lies there, which is thrown away. A checkpoint
    knows by itself.
    """
    path = folder / _CONFIG
    digest = config.digest()
    outcome = folder / _OUTCOME
    from core.bundle import has_bundle

    if outcome.exists() or has_bundle(folder / "checkpoint"):
        try:
            found = _read(path).get("digest")
        except CheckpointError as error:
            logger.warning("%s The run begins again, or goes on from its checkpoint.", error)
            outcome.unlink(missing_ok=True)
            found = digest
        if found != digest:
            raise CheckpointError(
                "the folder holds a run of another configuration",
                where=str(path),
                got=str(found)[:12],
                allowed=digest[:12],
                way_out="Use another folder, or delete this one.",
            )
    described = {
        "schema_version": SCHEMA_VERSION,
        "digest": digest,
        "config": config.model_dump(mode="json"),
    }
    write_sealed(path, described)


def _read_final(folder: Path) -> Outcome | None:
    """The folder's outcome if nothing is left to do, else `None`."""
    if not (folder / _OUTCOME).exists():
        return None
    try:
        outcome = read_outcome(folder)
    except DamagedFileError as error:
        logger.warning("%s", error)
        return None
    return None if outcome.state is OutcomeState.PAUSED else outcome


def _write_outcome(folder: Path, outcome: Outcome) -> None:
    described = dataclasses.asdict(outcome) | {"state": outcome.state.value}
    write_sealed(folder / _OUTCOME, {"schema_version": SCHEMA_VERSION, "outcome": described})


def _read(path: Path) -> Mapping[str, Any]:
    """Raises: CheckpointError if the file is missing or is not what was written."""
    try:
        return read_sealed(path, way_out=_WAY_OUT)
    except FileNotFoundError:
        raise CheckpointError("there is no such file", where=str(path)) from None
