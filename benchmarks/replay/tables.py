"""Tables of finished trainings: their parameters, curves and costs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from core.errors import DataError
from core.task import Grid

Floats = NDArray[np.float64]

REPORTS = 25
"""Report points on a curve of median length."""


@dataclass(frozen=True)
class Run:
    """A training of the table."""

    drawn: Mapping[str, Any]
    """Index of an ordinal value, a categorical value itself."""
    bleu: Floats
    """Best so far at each checkpoint."""
    ppl: Floats
    """Dev perplexity, the lowest so far at each checkpoint."""
    cost: float
    """Of one checkpoint."""

    @property
    def length(self) -> int:
        """Checkpoints until training stopped."""
        return len(self.bleu)


class Table:
    """A corpus: a grid of configurations, not all of them trained.

    It is also the `Points` of its search space, incomplete or not: the searcher does not know
    which configurations were trained.
    """

    structure: frozenset[str] = frozenset()

    def __init__(
        self, corpus: str, space: Mapping[str, Sequence[Any]], runs: Sequence[Run]
    ) -> None:
        self.corpus = corpus
        self.runs = tuple(runs)
        self._values = {name: list(values) for name, values in space.items()}
        self.distributions: Mapping[str, BaseDistribution] = {
            name: CategoricalDistribution(tuple(values))
            if isinstance(values[0], str)
            else IntDistribution(0, len(values) - 1)
            for name, values in self._values.items()
        }
        lengths = [run.length for run in self.runs]
        self.interval = max(1, round(float(np.median(lengths)) / REPORTS))
        """Checkpoints between two report points."""
        self.grid = Grid((("train", max(lengths)),), eval_every=self.interval)
        finals = np.array([run.bleu[-1] for run in self.runs])
        self.best, self.worst = float(finals.max()), float(finals.min())
        self.median = float(np.median(finals))
        self.mean_cost = float(np.mean([run.cost * run.length for run in self.runs]))
        """Of training a configuration to its end."""
        if self.best <= self.median:
            raise DataError(
                f"the best configuration of {corpus!r} is no better than the median, so that no "
                "regret is defined"
            )

    @cached_property
    def encoded(self) -> Floats:
        """The runs' parameters as the searcher's distances see them, [run, feature]."""
        return np.stack([self.encode(run.drawn) for run in self.runs])

    def encode(self, drawn: Mapping[str, Any]) -> Floats:
        """Ordinal indices scaled to [0, 1], categories such that two differ by a distance of 1.

        What is not in `drawn` is put in the middle.
        """
        features: list[float] = []
        for name, distribution in self.distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                hot = [choice == drawn.get(name) for choice in distribution.choices]
                features += [one / np.sqrt(2.0) for one in hot]
            else:
                last = max(1, len(self._values[name]) - 1)
                features.append(drawn[name] / last if name in drawn else 0.5)
        return np.array(features, dtype=np.float64)

    def nearest(
        self, drawn: Mapping[str, Any], among: Sequence[int], generator: np.random.Generator
    ) -> int:
        """The run in `among` nearest to a point, one at random where several are."""
        gaps = self.encoded[list(among)] - self.encode(drawn)
        distances = np.round((gaps**2).sum(axis=1), 9)  # sums of equal parts in any order tie
        tied = np.flatnonzero(distances == distances.min())
        return among[int(tied[0] if len(tied) == 1 else generator.choice(tied))]

    def next_report(self, run: Run, step: int) -> int:
        """The first report point after `step`: on the interval, or the end of the run's curve."""
        return min(run.length, (step // self.interval + 1) * self.interval)

    def draw(
        self, generator: np.random.Generator, fixed: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """See `Points.draw`."""
        drawn = {}
        for name, values in self._values.items():
            place = int(generator.integers(len(values)))
            drawn[name] = values[place] if isinstance(values[0], str) else place
        return drawn | dict(fixed or {})


def load_tables(folder: Path) -> list[Table]:
    """Every `*.json` of a folder, by name.

    Raises: DataError if there is none, or one is not a table.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder", way_out="Name a folder of *.json tables.")
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise DataError(f"{folder} holds no *.json table")
    tables = [load_table(path) for path in paths]
    names = [table.corpus for table in tables]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{folder} holds two tables of the corpus {twice!r}")
    return tables


def load_table(path: Path) -> Table:
    """Reads a table.

    Raises: DataError, naming the file and what is wrong in it.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read: {error}", where=str(path)) from None
    try:
        space = raw["space"]
        for name, values in space.items():
            _check_values(name, values)
        runs = [_read_run(entry, space) for entry in raw["configs"]]
        if not runs or not space:
            raise ValueError("it has no configurations or no space")
        return Table(str(raw["corpus"]), space, runs)
    except KeyError as error:
        raise DataError(f"lacks the field {error}", where=str(path)) from None
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(f"is no table: {error}", where=str(path)) from None
    except DataError as error:
        raise DataError(error.what, where=str(path)) from None


def _check_values(name: str, values: Any) -> None:
    if not isinstance(values, list) or not values:
        raise ValueError(f"space.{name} is not a list of values")
    texts = sum(isinstance(value, str) for value in values)
    numbers = sum(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    )
    if len(values) not in (texts, numbers):
        raise ValueError(f"space.{name} holds neither numbers only nor texts only")


def _read_run(entry: Mapping[str, Any], space: Mapping[str, list[Any]]) -> Run:
    drawn = {}
    for name, values in space.items():
        if entry[name] not in values:
            raise ValueError(f"{name} = {entry[name]!r} of a configuration is not in its space")
        drawn[name] = entry[name] if isinstance(values[0], str) else values.index(entry[name])
    bleu = np.maximum.accumulate(np.asarray(entry["bleu"], dtype=np.float64))
    ppl = np.minimum.accumulate(np.asarray(entry["ppl"], dtype=np.float64))
    cost = float(entry["cost"])
    if bleu.ndim != 1 or not len(bleu) or bleu.shape != ppl.shape:
        raise ValueError("bleu and ppl of a configuration are no two curves of one length")
    if not (np.isfinite(bleu).all() and np.isfinite(ppl).all() and ppl.min() > 0):
        raise ValueError("a curve holds a value that is not finite, or no perplexity")
    if not (np.isfinite(cost) and cost > 0):
        raise ValueError(f"cost must be a number above 0, got {cost!r}")
    return Run(drawn, bleu, ppl, cost)
