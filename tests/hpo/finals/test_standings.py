"""Whom the repeats select, and what is then read on the test set."""

from __future__ import annotations

from pathlib import Path

from core.task import Metric
from hpo.disk import WEIGHTS
from hpo.finals.standings import Repeat, Standings
from hpo.finals.test_set import candidates
from hpo.folders import StudyFolder

METRIC = Metric(name="score", unit="", direction="maximize", floor=0.0)


def standings(start_values: tuple[float, float]) -> Standings:
    """Trial 7 is the only finalist and has 20 and 21; trial 0 is the start."""
    scores = {(7, 1): 20.0, (7, 2): 21.0, (0, 1): start_values[0], (0, 2): start_values[1]}
    repeats = tuple(
        Repeat(trial, seed, "complete", value, None) for (trial, seed), value in scores.items()
    )
    return Standings(top=1, seeds=2, finalists=(7,), start=0, repeats=repeats)


def test_a_start_that_does_better_on_fresh_seeds_is_selected_and_read(tmp_path: Path) -> None:
    better, folder = standings((25.0, 26.0)), StudyFolder(tmp_path, "x")
    assert better.selected(METRIC) == 0
    runs = [
        (one.trial, one.seed) for one in candidates(better, {7: 30.0, 0: 24.0}, folder, METRIC)
    ]
    assert runs == [(0, 1), (0, 2), (7, None), (7, 2), (7, 1)]
    (folder.trial(0) / WEIGHTS).mkdir(parents=True)
    runs = [
        (one.trial, one.seed) for one in candidates(better, {7: 30.0, 0: 24.0}, folder, METRIC)
    ]
    assert runs[0] == (0, None)


def test_a_start_that_does_worse_is_compared_with_and_not_read(tmp_path: Path) -> None:
    worse, folder = standings((15.0, 16.0)), StudyFolder(tmp_path, "x")
    assert worse.selected(METRIC) == 7
    runs = candidates(worse, {7: 30.0, 0: 14.0}, folder, METRIC)
    assert {one.trial for one in runs} == {7}
