"""Layers of K models at once, whose weights have a leading dimension K.

They take the rows of all members in one batch, the first member's before the second's and so on,
as many of each. What has no weights and works row by row (positions, residual sums) need not know
of it.

Legend: K members, N rows of a member, I and O widths, V vocabulary, D d_model.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def stack_layers(model: nn.Module, stacked: Mapping[str, nn.Parameter]) -> nn.Module:
    """A copy of `model` with weights [K, ...] in place of its own, by name.

    Raises: TypeError if a weight is frozen, or a layer that has weights or persistent buffers is
        of no kind known here.
    """
    names = dict(model.named_parameters())
    if frozen := names.keys() - stacked.keys():
        raise TypeError(f"{sorted(frozen)} are not trained, which cannot be stacked")
    # In the copy's memo, so that no weights are copied.
    found = copy.deepcopy(model, {id(weight): stacked[name] for name, weight in names.items()})
    for name, layer in list(found.named_modules()):
        own = [*layer.parameters(recurse=False), *_persistent(layer)]
        if own:
            build = _STACKED.get(type(layer))
            if build is None:
                raise TypeError(f"{name} is a {type(layer).__name__}, which cannot be stacked")
            parent, _, attribute = name.rpartition(".")
            setattr(found.get_submodule(parent), attribute, build(layer))
    return found


def _persistent(layer: nn.Module) -> list[Tensor]:
    return [
        buffer
        for name, buffer in layer.named_buffers(recurse=False)
        if name not in layer._non_persistent_buffers_set
    ]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b, each member's rows by its own weights where these are stacked.

    Shapes: x [..., I]; weight [O, I] and bias [O], or [K, O, I] and [K, O]; returns [..., O].
    """
    if weight.ndim == 2:
        return F.linear(x, weight, bias)
    rows = x.reshape(len(weight), -1, x.size(-1))
    if bias is None:
        out = torch.bmm(rows, weight.mT)
    else:
        out = torch.baddbmm(bias[:, None], rows, weight.mT)
    # Not marked as a view, for what changes a view in place is copied by autograd.
    found: Tensor = torch.ops.aten._unsafe_view(out, (*x.shape[:-1], out.size(-1)))
    return found


class StackedLinear(nn.Module):
    """`nn.Linear` of K members."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """[K * N, ..., I] -> [K * N, ..., O]."""
        return linear(x, self.weight, self.bias)


class StackedLayerNorm(nn.Module):
    """`nn.LayerNorm` of K members, over the last dimension."""

    def __init__(self, layer: nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = layer.weight, layer.bias, layer.eps

    def forward(self, x: Tensor) -> Tensor:
        """[K * N, ..., D] -> the same."""
        even = F.layer_norm(x, x.shape[-1:], eps=self.eps)
        rows = even.view(len(self.weight), -1, x.size(-1))
        return torch.addcmul(self.bias[:, None], rows, self.weight[:, None]).view_as(x).to(even)


class StackedEmbedding(nn.Module):
    """`nn.Embedding` of K members."""

    def __init__(self, layer: nn.Embedding) -> None:
        super().__init__()
        assert layer.max_norm is None and not layer.scale_grad_by_freq, "not a plain table"
        self.weight, self.padding_idx = layer.weight, layer.padding_idx

    def forward(self, ids: Tensor) -> Tensor:
        """Ids [K * N, ...] -> vectors [K * N, ..., D]."""
        apply = _Lookup.apply
        found: Tensor = apply(self.weight, ids, self.padding_idx)  # type: ignore[no-untyped-call]
        return found


class _Lookup(torch.autograd.Function):
    """Rows of stacked tables. Indexing's own gradient is slower, a flat copy of them larger."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, padding_idx: int | None) -> Tensor:
        members, vocab, width = weight.shape
        by_member = ids.reshape(members, -1)
        member = torch.arange(members, device=ids.device)[:, None]
        ctx.save_for_backward(by_member + member * vocab)
        ctx.shape, ctx.padding_idx = weight.shape, padding_idx
        return weight[member, by_member].view(*ids.shape, width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (rows,) = ctx.saved_tensors
        members, vocab, width = ctx.shape
        padding = -1
        if ctx.padding_idx is not None:
            # The kernel passes over one row: the first member's stands for all of them.
            padding = ctx.padding_idx
            rows = rows.masked_fill(rows % vocab == padding, padding)
        table = torch.ops.aten.embedding_dense_backward(
            grad.reshape(-1, width), rows.flatten(), members * vocab, padding, False
        )
        return table.view(members, vocab, width), None, None


_STACKED = {
    nn.Linear: StackedLinear,
    nn.LayerNorm: StackedLayerNorm,
    nn.Embedding: StackedEmbedding,
}
