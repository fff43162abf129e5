"""What the section on stability shows of the telemetry."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_study import made_study

from hpo.analysis import courses as courses_module
from hpo.analysis.courses import Course, points_each, read_courses
from hpo.analysis.formats import ScoreFormat
from hpo.analysis.grad_norms import band_table, draw_bands, norms_of_courses
from hpo.analysis.histories import read_history
from hpo.analysis.stability import (
    collapse_obstacle,
    collapse_sentences,
    collapse_table,
    draw_collapse,
    draw_lines,
    draw_spikes,
    line_table,
    scale_sentences,
    spike_sentence,
    spike_table,
)
from hpo.analysis.stability_section import stability_section
from hpo.analysis.thinning import thin_norms
from hpo.records import StudyRecord


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> StudyRecord:
    return made_study(tmp_path_factory.mktemp("made"), with_texts=False)


@pytest.fixture(scope="module")
def courses(record: StudyRecord) -> list[Course]:
    return read_courses(record, ScoreFormat.of(record))


def test_a_course_keeps_little_and_loses_no_peak(
    record: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courses_module, "MOST_POINTS", 30)
    for course in read_courses(record, ScoreFormat.of(record)):
        history = read_history(course.trial.folder)
        assert course.steps == len(history)
        if not course.steps:
            assert course.norms.empty
            assert course.series.empty
            continue
        assert len(course.norms) == len(course.series) <= 30
        assert course.norms["grad_norm"].max() == history["grad_norm"].max()
        assert course.series["step"].iloc[-1] == history["step"].iloc[-1]
        rates = history.set_index("step")["learning_rate"]
        assert course.series["learning_rate"].tolist() == rates[course.series["step"]].tolist()


@pytest.mark.parametrize(("trials", "points"), [(0, 200), (300, 200), (1_000, 60), (10**5, 12)])
def test_points_of_a_line_shrink_with_the_trials(trials: int, points: int) -> None:
    assert points_each(trials) == points


def test_what_was_thinned_can_be_thinned_again() -> None:
    norms = np.r_[np.linspace(1, 2, 90), np.full(10, np.nan)]
    norms[41], norms[17] = 33.0, np.inf
    history = pd.DataFrame({"step": np.arange(1, 101), "grad_norm": norms})
    once, twice = thin_norms(history, 5), thin_norms(thin_norms(history, 25), 5)
    pd.testing.assert_frame_equal(once, twice)
    assert once["step"].tolist()[2] == 42
    assert once["nonfinite"].tolist() == [True, False, False, False, True]


def test_bands_hold_the_median_norm_of_each_depth(courses: list[Course]) -> None:
    table = band_table(courses)
    assert (table["low"] <= table["median"]).all()
    assert (table["median"] <= table["high"]).all()
    names = list(dict.fromkeys(table["depth"]))
    assert 1 < len(names) <= 5
    shallow, deep = (
        table[table["depth"] == name]["median"].mean() for name in names[:: len(names) - 1]
    )
    assert deep > shallow  # as they were made
    one = band_table([course for course in courses if course.trial.number == 0])
    assert set(one["depth"]) == {"depth 3"}
    history = read_history(courses[0].trial.folder)
    assert one["trials"].unique().tolist() == [1]
    assert one["high"].max() <= history["grad_norm"].max()


def test_bands_lie_on_a_log_axis_with_clip_and_alarm(courses: list[Course]) -> None:
    figure = draw_bands(band_table(courses), 0.5)
    assert figure.layout.yaxis.type == "log"
    assert {shape.y0 for shape in figure.layout.shapes} == {10.0, 0.5}
    areas = [trace for trace in figure.data if trace.fill == "toself"]
    lines = [trace for trace in figure.data if trace.fill is None]
    assert len(areas) == len(lines)
    assert {trace.legendgroup for trace in areas} == {trace.name for trace in lines}


def test_without_depth_there_is_one_band(record: StudyRecord) -> None:
    bare = replace(record, trials=tuple(replace(one, parameters={}) for one in record.trials))
    table = band_table(read_courses(bare, ScoreFormat.of(bare)))
    assert set(table["depth"]) == {"all trials"}
    assert collapse_obstacle(bare) == (
        "The study varies no num_layers and no learning_rate, so there is no map of that."
    )
    assert collapse_table(bare).empty


def test_every_trial_is_drawn_on_demand(record: StudyRecord, courses: list[Course]) -> None:
    drawn = norms_of_courses(record, courses)
    assert set(drawn["number"]) == {course.trial.number for course in courses if course.steps}


def test_the_map_marks_each_trial_by_its_verdict(record: StudyRecord) -> None:
    table = collapse_table(record)
    assert len(table) == len(record.trials)
    row = table.set_index("number").loc[6]
    drawn = record.trials[6].parameters
    assert (row["depth"], row["rate"], row["verdict"]) == (
        drawn["model.num_layers"],
        drawn["finetune.learning_rate"],
        "diverged",
    )
    figure = draw_collapse(record, table)
    traces = {trace.name: trace for trace in figure.data}
    assert set(traces) == {"healthy", "diverged"}
    assert traces["diverged"].customdata == (6,)
    assert traces["diverged"].marker.symbol != traces["healthy"].marker.symbol
    assert figure.layout.xaxis.type == "log"
    said = collapse_sentences(table)
    assert said[0] == "Of 17 trials: 16 healthy, 1 diverged."
    assert said[1].startswith("The highest learning rate of a healthy trial is ")


def test_spikes_are_told_with_step_and_height(record: StudyRecord, tmp_path: Path) -> None:
    folder = tmp_path / "0002"
    folder.mkdir()
    history = read_history(record.trials[2].folder).assign(loss=2.0)
    history.loc[150, "loss"] = 9.0  # step 151, in stage finetune
    history.loc[60, "loss"] = 4.0
    history.to_parquet(folder / "telemetry.parquet")
    study = replace(record, trials=(replace(record.trials[2], folder=folder),))
    found = read_courses(study, ScoreFormat.of(study))
    table = spike_table(found)
    assert table[["number", "step", "times"]].to_numpy().tolist() == [[2, 151, 4.5], [2, 61, 2.0]]
    assert spike_sentence(table, found) == (
        "2 loss spikes in 1 of 1 trial; the highest, 4.5 times what was usual, was 9 at step 151 "
        "of trial 2."
    )
    (marks,) = draw_spikes(table, study.grid).data
    assert (marks.x, marks.y) == ((151, 61), (4.5, 2.0))
    none = [replace(one, spikes=[]) for one in found]
    assert spike_sentence(spike_table(none), none) == "No loss spike in 1 trial with telemetry."


def test_rates_are_drawn_as_they_were_applied(
    record: StudyRecord, courses: list[Course], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = line_table(record, courses, "learning_rate")
    own = table[table["number"] == 0]
    assert own["learning_rate"].iloc[0] < 2e-3  # in the warmup
    assert own["learning_rate"].max() == pytest.approx(2e-3)
    assert own["step"].iloc[-1] == 200
    figure = draw_lines(table, "learning_rate", "learning rate", record.grid)
    best = next(trace for trace in figure.data if (trace.name or "").startswith("best"))
    assert best.line.width == 3
    assert [shape.x0 for shape in figure.layout.shapes] == [120]
    monkeypatch.setattr("hpo.analysis.stability.MOST_LINES", 4)
    few = line_table(record, courses, "learning_rate")
    assert set(few["number"]) >= {0, record.best.number}
    assert few["number"].nunique() <= 5


def test_loss_scales_are_drawn_where_there_are_some(
    record: StudyRecord, courses: list[Course]
) -> None:
    assert line_table(record, courses, "amp_scale").empty
    assert scale_sentences(courses) == ["No trial used a loss scale: only fp16 needs one."]
    one = courses[0]
    check = replace(one.checks[1], passed=False)
    scaled = replace(
        one, series=one.series.assign(amp_scale=1024.0), checks=[one.checks[0], check]
    )
    assert scale_sentences([scaled]) == ["1 trial used a loss scale; it had to be lowered in 1."]
    assert set(line_table(record, [scaled], "amp_scale")["amp_scale"]) == {1024.0}


def test_the_section_has_the_checklist_of_every_trial(
    record: StudyRecord, courses: list[Course]
) -> None:
    page = stability_section(record, ScoreFormat.of(record), courses)
    table = page[page.index("Checklist of every trial") :]
    rows = re.findall(r"<tr>(.*?)</tr>", table)
    assert len(rows) == 1 + len(record.trials)
    assert "not finite at step 80" in rows[7]  # trial 6, which diverged
    passed = sum(course.checks[0].passed is True for course in courses)
    failed = sum(course.checks[0].passed is False for course in courses)
    assert f"gradient norm under 10: {passed} pass, {failed} fail, 1 unknown" in page
    assert "loss scale steady: applies to none" in page
