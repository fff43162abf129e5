"""Pieces of the report that several sections are made of."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from hpo.analysis.formats import duration
from hpo.analysis.markup import Html, join, tag
from hpo.analysis.palette import OUTCOMES


def embed(name: str, figure: go.Figure, description: str) -> Html:
    """A place for the figure and its JSON, which the page's script draws there."""
    place = tag("div", class_="figure", id=f"figure-{name}", role="img", aria_label=description)
    return join((place, script_data(figure.to_json(), class_="data")))


def script_data(json_text: str, **attributes: Any) -> Html:
    """JSON that the page's script reads.

    What could end the element, or be read as a comment in it, is written as an escape.
    """
    safe = json_text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return tag("script", Html(safe), type="application/json", **attributes)


def outcome_label(outcome: str) -> Html:
    """The outcome in words behind its mark."""
    look = OUTCOMES.get(outcome)
    sign = tag("span", look.sign if look else "", class_="sign", aria_hidden="true")
    return tag("span", sign, f" {outcome}", class_=f"outcome {outcome}" if look else "outcome")


def two_lines(name: str) -> Html:
    """A dotted name broken after its group: columns of numbers are narrower than their names."""
    group, dot, field = name.rpartition(".")
    return join((group, dot, Html("<br>") if dot else "", field))


def timed(seconds: float | None) -> Html:
    """A cell that shows the time in words and sorts by its seconds."""
    return tag("td", duration(seconds), class_="number", data_sort=seconds)


def sentence(text: str) -> Html:
    """A text in whichever direction its script runs."""
    if not text.strip():
        return tag("em", "(empty)")
    return tag("span", text, dir="auto")


def folded(summary: str, content: Html) -> Html:
    """Content that is there when it is asked for; not on paper."""
    return tag("details", tag("summary", summary), content)
