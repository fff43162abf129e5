"""Batches of random sentence pairs, in blocks of like length, a pure function of the step.

Legend: B pairs in a block, S source and T target positions, both of the longest in the block.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import torch
from numpy.typing import NDArray

from core.kernels import move
from core.settings import derive_seed
from core.translation.special import BOS_ID, EOS_ID, PAD_ID
from core.translation.tokens import TokenRows

Ints = NDArray[np.int32]
IdBlocks = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Batch:
    """Sentence pairs as int64 tensors, block by block, each filled up with `PAD_ID`."""

    src: IdBlocks
    """[B, S] each, rows ended by `EOS_ID`."""
    tgt_in: IdBlocks
    """[B, T] each, what the decoder is given: `BOS_ID` and the target."""
    labels: IdBlocks
    """[B, T] each, what it is to say: the target and `EOS_ID`."""

    def to(self, device: torch.device) -> Batch:
        """The batch on `device`."""

        src, tgt_in, labels = (
            tuple(move(block, device) for block in blocks)
            for blocks in (self.src, self.tgt_in, self.labels)
        )
        return Batch(src, tgt_in, labels)


def stack_batches(batches: Sequence[Batch]) -> Batch:
    """Batches as one: in each block the first one's rows before the second's, as many and as long.

    Members of a stack may be at different places of their epochs, of which one has fewer pairs. A
    row that only fills up says `EOS_ID` to an encoder that would else have nothing to attend to.
    """

    def join(sides: Iterable[IdBlocks], filler: int) -> IdBlocks:
        nothing = torch.empty(0, 1, dtype=torch.int64)
        return tuple(_fill_up(parts, filler) for parts in zip_longest(*sides, fillvalue=nothing))

    return Batch(
        join((batch.src for batch in batches), EOS_ID),
        join((batch.tgt_in for batch in batches), BOS_ID),
        join((batch.labels for batch in batches), PAD_ID),
    )


def _fill_up(parts: Sequence[torch.Tensor], filler: int) -> torch.Tensor:
    """[B, T] each -> [K * B, T] of the largest B and T; rows of their own begin with `filler`."""
    rows, length = (max(part.size(dim) for part in parts) for dim in (0, 1))
    joined = torch.full((len(parts), rows, length), PAD_ID)
    joined[:, :, 0] = filler
    for whole, part in zip(joined, parts, strict=True):
        whole[: len(part), : part.size(1)] = part
    return joined.flatten(0, 1)


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
        block_rows: int,
    ) -> None:
        """From token ids without specials; sequences are cut to `max_len`, `<eos>` included.

        `block_rows` pairs stand in each block of a batch, in its last one those that are left.
        """
        assert len(src) == len(tgt)
        assert len(src) > 0
        self._src, self._tgt = src, tgt
        lengths = src.lengths(), tgt.lengths()
        self._src_lengths, self._tgt_lengths = (np.minimum(one + 1, max_len) for one in lengths)
        self._batch_size = batch_size
        self._block_rows = block_rows
        self._seed = seed
        self._epoch = -1
        self._order = np.empty(0, np.int64)
        self.truncated = int((np.maximum(*lengths) >= max_len).sum())
        """Pairs of which a side was cut."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches in which every pair comes once."""
        return -(-len(self._src) // self._batch_size)

    def batch(self, step: int) -> Batch:
        """The batch of update `step`, 0-based."""
        blocks = [self._frame(rows) for rows in self._blocks(self.rows(step))]
        src, tgt_in, labels = zip(*blocks, strict=True)
        return Batch(src, tgt_in, labels)

    def rows(self, step: int) -> NDArray[np.int64]:
        """Indices of the pairs of update `step`, those of like length beside one another."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            # RandomState's numbers are promised never to change; default_rng's are not.
            draw = np.random.RandomState(derive_seed(self._seed, "epoch", epoch))
            self._epoch, self._order = epoch, draw.permutation(len(self._src))
        rows = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        src, tgt = self._src_lengths[rows], self._tgt_lengths[rows]
        # By the longer side, then by which side that is: source before target leaves more padding.
        return rows[np.lexsort((src - tgt, np.maximum(src, tgt)))]

    def padding(self, epoch: int = 0) -> float:
        """Share of an epoch's positions, source and target, that only fill up rows."""
        positions = 0
        first = epoch * self.steps_per_epoch
        for step in range(first, first + self.steps_per_epoch):
            for rows in self._blocks(self.rows(step)):
                longest = self._src_lengths[rows].max() + self._tgt_lengths[rows].max()
                positions += len(rows) * int(longest)
        return 1 - int(self._src_lengths.sum() + self._tgt_lengths.sum()) / positions

    def _blocks(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        return np.split(rows, range(self._block_rows, len(rows), self._block_rows))

    def _frame(self, rows: NDArray[np.int64]) -> tuple[torch.Tensor, ...]:
        src = _framed(self._src, rows, self._src_lengths[rows])
        labels = _framed(self._tgt, rows, self._tgt_lengths[rows])
        tgt_in = np.full_like(labels, BOS_ID)
        tgt_in[:, 1:] = labels[:, :-1]
        tgt_in[tgt_in == EOS_ID] = PAD_ID
        return tuple(torch.from_numpy(array.astype(np.int64)) for array in (src, tgt_in, labels))


def _framed(sentences: TokenRows, rows: NDArray[np.int64], lengths: Ints) -> Ints:
    """[rows, longest], each cut or filled up so that its `<eos>` is the last of its length."""
    found = sentences.take(rows, int(lengths.max()), PAD_ID)
    found[np.arange(len(rows)), lengths - 1] = EOS_ID
    found[np.arange(found.shape[1]) >= lengths[:, None]] = PAD_ID
    return found
