"""Slices and the contour of the parameters that matter most."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from made_records import record, trial

from hpo.analysis.formats import ScoreFormat
from hpo.analysis.landscape import draw_contour, draw_slice, landscape_table
from hpo.records import StudyRecord

RATE, DEPTH, SHAPE = "finetune.learning_rate", "model.num_layers", "finetune.lr_scheduler_type"


def one(number: int, rate: float, depth: int, value: float, **more: Any) -> Any:
    parameters = {RATE: rate, DEPTH: depth, SHAPE: ("linear", "cosine")[number % 2]}
    return trial(number, more.pop("state", "complete"), value, parameters=parameters, **more)


@pytest.fixture
def study() -> StudyRecord:
    rates = (1e-5, 1e-4, 1e-3, 1e-2)
    trials = [
        one(number, rate, depth, 30 + 2 * np.log10(rate) - abs(depth - 3))
        for number, (rate, depth) in enumerate(
            (rate, depth) for rate in rates for depth in (2, 3, 6)
        )
    ]
    return record(*trials, one(12, 1e-2, 12, 99.0, state="pruned"))


def test_only_complete_trials_that_drew_both_are_in_it(study: StudyRecord) -> None:
    table = landscape_table(study, [RATE, DEPTH])
    assert table["number"].tolist() == list(range(12))
    assert table.loc[table["is_best"], [RATE, DEPTH]].to_numpy().tolist() == [[1e-2, 3]]
    assert landscape_table(study, ["model.d_model"]).empty


def test_a_slice_has_a_mark_a_trial_and_an_axis_that_fits(study: StudyRecord) -> None:
    table, scores = landscape_table(study, [RATE, DEPTH, SHAPE]), ScoreFormat.of(study)
    rate = draw_slice(table, RATE, scores)
    assert rate.layout.xaxis.type == "log"
    assert sum(len(trace.x) for trace in rate.data) == 12
    best = next(trace for trace in rate.data if trace.name == "best")
    assert (best.x, best.customdata) == ((1e-2,), (10,))
    assert draw_slice(table, DEPTH, scores).layout.xaxis.type is None
    shapes = draw_slice(table, SHAPE, scores)
    assert shapes.layout.xaxis.ticktext == ("cosine", "linear")
    assert set(shapes.data[0].x) == {0, 1}


def test_the_contour_follows_the_scores_and_is_blank_where_nobody_was(study: StudyRecord) -> None:
    far = record(*study.trials, one(13, 1e-2, 60, 10.0))
    table, scores = landscape_table(far, [RATE, DEPTH]), ScoreFormat.of(far)
    contour, marks, star = draw_contour(table, [RATE, DEPTH], scores).data
    cells = np.array(contour.z, dtype=float)
    assert np.isnan(cells).any()
    assert np.nanmin(cells) >= 10
    assert np.nanmax(cells) <= 26
    shallow = cells[0]
    assert shallow[-1] > shallow[0]  # the higher rates are better
    assert contour.connectgaps is False
    assert len(marks.x) == 12
    assert star.customdata[0][0] == 10


def test_one_value_alone_is_drawn_as_well() -> None:
    same = record(*(one(number, 1e-3, 4, 20.0 + number) for number in range(3)))
    table, scores = landscape_table(same, [RATE, DEPTH]), ScoreFormat.of(same)
    assert draw_slice(table, RATE, scores).data
    assert draw_contour(table, [RATE, DEPTH], scores).data
