"""The base of every declared setting: frozen, strict, and refusing what it does not know."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

RECIPE_VERSION = 2
"""Raised when batches, the loop, the optimizer or a schedule change their numbers: cached results
of an earlier one rest, no run goes on from its checkpoint, and no study with its trials."""


class Settings(BaseModel):
    """A frozen group of settings. Unknown keys, `true` for 1, `"8"` for 8 and NaN are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
    )


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of(value: Any) -> str:
    """SHA-256, in hexadecimal, of a JSON-able value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def derive_seed(*parts: object) -> int:
    """A seed in [0, 2**31) that depends on every part, for example (study seed, trial number)."""
    return int(digest_of([str(part) for part in parts])[:8], 16) & 0x7FFFFFFF


SchedulerType = Literal["linear", "cosine", "inverse_sqrt", "noam", "constant"]
WarmupShape = Literal["linear", "exponential", "cosine"]


class Recipe(Settings):
    """How one stage is optimized: AdamW with a warmup and a decay."""

    learning_rate: float = Field(default=1e-4, gt=0, le=1)
    """Peak learning rate; the schedule gives factors of it."""
    lr_scheduler_type: SchedulerType = "linear"
    """Decay after the warmup; `noam` is `inverse_sqrt` under the name of its authors' schedule."""
    warmup_shape: WarmupShape = "linear"
    """How the learning rate rises; `exponential`, 1 - exp(-step / warmup), never quite ends."""
    warmup_steps: int | None = Field(default=None, ge=0)
    """Optimizer updates over which the learning rate rises to its peak."""
    warmup_ratio: float | None = Field(default=None, ge=0, le=1)
    """The same as a share of the stage's steps. Give one of the two; neither means no warmup."""
    weight_decay: float = Field(default=0.01, ge=0, le=1)
    """Decoupled weight decay; never applied to norms, biases and embeddings."""
    label_smoothing_factor: float = Field(default=0.0, ge=0, lt=1)
    """Probability mass spread evenly over the vocabulary."""
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    adam_beta2: float = Field(default=0.98, ge=0, lt=1)
    adam_epsilon: float = Field(default=1e-9, gt=0, le=1e-2)

    @model_validator(mode="after")
    def _one_warmup(self) -> Self:
        if self.warmup_steps is not None and self.warmup_ratio is not None:
            raise ValueError("give warmup_steps or warmup_ratio, not both")
        return self

    @model_serializer(mode="wrap")
    def _as_before_there_were_shapes(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves the linear shape out, so that what was run before has the digest it had."""
        written: dict[str, Any] = write(self)
        default = type(self).model_fields["warmup_shape"].default
        if self.warmup_shape == default == "linear":
            written.pop("warmup_shape", None)
        return written

    def resolve_warmup(self, stage_steps: int) -> int:
        """Warmup length in optimizer updates for a stage of `stage_steps` updates."""
        if self.warmup_ratio is not None:
            return round(self.warmup_ratio * stage_steps)
        return self.warmup_steps or 0


class RunConfig(Settings):
    """Everything that decides the numbers of one run, and nothing else: frozen and hashable.

    `groups` holds what may vary (for translation: `model` and `finetune`), complete with defaults;
    `protocol` and `data` what every trial of a study shares. All values are plain JSON.
    """

    task: str
    groups: Mapping[str, Mapping[str, Any]]
    protocol: Mapping[str, Any]
    data: Mapping[str, Any]
    data_digest: str
    """Digest of the corpora as `TaskSpec.prepare` saw them; a run on other data is refused."""
    structure_seed: int
    """Seeds weights and stage A; shared by all trials of one structure."""
    seed: int
    """Seeds what follows stage A; the trial's own."""

    def digest(self) -> str:
        """SHA-256 of the configuration; equal digests mean the same run.

        `data` says where the corpora lie, `data_digest` what is in them: a folder may be moved.
        """
        return digest_of(self.model_dump(mode="json", exclude={"data"}))

    def __hash__(self) -> int:
        return hash(self.digest())
