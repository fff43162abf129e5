"""Batches of sentence pairs of like length, a pure function of the step.

Shapes: B pairs in the batch, S source and T target positions, both of the longest in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from core.settings import derive_seed
from core.translation.special import BOS_ID, EOS_ID, PAD_ID
from core.translation.tokens import TokenRows

Ints = NDArray[np.int32]

_POOL_BATCHES = 64
"""Batches whose pairs are sorted by length together. Sorting a whole corpus would give each batch
the same company in every epoch."""


@dataclass(frozen=True)
class Batch:
    """Sentence pairs as int64 tensors, filled up with `PAD_ID`."""

    src: torch.Tensor
    """[B, S], each row ended by `EOS_ID`."""
    tgt_in: torch.Tensor
    """[B, T], what the decoder is given: `BOS_ID` and the target."""
    labels: torch.Tensor
    """[B, T], what it is to say: the target and `EOS_ID`."""

    def to(self, device: torch.device) -> Batch:
        """The batch on `device`."""
        return Batch(
            self.src.to(device, non_blocking=True),
            self.tgt_in.to(device, non_blocking=True),
            self.labels.to(device, non_blocking=True),
        )


def stack_batches(batches: Sequence[Batch]) -> Batch:
    """Batches as one, the first one's rows before the second's, all as many and as long.

    A row that only fills up says `EOS_ID` to an encoder that would else have nothing to attend to.
    """
    rows = max(len(batch.src) for batch in batches)

    def join(parts: Sequence[torch.Tensor], filler: int) -> torch.Tensor:
        length = max(part.size(1) for part in parts)
        joined = parts[0].new_full((len(parts), rows, length), PAD_ID)
        joined[:, :, 0] = filler
        for whole, part in zip(joined, parts, strict=True):
            whole[: len(part), : part.size(1)] = part
        return joined.flatten(0, 1)

    return Batch(
        join([batch.src for batch in batches], EOS_ID),
        join([batch.tgt_in for batch in batches], BOS_ID),
        join([batch.labels for batch in batches], PAD_ID),
    )


class BatchPlan:
    """The order in which pairs are trained on: every epoch each pair once, shuffled anew."""

    def __init__(
        self,
        src: TokenRows,
        tgt: TokenRows,
        *,
        batch_size: int,
        max_len: int,
        seed: int,
    ) -> None:
        """From token ids without specials; sequences are cut to `max_len`, `<eos>` included."""
        assert len(src) == len(tgt)
        assert len(src) > 0
        self._src, self._tgt = src, tgt
        lengths = src.lengths(), tgt.lengths()
        self._src_lengths, self._tgt_lengths = (np.minimum(one + 1, max_len) for one in lengths)
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = -1
        self._batches: list[NDArray[np.int64]] = []
        self.truncated = int((np.maximum(*lengths) >= max_len).sum())
        """Pairs of which a side was cut."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches in which every pair comes once."""
        return -(-len(self._src) // self._batch_size)

    def batch(self, step: int) -> Batch:
        """The batch of update `step`, 0-based."""
        rows = self.rows(step)
        src = _framed(self._src, rows, self._src_lengths[rows])
        labels = _framed(self._tgt, rows, self._tgt_lengths[rows])
        tgt_in = np.full_like(labels, BOS_ID)
        tgt_in[:, 1:] = labels[:, :-1]
        tgt_in[tgt_in == EOS_ID] = PAD_ID
        return Batch(
            *(torch.from_numpy(array.astype(np.int64)) for array in (src, tgt_in, labels))
        )

    def rows(self, step: int) -> NDArray[np.int64]:
        """Indices of the pairs of update `step`."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._plan_epoch(epoch)
        return self._batches[index]

    def padding(self, epoch: int = 0) -> float:
        """Share of an epoch's positions, source and target, that only fill up rows."""
        positions = 0
        for rows in self._plan_epoch(epoch):
            longest = self._src_lengths[rows].max() + self._tgt_lengths[rows].max()
            positions += len(rows) * int(longest)
        return 1 - int(self._src_lengths.sum() + self._tgt_lengths.sum()) / positions

    def _plan_epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        # RandomState's numbers are promised never to change; default_rng's are not.
        draw = np.random.RandomState(derive_seed(self._seed, "epoch", epoch))
        order = draw.permutation(len(self._src))
        pool = _POOL_BATCHES * self._batch_size
        for start in range(0, len(order), pool):
            part = order[start : start + pool]
            src, tgt = self._src_lengths[part], self._tgt_lengths[part]
            # By the longer side, then by which side that is: 7 percent padding on Multi30k and on
            # TED talks, where source before target leaves 12 and 20.
            order[start : start + pool] = part[np.lexsort((src - tgt, np.maximum(src, tgt)))]
        # The one batch that may be smaller stands at a random place, or it would always hold the
        # longest sentences.
        rest = len(order) % self._batch_size
        cuts = np.arange(self._batch_size, len(order), self._batch_size)
        if rest:
            small = draw.randint(0, self.steps_per_epoch)
            cuts = np.where(np.arange(len(cuts)) >= small, cuts - self._batch_size + rest, cuts)
        batches = np.split(order, cuts)
        return [batches[index] for index in draw.permutation(len(batches))]


def _framed(sentences: TokenRows, rows: NDArray[np.int64], lengths: Ints) -> Ints:
    """[rows, longest], each cut or filled up so that its `<eos>` is the last of its length."""
    found = sentences.take(rows, int(lengths.max()), PAD_ID)
    found[np.arange(len(rows)), lengths - 1] = EOS_ID
    found[np.arange(found.shape[1]) >= lengths[:, None]] = PAD_ID
    return found
