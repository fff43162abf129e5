"""Batches of like length: what saves most padding where a batch is not cut into blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.translation.batching import BatchPlan

_SORTED_TOGETHER = 64


class LikeLengths(BatchPlan):
    """Batches of like length: pairs are drawn for many batches at a time, and sorted."""

    def rows(self, step: int) -> NDArray[np.int64]:
        pool, place = divmod(step, _SORTED_TOGETHER)
        drawn = np.concatenate(
            [
                super(LikeLengths, self).rows(pool * _SORTED_TOGETHER + i)
                for i in range(_SORTED_TOGETHER)
            ]
        )
        longest = np.maximum(self._src_lengths[drawn], self._tgt_lengths[drawn])
        order = drawn[np.argsort(longest, kind="stable")]
        batches = np.array_split(order, _SORTED_TOGETHER)
        return batches[np.random.RandomState(pool).permutation(_SORTED_TOGETHER)[place]]
