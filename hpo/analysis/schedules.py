"""Learning-rate schedules side by side: what a warmup and a decay make of a peak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from rich.table import Table
from rich.text import Text

from core.schedule import factor
from hpo.analysis.formats import rate_text
from hpo.analysis.markup import table
from hpo.analysis.palette import MUTED, bare_figure, ramp
from hpo.analysis.sparkline import sparkline

_CHART = 24
_HEADS = ("warmup", "decay", "highest", "mean")


@dataclass(frozen=True)
class Schedule:
    """One schedule of a stage."""

    steps: int
    warmup: int
    """Updates."""
    shape: str
    decay: str
    peak: float
    """Learning rate that the factors are multiplied by."""

    @property
    def rates(self) -> list[float]:
        """The learning rate of every update."""
        return [
            self.peak
            * factor(
                step, steps=self.steps, warmup=self.warmup, decay=self.decay, shape=self.shape
            )
            for step in range(self.steps)
        ]

    @property
    def name(self) -> str:
        return f"{self.shape} {self.warmup}, then {self.decay}"

    def as_json(self) -> dict[str, Any]:
        """What it is and every rate, as JSON."""
        return {**vars(self), "rates": self.rates}


def schedules(
    steps: int, warmups: Sequence[int], shapes: Sequence[str], decays: Sequence[str], peak: float
) -> list[Schedule]:
    """Every warmup with every shape and decay, each once."""
    every = product(warmups, shapes, decays)
    return [
        Schedule(steps, warmup, shape, decay, peak)
        for warmup, shape, decay in dict.fromkeys(every)
    ]


def updates_in(text: str, steps: int) -> int:
    """The warmup that `50` or `10%` means in a stage of `steps` updates."""
    return round(float(text[:-1]) / 100 * steps) if text.endswith("%") else int(text)


def schedules_page(drawn: Sequence[Schedule]) -> list[Table | Text]:
    """A row a schedule, its curve in small, all to one scale."""
    found = Table(box=None, pad_edge=False)
    steps, peak = drawn[0].steps, drawn[0].peak
    for head in (*_HEADS, f"updates 1 to {steps}"):
        found.add_column(head, no_wrap=True)
    for one in drawn:
        curve = sparkline(one.rates, _CHART, low=0.0, high=peak)
        found.add_row(*map(Text, (*_cells(one), curve)))
    return [found, *(Text(line) for line in notes(drawn))]


def notes(drawn: Sequence[Schedule]) -> list[str]:
    """What of the shapes is not to be seen in a picture."""
    peak = drawn[0].peak
    said = [
        "Factors of the peak learning rate."
        if peak == 1
        else f"Learning rates for a peak of {rate_text(peak)}."
    ]
    if any(one.shape == "exponential" for one in drawn):
        said.append(
            "An exponential warmup has no end: 63 percent after its length, 95 after three times "
            "that."
        )
    if any(one.decay == "noam" for one in drawn):
        said.append(
            "noam is inverse_sqrt; its authors' peak is (d_model x warmup)^-0.5, for width 512 "
            "and 4,000 updates 7e-4."
        )
    return said


def draw_schedules(drawn: Sequence[Schedule]) -> go.Figure:
    """A line a schedule, the learning rate over the update, counted from 1."""
    figure = bare_figure("update", "learning rate", height=460)
    dashes = ("solid", "dash", "dot", "dashdot")
    decays = list(dict.fromkeys(one.decay for one in drawn))
    for one, colour in zip(drawn, ramp(len(drawn)), strict=True):
        figure.add_scatter(
            x=list(range(1, one.steps + 1)),
            y=one.rates,
            mode="lines",
            line={
                "color": colour,
                "width": 2,
                "dash": dashes[decays.index(one.decay) % len(dashes)],
            },
            name=one.name,
            hovertemplate=f"{one.name}<br>update %{{x}}: %{{y:.4g}}<extra></extra>",
        )
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(legend_font_color=MUTED)
    return figure


def write_schedules(drawn: Sequence[Schedule], path: Path) -> Path:
    """Writes the figure with its numbers, as a page or PNG; returns where."""
    from hpo.analysis.figure_files import write

    numbers = table("The schedules in numbers", _HEADS, map(_cells, drawn))
    return write(draw_schedules(drawn), path, title="Learning-rate schedules", text=numbers)


def _cells(one: Schedule) -> tuple[str, ...]:
    """What `_HEADS` names."""
    rates = one.rates
    highest = max(rates)
    mean = sum(rates) / len(rates)
    where = f"{_number(highest)} at {rates.index(highest) + 1}"
    return f"{one.shape} {one.warmup}", one.decay, where, _number(mean)


def _number(rate: float) -> str:
    return f"{rate:.3g}" if rate >= 0.01 else rate_text(rate)
