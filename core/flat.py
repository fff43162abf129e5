"""A model's parameters as few long tensors, for kernels whose cost is in being called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Named = Sequence[tuple[str, nn.Parameter]]

_ALIGNMENT = 16  # floats in 64 bytes: where torch would have placed each tensor by itself


@dataclass(frozen=True)
class Leaf:
    """A tensor to optimize, and the named parameters that lie in it one after the other."""

    tensor: nn.Parameter
    parts: tuple[tuple[str, int, torch.Size], ...]
    """(name, offset, shape)."""

    def split(self, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Views of a tensor of this leaf's shape, such as a moment, by parameter name."""
        flat = tensor.view(-1)
        for name, offset, shape in self.parts:
            yield name, flat[offset : offset + shape.numel()].view(shape)


def separate(named: Named) -> list[Leaf]:
    """A leaf for each parameter, which stays where it is."""
    return [Leaf(parameter, ((name, 0, parameter.shape),)) for name, parameter in named]


def flatten(groups: Sequence[Named]) -> tuple[list[Leaf], Tensor]:
    """(a leaf for each group, all their gradients as one tensor).

    The parameters become views of their leaf and their gradients views of the one tensor, to which
    backward passes add: it is for the caller to zero. A parameter that took no part in a loss so
    has gradient 0. Gaps between parameters hold zeros and stay so.
    """
    layouts = [_lay_out(named) for named in groups]
    total = sum(length for _, length in layouts)
    first = groups[0][0][1]
    weights = torch.zeros(total, dtype=first.dtype, device=first.device)
    gradient = torch.zeros_like(weights)
    leaves, start = [], 0
    for named, (parts, length) in zip(groups, layouts, strict=True):
        leaf = Leaf(nn.Parameter(weights[start : start + length]), parts)
        leaf.tensor.grad = gradient[start : start + length]
        views = zip(leaf.split(leaf.tensor.data), leaf.split(leaf.tensor.grad), strict=True)
        for (_, parameter), ((_, own), (_, own_gradient)) in zip(named, views, strict=True):
            assert parameter.dtype == first.dtype, "all weights are of one type"
            own.copy_(parameter.data)
            parameter.data, parameter.grad = own, own_gradient
        leaves.append(leaf)
        start += length
    return leaves, gradient


def _lay_out(named: Named) -> tuple[tuple[tuple[str, int, torch.Size], ...], int]:
    """(name, offset and shape of each parameter, length of all)."""
    parts, end = [], 0
    for name, parameter in named:
        parts.append((name, end, parameter.shape))
        end += -(-parameter.numel() // _ALIGNMENT) * _ALIGNMENT
    return tuple(parts), end
