"""K models of one structure as one: their weights are rows of one storage, a step is one step.

Legend: K members, P floats of a member's parameters (`core.flat`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from core.nn.stacked import stack_layers
from core.optimizer import StageOptimizer, Update


class Stack:
    """Members' models as one, and their optimizers, each of which works on its own row.

    A member's own model shares its weights with the stack: what trains one trains the other.
    """

    def __init__(self, model: nn.Module, optimizers: Sequence[StageOptimizer]) -> None:
        """From any member's `model` and the flat optimizers of all, which move to new storage.

        Raises: TypeError if the model has layers that cannot be stacked.
        """
        flats = [optimizer.flat for optimizer in optimizers if optimizer.flat is not None]
        assert len(flats) == len(optimizers) > 0, "the parameters of members are flat"
        first = flats[0]
        weights = first.gradient.new_empty(len(flats), first.size)
        gradients = torch.empty_like(weights)
        for flat, row, gradient in zip(flats, weights, gradients, strict=True):
            flat.move(row, gradient)
        stacked, self._gradients = {}, []
        for name, (offset, shape) in first.locate().items():
            part, full = slice(offset, offset + shape.numel()), (len(flats), *shape)
            stacked[name] = nn.Parameter(weights[:, part].view(full))
            self._gradients.append(gradients[:, part].view(full))
        self._weights = list(stacked.values())
        self._optimizers = optimizers
        self.model = stack_layers(model, stacked)
        """The members' models as one."""

    def update(self, losses: Sequence[Tensor]) -> list[Update]:
        """A step of every member down the gradient of its own loss, by one backward pass."""
        scaled = [
            optimizer.scale(loss) for optimizer, loss in zip(self._optimizers, losses, strict=True)
        ]
        # Not by `backward`, which warns of gradients that, as rows, are not dense.
        found = torch.autograd.grad(torch.stack(scaled).sum(), self._weights)
        torch._foreach_copy_(self._gradients, found)
        return [optimizer.step() for optimizer in self._optimizers]
