"""Results of stages by content, so that equal stages are trained once on a machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from core.atomic import make_folder
from core.bundle import SCHEMA_VERSION, has_bundle, read_bundle, write_bundle
from core.errors import CheckpointError
from core.history import History, evaluation_as_json, evaluation_from_json
from core.settings import RECIPE_VERSION, digest_of
from core.stage_entries import (
    DEFAULT_LIMIT_BYTES,
    CacheBusyError,
    count_hit,
    lock_of,
    prune,
    reading,
    remove_entry,
)
from core.stopwatch import Stopwatch, evaluating, training
from core.task import Evaluation, Stage

logger = logging.getLogger(__name__)

_WAIT_POLL_S = 0.25
_WEIGHTS = "model.safetensors"
_TELEMETRY = "telemetry"
_MODEL = "model."


@dataclass(frozen=True)
class StageResult:
    """What a finished stage leaves to the next one, and to people."""

    weights: Mapping[str, torch.Tensor]
    telemetry: torch.Tensor
    """[steps of the stage, 4], fp32."""
    curve: tuple[Evaluation, ...]
    texts: Mapping[str, str]
    """Of the stage's last evaluation."""
    cost_s: float
    """Seconds it took to train and evaluate."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What it is, for people who look into the cache: plain JSON."""


def stage_key(stage: Stage, machine: Mapping[str, Any]) -> str | None:
    """What a stage's result is kept under; `None` for a stage that is not to be kept.

    It covers all that decides the numbers: the task's own key, the stage itself, the machine
    (device kind, precision, threads, torch) and the versions of recipe and files.
    """
    if stage.cache_key is None:
        return None
    described_stage = {**asdict(stage), "recipe": stage.recipe.model_dump(mode="json")}
    del described_stage["about"]
    described = {
        "task": dict(stage.cache_key),
        "stage": described_stage,
        "machine": dict(machine),
        "versions": [RECIPE_VERSION, SCHEMA_VERSION],
    }
    return digest_of(described)


def gather_result(
    stage: Stage, weights: Mapping[str, torch.Tensor], history: History, clock: Stopwatch
) -> StageResult:
    """The result of a stage whose last evaluation is the last of `history`."""
    end = stage.first_step + stage.steps
    return StageResult(
        weights=weights,
        telemetry=history.read_rows(stage.first_step, end),
        curve=tuple(item for item in history.curve if item.step > stage.first_step),
        texts=history.last_texts,
        cost_s=clock.spent_on(training(stage)) + clock.spent_on(evaluating(stage)),
        about={"stage": stage.name, "steps": stage.steps, **stage.about},
    )


class Claim:
    """The right to train what is not there yet, or the result that is."""

    def __init__(self, folder: Path, result: StageResult | None, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self.result = result
        """The finished stage, or `None` if it is for the holder of the claim to train."""

    def store(self, result: StageResult) -> None:
        """Keeps the result for whoever claims it next, and makes room by what is used least."""
        tensors = {f"{_MODEL}{name}": tensor for name, tensor in result.weights.items()}
        tensors[_TELEMETRY] = result.telemetry
        meta = {
            "curve": [evaluation_as_json(item) for item in result.curve],
            "texts": dict(result.texts),
            "cost_s": result.cost_s,
            "about": dict(result.about),
        }
        write_bundle(self._folder, _WEIGHTS, tensors, meta)
        try:
            prune(self._folder.parent, limit_bytes=self._limit_bytes)
        except (CacheBusyError, OSError) as error:  # the next to store makes room
            logger.warning("The stage cache may exceed its limit. %s", error)


class StageCache:
    """A folder of finished stages, one folder each; safe for any number of processes.

    When one is stored, the least recently used that nobody holds are removed until all take at
    most `limit_bytes`. The new one is held: alone too large, it stays until the next is stored.
    """

    def __init__(self, root: Path, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self._root = root
        self._limit_bytes = limit_bytes

    @contextmanager
    def claim(self, key: str, *, on_wait: Callable[[], bool]) -> Iterator[Claim | None]:
        """Gives the finished stage under `key`, or the sole right to train it within the block.

        While another process trains it, `on_wait` is asked several times a second whether to go on
        waiting; on False the block gets `None`. The right ends with the block or with the process,
        however it dies. An entry that fails its digest is deleted, and so trained again.
        """
        folder = self._root / key
        if (result := self._take(key)) is not None:
            yield Claim(folder, result, self._limit_bytes)
            return
        make_folder(self._root)
        lock = FileLock(lock_of(self._root, key), mode=0o600)
        while not _acquire(lock):
            if not on_wait():
                yield None
                return
        try:
            result = self._take(key)  # another process may have finished it meanwhile
            if result is None:
                remove_entry(folder)
            else:
                lock.release()
            yield Claim(folder, result, self._limit_bytes)
        finally:
            lock.release()

    def _take(self, key: str) -> StageResult | None:
        """The finished stage under `key`, its use remembered; `None` if there is none."""
        folder = self._root / key
        if not has_bundle(folder):
            return None
        with reading(self._root, key):
            result = _read(folder)
            if result is not None:
                count_hit(folder)
        return result


def _acquire(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=_WAIT_POLL_S)
    except Timeout:
        return False
    return True


def _read(folder: Path) -> StageResult | None:
    try:
        tensors, meta = read_bundle(
            folder, way_out="It is trained again.", may_be_nan=(_TELEMETRY,)
        )
    except CheckpointError as error:
        if not has_bundle(folder):  # it was removed meanwhile
            return None
        logger.warning("The stage cache is damaged. %s", error)
        return None
    return StageResult(
        weights={
            name.removeprefix(_MODEL): tensor
            for name, tensor in tensors.items()
            if name.startswith(_MODEL)
        },
        telemetry=tensors[_TELEMETRY],
        curve=tuple(evaluation_from_json(item) for item in meta["curve"]),
        texts=meta["texts"],
        cost_s=meta["cost_s"],
        about=meta.get("about", {}),
    )
