"""A chart of series in SVG: both axes logarithmic, points, and the fitted laws as lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from benchmarks.growth.series import Series

_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 220, 34, 44
_COLOURS = ("#2a6f97", "#c1666b", "#4c956c", "#8d6a9f", "#b08900", "#555555")


def draw(title: str, series: Sequence[Series], path: Path) -> None:
    """Writes the chart to `path`; figures of nothing have no place on it."""
    drawn = [one for one in series if one.is_fitted]
    sizes = [size for one in drawn for size, _ in one.points]
    figures = [figure for one in drawn for _, figure in one.points]
    x, y = _Axis(sizes, _LEFT, _WIDTH - _RIGHT), _Axis(figures, _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="sans-serif" font-size="11" fill="#333">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 20, title, size=14),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, drawn[0].chart, anchor="middle"),
    ]
    for decade in x.decades:
        parts += [
            _line(x(decade), _TOP, x(decade), _HEIGHT - _BOTTOM, "#e4e4e4"),
            _text(x(decade), _HEIGHT - _BOTTOM + 16, f"{decade:g}", anchor="middle"),
        ]
    for decade in y.decades:
        parts += [
            _line(_LEFT, y(decade), _WIDTH - _RIGHT, y(decade), "#e4e4e4"),
            _text(_LEFT - 6, y(decade) + 4, f"{decade:g}", anchor="end"),
        ]
    for place, one in enumerate(drawn):
        colour = _COLOURS[place % len(_COLOURS)]
        exponent, factor = one.fit()
        begin, end = one.points[0][0], one.points[-1][0]
        ends = [(x(size), y.clip(factor * size**exponent)) for size in (begin, end)]
        parts.append(_line(*ends[0], *ends[1], colour))
        parts += [
            f'<circle cx="{x(size):.1f}" cy="{y(figure):.1f}" r="3.5" fill="{colour}"/>'
            for size, figure in one.points
        ]
        row = _TOP + 14 + 32 * place
        parts += [
            f'<circle cx="{_WIDTH - _RIGHT + 16}" cy="{row - 4}" r="3.5" fill="{colour}"/>',
            _text(_WIDTH - _RIGHT + 26, row, f"{one.name} ({one.unit})"),
            _text(_WIDTH - _RIGHT + 26, row + 13, f"exponent {exponent:.2f}"),
        ]
    path.write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")


class _Axis:
    """A logarithmic axis between two places of the picture."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        self._low, self._high = (math.log10(bound) for bound in (min(values), max(values)))
        margin = 0.06 * max(self._high - self._low, 0.3)
        self._low, self._high = self._low - margin, self._high + margin
        self._begin, self._end = begin, end

    def __call__(self, value: float) -> float:
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return self._begin + share * (self._end - self._begin)

    def clip(self, value: float) -> float:
        """The place of a value, at the axis' end where it lies beyond."""
        low, high = sorted((self._begin, self._end))
        return min(max(self(value), low), high)

    @property
    def decades(self) -> list[float]:
        """What is labelled: powers of ten, with twos and fives where those are few."""
        powers = range(math.floor(self._low), math.ceil(self._high) + 1)
        steps = (1, 2, 5) if self._high - self._low < 2 else (1,)
        marks = [step * 10.0**power for power in powers for step in steps]
        return [mark for mark in marks if self._low <= math.log10(mark) <= self._high]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 11) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
    return f"<text {place}>{escape(text)}</text>"
