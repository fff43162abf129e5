"""What a few repeats can tell: means with t-intervals, and differences paired by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from core.task import Metric

CONFIDENCE = 0.95
BEHIND_AT = 0.1
"""One-sided level below which paired differences call a configuration clearly behind.

With two seeds that takes a mean difference of twice the differences' spread, with three of just
above it."""
SENTENCES_AT = 0.05
"""Two-sided level below which the bootstrap over sentences tells two runs apart."""

Values = Mapping[int, float]
"""Fresh seed -> score of one configuration."""


@dataclass(frozen=True)
class Interval:
    """A mean and how far the true one may be from it."""

    mean: float
    half_width: float | None
    """Of the 95 percent t-interval; `None` for a single value, which tells no spread."""
    n: int


def interval(values: Sequence[float]) -> Interval:
    """Mean and t-interval of at least one finite value."""
    n = len(values)
    if n < 2:
        return Interval(fmean(values), None, n)
    from scipy.special import stdtrit  # half of what `hpo show` would load; few studies need it

    quantile = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2))
    return Interval(fmean(values), quantile * stdev(values) / math.sqrt(n), n)


def lead(one: Values, other: Values, metric: Metric) -> list[float]:
    """By how much `one` is better than `other` on each seed that both have."""
    sign = 1.0 if metric.direction == "maximize" else -1.0
    return [sign * (one[seed] - other[seed]) for seed in sorted(one.keys() & other.keys())]


def chance_of(differences: Sequence[float]) -> float:
    """One-sided p-value of a mean this far above zero, were the true one zero; 1 below two values.

    Student's paired t-test. Differences that are all equal leave no doubt of their sign.
    """
    n = len(differences)
    if n < 2:
        return 1.0
    mean, spread = fmean(differences), stdev(differences)
    if spread == 0:
        return 0.0 if mean > 0 else 1.0
    from scipy.special import stdtr

    return float(stdtr(n - 1, -mean / (spread / math.sqrt(n))))


def is_behind(one: Values, leader: Values, metric: Metric) -> bool:
    """Whether `one` is clearly worse than `leader` on the seeds that both have."""
    return chance_of(lead(leader, one, metric)) < BEHIND_AT


def select(values: Mapping[int, Values], metric: Metric) -> int | None:
    """The trial to select by the repeats of the finalists, given by trial in ranking order.

    Two are compared by their means over the seeds that both have, however many more either has.
    In the order of the ranking each challenges the best so far, and takes its place if it is
    better: who beats all others is selected, the earlier among equals. Without a common seed, who
    has more repeats is ahead, since a single one may be luck; then who has the better mean. `None`
    without any repeat.
    """
    selected: int | None = None
    for trial, one in values.items():
        if one and (selected is None or _is_better(one, values[selected], metric)):
            selected = trial
    return selected


def _is_better(one: Values, other: Values, metric: Metric) -> bool:
    ahead = lead(one, other, metric)
    if ahead:
        return fmean(ahead) > 0
    if len(one) != len(other):
        return len(one) > len(other)
    return metric.is_better(fmean(one.values()), fmean(other.values()))


def ties(one: Values, selected: Values, metric: Metric, p_value: float | None) -> bool:
    """Whether `one` cannot be told from the selected configuration.

    It takes both kinds of luck to be ruled out: that of the seeds by the paired differences, that
    of the sentences by `p_value`, where there is one. With a single common seed the sentences
    alone can tell.
    """
    by_sentences = p_value is not None and p_value < SENTENCES_AT
    if len(one.keys() & selected.keys()) < 2:
        return not by_sentences
    return not (is_behind(one, selected, metric) and (p_value is None or by_sentences))


def combine(p_values: Sequence[float]) -> float | None:
    """The median over seeds, each of which compared the same sentences; `None` of none.

    Not one test over all seeds' sentences together: the sentences are the same, and would seem to
    be more than they are.
    """
    return median(p_values) if p_values else None
