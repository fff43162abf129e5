"""What a study's row tells of its score, and that a study does not go on under another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import toy_curves
from toy_bench import MakeStudy
from toy_runs import run_study

from core.errors import SettingsError
from core.registry import find_task
from hpo import attributes
from hpo.identity import StudyConflictError
from hpo.reading import read_study
from hpo.scoring import Scoring, stored_scoring


def test_what_is_stored_is_read_without_the_task() -> None:
    scoring = Scoring.of(find_task("translation"))
    own = {attributes.SCORING: scoring.as_json(), attributes.DECLARATION: {"task": "gone:Task"}}
    assert stored_scoring(own) == scoring


def test_a_study_from_before_it_was_stored_has_its_tasks() -> None:
    scoring = stored_scoring({attributes.DECLARATION: {"task": "translation"}})
    assert (scoring.metric.name, scoring.final_line) == ("BLEU", "FINAL_TEST_BLEU")
    with pytest.raises(SettingsError, match="unknown task, got 'none'"):
        stored_scoring({attributes.DECLARATION: {"task": "none"}})


def test_a_study_whose_task_now_scores_otherwise_is_refused(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_study(make_study(), tmp_path / "runs", trials=1)
    turned = replace(toy_curves.SPEC.metric, direction="minimize")
    monkeypatch.setattr(toy_curves, "SPEC", replace(toy_curves.SPEC, metric=turned))
    with pytest.raises(
        StudyConflictError, match=r'metric\.direction was "maximize", is "minimize"'
    ):
        run_study(make_study(), tmp_path / "runs", trials=2)
    # Who reads it sees what it was scored by.
    assert read_study(None, "toy", tmp_path / "runs").metric == replace(
        turned, direction="maximize"
    )
