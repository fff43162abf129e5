"""Figures as PNG, drawn by kaleido in a browser of this machine, without network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from core.atomic import make_folder, replace_file
from core.errors import MissingPackageError, UserError
from hpo.analysis.palette import SURFACE

_WIDTH, _HEIGHT, _SCALE = 1000, 420, 2
"""Pixels of the page, and how many of the picture make up one."""


class PictureError(UserError):
    """A picture cannot be drawn."""


def write_pictures(figures: Mapping[Path, Mapping[str, Any]]) -> None:
    """Draws each figure, Plotly's JSON, into its file; what is there is replaced, all or none.

    The files are of one folder, which is made if need be. Raises: MissingPackageError without
    kaleido; PictureError without a browser, or where it fails.
    """
    if find_spec("kaleido") is None:
        raise MissingPackageError("kaleido", "images")
    folder = next(iter(figures)).absolute().parent
    make_folder(folder)
    with TemporaryDirectory(prefix=".images-", dir=folder) as scratch:
        drawn = {path: Path(scratch) / path.name for path in figures}
        _draw({drawn[path]: figure for path, figure in figures.items()})
        for path, source in drawn.items():
            replace_file(path, partial(_move, source))


def _draw(figures: Mapping[Path, Mapping[str, Any]]) -> None:
    import kaleido
    from kaleido.errors import ChromeNotFoundError, KaleidoError

    specs = [
        {"fig": _for_paper(figure), "path": path, "opts": _options(figure)}
        for path, figure in figures.items()
    ]
    try:
        # Without this its page would fetch a library for formulas from the network.
        kaleido.write_fig_from_object_sync(specs, kopts={"mathjax": False})
    except ChromeNotFoundError:
        raise PictureError(
            "pictures need Chromium or Chrome, and none is found",
            way_out="Install one, or name its program in BROWSER_PATH.",
        ) from None
    except (KaleidoError, TimeoutError) as error:
        raise PictureError(f"the browser drew no pictures ({_first_line(error)})") from error


def _options(figure: Mapping[str, Any]) -> dict[str, Any]:
    height = figure["layout"].get("height") or _HEIGHT
    return {"format": "png", "width": _WIDTH, "height": height, "scale": _SCALE}


def _for_paper(figure: Mapping[str, Any]) -> dict[str, Any]:
    """The figure on a white ground, for on a page it has none."""
    layout = {**figure["layout"], "paper_bgcolor": SURFACE, "plot_bgcolor": SURFACE}
    return {**figure, "layout": layout}


def _move(source: Path, place: Path) -> None:
    source.replace(place)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]
