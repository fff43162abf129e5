"""Where a run stands, and the weights it came to, as bundles on disk."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from core.bundle import has_bundle, read_bundle, write_bundle
from core.errors import CheckpointError
from core.history import evaluation_as_json, evaluation_from_json
from core.sealed import META
from core.settings import RECIPE_VERSION
from core.task import Evaluation

_SOONEST_S, _LATEST_S = 5.0, 300.0
_LARGEST_SHARE = 0.015
_SLOW_BYTES_PER_S = 150e6
"""Of writing, hashing and fsync on a busy machine; an idle one has 600."""
_WEIGHTS = "model.safetensors"


class CheckpointPace:
    """When to write a checkpoint that nobody asked for.

    The one rule: not within 5 s of the last, and so seldom that, of a stage's time, all that
    checkpoints took and two more would take, one of them for a pause, is at most 1.5 percent.
    After 5 minutes it is written at any price, so that a killed run loses at most these, the
    update and the evaluation under way. Times are readings of `time.monotonic()`.
    """

    def __init__(self, size_bytes: int, now: float) -> None:
        """`size_bytes` of weights and optimizer foretell the cost of the first one."""
        self._cost_s = size_bytes / _SLOW_BYTES_PER_S
        self._last = now
        self.begin_stage(now)

    def begin_stage(self, now: float) -> None:
        """Counts from here on: what went before may have been waiting, which pays for nothing."""
        self._began, self._spent_s, self._written = now, 0.0, 0

    def is_due(self, now: float, *, company: int = 1) -> bool:
        """Whether to write one now, where so many runs share the time and each writes its own."""
        since_s = now - self._last
        if since_s < _SOONEST_S:
            return False
        allowed_s = _LARGEST_SHARE * (now - self._began) / company - self._spent_s
        return 2 * self._cost_s <= allowed_s or since_s >= _LATEST_S

    def note(self, begun: float, ended: float) -> None:
        """One was written, fsync included; also one that was asked for."""
        self._last = ended
        self._spent_s += ended - begun
        self._written += 1
        # One that happened to be quick is no reason to write again soon.
        self._cost_s = max(ended - begun, self._spent_s / self._written)


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands, and all it needs to go on as if nothing had happened."""

    stage: int
    """Index of the stage under way."""
    stage_step: int
    """Updates done in it; its next batch is this one."""
    weights: Mapping[str, torch.Tensor]
    optimizer: Mapping[str, torch.Tensor]
    """Empty before the stage's first update."""
    scaler: Mapping[str, Any] | None
    """The AMP loss scale; `None` without one."""
    generators: Mapping[str, torch.Tensor]
    telemetry: torch.Tensor
    """[steps done on the whole curve, 4], fp32."""
    curve: tuple[Evaluation, ...]
    seconds: Mapping[str, float]
    """Spent so far, by account."""
    cache_saved_s: float | None
    """What a stage taken from the cache had cost; `None` if none was."""
    machine: Mapping[str, Any]
    """As `core.machine.describe` has it."""
    changes: tuple[str, ...]
    """What changed of the machine between earlier attempts."""


def save_checkpoint(folder: Path, checkpoint: Checkpoint, config_digest: str) -> None:
    """Puts `checkpoint` in place of the one in `folder`."""
    tensors = {
        **_under("model", checkpoint.weights),
        **_under("optimizer", checkpoint.optimizer),
        **_under("generator", checkpoint.generators),
        "telemetry": checkpoint.telemetry,
    }
    meta = {
        "config_digest": config_digest,
        "recipe_version": RECIPE_VERSION,
        "stage": checkpoint.stage,
        "stage_step": checkpoint.stage_step,
        "scaler": checkpoint.scaler,
        "curve": [evaluation_as_json(item) for item in checkpoint.curve],
        "seconds": dict(checkpoint.seconds),
        "cache_saved_s": checkpoint.cache_saved_s,
        "machine": dict(checkpoint.machine),
        "changes": checkpoint.changes,
    }
    # A name of its own, so that the old state stays whole until meta.json names the new one.
    name = f"state-{secrets.token_hex(6)}.safetensors"
    write_bundle(folder, name, tensors, meta)
    for path in folder.iterdir():
        if path.name not in (name, META):
            path.unlink()


def load_checkpoint(folder: Path, config_digest: str) -> Checkpoint | None:
    """The checkpoint in `folder`, or `None` if there is none.

    Raises: CheckpointError if it is of another configuration or version, as DamagedFileError if it
        is damaged.
    """
    if not has_bundle(folder):
        return None
    tensors, meta = read_bundle(
        folder,
        way_out=f"Delete {folder} to begin this run again.",
        may_be_nan=("generator.", "telemetry"),
    )
    _check_owner(folder, meta, config_digest)
    _check_recipe(folder, meta)
    return Checkpoint(
        stage=meta["stage"],
        stage_step=meta["stage_step"],
        weights=_below("model", tensors),
        optimizer=_below("optimizer", tensors),
        scaler=meta["scaler"],
        generators=_below("generator", tensors),
        telemetry=tensors["telemetry"],
        curve=tuple(evaluation_from_json(item) for item in meta["curve"]),
        seconds=meta["seconds"],
        cache_saved_s=meta["cache_saved_s"],
        machine=meta["machine"],
        changes=tuple(meta["changes"]),
    )


def remove_checkpoint(folder: Path) -> None:
    """Deletes the checkpoint in `folder`, if there is one."""
    shutil.rmtree(folder, ignore_errors=True)


def save_weights(
    folder: Path, model: torch.nn.Module, *, config_digest: str, facts: Mapping[str, Any]
) -> None:
    """Writes the model's weights, tied ones once, with `facts` in JSON beside them."""
    meta = {"config_digest": config_digest, "facts": dict(facts)}
    write_bundle(folder, _WEIGHTS, read_weights(model), meta)


def load_weights(
    folder: Path, model: torch.nn.Module, *, config_digest: str | None = None
) -> None:
    """Fills `model` from a folder that `save_weights` wrote.

    Raises: CheckpointError if the files are missing, damaged, of another model or, where
        `config_digest` is given, of another configuration.
    """
    way_out = "Run the configuration again to train these weights anew."
    tensors, meta = read_bundle(folder, way_out=way_out)
    if config_digest is not None:
        _check_owner(folder, meta, config_digest)
    put_weights(model, tensors, where=str(folder / _WEIGHTS))


def read_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and persistent buffers by name, not copied; tied ones by their first name."""
    seen: set[int] = set()
    weights = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            weights[name] = tensor.detach()
    return weights


def put_weights(
    model: torch.nn.Module, weights: Mapping[str, torch.Tensor], *, where: str
) -> None:
    """Copies `weights` into `model` in place.

    Raises: CheckpointError if names, shapes or types are not the model's.
    """
    own = read_weights(model)
    for name in sorted(own.keys() | weights.keys()):
        expected, found = _shape(own.get(name)), _shape(weights.get(name))
        if found != expected:
            raise CheckpointError(
                f"tensor {name!r} does not fit the model",
                where=where,
                got=found,
                allowed=expected,
                way_out="It was written for another structure or by another version.",
            )
    for name, tensor in own.items():
        tensor.copy_(weights[name])


def _check_owner(folder: Path, meta: Mapping[str, Any], config_digest: str) -> None:
    if meta["config_digest"] != config_digest:
        raise CheckpointError(
            "config_digest is that of another configuration",
            where=str(folder / META),
            got=meta["config_digest"][:12],
            allowed=config_digest[:12],
            way_out="Use another folder, or delete this one to begin again.",
        )


def _check_recipe(folder: Path, meta: Mapping[str, Any]) -> None:
    # The first did not say which it was.
    if (version := meta.get("recipe_version", 1)) != RECIPE_VERSION:
        raise CheckpointError(
            "recipe_version is that of a version of hpo that trains in another way",
            where=str(folder / META),
            got=str(version),
            allowed=str(RECIPE_VERSION),
            way_out=f"Delete {folder} to begin this run again.",
        )


def _shape(tensor: torch.Tensor | None) -> str:
    return "nothing" if tensor is None else f"{list(tensor.shape)} {tensor.dtype}"


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    start = f"{prefix}."
    return {key[len(start) :]: value for key, value in tensors.items() if key.startswith(start)}
