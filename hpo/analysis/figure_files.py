"""A single figure as a file: a page that opens without network, or a picture."""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from core.atomic import make_folder
from core.errors import MissingPackageError, UserError
from hpo.analysis.markup import Html, join, tag
from hpo.analysis.page import render_page, write_page
from hpo.analysis.palette import SURFACE
from hpo.analysis.widgets import embed

_PICTURE = {"format": "png", "width": 1000, "height": 560, "scale": 2}
"""Width and height in pixels at scale 1."""


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

    Raises: FigureError for another kind of file, or where no picture can be made.
    """
    check_suffix(path)
    if path.suffix == ".png":
        return _write_picture(figure, path)
    header = tag("header", tag("h1", title))
    content = join((embed("figure", figure, title), text))
    page = render_page(title, header, [("figure", "Figure", content)], plotting=get_plotlyjs())
    return write_page(page, path)


def _write_picture(figure: go.Figure, path: Path) -> Path:
    try:
        import kaleido
        from kaleido.errors import KaleidoError
    except ImportError:
        raise MissingPackageError("kaleido", "images") from None
    make_folder(path.absolute().parent)
    figure.update_layout(paper_bgcolor=SURFACE, plot_bgcolor=SURFACE)
    spec = {"fig": figure.to_plotly_json(), "path": path, "opts": _PICTURE}
    try:
        # Without this its page would fetch a library for formulas from the network.
        kaleido.write_fig_from_object_sync(spec, kopts={"mathjax": False})
    except (KaleidoError, TimeoutError) as error:
        raise FigureError(
            "the picture cannot be drawn, which takes Chromium or Chrome",
            got=str(path),
            way_out="Name its program in BROWSER_PATH, or write FILE.html.",
        ) from error
    return path
