"""Token ids of many sentences as two flat arrays, mapped from files: read where looked at.

A corpus of any size so takes no memory of a worker but pages that the system may take back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from core.atomic import replace_file

_IDS, _ENDS = ".ids.npy", ".ends.npy"


@dataclass(frozen=True)
class TokenRows:
    """Sentences as token ids without specials, one behind the other."""

    ids: NDArray[Any]
    """[tokens], of the smallest type that holds them."""
    ends: NDArray[np.int64]
    """[sentences], where each ends in `ids`."""

    @classmethod
    def of(cls, sentences: Sequence[Sequence[int]]) -> Self:
        """From lists of ids."""
        ids = np.fromiter(chain.from_iterable(sentences), np.int32)
        small = ids.astype(np.uint16) if not len(ids) or ids.max() < 2**16 else ids
        lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
        return cls(small, np.cumsum(lengths))

    @classmethod
    def joined(cls, parts: Iterable[Self]) -> Self:
        """The sentences of all parts, one part behind the other; at least one part."""
        ids, lengths = zip(*((part.ids, part.lengths()) for part in parts), strict=True)
        return cls(np.concatenate(ids), np.cumsum(np.concatenate(lengths), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def lengths(self) -> NDArray[np.int32]:
        """[sentences], tokens of each."""
        return np.diff(self.ends, prepend=0).astype(np.int32)

    def take(self, rows: NDArray[np.int64], length: int, fill: int) -> NDArray[np.int32]:
        """[rows, length], the sentences of `rows` cut to `length` or filled up with `fill`."""
        ends = self.ends[rows]
        starts = np.where(rows > 0, self.ends[rows - 1], 0)
        places = starts[:, None] + np.arange(length)
        is_own = places < ends[:, None]
        found = np.full(places.shape, fill, np.int32)
        found[is_own] = self.ids[places[is_own]]
        return found

    def write(self, path: Path) -> tuple[Path, Path]:
        """Puts the rows in place of two files whose names begin as `path`; returns them."""
        files = path.with_name(path.name + _IDS), path.with_name(path.name + _ENDS)
        for file, array in zip(files, (self.ids, self.ends), strict=True):
            replace_file(file, partial(_save, array))
        return files

    @classmethod
    def open(cls, path: Path) -> Self:
        """What `write` put there, mapped.

        Raises: OSError if it is not there, ValueError if it is no such file.
        """
        ids, ends = (
            np.load(path.with_name(path.name + suffix), mmap_mode="r") for suffix in (_IDS, _ENDS)
        )
        return cls(ids, ends)


def _save(array: NDArray[Any], path: Path) -> None:
    with path.open("wb") as file:  # by its name numpy would add a suffix
        np.save(file, array)
