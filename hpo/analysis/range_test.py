"""What learning-rate range tests show: the rates between which training makes headway.

A loss is smoothed over neighbouring updates on both sides, so that no rate is shifted; its noise
is the scatter about that. Rates are averaged over seeds in their logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from hpo.analysis.formats import MISSING, count, rate_text, value_text
from hpo.analysis.markup import Html, join, paragraphs, table, tag
from hpo.analysis.palette import ALARM, MUTED, OUTCOMES, START, bare_figure, ramp, translucent
from hpo.analysis.sparkline import sparkline
from hpo.finals.statistics import interval

Floats = NDArray[np.float64]

_BANDWIDTH = 1 / 40
"""Standard deviation of the smoothing kernel as a share of the ramp."""
_FALLEN = 0.1
"""Share of the whole fall of the loss by which it has visibly begun to fall."""
_RISEN = 0.5
"""The same by which it has visibly turned up again."""
_NOISES = 4.0
"""Standard deviations of the smoothed loss that a change must exceed to be none of its noise."""
_REPLACED = (
    "learning_rate", "lr_scheduler_type", "warmup_steps", "warmup_ratio", "warmup_shape"
)  # fmt: skip
_CHART = 26

CAUTION = (
    "A range test misleads: each rate acts for one update only, on weights that lower rates have "
    "trained. With a warmup a model bears a higher peak than shown here; an early spike, or "
    "Adam's first steps without a memory, can end the fall too soon; and a rate that holds for a "
    "moment may diverge when it stays. Take it as a range to search, never as the rate itself.",
    "Sources: Smith 2017, arXiv:1506.01186; on warmup Gilmer et al. 2021, arXiv:2110.04369, and "
    "Kalra and Barkeshli 2024, arXiv:2406.09405.",
)


@dataclass(frozen=True)
class Reading:
    """The rates at which one seed's loss turns."""

    falls: float
    """From here on it has visibly fallen."""
    steepest: float
    """Here it falls fastest, by the logarithm of the rate."""
    lowest: float
    """Here it is lowest."""
    diverges: float | None
    """From here on it has visibly risen, or is not finite; `None` where the ramp ends first."""


@dataclass(frozen=True)
class Rate:
    """A rate over seeds: the geometric mean, and its 95 percent t-interval in the logarithm."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, rates: Sequence[float], step: float = 1.0) -> Self:
        """Of at least one rate, each known to within `step`, the ratio of two tested ones.

        The interval is at least that wide; a single rate has no other.
        """
        found = interval([math.log(rate) for rate in rates])
        half = max(found.half_width or 0.0, math.log(step) / 2)
        return cls(*(math.exp(found.mean + side * half) for side in (0, -1, 1)))


@dataclass(frozen=True)
class RangeTest:
    """Range tests of one configuration, a seed each."""

    name: str
    """Of the study."""
    stage: str
    point: dict[str, Any]
    """The configuration, by the names of what varies."""
    parameter: str
    """Name of the learning rate."""
    rates: Sequence[float]
    losses: Sequence[Sequence[float]]
    """For each seed, the loss before each update, to the first that is not finite."""

    @property
    def readings(self) -> list[Reading | None]:
        """A reading a seed; `None` where the loss never falls visibly."""
        return [read_ramp(self.rates, losses) for losses in self.losses]

    def over_seeds(self, name: str) -> Rate | None:
        """One rate of the readings, `falls`, `steepest`, ...; `None` unless all seeds have it."""
        found = [getattr(one, name) if one is not None else None for one in self.readings]
        known = [rate for rate in found if rate is not None]
        if not known or len(known) < len(found):
            return None
        return Rate.of(known, self.rates[1] / self.rates[0])

    @property
    def suggested(self) -> tuple[float, float] | None:
        """From where the loss falls to where it is lowest, each to two digits; `None` unless all
        seeds show it."""
        ends = self.over_seeds("falls"), self.over_seeds("lowest")
        if ends[0] is None or ends[1] is None:
            return None
        return _two_digits(ends[0].middle), _two_digits(ends[1].middle)

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON; a loss that is not finite is null."""
        suggested = self.suggested
        return {
            "study": self.name,
            "stage": self.stage,
            "parameter": self.parameter,
            "point": dict(self.point),
            "suggested": None if suggested is None else list(suggested),
            "over_seeds": {
                name: None if (rate := self.over_seeds(name)) is None else vars(rate)
                for name in _NAMES
            },
            "seeds": [
                {
                    "reading": None if reading is None else vars(reading),
                    "losses": [loss if math.isfinite(loss) else None for loss in losses],
                }
                for reading, losses in zip(self.readings, self.losses, strict=True)
            ],
            "rates": list(self.rates),
            "caution": list(CAUTION),
        }


_NAMES = {
    "falls": "falls from",
    "steepest": "steepest at",
    "lowest": "lowest at",
    "diverges": "rises from",
}


def read_ramp(rates: Sequence[float], losses: Sequence[float]) -> Reading | None:
    """Where the loss turns; `None` where it does not fall by more than its own noise."""
    smooth, noise = smoothed(losses)
    if len(smooth) < 4:
        return None
    start = float(np.median(smooth[: max(2, len(smooth) // 20)]))
    lowest = int(np.argmin(smooth))
    fall = start - float(smooth[lowest])
    if fall <= _NOISES * noise:
        return None
    before = np.flatnonzero(smooth[: lowest + 1] >= start - _FALLEN * fall)
    falls = int(before[-1]) + 1 if len(before) else 0
    slopes = np.diff(smooth[falls : lowest + 1])
    steepest = falls + int(np.argmin(slopes)) if len(slopes) else falls
    limit = smooth[lowest] + max(_RISEN * fall, _NOISES * noise)
    after = np.flatnonzero(smooth[lowest:] > limit)
    diverges = rates[lowest + int(after[0])] if len(after) else None
    if diverges is None and len(smooth) < len(losses):
        diverges = rates[len(smooth)]
    return Reading(rates[falls], rates[steepest], rates[lowest], diverges)


def smoothed(losses: Sequence[float]) -> tuple[Floats, float]:
    """The finite losses smoothed by a Gaussian, and the standard deviation of what noise is left.

    A loss far above the first ones counts as just above them: an explosion would else be smeared
    over the updates before it.
    """
    finite = np.array([loss for loss in losses if math.isfinite(loss)], dtype=np.float64)
    if not len(finite):
        return finite, 0.0
    start = float(np.median(finite[: max(2, len(finite) // 20)]))
    capped = np.minimum(finite, start + max(start - float(finite.min()), abs(start) * 1e-3))
    width = max(1.0, _BANDWIDTH * len(losses))
    places = np.arange(len(finite))
    kernel = np.exp(-0.5 * ((places[:, None] - places) / width) ** 2)
    smooth = kernel @ capped / kernel.sum(axis=1)
    until = int(np.argmin(smooth)) + 1
    scatter = float(np.std(capped[:until] - smooth[:until]))
    # The mean over a Gaussian window has the noise of 2 sqrt(pi) sigma independent values' mean.
    return smooth, scatter / math.sqrt(2 * math.sqrt(math.pi) * width)


def range_page(test: RangeTest) -> list[Table | Text]:
    """What the command prints: a row a seed, the range, and how it misleads."""
    readings = test.readings
    found = Table(box=None, pad_edge=False)
    found.add_column("seed", justify="right")
    for name in _NAMES.values():
        found.add_column(name, justify="right")
    ends = f"{rate_text(test.rates[0])} to {rate_text(test.rates[-1])}"
    found.add_column(f"loss, {ends}", no_wrap=True)
    for seed, (reading, losses) in enumerate(zip(readings, test.losses, strict=True), 1):
        rates = [MISSING if reading is None else _rate(getattr(reading, one)) for one in _NAMES]
        found.add_row(str(seed), *rates, Text(_chart(losses, len(test.rates))))
    return [
        Text(f"{test.name}: {test.parameter} in stage {test.stage}, {_where(test)}"),
        found,
        *(Text(line) for line in sentences(test)),
        *(Text(line) for line in CAUTION),
    ]


def sentences(test: RangeTest) -> list[str]:
    """The suggested range with its uncertainty, or why there is none."""
    suggested = test.suggested
    seeds = count(len(test.losses), "seed")
    if suggested is None:
        dull = sum(reading is None for reading in test.readings)
        return [
            f"No range can be suggested: for {dull} of {seeds} the loss does not fall by more "
            "than its noise. Try more --steps, or other ends, --low and --high."
        ]
    low, high = map(rate_text, suggested)
    parts = []
    for name in ("falls", "steepest", "lowest", "diverges"):
        rate = test.over_seeds(name)
        if rate is not None:
            spread = f"{_rate(rate.low)} to {_rate(rate.high)}"
            parts.append(f"{_NAMES[name]} {_rate(rate.middle)} ({spread})")
    told = [f"Worth searching: {low} to {high}."]
    told.append(
        f"Over {seeds}, geometric mean and 95 percent interval: the loss {', '.join(parts)}."
        if len(test.losses) > 1
        else "One seed tells no uncertainty; give --seeds 3."
    )
    if any(reading is not None and reading.diverges is None for reading in test.readings):
        told.append(
            f"For some seed the loss had not turned up at {_rate(test.rates[-1])}, where the ramp "
            "ends: a higher --high may show more."
        )
    return told


def write_figure(test: RangeTest, path: Path) -> Path:
    """Writes the figure as a page that opens without network, or as PNG; returns where."""
    from hpo.analysis.figure_files import write

    rows = [
        (seed, *(MISSING if one is None else _rate(getattr(one, name)) for name in _NAMES))
        for seed, one in enumerate(test.readings, 1)
    ]
    numbers: Html = table("By seed", ("seed", *_NAMES.values()), rows, numeric=range(5))
    text = join((paragraphs(sentences(test)), numbers, paragraphs(CAUTION, class_="note")))
    about = tag("p", f"{test.parameter} in stage {test.stage}, {_where(test)}", class_="note")
    return write(
        draw_range_test(test),
        path,
        title=f"{test.name}: learning-rate range test",
        text=join((about, text)),
    )


def draw_range_test(test: RangeTest) -> go.Figure:
    """Each seed's losses and their smoothed curve over the rate; the suggested range shaded."""
    figure = bare_figure("learning rate", "training loss", height=460)
    colours = ramp(len(test.losses))
    tops = []
    for seed, (losses, colour) in enumerate(zip(test.losses, colours, strict=True), 1):
        smooth, _ = smoothed(losses)
        rates = list(test.rates[: len(smooth)])
        tops += smooth.tolist()
        figure.add_scatter(
            x=rates,
            y=[loss if math.isfinite(loss) else None for loss in losses[: len(smooth)]],
            mode="markers",
            marker={"color": translucent(colour), "size": 3},
            legendgroup=str(seed),
            showlegend=False,
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=rates,
            y=smooth.tolist(),
            mode="lines",
            line={"color": colour, "width": 2},
            legendgroup=str(seed),
            name=f"seed {seed}",
            hovertemplate=f"seed {seed}<br>%{{x:.3g}}: %{{y:.4g}}<extra></extra>",
        )
    if test.suggested is not None:
        low, high = test.suggested
        figure.add_vrect(x0=low, x1=high, fillcolor=START, opacity=0.12, line_width=0)
        _mark(figure, test.over_seeds("steepest"), "steepest", OUTCOMES["complete"].colour)
        _mark(figure, test.over_seeds("diverges"), "rises", ALARM)
    if tops:
        # An explosion would flatten all that is worth seeing.
        low, high = min(tops), max(tops)
        margin = 0.1 * (high - low) or 1.0
        figure.update_yaxes(range=[low - margin, high + margin])
    figure.update_xaxes(type="log", exponentformat="power")
    figure.update_layout(legend_font_color=MUTED)
    return figure


def _mark(figure: go.Figure, rate: Rate | None, text: str, colour: str) -> None:
    if rate is None:
        return
    figure.add_vline(x=rate.middle, line={"color": colour, "width": 1.5, "dash": "dash"})
    figure.add_annotation(
        # Annotations on a logarithmic axis are placed by the exponent.
        x=math.log10(rate.middle),
        y=1,
        yref="paper",
        yanchor="top",
        xanchor="left",
        text=text,
        showarrow=False,
        font={"color": colour, "size": 12},
    )


def _chart(losses: Sequence[float], steps: int) -> str:
    """The smoothed loss in as many bars as it got far; `!` where it was not finite."""
    smooth, _ = smoothed(losses)
    values = smooth.tolist()
    if not values:
        return "!"
    bars = max(1, round(_CHART * len(values) / steps))
    drawn = sparkline(values, bars, low=min(values), high=max(values))
    return drawn + "!" * (len(values) < len(losses))


def _where(test: RangeTest) -> str:
    """The configuration without rate and schedule, which the ramp takes the place of."""
    group = test.parameter.rpartition(".")[0]
    kept = [
        f"{name} = {value_text(one)}"
        for name, one in test.point.items()
        if name not in {f"{group}.{field}" for field in _REPLACED}
    ]
    return f"at {', '.join(kept)}" if kept else "at its fixed settings"


def _rate(rate: float | None) -> str:
    return MISSING if rate is None else rate_text(rate)


def _two_digits(rate: float) -> float:
    return float(f"{rate:.2g}")
