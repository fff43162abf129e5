"""The fused loss against F.cross_entropy, in value and gradient."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.kernels import ACCELERATOR, CPU
from core.nn import loss as module
from core.nn.loss import token_cross_entropy

B, T, D, V = 3, 7, 5, 23
IGNORED = 1


@pytest.fixture(autouse=True, params=[1, 4 * V, 2**20], ids=["rows", "chunks", "whole"])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of one position, of four (the last one shorter), and of all."""
    for name, kernels in (("CPU", CPU), ("ACCELERATOR", ACCELERATOR)):
        chunked = replace(kernels, logits_at_once=request.param)
        monkeypatch.setattr(f"core.kernels.{name}", chunked)


def inputs(
    dtype: torch.dtype = torch.double, device: str = "cpu"
) -> tuple[Tensor, Tensor, Tensor]:
    """States, weight and labels, a third of these ignored."""
    torch.manual_seed(23)
    states = torch.randn(B, T, D, dtype=dtype, device=device, requires_grad=True)
    weight = torch.randn(V, D, dtype=dtype, device=device, requires_grad=True)
    labels = torch.randint(2, V, (B, T), device=device)
    labels[:, 5:] = IGNORED
    labels[1, 2] = IGNORED
    return states, weight, labels


def reference(states: Tensor, weight: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """torch's own."""
    logits = (states @ weight.T).flatten(0, 1)
    return F.cross_entropy(
        logits, labels.flatten(), ignore_index=IGNORED, label_smoothing=smoothing
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("dtype", [torch.double, torch.float])
def test_equal_to_torch(smoothing: float, dtype: torch.dtype) -> None:
    states, weight, labels = inputs(dtype)
    expected = reference(states, weight, labels, smoothing)
    expected_grads = torch.autograd.grad(expected, (states, weight))
    found = token_cross_entropy(
        states, weight, labels, ignore_id=IGNORED, label_smoothing=smoothing
    )
    # The defaults of assert_close for the type: the same sums in another order.
    torch.testing.assert_close(found, expected)
    grads = torch.autograd.grad(found, (states, weight))
    torch.testing.assert_close(grads, expected_grads)


def test_gradient_is_that_of_finite_differences() -> None:
    states, weight, labels = inputs()

    def compute(states: Tensor, weight: Tensor) -> Tensor:
        return token_cross_entropy(states, weight, labels, ignore_id=IGNORED, label_smoothing=0.1)

    assert torch.autograd.gradcheck(compute, (states, weight), fast_mode=True)


def test_masked_rows_count_as_little_as_left_out_ones() -> None:
    # Devices other than the CPU mask what is ignored instead of selecting the rest.
    states, weight, labels = inputs()
    counts = (labels != IGNORED).flatten()
    found = module._FusedCrossEntropy.apply(
        states.flatten(0, 1), weight, labels.flatten(), counts, 0.1, torch.double, True
    )
    expected = reference(states, weight, labels, 0.1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, (states, weight)),
        torch.autograd.grad(expected, (states, weight)),
    )


def test_a_factor_scales_the_gradient() -> None:
    states, weight, labels = inputs()
    loss = token_cross_entropy(states, weight, labels, ignore_id=IGNORED)
    plain = torch.autograd.grad(loss, (states, weight), retain_graph=True)
    scaled = torch.autograd.grad(1024 * loss, (states, weight))
    torch.testing.assert_close(scaled, tuple(1024 * grad for grad in plain))


def test_large_logits_stay_finite() -> None:
    states, weight, labels = inputs(torch.float)
    loss = token_cross_entropy(1e3 * states, weight, labels, ignore_id=IGNORED)
    torch.testing.assert_close(loss, reference(1e3 * states, weight, labels, 0.0))
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, (states, weight)))


def test_no_label_that_counts_is_no_loss() -> None:
    states, weight, labels = inputs()
    loss = token_cross_entropy(states, weight, labels.fill_(IGNORED), ignore_id=IGNORED)
    assert loss.item() == 0
    for grad in torch.autograd.grad(loss, (states, weight)):
        assert torch.equal(grad, torch.zeros_like(grad))


def test_without_gradients_only_the_value() -> None:
    states, weight, labels = inputs()
    expected = reference(states, weight, labels, 0.1)
    with torch.no_grad():
        found = token_cross_entropy(states, weight, labels, ignore_id=IGNORED, label_smoothing=0.1)
    torch.testing.assert_close(found, expected.detach())
    assert not found.requires_grad


def test_autocast_multiplies_in_low_precision_and_sums_in_fp32() -> None:
    states, weight, labels = inputs(torch.float)
    expected = reference(states, weight, labels, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = token_cross_entropy(states, weight, labels, ignore_id=IGNORED, label_smoothing=0.1)
    assert found.dtype == torch.float32
    # bf16 keeps 8 bits: logits of about 5 are off by 0.02, their mean by less.
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0.01)
    grads = torch.autograd.grad(found, (states, weight))
    assert [grad.dtype for grad in grads] == [torch.float32, torch.float32]
    expected_grads = torch.autograd.grad(expected, (states, weight))
    torch.testing.assert_close(grads, expected_grads, rtol=0.05, atol=0.01)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_torch_without_a_sync() -> None:
    states, weight, labels = inputs(torch.float, "cuda")
    expected = reference(states, weight, labels, 0.1)
    expected_grads = torch.autograd.grad(expected, (states, weight))
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = token_cross_entropy(states, weight, labels, ignore_id=IGNORED, label_smoothing=0.1)
        grads = torch.autograd.grad(found, (states, weight))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(grads, expected_grads)
