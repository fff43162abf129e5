"""A task whose divergence is known: a noisy parabola, which a tiny gradient makes plain descent.

loss = curvature / 2 (x - noise)^2 with AdamW at betas 0 and an epsilon far above the gradients: an
update subtracts rate / epsilon times the gradient, so x explodes from 2 epsilon / curvature on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from core.settings import Recipe, RunConfig, Settings, derive_seed
from core.task import Facts, Grid, Metric, Placement, Scores, Stage, Task, TaskSpec

EPSILON, NOISE, START = 1e-2, 1e-4, 1e-3


class Parabola(Settings):
    curvature: float = 4.0


class Protocol(Settings):
    pretrain_steps: int = 0
    finetune_steps: int = 40
    eval_every: int = 20


class Nothing(Settings):
    source: str = "none"


class Point(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(START * (1 + 0.1 * torch.rand(7)))
        self.register_buffer("asked", torch.zeros(()))


class QuadraticTask(Task):
    metric = Metric("distance", "", "minimize", 1.0)

    def __init__(self, config: RunConfig, placement: Placement, cache: Path) -> None:
        self._curvature = config.groups["model"]["curvature"]
        protocol = Protocol.model_validate(config.protocol)
        recipe = Recipe.model_validate(config.groups["finetune"])
        self._stages = tuple(
            Stage(name, first, steps, recipe, seed, protocol.eval_every, grad_clip=1e6,
                  cache_key={"name": name, "seed": config.structure_seed})
            for name, first, steps, seed in (
                ("pretrain", 0, protocol.pretrain_steps, config.structure_seed),
                ("finetune", protocol.pretrain_steps, protocol.finetune_steps, config.seed),
            )
            if steps
        )  # fmt: skip

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self._stages

    def build_model(self) -> Point:
        return Point()

    def batch(self, stage: Stage, step: int) -> torch.Tensor:
        assert step < stage.steps
        generator = torch.Generator().manual_seed(derive_seed(stage.seed, step))
        return NOISE * torch.randn(7, generator=generator)

    def loss(self, model: nn.Module, batch: torch.Tensor, stage: Stage) -> torch.Tensor:
        assert isinstance(model, Point)
        assert model.training
        model.asked += 1
        torch.rand(3)  # a loss may draw, as dropout does
        return self._curvature / 2 * ((model.x - batch) ** 2).sum()

    def evaluate(self, model: nn.Module, *, final: bool) -> Scores:
        assert isinstance(model, Point)
        return Scores(model.x.abs().sum().item())

    def test(self, model: nn.Module) -> Scores:
        return self.evaluate(model, final=True)


def _grid(protocol: Protocol) -> Grid:
    stages = (("pretrain", protocol.pretrain_steps), ("finetune", protocol.finetune_steps))
    return Grid(tuple(stage for stage in stages if stage[1]), protocol.eval_every)


SPEC = TaskSpec(
    name="quadratic",
    metric=QuadraticTask.metric,
    protocol=Protocol,
    data=Nothing,
    groups={"model": Parabola, "finetune": Recipe},
    structure_group="model",
    grid=_grid,
    check=lambda groups, protocol: None,
    prepare=lambda protocol, data, cache: Facts({"data": "none"}),
    build=QuadraticTask,
    sources=("none",),
)


def quadratic_config(
    *, curvature: float = 4.0, seed: int = 3, protocol: Mapping[str, Any] | None = None
) -> RunConfig:
    recipe = Recipe(
        learning_rate=1e-3,
        adam_beta1=0.0,
        adam_beta2=0.0,
        adam_epsilon=EPSILON,
        weight_decay=0.0,
    )
    return RunConfig(
        task="quadratic",
        groups={"model": {"curvature": curvature}, "finetune": recipe.model_dump(mode="json")},
        protocol=Protocol(**(protocol or {})).model_dump(),
        data=Nothing().model_dump(),
        data_digest="none",
        structure_seed=seed,
        seed=seed,
    )
