"""The study that the benchmark of the report makes; the measuring itself is not tested."""

from __future__ import annotations

from pathlib import Path

from benchmarks.report_page import make_study
from hpo.analysis.courses import read_courses
from hpo.analysis.formats import ScoreFormat
from hpo.analysis.translations import runner_up


def test_the_made_study_has_all_that_a_page_shows(tmp_path: Path) -> None:
    record = make_study(tmp_path / "made", trials=8, steps=80)
    assert [trial.state for trial in record.trials].count("pruned") == 2
    assert len(record.optuna_study.trials) == 8
    assert len(record.trials[0].parameters) == 10
    courses = read_courses(record, ScoreFormat.of(record))
    assert {course.steps for course in courses} == {80}
    assert [course.trial.number for course in courses if not course.checks[0].passed] == [5]
    assert runner_up(record) is not None
