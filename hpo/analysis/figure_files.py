"""A single figure as a file: a page that opens without network, or a picture."""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from core.errors import UserError
from hpo.analysis.markup import Html, join, tag
from hpo.analysis.page import render_page, write_page
from hpo.analysis.pictures import write_pictures
from hpo.analysis.widgets import embed


class FigureError(UserError):
    """A figure cannot be written as asked."""


def check_suffix(path: Path) -> None:
    """Raises: FigureError for a file that is neither a page nor a picture."""
    if path.suffix not in (".html", ".png"):
        raise FigureError(
            "a figure is a page or a picture", got=str(path), allowed="FILE.html or FILE.png"
        )


def write(figure: go.Figure, path: Path, *, title: str, text: Html) -> Path:
    """Writes the figure and returns where; the page has `text` below it, the picture has none.

    Raises: FigureError for another kind of file; for a picture what `write_pictures` raises.
    """
    check_suffix(path)
    if path.suffix == ".png":
        write_pictures({path: figure.to_plotly_json()})
        return path
    header = tag("header", tag("h1", title))
    content = join((embed("figure", figure, title), text))
    page = render_page(title, header, [("figure", "Figure", content)], plotting=get_plotlyjs())
    return write_page(page, path)
