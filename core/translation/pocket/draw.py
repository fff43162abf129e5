"""Drawing from a seed, the same on every machine and Python."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from math import sqrt
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """A stream of choices.

    Only `random()` is used of Python's generator: its sequence is promised never to change, unlike
    what `choice` and `randrange` make of it.
    """

    def __init__(self, seed: int) -> None:
        self._uniform = random.Random(seed).random  # noqa: S311 - sentences, not secrets

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._uniform() < probability

    def below(self, bound: int) -> int:
        """A whole number in [0, bound)."""
        return int(self._uniform() * bound)

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, each as likely."""
        return options[int(self._uniform() * len(options))]

    def word(self, options: Sequence[T]) -> T:
        """One of the options, the first ones more often: words have frequencies like that.

        With words equally frequent, a small model needs half as many updates again to score.
        """
        uniform = self._uniform()
        # The power 2.5, without `pow`, whose last bit differs between machines.
        return options[int(uniform * uniform * sqrt(uniform) * len(options))]

    def weighted(self, options: Sequence[tuple[float, T]]) -> T:
        """One of the options, by its weight."""
        total = list(accumulate(weight for weight, _ in options))
        return options[bisect(total, self._uniform() * total[-1])][1]
