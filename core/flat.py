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


class Flat:
    """The parameters of groups, a leaf for each group, and all their gradients as one tensor.

    The parameters are views of their leaf and their gradients views of the one tensor, to which
    backward passes add: it is for the caller to zero. A parameter that took no part in a loss so
    has gradient 0. Gaps between parameters hold zeros and stay so.
    """

    def __init__(self, groups: Sequence[Named]) -> None:
        layouts = [_lay_out(named) for named in groups]
        self._groups = groups
        self.size = sum(length for _, length in layouts)
        """Floats of all leaves, one after the other."""
        first = groups[0][0][1]
        weights = torch.zeros(self.size, dtype=first.dtype, device=first.device)
        self.leaves: list[Leaf] = []
        start = 0
        for named, (parts, length) in zip(groups, layouts, strict=True):
            leaf = Leaf(nn.Parameter(weights[start : start + length]), parts)
            for (_, parameter), (_, own) in zip(named, leaf.split(leaf.tensor.data), strict=True):
                assert parameter.dtype == first.dtype, "all weights are of one type"
                own.copy_(parameter.data)
            self.leaves.append(leaf)
            start += length
        self._bind(weights, torch.zeros_like(weights))

    def move(self, weights: Tensor, gradient: Tensor) -> None:
        """Moves all to `weights` and `gradient`, both [size]: what refers to a leaf goes on."""
        weights.copy_(torch.cat([leaf.tensor.data for leaf in self.leaves]))
        gradient.copy_(self.gradient)
        self._bind(weights, gradient)

    def locate(self) -> dict[str, tuple[int, torch.Size]]:
        """(offset, shape) of each parameter, by name."""
        places, start = {}, 0
        for leaf in self.leaves:
            for name, offset, shape in leaf.parts:
                places[name] = start + offset, shape
            start += leaf.tensor.numel()
        return places

    def _bind(self, weights: Tensor, gradient: Tensor) -> None:
        self.gradient, start = gradient, 0
        for leaf, named in zip(self.leaves, self._groups, strict=True):
            part = slice(start, start + leaf.tensor.numel())
            leaf.tensor.data, leaf.tensor.grad = weights[part], gradient[part]
            views = zip(leaf.split(weights[part]), leaf.split(gradient[part]), strict=True)
            for (_, parameter), ((_, own), (_, own_gradient)) in zip(named, views, strict=True):
                parameter.data, parameter.grad = own, own_gradient
            start = part.stop


def _lay_out(named: Named) -> tuple[tuple[tuple[str, int, torch.Size], ...], int]:
    """(name, offset and shape of each parameter, length of all)."""
    parts, end = [], 0
    for name, parameter in named:
        parts.append((name, end, parameter.shape))
        end += -(-parameter.numel() // _ALIGNMENT) * _ALIGNMENT
    return tuple(parts), end
