"""Colours that colour-blind readers tell apart, for a light and a dark page, and the bare figure.

Figures are drawn in the light colours; on a dark page the report swaps each for its partner. Hues
follow Okabe and Ito 2008; the ramp is viridis without the end that would fade into the page.
Shapes carry what colours say, too.
"""

from __future__ import annotations

from html import escape
from typing import Any, NamedTuple

import plotly.graph_objects as go

INK, MUTED, RULE, SURFACE = "#1b1f24", "#5b6470", "#dfe3e8", "#ffffff"
BEST, START, ALARM = "#b87503", "#00775a", "#c44f00"
UNCLEAR = "#b6bdc6"
"""Bars that nothing tells apart."""


class Look(NamedTuple):
    """How the trials of one outcome are drawn."""

    colour: str
    symbol: str
    """Plotly's name of the marker."""
    sign: str
    """The marker as a letter."""


OUTCOMES = {
    "complete": Look("#0072b2", "circle", "●"),
    "pruned": Look("#6f7883", "triangle-down-open", "▽"),
    "diverged": Look(ALARM, "x", "✕"),
    "collapsed": Look("#a3508a", "diamond-x-open", "◈"),
    "failed": Look(INK, "x-thin-open", "×"),
    "running": Look(START, "circle-open", "○"),
    "interrupted": Look(START, "square-open", "□"),
    "paused": Look(START, "diamond-open", "◇"),
}

_DARK = {
    INK: "#e6eaf0",
    MUTED: "#9aa5b1",
    RULE: "#2d3640",
    SURFACE: "#12161c",
    BEST: "#f0b429",
    START: "#2cc79b",
    ALARM: "#f58a4b",
    "#0072b2": "#56b4e9",
    "#6f7883": "#8f9aa6",
    "#a3508a": "#de9ac4",
    UNCLEAR: "#4b5663",
}

_RAMP = {
    "#440154": "#2f6c8e",
    "#472272": "#277f8e",
    "#413f84": "#22938b",
    "#37598c": "#27a784",
    "#2d728e": "#39b977",
    "#24888d": "#63ca5e",
    "#20a088": "#94d740",
    "#33b57a": "#c8e029",
    "#60c860": "#fde725",
}

HEALTH = {
    "healthy": Look("#0072b2", "circle", "●"),
    "unstable": Look(BEST, "triangle-up", "▲"),
    "diverged": OUTCOMES["diverged"],
    "collapsed": OUTCOMES["collapsed"],
}
"""How the health verdicts are drawn."""

RAMP_STEPS = len(_RAMP)


def dark_colours() -> dict[str, str]:
    """Light colour -> its partner on a dark page, solid, translucent and faint."""
    solid = {**_DARK, **_RAMP}
    return {
        **solid,
        **{translucent(light): translucent(dark) for light, dark in solid.items()},
        **{faint(light): faint(dark) for light, dark in solid.items()},
    }


def ramp(steps: int) -> list[str]:
    """`steps` light colours from low to high; neighbours share one beyond `RAMP_STEPS`."""
    colours = list(_RAMP)
    if steps == 1:
        return [colours[RAMP_STEPS // 2]]
    return [colours[round(i * (RAMP_STEPS - 1) / (steps - 1))] for i in range(steps)]


def ramp_scale() -> list[list[Any]]:
    """The ramp as plotly's colour scale."""
    return [[i / (RAMP_STEPS - 1), colour] for i, colour in enumerate(_RAMP)]


def translucent(colour: str) -> str:
    """The colour, mostly see-through: for the many lines behind the few."""
    return _see_through(colour, 0.55)


def faint(colour: str) -> str:
    """The colour, hardly there: for an area behind lines."""
    return _see_through(colour, 0.16)


def _see_through(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def marker_of(outcome: str, size: int) -> dict[str, Any]:
    """Plotly's marker for a trial of this outcome."""
    return marker(OUTCOMES[outcome], size)


def marker(look: Look, size: int) -> dict[str, Any]:
    """Plotly's marker of this look."""
    edge = {"color": look.colour, "width": 2 if look.symbol.endswith("-open") else 0}
    return {"color": look.colour, "symbol": look.symbol, "size": size, "line": edge}


def plot_text(text: object) -> str:
    """Text for a figure: plotly reads tags and entities in texts, so they are escaped."""
    return escape(str(text), quote=False)


def bare_figure(x_title: str, y_title: str, *, height: int = 420) -> go.Figure:
    """A figure without data: axes, fonts and legend as all pictures of the report have them."""
    axis = {
        "gridcolor": RULE,
        "linecolor": RULE,
        "zeroline": False,
        "automargin": True,
        "ticks": "outside",
        "tickcolor": RULE,
        "title": {"standoff": 8, "font": {"size": 13}},
    }
    figure = go.Figure(
        layout={
            "template": go.layout.Template(),
            "height": height,
            "margin": {"l": 12, "r": 16, "t": 16, "b": 12},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {
                "family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
                "size": 13,
                "color": INK,
            },
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "hoverlabel": {"bgcolor": SURFACE, "bordercolor": MUTED, "font": {"color": INK}},
            "hovermode": "closest",
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": MUTED, "activecolor": INK},
            "xaxis": axis,
            "yaxis": axis,
        }
    )
    figure.update_xaxes(title_text=plot_text(x_title))
    figure.update_yaxes(title_text=plot_text(y_title))
    return figure
