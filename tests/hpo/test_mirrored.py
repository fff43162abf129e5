"""Lower is better as well: a study of the mirrored score is the mirror image of the study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy_curves
from toy_bench import MakeStudy
from toy_runs import run_study

from hpo.finals.headline import headline
from hpo.launch import Result
from hpo.output import study_page

COMBINATIONS = {
    "halving, with finals": {
        "pruner.name": "successive_halving",
        "pruner.reduction_factor": 2,
        "pruner.trust": "always",
        "finals.top": 2,
        "finals.seeds": 2,
    },
    "patient median": {
        "pruner.name": "patient",
        "pruner.around": '{ name = "median", n_startup_trials = 2, trust = "always" }',
    },
    "promote": {"scheduler.name": "promote", "scheduler.reduction_factor": 2},
    "grouped": {"scheduler.trials_per_structure": 2, "protocol.first_steps": 6},
    "thaw": {"scheduler.name": "thaw"},
}


def _mirror(patch: pytest.MonkeyPatch) -> None:
    spec, value_at = toy_curves.SPEC, toy_curves.value_at
    metric = replace(spec.metric, direction="minimize")
    patch.setattr(toy_curves, "SPEC", replace(spec, metric=metric))
    patch.setattr(toy_curves, "value_at", lambda config, step: -value_at(config, step))


@pytest.mark.parametrize("overrides", COMBINATIONS.values(), ids=COMBINATIONS)
def test_a_mirrored_score_gives_the_mirrored_study(
    overrides: dict[str, Any],
    make_study: MakeStudy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = run_study(make_study(overrides=overrides), tmp_path / "runs", trials=8)
    _mirror(monkeypatch)
    other = run_study(make_study(overrides=overrides), tmp_path / "mirrored", trials=8)
    assert _told(one, 1) == _told(other, -1)
    assert one.record.best is not None and other.record.best is not None
    assert one.record.best.number == other.record.best.number
    assert one.reading is not None and other.reading is not None
    assert one.reading.selected == other.reading.selected
    assert [(run.trial, run.seed) for run in one.reading.runs] == [
        (run.trial, run.seed) for run in other.reading.runs
    ]
    said = headline(one.reading, one.record.metric)
    mirrored = headline(other.reading, other.record.metric)
    assert (mirrored.final.value, mirrored.bias) == (-said.final.value, said.bias)
    assert study_page(other.record)


def _told(result: Result, sign: int) -> list[Any]:
    return [
        (
            trial.number,
            trial.state,
            trial.parameters,
            {step: sign * value for step, value in trial.curve.items()},
        )
        for trial in result.record.trials
    ]
