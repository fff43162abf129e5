"""Layers of attention against torch's, step by step, in blocks, and in a lower precision."""

import torch

from core.nn.attention import causal_mask
from core.nn.attention_layers import CrossAttention, SelfAttention
from core.nn.blocks import Blocks, mask_for

B, H, T, S, K = 3, 2, 5, 7, 4


def test_self_attention_equals_torch() -> None:
    ours = SelfAttention(H * K, H, dropout=0.0)
    theirs = torch.nn.MultiheadAttention(H * K, H, batch_first=True)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_()
        theirs.in_proj_weight.copy_(ours.query_key_value.weight)
        theirs.in_proj_bias.copy_(ours.query_key_value.bias)
        theirs.out_proj.weight.copy_(ours.out.weight)
        theirs.out_proj.bias.copy_(ours.out.bias)
    x = torch.randn(B, T, H * K)
    expected, _ = theirs(x, x, x, need_weights=False)
    # Two orders of summing 8 products in fp32.
    torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-5)


def test_steps_equal_the_whole_sequence() -> None:
    layer = SelfAttention(H * K, H, dropout=0.0)
    x = torch.randn(B, T, H * K)
    expected = layer(x, causal_mask(T, x.device))
    cache = torch.zeros(2, B, H, T, K)
    with torch.no_grad():
        steps = [layer.step(x[:, t : t + 1], cache, t) for t in range(T)]
    torch.testing.assert_close(torch.cat(steps, dim=1), expected, rtol=1e-4, atol=1e-6)


def test_dropout_acts_in_training_only() -> None:
    cross = CrossAttention(H * K, H, dropout=0.5)
    ids, others = torch.zeros(B, T), torch.zeros(B, S)
    sides = torch.randn(B * T, H * K), torch.randn(B * S, H * K)
    blocks = Blocks.of([ids], [others], [None])
    first, second = (cross(*sides, blocks) for _ in range(2))
    assert not torch.equal(first, second)
    cross.eval()
    first, second = (cross(*sides, blocks) for _ in range(2))
    assert torch.equal(first, second)


def test_autocast_stays_near_fp32() -> None:
    layer = SelfAttention(H * K, H, dropout=0.0)
    x, seen = torch.randn(B, T, H * K), causal_mask(T, torch.device("cpu"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = layer(x, seen)
    assert low.dtype == torch.bfloat16
    low.float().sum().backward()
    # bf16 keeps 8 bits, and values are about 1.
    torch.testing.assert_close(low.float(), layer(x, seen), rtol=0.05, atol=0.05)


def test_autocast_stays_near_fp32_in_blocks() -> None:
    layer = CrossAttention(H * K, H, dropout=0.0)
    ids, others = ([torch.zeros(1, T), torch.zeros(2, 2)], [torch.zeros(1, S), torch.zeros(2, 3)])
    hidden = torch.ones(2, 1, 1, 3, dtype=torch.bool)
    hidden[1, ..., 1:] = False
    blocks = Blocks.of(ids, others, [None, mask_for(hidden)])
    sides = [
        torch.randn(sum(block.numel() for block in side), H * K, requires_grad=True)
        for side in (ids, others)
    ]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = layer(*sides, blocks)
    assert low.dtype == torch.bfloat16
    high = layer(*sides, blocks)
    torch.testing.assert_close(low.float(), high, rtol=0.05, atol=0.05)
    grads = [torch.autograd.grad(read.float().square().sum(), sides) for read in (low, high)]
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.1)
