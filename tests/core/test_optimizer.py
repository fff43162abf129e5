"""Decay groups, agreement with torch's own AdamW, steps that AMP skips, and state put back."""

from collections.abc import Sequence

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from core.optimizer import StageOptimizer, split_by_decay
from core.precision import Precision
from core.schedule import factor
from core.settings import Recipe
from core.task import Stage

FP32 = Precision("fp32", "cpu")
FP16 = Precision("fp16", "cpu")
RECIPE = Recipe(
    learning_rate=3e-2,
    lr_scheduler_type="linear",
    warmup_steps=3,
    weight_decay=0.1,
    adam_beta1=0.8,
)


class OwnNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(5))


class Mixed(nn.Module):
    """One of everything that decay must tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 5)
        self.recurrent = nn.GRU(5, 3)
        self.batch_norm = nn.BatchNorm1d(3)
        self.own_norm = OwnNorm()
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.inner = nn.Linear(3, 5)
        self.output = nn.Linear(5, 7)
        self.output.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        states, _ = self.recurrent(self.embedding(tokens) * self.own_norm.gain)
        return self.output(self.inner(self.batch_norm(states)))


def build(seed: int = 1) -> Mixed:
    torch.manual_seed(seed)
    return Mixed()


def stage(*, steps: int = 13, grad_clip: float = 0.7) -> Stage:
    return Stage("train", 0, steps, RECIPE, seed=1, eval_every=steps, grad_clip=grad_clip)


def loss_of(model: nn.Module, step: int) -> torch.Tensor:
    tokens = torch.randint(7, (11,), generator=torch.Generator().manual_seed(step))
    return F.cross_entropy(model(tokens), tokens)


def names(group: Sequence[tuple[str, nn.Parameter]]) -> list[str]:
    return [name for name, _ in group]


def test_decay_spares_norms_biases_and_embeddings() -> None:
    decayed, undecayed = split_by_decay(build())
    assert names(decayed) == ["recurrent.weight_ih_l0", "recurrent.weight_hh_l0", "inner.weight"]
    assert names(undecayed) == [
        "embedding.weight",
        "recurrent.bias_ih_l0",
        "recurrent.bias_hh_l0",
        "batch_norm.weight",
        "batch_norm.bias",
        "own_norm.gain",
        "inner.bias",
        "output.bias",
    ]


@pytest.mark.parametrize("is_flat", [True, False])
def test_agrees_with_torch(is_flat: bool) -> None:
    ours, theirs = build(), build()
    optimizer = StageOptimizer(ours, stage(), FP32, is_flat=is_flat)
    decayed, undecayed = ([weight for _, weight in group] for group in split_by_decay(theirs))
    reference = torch.optim.AdamW(
        [{"params": decayed}, {"params": undecayed, "weight_decay": 0.0}],
        betas=(0.8, 0.98),
        eps=1e-9,
        weight_decay=0.1,
        fused=False,
        foreach=False,
    )
    for step in range(13):
        update = optimizer.update(loss_of(ours, step))
        rate = 3e-2 * factor(step, steps=13, warmup=3, decay="linear")
        for group in reference.param_groups:
            group["lr"] = rate
        loss_of(theirs, step).backward()
        norm = nn.utils.clip_grad_norm_(theirs.parameters(), 0.7)
        reference.step()
        reference.zero_grad()
        assert update.learning_rate.item() == pytest.approx(rate, rel=1e-6)
        # fp32 sums in another order.
        assert update.grad_norm.item() == pytest.approx(norm.item(), rel=1e-5)
        assert update.amp_scale.isnan()
    for name, weight in theirs.state_dict().items():
        # 13 updates of 3e-2 at most, each with fp32's relative error of a quotient of two moments.
        torch.testing.assert_close(ours.state_dict()[name], weight, atol=2e-5, rtol=1e-4)


def test_norm_is_that_before_clipping() -> None:
    norms = [
        StageOptimizer(model, stage(grad_clip=clip), FP32).update(loss_of(model, 1)).grad_norm
        for model, clip in ((build(), 1e-3), (build(), 1e3))
    ]
    assert norms[0] == norms[1] > 1e-3


def test_flattening_changes_no_weight_and_keeps_ties() -> None:
    model, untouched = build(), build()
    for _ in range(2):  # a second stage flattens again
        StageOptimizer(model, stage(), FP32)
    assert model.output.weight is model.embedding.weight
    for name, weight in untouched.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name


def test_amp_skips_without_moving_schedule_or_moments() -> None:
    model, straight = build(), build()
    optimizer = StageOptimizer(model, stage(), FP16)
    reference = StageOptimizer(straight, stage(), FP16)
    for step in range(2):
        optimizer.update(loss_of(model, step))
        reference.update(loss_of(straight, step))
    before = {name: value.clone() for name, value in optimizer.read_state().items()}
    weights = {name: weight.clone() for name, weight in model.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}

    skipped = optimizer.update(loss_of(model, 2) * torch.inf)
    assert not skipped.grad_norm.isfinite()
    assert all(torch.equal(value, before[name]) for name, value in optimizer.read_state().items())
    assert all(torch.equal(weight, weights[name]) for name, weight in model.named_parameters())

    model.load_state_dict({**model.state_dict(), **buffers})  # the forward pass moved them
    update, expected = (
        own.update(loss_of(net, 2)) for own, net in ((optimizer, model), (reference, straight))
    )
    assert update.learning_rate == expected.learning_rate == skipped.learning_rate
    assert (expected.amp_scale, update.amp_scale) == (65536, 32768)
    # Scales are powers of two, so that halving one is exact.
    assert all(
        torch.equal(weight, straight.get_parameter(name))
        for name, weight in model.named_parameters()
    )


@pytest.mark.parametrize("precision", [FP32, FP16])
def test_state_put_back_goes_on_alike(precision: Precision) -> None:
    model, copy = build(), build(seed=2)
    optimizer = StageOptimizer(model, stage(), precision)
    for step in range(5):
        is_skipped = step == 3 and precision is FP16
        optimizer.update(loss_of(model, step) * (torch.inf if is_skipped else 1))
    copy.load_state_dict(model.state_dict())
    resumed = StageOptimizer(copy, stage(), precision)
    resumed.put_state({name: value.clone() for name, value in optimizer.read_state().items()})
    resumed.put_scaler(optimizer.read_scaler())
    for step in range(5, 8):
        first, second = (
            own.update(loss_of(net, step)) for own, net in ((optimizer, model), (resumed, copy))
        )
        assert first.learning_rate == second.learning_rate
        assert first.grad_norm == second.grad_norm
        assert first.amp_scale.nan_to_num(0) == second.amp_scale.nan_to_num(0)
    assert all(
        torch.equal(weight, copy.get_parameter(name)) for name, weight in model.named_parameters()
    )


def test_state_does_not_depend_on_how_weights_lie() -> None:
    """A run that moves between a CPU and a GPU takes its moments along."""
    flat = StageOptimizer(model := build(), stage(), FP32)
    flat.update(loss_of(model, 0))
    separate = StageOptimizer(build(), stage(), FP32, is_flat=False)
    separate.put_state(flat.read_state())
    state = separate.read_state()
    assert state.keys() == flat.read_state().keys()
    assert all(torch.equal(state[name], value) for name, value in flat.read_state().items())


def test_a_parameter_without_part_in_the_loss_stays_but_for_decay() -> None:
    model = build()
    optimizer = StageOptimizer(model, stage(), FP32)
    before = model.own_norm.gain.clone()
    optimizer.update(model.inner(torch.ones(2, 3)).square().mean())
    assert torch.equal(model.own_norm.gain, before)
    assert not torch.equal(model.inner.bias, build().inner.bias)


def test_flat_parameters_may_be_moved_between_updates() -> None:
    straight, moved = build(), build()
    optimizers = [StageOptimizer(model, stage(), FP32) for model in (straight, moved)]
    flat = optimizers[1].flat
    assert flat is not None
    for step in range(5):
        assert torch.equal(
            *(
                optimizer.update(loss_of(model, step)).grad_norm
                for model, optimizer in zip((straight, moved), optimizers, strict=True)
            )
        )
        weights, gradient = torch.full((2, flat.size), torch.nan)
        flat.move(weights, gradient)
    for name, weight in straight.named_parameters():
        assert torch.equal(weight, moved.get_parameter(name)), name
    offset, shape = flat.locate()["inner.weight"]
    row = weights[offset : offset + shape.numel()]
    assert torch.equal(row.view(shape), straight.inner.weight)
