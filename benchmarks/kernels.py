"""Milliseconds of core.nn's own kernels against torch's, forward and backward, on the CPU.

    python -m benchmarks.kernels --d-model 128 --vocab 8000 --batch 128 --length 15

The rivals take turns and the quickest of their runs count, so that a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from core.nn import Dropout, token_cross_entropy
from core.nn.attention import attend, merge_heads, split_heads

_ROUNDS = 15


def compare(title: str, rivals: Mapping[str, Callable[[], Tensor]], inputs: list[Tensor]) -> None:
    """Prints the best time of each rival; `inputs` are what gradients are taken of."""
    best = dict.fromkeys(rivals, float("inf"))
    for _ in range(_ROUNDS):
        for name, forward in rivals.items():
            for tensor in inputs:
                tensor.grad = None
            start = time.thread_time()
            result = forward()
            result.backward(torch.ones_like(result))  # type: ignore[no-untyped-call]
            best[name] = min(best[name], time.thread_time() - start)
    times = ", ".join(f"{name} {seconds * 1e3:.2f} ms" for name, seconds in best.items())
    print(f"{title}: {times}")


def compare_attention(args: argparse.Namespace) -> None:
    """Self-attention's read-out with padding, and dropout 0.1."""
    width, heads = args.d_model, args.heads
    packed = torch.randn(args.batch, args.length, 3 * width, requires_grad=True)
    attend_mask = torch.ones(args.batch, 1, 1, args.length, dtype=torch.bool)
    attend_mask[::2, ..., -1] = False

    def ours() -> Tensor:
        group = split_heads(packed, heads, 3)
        return merge_heads(attend(group, attend_mask=attend_mask, dropout=0.1))

    def sdpa() -> Tensor:
        query, key, value = split_heads(packed, heads, 3).unbind(0)
        return merge_heads(
            F.scaled_dot_product_attention(query, key, value, attend_mask, dropout_p=0.1)
        )

    def by_autograd() -> Tensor:
        query, key, value = split_heads(packed, heads, 3).unbind(0)
        scores = query @ key.transpose(-1, -2) * query.size(-1) ** -0.5
        weights = scores.masked_fill(~attend_mask, -torch.inf).softmax(-1)
        return merge_heads(F.dropout(weights, 0.1) @ value)

    rivals = {"core.nn": ours, "SDPA": sdpa, "matmuls and autograd": by_autograd}
    compare("attention", rivals, [packed])


def compare_output_layer(args: argparse.Namespace) -> None:
    """Tied projection and cross entropy with label smoothing, no padding."""
    states = torch.randn(args.batch, args.length, args.d_model, requires_grad=True)
    weight = (0.02 * torch.randn(args.vocab, args.d_model)).requires_grad_()
    labels = torch.randint(2, args.vocab, (args.batch, args.length))

    def ours() -> Tensor:
        return token_cross_entropy(states, weight, labels, ignore_id=1, label_smoothing=0.1)

    def by_torch() -> Tensor:
        logits = F.linear(states, weight).flatten(0, 1)
        flat = labels.flatten()
        return F.cross_entropy(logits, flat, ignore_index=1, label_smoothing=0.1)

    compare("output layer", {"core.nn": ours, "F.cross_entropy": by_torch}, [states, weight])


def compare_dropout(args: argparse.Namespace) -> None:
    """A residual sum with dropout 0.1."""
    residual, x = torch.randn(2, args.batch, args.length, args.d_model).unbind(0)
    x.requires_grad_()
    dropout = Dropout(0.1)
    rivals = {
        "core.nn": lambda: dropout.add(residual, x),
        "F.dropout": lambda: residual + F.dropout(x, 0.1),
    }
    compare("residual with dropout", rivals, [x])


def main() -> None:
    """Measures and prints a line for each kernel."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--d-model", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--vocab", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--length", type=int, default=15)
    args = parser.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(1)
    compare_attention(args)
    compare_output_layer(args)
    compare_dropout(args)


if __name__ == "__main__":
    main()
