"""Numbers and values as people read them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from core.task import Metric
from hpo.records import StudyRecord

MISSING = "–"


@dataclass(frozen=True)
class ScoreFormat:
    """Writes scores of one metric, all with the same number of decimals."""

    metric: Metric
    decimals: int

    @classmethod
    def of(cls, record: StudyRecord) -> Self:
        """Enough decimals for about four digits of the study's largest score."""
        read = (run.value for reading in record.readings for run in reading.runs)
        scores = [*(t.value for t in record.trials), *read]
        return cls(record.metric, decimals_for(scores))

    def number(self, value: float | None) -> str:
        """The score without its unit."""
        return f"{value:.{self.decimals}f}" if is_finite(value) else MISSING

    def text(self, value: float | None) -> str:
        """The score with its unit, where there is one."""
        return f"{self.number(value)} {self.metric.unit}".rstrip()

    def named(self, value: float | None) -> str:
        """The score with the metric's name: `30.31 BLEU`, `NMSE -38.20 dB`."""
        if self.metric.unit:
            return f"{self.metric.name} {self.text(value)}"
        return f"{self.number(value)} {self.metric.name}"

    def difference(self, one: float, other: float) -> str:
        """`one` less `other`, both as they are shown, so that a reader's subtraction agrees."""
        shown = round(one, self.decimals) - round(other, self.decimals)
        return self.text(shown)

    def gap(self, one: float, other: float) -> str:
        """How far the two lie apart, as they are shown, with the name of what is counted:
        `3.10 BLEU`, `0.42 dB`."""
        apart = self.difference(max(one, other), min(one, other))
        return apart if self.metric.unit else f"{apart} {self.metric.name}"

    @property
    def axis(self) -> str:
        """Title of an axis of scores, saying which way is better."""
        better = "higher" if self.metric.direction == "maximize" else "lower"
        unit = f"{self.metric.unit}, " if self.metric.unit else ""
        return f"{self.metric.name} ({unit}{better} is better)"


def is_finite(value: float | None) -> bool:
    """Whether there is a number, neither NaN nor infinite."""
    return value is not None and math.isfinite(value)


def decimals_for(scores: Iterable[float | None]) -> int:
    """Decimals that leave about four digits in the largest of `scores`."""
    known = [abs(score) for score in scores if score is not None and math.isfinite(score)]
    largest = max(known, default=0.0)
    if largest >= 10:
        return 2
    return 3 if largest >= 1 else 4


def value_text(value: Any) -> str:
    """A parameter's or setting's value: four digits of a float, a dash for None."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        # `3e-5` rather than Python's `3e-05`.
        return re.sub(r"e([+-])0+", r"e\1", f"{value:.4g}")
    if isinstance(value, list | tuple):
        return ", ".join(value_text(item) for item in value) or MISSING
    return str(value)


def rate_text(rate: float) -> str:
    """A learning rate to two digits: `3e-4`, `1.5e-3`, `0.05`."""
    mantissa, _, exponent = f"{rate:.1e}".partition("e")
    if -3 < int(exponent) < 3:
        return f"{rate:.2g}"
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def duration(seconds: float | None) -> str:
    """`4.2 s`, `48 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def count(number: int, noun: str) -> str:
    """`1 trial`, `7 trials`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def percent(share: float) -> str:
    """A share of one as a whole percentage."""
    return f"{100 * share:.0f} %"
