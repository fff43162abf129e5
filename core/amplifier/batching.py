"""Batches of frames of a recording, a pure function of the step.

Shapes: B frames in a batch, T samples in a frame; I and Q of each sample.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.amplifier.recording import Complex, Recording
from core.settings import derive_seed


class Batch(NamedTuple):
    """Frames of input and what came of them."""

    x: Tensor
    """[B, T, 2]."""
    y: Tensor
    """[B, T, 2]."""


def as_tensor(signal: Complex) -> Tensor:
    """[N] complex -> [N, 2], fp32."""
    return torch.from_numpy(np.stack([signal.real, signal.imag], 1).astype(np.float32))


class FramePlan:
    """The order in which frames are trained on: every epoch each frame once, shuffled anew.

    The last batch of an epoch may be smaller.
    """

    def __init__(
        self, recording: Recording, *, length: int, stride: int, batch_size: int, seed: int
    ) -> None:
        assert len(recording) >= length
        sides = torch.cat([as_tensor(recording.input), as_tensor(recording.output)], 1)
        self._frames = sides.unfold(0, length, stride)
        """[frames, 4, T], a view."""
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    @property
    def frames(self) -> int:
        """How many there are."""
        return len(self._frames)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in which every frame comes once."""
        return -(-self.frames // self._batch_size)

    def batch(self, step: int) -> Batch:
        """The batch of update `step`, 0-based."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            # RandomState's numbers are promised never to change; default_rng's are not.
            draw = np.random.RandomState(derive_seed(self._seed, "epoch", epoch))
            self._epoch, self._order = epoch, torch.from_numpy(draw.permutation(self.frames))
        start = index * self._batch_size
        frames = self._frames[self._order[start : start + self._batch_size]].transpose(1, 2)
        return Batch(frames[..., :2], frames[..., 2:])
