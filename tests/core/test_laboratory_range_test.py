"""A range test finds a divergence that is known, and leaves everything as it was."""

from __future__ import annotations

import copy
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from quadratic_task import EPSILON, quadratic_config
from toy_task import ToyTask, toy_config

from core import registry
from core.errors import SettingsError
from core.precision import Precision
from core.range_test import losses_at, ramp, range_test
from core.seeding import read_generators, seed_everything
from core.task import Evaluation, Placement, Progress, Verdict
from hpo.analysis.range_test import read_ramp

FP32 = Precision("fp32", "cpu")
CPU = torch.device("cpu")
RATES = ramp(1e-5, 1.0, 150)


def listen(event: Progress | Evaluation) -> Verdict:
    return Verdict.CONTINUE


@pytest.fixture(autouse=True)
def _tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._MODULES, "quadratic", "quadratic_task")
    monkeypatch.setitem(registry._MODULES, "toy", "toy_task")


def test_a_ramp_is_geometric_from_end_to_end() -> None:
    assert ramp(1e-4, 1e-1, 4) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1], rel=1e-12)


@pytest.mark.parametrize("curvature", [1.0, 4.0, 16.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_divergence_of_a_parabola_is_found(
    curvature: float, seed: int, tmp_path: Path
) -> None:
    config = quadratic_config(curvature=curvature, seed=seed)
    losses = range_test(config, Placement(), tmp_path, listen, RATES)
    reading = read_ramp(RATES, losses)
    assert reading is not None
    known = 2 * EPSILON / curvature
    # Noise is magnified a little before, and the explosion takes some updates to be seen; a ramp
    # of 150 rises by 8 percent a step.
    assert reading.diverges is not None
    assert 0.6 * known < reading.diverges < 2.5 * known
    assert reading.falls < reading.steepest < reading.lowest < known


def test_the_model_and_every_generator_are_left_alone(tmp_path: Path) -> None:
    config = toy_config()
    task = ToyTask(config, Placement(), tmp_path)
    seed_everything(5)
    model = task.build_model().eval()
    before, generators = copy.deepcopy(model.state_dict()), read_generators(CPU)
    draws = random.getstate()
    losses = losses_at(ramp(1e-4, 1.0, 31), task, model, task.stages[-1], FP32)
    assert len(losses) == 31
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not model.training
    assert all(weight.grad is None for weight in model.parameters())
    for name, state in read_generators(CPU).items():
        assert torch.equal(state.nan_to_num(-1), generators[name].nan_to_num(-1)), name
    assert random.getstate() == draws
    again = losses_at(ramp(1e-4, 1.0, 31), task, model, task.stages[-1], FP32)
    assert again == losses


def test_generators_are_restored_from_an_error_too(tmp_path: Path) -> None:
    class Broken(ToyTask):
        def loss(self, *args: object) -> torch.Tensor:
            torch.rand(1), np.random.rand(), random.random()
            raise ZeroDivisionError

    task = Broken(toy_config(), Placement(), tmp_path)
    model = task.build_model()
    generators = read_generators(CPU)
    with pytest.raises(ZeroDivisionError):
        losses_at(RATES, task, model, task.stages[0], FP32)
    found = read_generators(CPU)
    assert all(torch.equal(found[name], generators[name]) for name in ("python", "torch"))
    assert torch.equal(found["numpy"], generators["numpy"])


def test_a_whole_test_leaves_the_generators_too(tmp_path: Path) -> None:
    generators = read_generators(CPU)
    range_test(quadratic_config(), Placement(), tmp_path, listen, RATES)
    assert torch.equal(read_generators(CPU)["torch"], generators["torch"])
    assert torch.equal(read_generators(CPU)["python"], generators["python"])


def test_it_ends_with_the_first_loss_that_is_not_finite(tmp_path: Path) -> None:
    config = toy_config(data={"infinite_loss_at": 5}, pretrain_steps=0)
    losses = range_test(config, Placement(), tmp_path, listen, ramp(1e-4, 1e-1, 21))
    assert len(losses) == 5
    assert math.isinf(losses[-1])
    assert all(map(math.isfinite, losses[:-1]))


def test_earlier_stages_are_trained_once_and_nothing_else_is_left(tmp_path: Path) -> None:
    heard: list[Evaluation] = []

    def hear(event: Progress | Evaluation) -> Verdict:
        if isinstance(event, Evaluation):
            heard.append(event)
        return Verdict.CONTINUE

    for seed in (1, 2):
        config = quadratic_config(protocol={"pretrain_steps": 40}).model_copy(
            update={"seed": seed}
        )
        losses = range_test(config, Placement(), tmp_path, hear, RATES, "finetune")
        assert len(losses) == 150
    assert [(one.stage, one.step, one.replayed) for one in heard] == [
        ("pretrain", 20, False), ("pretrain", 40, False),
        ("pretrain", 20, True), ("pretrain", 40, True),
    ]  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {"stages"}
    with pytest.raises(SettingsError, match=r"no such stage, got 'tune'. Allowed: pretrain, fine"):
        range_test(config, Placement(), tmp_path, listen, RATES, "tune")


def test_a_run_that_ends_before_the_stage_says_so(tmp_path: Path) -> None:
    config = toy_config(data={"infinite_loss_at": 3})
    with pytest.raises(SettingsError, match="ends before stage finetune, so nothing can be"):
        range_test(config, Placement(), tmp_path, listen, RATES, "finetune")
