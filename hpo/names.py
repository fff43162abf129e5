"""What studies are called, how messages show where a file is, and what keeps that to itself."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from hpo.mistakes import DeclarationError

_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,64}")


def is_name(text: str) -> bool:
    """Whether a study can be called so: nothing that could mean a path, or clash with the
    database's files."""
    return _NAME.fullmatch(text) is not None and not text.startswith("hpo.db")


def check_name(name: str, *, where: str, way_out: str | None = None) -> None:
    """Raises: DeclarationError for what is no name."""
    if not is_name(name):
        raise DeclarationError(
            "not a name",
            where=where,
            got=name,
            allowed="1 to 64 of A-Z a-z 0-9 . _ -, not starting with a dot or with hpo.db",
            way_out=way_out,
        )


def label(path: Path) -> str:
    """A path as messages show it: relative to the current folder where it lies below it."""
    absolute = path.absolute()
    here = Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)


def without_place(data: Mapping[str, Any], sources: Collection[str]) -> dict[str, Any]:
    """The data's settings; of a folder its name alone, for its path is nobody else's business."""
    source = data.get("source")
    if isinstance(source, str) and source not in sources:
        return {**data, "source": Path(source).name}
    return dict(data)
