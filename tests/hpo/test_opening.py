"""Who may run a study, and as what: owners, identity, folders, room."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import toy_curves
from toy_bench import HALVING, SPACE, MakeStudy
from toy_runs import Watcher, run_study, told_of

from core.errors import SettingsError
from hpo.disk import DiskError
from hpo.events import (
    Event,
    TrialEnded,
)
from hpo.identity import StudyConflictError
from hpo.lock import StudyOwnedError
from hpo.reading import read_study
from hpo.storage import StorageError


def test_a_second_driver_is_refused_whatever_folder_it_names(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.lock.PATIENCE_S", 0.1)
    runs, study = tmp_path / "runs", make_study()
    url = f"sqlite:///{runs}/hpo.db"

    def look(event: Event) -> bool:
        if isinstance(event, TrialEnded):
            for folder, storage in (
                (runs, None),
                (tmp_path / "other", url),
                (runs, f"sqlite:///{tmp_path}/other.db"),
            ):
                with pytest.raises(StudyOwnedError, match="'toy' is being run by process"):
                    run_study(study, folder, storage=storage)
        return False

    run_study(study, runs, Watcher(look), trials=1)
    run_study(make_study("toy2"), runs, trials=1)


@pytest.mark.parametrize(
    ("overrides", "space", "keys", "words"),
    [
        (
            {"protocol.second_steps": 18, "protocol.eval_every": 6},
            SPACE,
            ("protocol.eval_every", "protocol.second_steps"),
            "protocol.eval_every was 3, is 6; protocol.second_steps was 12, is 18",
        ),
        ({"seed": 5}, SPACE, ("seed",), "seed was 3, is 5"),
        (
            {},
            SPACE.replace("97", "101"),
            ("search_space.parameters.model.width.high",),
            "model.width.high was 97, is 101",
        ),
        (
            {},
            SPACE + '"model.kind" = { type = "categorical", choices = ["fine"] }\n',
            (
                "search_space.parameters.model.kind.choices",
                "search_space.parameters.model.kind.type",
            ),
            'choices was absent, is ["fine"]',
        ),
        ({"data.source": "{tmp}"}, SPACE, ("data.source",), 'was "arithmetic", is "folder"'),
    ],
)
def test_another_study_under_the_same_name_is_refused_with_the_ways_out(
    overrides: dict[str, Any],
    space: str,
    keys: tuple[str, ...],
    words: str,
    make_study: MakeStudy,
    tmp_path: Path,
) -> None:
    runs = tmp_path / "runs"
    overrides = {
        key: value.format(tmp=tmp_path) if isinstance(value, str) else value
        for key, value in overrides.items()
    }
    run_study(make_study(), runs, trials=1)
    before = told_of(runs)
    changed = make_study(overrides=overrides, space=space)
    said = rf"study 'toy': it was begun with other settings: .*{re.escape(words)}.*--name NEW"
    with pytest.raises(StudyConflictError, match=said) as caught:
        run_study(changed, runs)
    assert caught.value.keys == keys
    assert "\n" not in str(caught.value)
    assert told_of(runs) == before
    assert (
        len(run_study(make_study("new", overrides, space=space), runs, trials=1).record.trials)
        == 1
    )


def test_other_data_under_the_same_declaration_is_refused(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, study = tmp_path / "runs", make_study()
    run_study(study, runs, trials=1)
    monkeypatch.setitem(toy_curves.DIGESTS, "data", "e" * 64)
    assert run_study(study, runs, trials=1).already_finished  # which looks at no data
    with pytest.raises(
        StudyConflictError, match=r"digests\.data was .*Restore the data"
    ) as caught:
        run_study(study, runs, trials=2)
    assert caught.value.keys == ("digests.data",)


def test_sampler_and_pruner_may_change_and_it_is_recorded(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs, watch = tmp_path / "runs", Watcher()
    run_study(make_study(), runs)
    changed = make_study(overrides={"sampler.name": "random", **HALVING})
    run_study(changed, runs, watch, trials=4)
    notes = watch.notes()
    assert 'from now on: sampler.name was "tpe", is "random"' in notes
    assert 'from now on: pruner.name was "none", is "successive_halving"' in notes
    written = json.loads((runs / "toy" / "study.json").read_text())
    changes = {change["key"]: (change["before"], change["now"]) for change in written["changes"]}
    assert changes["sampler.name"] == ("tpe", "random")
    assert changes["trials"] == (3, 4)
    assert written["declaration"]["sampler"] == {"name": "random"}
    assert read_study(None, "toy", runs).declaration["sampler"] == {"name": "random"}


def test_folders_and_database_must_belong_together(make_study: MakeStudy, tmp_path: Path) -> None:
    runs, study = tmp_path / "runs", make_study()
    url = f"sqlite:///{runs}/hpo.db"
    run_study(study, runs, trials=1)
    with pytest.raises(
        StudyConflictError, match=rf"its trials lie in {runs}/toy.*--runs-dir {runs}"
    ):
        run_study(study, tmp_path / "other", storage=url)
    with pytest.raises(StudyConflictError, match="trials of a study that is not in this database"):
        run_study(study, runs, storage=f"sqlite:///{tmp_path}/other.db")
    # Both may move together.
    moved = tmp_path / "moved"
    runs.rename(moved)
    assert len(run_study(study, moved, trials=2).record.trials) == 2
    # And what is lost is told.
    (moved / "toy").rename(tmp_path / "lost")
    watch = Watcher()
    result = run_study(study, moved, watch, trials=3)
    assert any("the files of earlier trials are gone" in note for note in watch.notes())
    assert len(result.record.trials) == 3


def test_a_study_that_somebody_else_made_is_left_alone(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    foreign = optuna.create_study(storage=f"sqlite:///{runs}/hpo.db", study_name="toy")
    foreign.tell(foreign.ask().number, 1.0)
    with pytest.raises(StudyConflictError, match="not made by this program"):
        run_study(make_study(), runs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jobs": 0}, "--jobs: must be at least 1, got 0"),
        ({"trials": 0}, "trials must be at least 1, got 0"),
        ({"time_limit_s": 0.0}, "the time limit must be positive"),
        ({"time_limit_s": float("nan")}, "the time limit must be positive"),
    ],
)
def test_options_are_checked_first(
    options: dict[str, Any], message: str, make_study: MakeStudy, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=message):
        run_study(make_study(), tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()


def test_another_database_is_refused_before_anything_is_written(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match="sqlite:///FILE"):
        run_study(make_study(), tmp_path / "runs", storage="mysql://h/db")
    assert not (tmp_path / "runs").exists()


def test_room_on_the_disk_is_checked_for_the_largest_model(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    asked: list[int] = []

    def count(groups: Any, protocol: Any) -> int:
        asked.append(groups["model"].width)
        return groups["model"].width * 10**12

    study = make_study()
    wide = replace(study, spec=replace(study.spec, count_weights=count))
    with pytest.raises(DiskError, match="not enough room on the disk"):
        run_study(wide, tmp_path / "runs")
    assert max(asked) == 97
    assert run_study(study, tmp_path / "runs", trials=1).failure is None
