"""Attention against torch's, in value and gradient, by both of its ways."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.kernels import CPU
from core.nn.attention import attend, causal_mask, merge_heads, split_heads

B, H, T, S, K = 3, 2, 5, 7, 4


def groups(requires_grad: bool = False) -> list[Tensor]:
    """Queries, and keys with values, in double precision."""
    torch.manual_seed(17)
    shapes = (1, B, H, T, K), (2, B, H, S, K)
    return [torch.randn(s, dtype=torch.double, requires_grad=requires_grad) for s in shapes]


def padding_mask() -> Tensor:
    """The last keys of two sentences are pads."""
    attend_mask = torch.ones(B, 1, 1, S, dtype=torch.bool)
    attend_mask[0, ..., 5:] = False
    attend_mask[2, ..., 1:] = False
    return attend_mask


def reference(query: Tensor, key_value: Tensor, attend_mask: Tensor | None) -> Tensor:
    """torch's attention over the same groups."""
    key, value = key_value.unbind(0)
    return F.scaled_dot_product_attention(query[0], key, value, attend_mask)


@pytest.fixture(params=["plain", "sdpa"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of computing attention, whatever the device prefers."""
    monkeypatch.setattr(
        "core.kernels.CPU", replace(CPU, uses_fused_attention=request.param == "sdpa")
    )
    return str(request.param)


@pytest.mark.parametrize("masked", [False, True])
def test_equal_to_torch(way: str, masked: bool) -> None:
    attend_mask = padding_mask() if masked else None
    query, key_value = groups()
    expected = reference(query, key_value, attend_mask)
    torch.testing.assert_close(attend(query, key_value, attend_mask=attend_mask), expected)
    with torch.inference_mode():
        torch.testing.assert_close(attend(query, key_value, attend_mask=attend_mask), expected)


def test_one_query_equals_torch(way: str) -> None:
    query, key_value = groups()
    query = query[:, :, :, :1]
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients):
            torch.testing.assert_close(
                attend(query, key_value, attend_mask=padding_mask()),
                reference(query, key_value, padding_mask()),
            )


def test_a_mask_of_each_query(way: str) -> None:
    group = torch.randn(3, B, H, T, K, dtype=torch.double)
    attend_mask = torch.ones(B, 1, 1, T, dtype=torch.bool)
    attend_mask[1, ..., 3:] = False
    both = attend_mask & causal_mask(T, attend_mask.device)
    expected = F.scaled_dot_product_attention(*group.unbind(0), attn_mask=both)
    torch.testing.assert_close(attend(group, attend_mask=both), expected)
    expected = F.scaled_dot_product_attention(*group.unbind(0), is_causal=True)
    found = attend(group, attend_mask=causal_mask(T, attend_mask.device))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_gradient_is_that_of_finite_differences(dropout: float) -> None:
    def read(query: Tensor, key_value: Tensor) -> Tensor:
        torch.manual_seed(19)
        return attend(query, key_value, attend_mask=padding_mask(), dropout=dropout)

    assert torch.autograd.gradcheck(read, groups(requires_grad=True), fast_mode=True)


def test_dropout_keeps_the_mean() -> None:
    query, key_value = groups()
    expected = attend(query, key_value)
    reads = [attend(query, key_value, dropout=0.3) for _ in range(1000)]
    # A read-out's deviation is below 1: four deviations of a mean of 1,000 are below 0.13.
    torch.testing.assert_close(torch.stack(reads).mean(0), expected, rtol=0, atol=0.13)


def test_masked_keys_have_no_influence(way: str) -> None:
    query, key_value = groups()
    expected = attend(query, key_value, attend_mask=padding_mask())
    key_value[:, 0, :, 5:] = 1e3
    key_value[:, 2, :, 1:] = -1e3
    assert torch.equal(attend(query, key_value, attend_mask=padding_mask()), expected)


def test_a_query_that_may_see_nothing_stays_finite(way: str) -> None:
    query, key_value = groups(requires_grad=True)
    nothing = torch.zeros(B, 1, 1, S, dtype=torch.bool)
    read = attend(query, key_value, attend_mask=nothing)
    read.sum().backward()
    assert read.isfinite().all()
    assert query.grad is not None
    assert query.grad.isfinite().all()


def test_heads_split_and_merge() -> None:
    packed = torch.randn(B, T, 3 * H * K)
    group = split_heads(packed, H, 3)
    assert group.shape == (3, B, H, T, K)
    assert torch.equal(group[1, 2, 1, 4], packed[2, 4, H * K + K : H * K + 2 * K])
    assert torch.equal(merge_heads(group[2]), packed[..., 2 * H * K :])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_the_cpu() -> None:
    query, key_value = (group.float() for group in groups())
    expected = attend(query, key_value, attend_mask=padding_mask())
    found = attend(query.cuda(), key_value.cuda(), attend_mask=padding_mask().cuda())
    # TF32 is off by default: only the order of sums differs.
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-5)
