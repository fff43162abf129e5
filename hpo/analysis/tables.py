"""Tables with text in them, and their rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd


def text_table(rows: Iterable[Any], columns: Sequence[str]) -> pd.DataFrame:
    """A table whose values stay the objects they are.

    Pandas would turn a column of text into Arrow's, which knows no lone surrogate and no None, and
    integers beside a None into floats.
    """
    names = pd.Index(list(columns), dtype=object)
    return pd.DataFrame(list(rows), columns=names, dtype=object)


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Each row as column -> value, whatever the columns are called."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
