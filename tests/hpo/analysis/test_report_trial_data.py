"""What opens of each trial below the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_study import made_study

from hpo.analysis import trial_data as module
from hpo.analysis.courses import read_courses
from hpo.analysis.formats import ScoreFormat
from hpo.analysis.reasons import Rivals, reasons
from hpo.analysis.translations import translations_table
from hpo.analysis.trial_data import trial_data
from hpo.analysis.trials_section import trials_section
from hpo.records import StudyRecord

P_VALUES = {3: 0.31}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> StudyRecord:
    return made_study(tmp_path_factory.mktemp("made"))


def read(record: StudyRecord) -> dict[str, Any]:
    scores = ScoreFormat.of(record)
    found: dict[str, Any] = json.loads(
        trial_data(record, read_courses(record, scores), translations_table(record), P_VALUES)
    )
    return found


@pytest.fixture(scope="module")
def data(record: StudyRecord) -> dict[str, Any]:
    return read(record)


def test_every_trial_opens_to_why_health_checks_configuration_and_curve(
    record: StudyRecord, data: dict[str, Any]
) -> None:
    rivals = Rivals.of(record)
    for trial in record.trials:
        found = data["trials"][str(trial.number)]
        assert found["why"] == reasons(trial, rivals, P_VALUES.get(trial.number))
        assert len(found["checks"]) == 4
        names = data["shared"]["names"]
        drawn = {n: value for n, value in zip(names, found["drawn"], strict=True) if value}
        assert set(drawn) == set(trial.parameters)
        assert drawn["model.num_layers"] == str(trial.parameters["model.num_layers"])
        assert found["facts"][1:] == [trial.attempts, "–"]
        steps, values = found["curve"]
        assert steps == list(trial.curve)
        assert values == pytest.approx(list(trial.curve.values()), rel=1e-3)
    assert data["trials"]["6"]["verdict"] == "diverged"
    assert data["trials"]["6"]["checks"][0][0] is False


def test_the_courses_are_drawn_over_their_steps(record: StudyRecord, data: dict[str, Any]) -> None:
    own = data["trials"]["0"]
    assert (own["every"], own["steps"]) == (1, 200)
    assert len(own["norm"]) == len(own["loss"]) == len(own["rate"]) == 200
    assert "scale" not in own  # no loss scale was used
    assert "norm" not in data["trials"]["9"]  # failed before its first step


def test_what_all_trials_share_is_there_once(record: StudyRecord, data: dict[str, Any]) -> None:
    shared = data["shared"]
    assert (shared["steps"], shared["stages"]) == (200, [120])
    assert (shared["alarm"], shared["clip"]) == (10, 1.0)
    assert shared["best"][0] == record.best.number
    steps, medians = shared["median"]
    complete = sorted(one.curve[200] for one in record.trials if one.state == "complete")
    assert (steps[-1], medians[-1]) == (200, pytest.approx(complete[len(complete) // 2], rel=1e-3))


def test_complete_trials_show_their_output_for_the_most_telling_lines(
    record: StudyRecord, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = data["shared"]["samples"]
    lines = translations_table(record)["line"].tolist()
    assert [sample["line"] for sample in samples] == lines[:3]
    assert len(data["trials"]["0"]["texts"]) == len(samples)
    assert "texts" not in data["trials"]["4"]  # pruned
    monkeypatch.setattr(module, "ALL_SAMPLES", 17)
    assert len(read(record)["shared"]["samples"]) == 1
    monkeypatch.setattr(module, "ALL_SAMPLES", 8)
    assert read(record)["shared"]["samples"] == []


def test_a_study_that_has_hardly_begun_has_data_too(tmp_path: Path) -> None:
    begun = made_study(tmp_path, trials=2, states={0: "running", 1: "paused"})
    found = read(begun)
    assert found["shared"]["best"] is None
    assert found["trials"]["0"]["why"][0].startswith("It has not ended: running at step ")


def test_the_table_can_be_filtered_by_each_outcome(record: StudyRecord) -> None:
    page = trials_section(record, ScoreFormat.of(record), "{}")
    for outcome in ("all", "complete", "pruned", "diverged", "failed"):
        assert f">{outcome}</option>" in page
    assert page.count("<tr>") == 1 + len(record.trials)
    assert '<div class="filters" hidden="hidden">' in page  # the script shows it
