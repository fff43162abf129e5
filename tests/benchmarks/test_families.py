"""Made tables are what their names say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.replay.families import FAMILIES, main, make_table
from benchmarks.replay.tables import load_tables


def _early_and_end(family: str) -> tuple[list[float], list[float]]:
    curves = [one["bleu"] for one in make_table(family, 0)["configs"]]
    sound = [curve for curve in curves if curve[-1] > 5]
    return [curve[3] for curve in sound], [max(curve) for curve in sound]


@pytest.mark.parametrize(
    ("family", "low", "high"), [("plain", 0.7, 1.0), ("crossing", -1.0, -0.3)]
)
def test_early_values_say_what_the_family_is_for(family: str, low: float, high: float) -> None:
    assert low < np.corrcoef(*_early_and_end(family))[0, 1] < high


def test_the_same_seed_makes_the_same_table() -> None:
    assert make_table("noisy", 3) == make_table("noisy", 3)
    assert make_table("noisy", 3) != make_table("noisy", 4)


def test_every_family_is_written_and_can_be_replayed(tmp_path: Path) -> None:
    main(tmp_path / "made")
    tables = load_tables(tmp_path / "made")
    assert sorted(one.corpus for one in tables) == sorted(f"{name}-0" for name in FAMILIES)
