"""Which run's model is taken elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.folders import StudyFolder
from hpo.kept import NoModelError, find_kept
from hpo.records import Entrant, FinalsRecord, StudyRecord, TrialRecord
from tests.hpo.made_records import record, trial

NAME = "depth_sweep"


def made(runs: Path, *trials: TrialRecord, finals: FinalsRecord | None = None) -> StudyRecord:
    return record(*trials, folder=runs / NAME, finals=finals)


def with_weights(runs: Path, number: int, seed: int | None = None) -> Path:
    """The folder of a run that has weights."""
    study = StudyFolder(runs, NAME)
    folder = study.trial(number) if seed is None else study.repeat(number, seed)
    (folder / "weights").mkdir(parents=True)
    return folder


def test_the_best_complete_trial_is_taken_or_the_one_that_is_asked_for(tmp_path: Path) -> None:
    folders = [with_weights(tmp_path, number) for number in range(3)]
    study = made(
        tmp_path,
        trial(0, value=3.0, folder=folders[0]),
        trial(1, value=7.0, folder=folders[1]),
        trial(2, "pruned", value=9.0, folder=folders[2]),
    )
    assert (find_kept(study).trial, find_kept(study).value) == (1, 7.0)
    assert find_kept(study, 0).folder == folders[0]


def test_of_a_finalist_the_best_run_on_validation_whose_weights_are_kept(tmp_path: Path) -> None:
    own, repeat = with_weights(tmp_path, 0), with_weights(tmp_path, 0, seed=3)
    entrant = Entrant(0, (8.0, 5.0, 6.0), 6.3, None, True, (1, 2, 3), (None, None, None))
    finals = FinalsRecord((entrant,), selected=0, top=2, seeds=3)
    trials = (trial(0, value=4.0, folder=own), trial(1, value=7.0))
    found = find_kept(made(tmp_path, *trials, finals=finals))
    # Of the repeats, the one on seed 1 was better and its weights are gone.
    assert (found.trial, found.seed, found.value, found.folder) == (0, 3, 6.0, repeat)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (None, r"no weights of trial 1 \(complete\) are kept. Allowed: trials with weights: 0\."),
        (2, r"no weights of trial 2 \(pruned\) are kept\. .*storage\.keep"),
        (5, r"depth_sweep: there is no trial 5\. See `hpo show depth_sweep`\."),
    ],
)
def test_without_weights_it_says_which_trials_have_some(
    asked: int | None, message: str, tmp_path: Path
) -> None:
    own = with_weights(tmp_path, 0)
    trials = (trial(0, folder=own), trial(1, value=7.0), trial(2, "pruned"))
    with pytest.raises(NoModelError, match=message):
        find_kept(made(tmp_path, *trials), asked)


def test_without_a_complete_trial_there_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(NoModelError, match="depth_sweep: no trial is complete yet"):
        find_kept(made(tmp_path, trial(0, "running", None)))
