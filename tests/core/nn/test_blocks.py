"""Attention in blocks against attention of each sequence alone, in value and gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.kernels import CPU
from core.nn.attention import merge_heads, split_heads
from core.nn.blocks import Blocks, attend_blocks, lay_out, mask_for

MEMBERS, HEADS, WIDTH, PAD = 2, 3, 12, 1
QUERIES = [[3, 2], [5, 1, 4], [6]]
"""Lengths of each block's sequences, of every member."""
KEYS = [[2, 4], [1, 3, 3], [7]]


@pytest.fixture(params=["plain", "sdpa"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of computing attention, whatever the device prefers."""
    monkeypatch.setattr(
        "core.kernels.CPU", replace(CPU, uses_fused_attention=request.param == "sdpa")
    )
    return str(request.param)


def ids_of(lengths: Sequence[Sequence[int]]) -> list[Tensor]:
    """Blocks of ids [K * R, longest], padding at the end of shorter rows."""
    found = []
    for block in lengths:
        is_token = torch.arange(max(block)) < torch.tensor(block)[:, None]
        found.append(torch.where(is_token, 7, PAD).repeat(MEMBERS, 1))
    return found


def random_side(ids: Sequence[Tensor], parts: int) -> Tensor:
    """[K * N, parts * D], in double precision."""
    count = sum(block.numel() for block in ids)
    return torch.randn(count, parts * WIDTH, dtype=torch.double, requires_grad=True)


def sequences_of(side: Tensor, ids: Sequence[Tensor]) -> list[Tensor]:
    """What each sequence has without its padding, member by member."""
    found, at = [], 0
    for member in range(MEMBERS):
        for block in ids:
            for row in block.chunk(MEMBERS)[member]:
                found.append(side[at : at + int((row != PAD).sum())])
                at += len(row)
    assert at == len(side)
    return found


def masks_of(ids: Sequence[Tensor]) -> list[Tensor]:
    return [mask_for((block != PAD)[:, None, None]) for block in ids]


def attend_alone(query: Tensor, key_value: Tensor, *, is_causal: bool) -> Tensor:
    """One sequence's [T, D] queries and [S, 2 * D] keys and values by torch."""
    (own,) = split_heads(query[None], HEADS, 1)
    key, value = split_heads(key_value[None], HEADS, 2)
    read = F.scaled_dot_product_attention(own, key, value, is_causal=is_causal)
    return merge_heads(read)[0]


@pytest.mark.parametrize("is_causal", [False, True])
def test_self_attention_is_that_of_each_sequence_alone(way: str, is_causal: bool) -> None:
    torch.manual_seed(41)
    ids = ids_of(QUERIES)
    side = random_side(ids, 3)
    seen = Blocks.of(ids, ids, masks_of(ids), MEMBERS)
    if is_causal:
        seen = Blocks.causal(ids, MEMBERS)
    found = attend_blocks(side, blocks=seen, heads=HEADS)
    assert found.shape == (len(side), WIDTH)
    expected = [
        attend_alone(own[:, :WIDTH], own[:, WIDTH:], is_causal=is_causal)
        for own in sequences_of(side, ids)
    ]
    _assert_alike(sequences_of(found, ids), expected, [side])


def test_attention_to_other_sequences_is_that_of_each_alone(way: str) -> None:
    torch.manual_seed(43)
    ids, others = ids_of(QUERIES), ids_of(KEYS)
    query, key_value = random_side(ids, 1), random_side(others, 2)
    seen = Blocks.of(ids, others, masks_of(others), MEMBERS)
    found = attend_blocks(query, key_value, blocks=seen, heads=HEADS)
    pairs = zip(sequences_of(query, ids), sequences_of(key_value, others), strict=True)
    expected = [attend_alone(*pair, is_causal=False) for pair in pairs]
    _assert_alike(sequences_of(found, ids), expected, [query, key_value])


def _assert_alike(
    found: Sequence[Tensor], expected: Sequence[Tensor], sides: Sequence[Tensor]
) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    grads = [
        torch.autograd.grad(sum((one**3).sum() for one in rows), sides, retain_graph=True)
        for rows in (found, expected)
    ]
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_gradient_is_that_of_finite_differences(dropout: float) -> None:
    ids, others = ids_of(QUERIES[:2]), ids_of(KEYS[:2])
    seen = Blocks.of(ids, others, masks_of(others), MEMBERS)

    def read(query: Tensor, key_value: Tensor) -> Tensor:
        torch.manual_seed(47)
        return attend_blocks(query, key_value, blocks=seen, heads=HEADS, dropout=dropout)

    torch.manual_seed(53)
    sides = random_side(ids, 1), random_side(others, 2)
    assert torch.autograd.gradcheck(read, sides, fast_mode=True)


def test_dropout_keeps_the_mean() -> None:
    ids = ids_of(QUERIES)
    side, seen = random_side(ids, 3), Blocks.causal(ids, MEMBERS)
    with torch.no_grad():
        expected = attend_blocks(side, blocks=seen, heads=HEADS)
        reads = [attend_blocks(side, blocks=seen, heads=HEADS, dropout=0.3) for _ in range(1000)]
    assert not torch.equal(reads[0], reads[1])
    # A first position sees its own value alone: its deviation is 0.65 of that, which is 3 or 4 at
    # most, and five deviations of a mean of 1,000 are 0.4.
    torch.testing.assert_close(torch.stack(reads).mean(0), expected, rtol=0, atol=0.4)


def test_a_mask_hides_in_bf16_too() -> None:
    mask = mask_for(torch.tensor([[[[True, False]]]]))
    low = mask.bfloat16()
    assert low.isfinite().all()
    assert low.softmax(-1).tolist() == [[[[1.0, 0.0]]]]


def test_laid_out_are_one_members_rows_before_the_nexts() -> None:
    # Block, member, row, place.
    ids = [
        torch.tensor([[111, 112], [121, 122]]),
        torch.tensor([[211], [212], [221], [222]]),
    ]
    assert lay_out(ids, 2).tolist() == [111, 112, 211, 212, 121, 122, 221, 222]
    assert lay_out(ids).tolist() == [111, 112, 121, 122, 211, 212, 221, 222]
    assert lay_out(ids[:1], 2).tolist() == ids[0].flatten().tolist()
    vectors = [torch.stack([block, -block], -1) for block in ids]
    assert lay_out(vectors, 2)[:, 1].tolist() == [-i for i in lay_out(ids, 2).tolist()]


def test_a_block_of_one_row() -> None:
    torch.manual_seed(61)
    ids = [torch.full((1, 4), 7), torch.full((1, 1), 7)]
    side = torch.randn(5, 3 * WIDTH, dtype=torch.double, requires_grad=True)
    found = attend_blocks(side, blocks=Blocks.causal(ids), heads=HEADS)
    rows = side[:4], side[4:]
    expected = [attend_alone(own[:, :WIDTH], own[:, WIDTH:], is_causal=True) for own in rows]
    _assert_alike([found[:4], found[4:]], expected, [side])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_the_cpu() -> None:
    torch.manual_seed(59)
    ids, others = ids_of(QUERIES), ids_of(KEYS)
    drawn = random_side(ids, 1), random_side(others, 2), random_side(ids, 3)
    found = []
    for device in ("cpu", "cuda"):
        here, there = ([block.to(device) for block in each] for each in (ids, others))
        crossed = Blocks.of(here, there, masks_of(there), MEMBERS)
        sides = [side.detach().float().to(device).requires_grad_() for side in drawn]
        reads = (
            attend_blocks(*sides[:2], blocks=crossed, heads=HEADS),
            attend_blocks(sides[2], blocks=Blocks.causal(here, MEMBERS), heads=HEADS),
        )
        rows = [torch.cat(sequences_of(read.cpu(), ids)) for read in reads]
        grads = torch.autograd.grad(sum((one**3).sum() for one in rows), sides)
        found.append([*rows, *(grad.cpu() for grad in grads)])
    # TF32 is off by default: only the order of sums differs.
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
