"""Dropout keeps its probability, its mean and its generator's state."""

import math

import pytest
import torch
from torch import Tensor

from core.nn.dropout import Dropout, keep_mask


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_share_of_zeros_is_the_probability(p: float) -> None:
    torch.manual_seed(3)
    mask = keep_mask(torch.empty(211, 499), p)
    dropped = (mask == 0).double().mean().item()
    # Four standard deviations of a binomial share.
    assert dropped == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / mask.numel()))
    assert mask.unique().numel() == 2
    # 1 - p, rounded by 2**-17 at most, is off by no more than 8e-5 of itself.
    assert mask.max().item() == pytest.approx(1 / (1 - p), rel=1e-4)


def test_units_are_independent() -> None:
    torch.manual_seed(5)
    kept = keep_mask(torch.empty(40_000), 0.5).sign().view(-1, 4)
    # Four units share a draw; each pair must agree half the time, within four deviations.
    for i in range(3):
        agreement = (kept[:, i] == kept[:, 3]).double().mean().item()
        assert agreement == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("p", [0.0, 1e-7])
def test_next_to_nothing_drops_nothing(p: float) -> None:
    assert torch.equal(keep_mask(torch.empty(7, 13), p), torch.ones(7, 13))


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5, 2)])
def test_any_size_and_type(shape: tuple[int, ...]) -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        mask = keep_mask(torch.empty(shape, dtype=dtype), 0.5)
        assert mask.shape == shape
        assert mask.dtype == dtype
        assert set(mask.unique().tolist()) <= {0.0, 2.0}


def test_evaluation_and_zero_probability_change_nothing() -> None:
    x, residual = torch.randn(2, 7, 13).unbind(0)
    for dropout in (Dropout(0.5).eval(), Dropout(0.0).train()):
        state = torch.get_rng_state()
        assert torch.equal(dropout(x), x)
        assert torch.equal(dropout.add(residual, x), residual + x)
        assert torch.equal(torch.get_rng_state(), state)


def run(dropout: Dropout, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """Dropout from a fixed seed."""
    torch.manual_seed(11)
    return dropout(x) if residual is None else dropout.add(residual, x)


def test_same_seed_same_units_and_sum() -> None:
    dropout = Dropout(0.3)
    x, residual = torch.randn(2, 7, 13, requires_grad=True).unbind(0)
    dropped = run(dropout, x)
    assert torch.equal(run(dropout, x), dropped)
    torch.testing.assert_close(run(dropout, x, residual), residual + dropped)


def test_sum_of_two_precisions_keeps_the_residuals() -> None:
    x, residual = torch.randn(7, 13).bfloat16(), torch.randn(7, 13)
    total = run(Dropout(0.3), x, residual)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, residual + run(Dropout(0.3), x))


def test_gradient_is_the_mask() -> None:
    x = torch.randn(7, 13, requires_grad=True)
    residual = torch.randn(7, 13, requires_grad=True)
    run(Dropout(0.3), x, residual).sum().backward()
    torch.manual_seed(11)
    assert x.grad is not None
    assert residual.grad is not None
    torch.testing.assert_close(x.grad, keep_mask(x, 0.3))
    assert torch.equal(residual.grad, torch.ones(7, 13))
