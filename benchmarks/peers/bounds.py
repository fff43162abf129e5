"""What is promised of each comparison, and the table that says where it is kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Bound:
    """A ratio of ours to a contestant's, or a share."""

    quantity: str
    at_least: float
    aim: float

    @property
    def less_is_better(self) -> bool:
        """Whether the ratio is one of memory."""
        return self.aim < self.at_least

    def judge(self, ratio: float) -> str:
        """In a word or two whether `ratio` keeps it."""
        sign = -1 if self.less_is_better else 1
        if sign * ratio >= sign * self.aim:
            return "aim met"
        return "met" if sign * ratio >= sign * self.at_least else "missed"


def print_bounds(title: str, measured: Iterable[tuple[Bound, float | None]]) -> None:
    """A line for each bound: the ratio, what it is to be at least, the aim, whether it is met.

    `None` stands for a ratio that could not be had or compares nothing.
    """
    print(f"\n{title:<62} {'measured':>9} {'at least':>9} {'aim':>6}")
    for bound, ratio in measured:
        found, verdict = ("-", "void") if ratio is None else (f"{ratio:.2f}", bound.judge(ratio))
        print(f"{bound.quantity:<62} {found:>9} {bound.at_least:>9g} {bound.aim:>6g}  {verdict}")
