"""A task that trains in milliseconds: name the token you see, through dropout and noise.

It draws from every random generator there is, so that a run which loses one of them shows it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from core.settings import Recipe, RunConfig, Settings, derive_seed
from core.task import Facts, Grid, Metric, Placement, Scores, Stage, Task, TaskSpec

VOCAB, BATCH = 23, 17


class ToyModel(Settings):
    width: int = 11
    dropout: float = 0.1


class ToyProtocol(Settings):
    pretrain_steps: int = 14
    finetune_steps: int = 21
    eval_every: int = 7
    grad_clip: float = 1.0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    direction: Literal["maximize", "minimize"] = "maximize"
    pretrain: Recipe = Recipe(learning_rate=3e-2, warmup_steps=5, lr_scheduler_type="inverse_sqrt")


class ToyData(Settings):
    """Mishaps to provoke, by step of the whole curve."""

    infinite_loss_at: int | None = None
    collapse_at: int | None = None
    undefined_score_at: int | None = None


class Net(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, width)
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        states = self.norm(self.embedding(tokens))
        return F.linear(self.dropout(torch.tanh(self.hidden(states))), self.embedding.weight)


class ToyTask(Task):
    def __init__(self, config: RunConfig, placement: Placement, cache: Path) -> None:
        self._model = ToyModel.model_validate(config.groups["model"])
        self._data = ToyData.model_validate(config.data)
        protocol = ToyProtocol.model_validate(config.protocol)
        self._device = torch.device(placement.device)
        self._evaluations = 0
        is_best_high = protocol.direction == "maximize"
        self.metric = Metric(
            name="accuracy" if is_best_high else "error",
            unit="%",
            direction=protocol.direction,
            floor=100 / VOCAB if is_best_high else 100 - 100 / VOCAB,
        )
        plans = [
            ("pretrain", protocol.pretrain_steps, protocol.pretrain, config.structure_seed),
            (
                "finetune",
                protocol.finetune_steps,
                Recipe.model_validate(config.groups["finetune"]),
                config.seed,
            ),
        ]
        stages: list[Stage] = []
        for name, steps, recipe, seed in plans:
            if steps:
                is_first = name == "pretrain"
                stages.append(
                    Stage(
                        name=name,
                        first_step=sum(stage.steps for stage in stages),
                        steps=steps,
                        recipe=recipe,
                        seed=seed,
                        eval_every=protocol.eval_every,
                        grad_clip=protocol.grad_clip,
                        cache_key={"model": self._model.model_dump()} if is_first else None,
                    )
                )
        self._stages = tuple(stages)

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self._stages

    def build_model(self) -> Net:
        return Net(self._model.width, self._model.dropout)

    def batch(self, stage: Stage, step: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(derive_seed(stage.seed, step))
        return torch.randint(VOCAB, (BATCH,), generator=generator).to(self._device)

    def loss(self, model: nn.Module, batch: torch.Tensor, stage: Stage) -> torch.Tensor:
        noise = 1.0 + 0.01 * (random.random() + np.random.rand())
        loss = noise * F.cross_entropy(model(batch).float(), batch)
        last = torch.equal(batch, self._trap(stage))
        return loss * torch.inf if last else loss

    def _trap(self, stage: Stage) -> torch.Tensor:
        """The batch whose loss is to be infinite; an empty one where none is."""
        at = self._data.infinite_loss_at
        if at is None or not stage.first_step < at <= stage.first_step + stage.steps:
            return torch.empty(0)
        return self.batch(stage, at - stage.first_step - 1)

    def evaluate(self, model: nn.Module, *, final: bool) -> Scores:
        tokens = torch.arange(VOCAB, device=self._device)
        guesses = model(tokens).argmax(-1)
        accuracy = 100 * (guesses == tokens).float().mean().item()
        torch.rand(3)  # an evaluation may draw, too
        value = accuracy if self.metric.direction == "maximize" else 100 - accuracy
        self._evaluations += 1
        step = self._evaluations * self._stages[0].eval_every
        if step == self._data.collapse_at:
            value = self.metric.floor
        if step == self._data.undefined_score_at:
            value = float("nan")
        texts = {"guesses.txt": " ".join(map(str, guesses.tolist())) + "\n"}
        return Scores(value, {"final": float(final)}, "toy", texts)

    def test(self, model: nn.Module) -> Scores:
        return self.evaluate(model, final=True)

    def facts(self) -> Mapping[str, Any]:
        return {"vocab": VOCAB}


def grid(protocol: ToyProtocol) -> Grid:
    stages = (("pretrain", protocol.pretrain_steps), ("finetune", protocol.finetune_steps))
    return Grid(tuple(stage for stage in stages if stage[1]), protocol.eval_every)


SPEC = TaskSpec(
    name="toy",
    metric=Metric("accuracy", "%", "maximize", 100 / VOCAB),
    protocol=ToyProtocol,
    data=ToyData,
    groups={"model": ToyModel, "finetune": Recipe},
    structure_group="model",
    grid=grid,
    check=lambda groups, protocol: None,
    prepare=lambda protocol, data, cache: Facts({"data": "none"}),
    build=ToyTask,
)


def toy_config(
    *,
    seed: int = 3,
    finetune: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    **protocol: Any,
) -> RunConfig:
    """A configuration of the toy task; keywords are protocol settings."""
    recipe = {"learning_rate": 2e-2, "lr_scheduler_type": "cosine", "warmup_steps": 2}
    return RunConfig(
        task="toy",
        groups={
            "model": ToyModel().model_dump(),
            "finetune": Recipe(**{**recipe, **(finetune or {})}).model_dump(mode="json"),
        },
        protocol=ToyProtocol(**protocol).model_dump(mode="json"),
        data=ToyData(**(data or {})).model_dump(),
        data_digest="none",
        structure_seed=1,
        seed=seed,
    )
