"""The protocol lock: what is in the hash, what is not, and who is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import toy_curves
from toy_bench import HALVING, SPACE, MakeStudy, toy_slots
from toy_runs import Watcher, run_study

from core.registry import find_task
from core.sealed import write_sealed
from core.settings import RECIPE_VERSION, digest_of
from hpo import attributes
from hpo.declarations import Study, load_study
from hpo.events import Event, TrialEvaluated
from hpo.identity import StudyConflictError
from hpo.protocol import ProtocolLock, lock_of, stored_lock
from hpo.reading import read_study
from hpo.slots import Work

DIGESTS = {"data": "d" * 64, "tokenizer": "t" * 64}


def lock(study: Study, **digests: str) -> ProtocolLock:
    return lock_of(study, DIGESTS | digests)


@pytest.mark.parametrize(
    ("overrides", "declared"),
    [
        ({"seed": 5}, {}),
        (HALVING, {}),
        ({"sampler.name": "random"}, {}),
        ({"trials": 3}, {}),
        ({"storage.keep": 5}, {}),
        ({"data.source": "{tmp}"}, {}),
        ({}, {"name": "other"}),
        ({}, {"space": SPACE.replace("97", "101")}),
        ({}, {"rest": '[[enqueue]]\n"model.width" = 5\n"finetune.rate" = 0.01\n'}),
    ],
)
def test_what_is_searched_and_how_is_no_part_of_the_protocol(
    overrides: dict[str, Any], declared: dict[str, str], make_study: MakeStudy, tmp_path: Path
) -> None:
    before = lock(make_study())
    overrides = {
        key: value.format(tmp=tmp_path) if isinstance(value, str) else value
        for key, value in overrides.items()
    }
    assert lock(make_study(overrides=overrides, **declared)).hash == before.hash


def test_settings_data_steps_and_signature_are(make_study: MakeStudy) -> None:
    study = make_study()
    other_signature = replace(study.spec, signature=lambda _: "toy|v2")
    hashes = {
        one.hash
        for one in (
            lock(study),
            lock(make_study(overrides={"protocol.step_s": 0.5})),
            lock(make_study(overrides={"protocol.second_steps": 15})),
            lock(make_study(overrides={"protocol.first_steps": 3})),
            lock(study, data="e" * 64),
            lock(study, tokenizer="u" * 64),
            lock(replace(study, spec=other_signature)),
            lock(replace(study, task="another")),
        )
    }
    assert len(hashes) == 8
    assert lock(study).content["steps"] == {"second": 12}


def test_the_hash_survives_json(make_study: MakeStudy) -> None:
    one = lock(make_study())
    told = json.loads(json.dumps(one.as_json(), sort_keys=True))
    assert ProtocolLock(told["content"]) == ProtocolLock(one.content)
    assert ProtocolLock(told["content"]).hash == told["hash"] == digest_of(told["content"])
    assert told["hash"].startswith(one.short)


def test_the_league_locks_every_setting_of_its_protocol() -> None:
    study = load_study("league")
    content = lock(study).content
    assert set(content["protocol"]) == set(type(study.protocol).model_fields)
    assert content["protocol"]["pretrain"]["learning_rate"] == 7e-4
    assert content["steps"] == {"pretrain": 1500, "finetune": 500}
    assert content["signature"] == find_task("translation").signature(study.protocol)
    assert content["signature"].startswith("nrefs:1|case:mixed|")


def test_a_study_is_locked_when_its_data_are_known(make_study: MakeStudy, tmp_path: Path) -> None:
    runs, study = tmp_path / "runs", make_study()
    run_study(study, runs, trials=1)
    record = read_study(None, "toy", runs)
    assert record.lock == lock_of(study, toy_curves.DIGESTS)
    assert record.lock.signature == record.readings[0].signature
    written = json.loads((runs / "toy" / "study.json").read_text())
    assert written["protocol"] == record.lock.as_json()


def test_another_way_of_computing_the_score_is_refused(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs, study = tmp_path / "runs", make_study()
    run_study(study, runs, trials=1)
    newer = replace(study, spec=replace(study.spec, signature=lambda _: "toy|v2"))
    with pytest.raises(
        StudyConflictError, match=r'signature was "toy\|v1", is "toy\|v2".*--name NEW'
    ) as caught:
        run_study(newer, runs, trials=2)
    assert caught.value.keys == ("signature",)
    assert len(read_study(None, "toy", runs).trials) == 1


def test_a_study_trained_by_another_recipe_does_not_go_on_and_is_ranked_apart(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, study = tmp_path / "runs", make_study()
    now = lock(study)
    monkeypatch.setattr("hpo.protocol.RECIPE_VERSION", RECIPE_VERSION - 1)
    assert lock(study).hash != now.hash
    run_study(study, runs, trials=1)
    monkeypatch.undo()
    with pytest.raises(StudyConflictError, match=r"recipe_version was \d, is \d.*--name NEW") as e:
        run_study(study, runs, trials=2)
    assert e.value.keys == ("recipe_version",)
    # The first version's locks did not name it.
    unnamed = {key: value for key, value in now.content.items() if key != "recipe_version"}
    assert stored_lock({"content": unnamed}).hash != now.hash


def test_a_study_from_before_there_were_locks_gets_one_and_does_not_go_on(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs, study = tmp_path / "runs", make_study()
    run_study(study, runs, trials=1)
    with_lock = read_study(None, "toy", runs).lock
    _forget_lock(runs)
    assert read_study(None, "toy", runs).lock is None
    assert run_study(study, runs, trials=1).already_finished
    told = dict(with_lock.content)
    del told["recipe_version"]
    assert read_study(None, "toy", runs).lock.content == told
    with pytest.raises(StudyConflictError, match="recipe_version was absent, is "):
        run_study(study, runs, trials=2)


def _forget_lock(runs: Path) -> None:
    storage = optuna.storages.RDBStorage(f"sqlite:///{runs}/hpo.db")
    with storage.engine.begin() as connection:
        connection.exec_driver_sql(
            "DELETE FROM study_user_attributes WHERE key = ?", (attributes.PROTOCOL,)
        )
    storage.engine.dispose()


def test_a_trial_of_another_protocol_is_refused_before_it_starts(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of ours makes one; a change to `build_config` could."""
    runs, study = tmp_path / "runs", make_study()
    run_study(study, runs, trials=1)
    monkeypatch.setattr(
        "hpo.roster.build_config", _changed(protocol={"second_steps": 9}, data_digest="e" * 64)
    )
    started: list[Work] = []
    with pytest.raises(StudyConflictError, match="trial 1 is not under the study's protocol") as e:
        run_study(study, runs, trials=2, make_slots=_recording(started))
    assert e.value.keys == ("digests.data", "protocol.second_steps")
    assert started == []


def _changed(*, protocol: dict[str, Any], data_digest: str) -> Any:
    from hpo.declarations.assembly import build_config

    def build(*words: Any) -> Any:
        config = build_config(*words)
        changed = {**config.protocol, **protocol}
        return config.model_copy(update={"protocol": changed, "data_digest": data_digest})

    return build


def _recording(started: list[Work]) -> Any:
    def make(number: int, cache: Path) -> Any:
        slots = toy_slots(number, cache)
        for slot in slots:
            slot.run = lambda work, on_event: started.append(work)  # type: ignore[method-assign]
        return slots

    return make


def test_an_orphan_whose_folder_was_begun_as_something_else_is_refused(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs, study = tmp_path / "runs", make_study()
    own = lock_of(study, toy_curves.DIGESTS).content

    def interrupt(event: Event) -> None:
        if isinstance(event, TrialEvaluated):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_study(study, runs, interrupt, trials=1)  # type: ignore[arg-type]
    place = runs / "toy" / "trials" / "0000"
    other = {
        "task": "toy",
        "protocol": {**own["protocol"], "eval_every": 6},
        "data_digest": own["digests"]["data"],
    }
    write_sealed(place / "config.json", {"config": other})
    with pytest.raises(
        StudyConflictError, match=r"0000 is not under .*eval_every was 3, is 6.*Delete that folder"
    ) as caught:
        run_study(study, runs, trials=1)
    assert caught.value.keys == ("protocol.eval_every",)
    (place / "config.json").write_text("torn")
    assert run_study(study, runs, trials=1).failure is None


def test_a_task_that_scores_otherwise_than_it_said_is_told(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toy_curves, "SIGNATURE", "toy|v3")
    study, watch = make_study(), Watcher()
    runs = tmp_path / "runs"
    spec = replace(study.spec, signature=lambda _: "toy|v1")
    run_study(replace(study, spec=spec), runs, watch, trials=1)
    (note,) = [note for note in watch.notes() if "signature" in note or "computed as" in note]
    assert note.startswith("the test score was computed as toy|v3, and the protocol says toy|v1")


def test_a_repeat_of_another_protocol_is_refused_too(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hpo.sampling import build_repeat

    def changed(*words: Any) -> Any:
        return build_repeat(*words).model_copy(update={"data_digest": "e" * 64})

    monkeypatch.setattr("hpo.finals.repeats.build_repeat", changed)
    study = make_study(rest="[finals]\ntop = 1\nseeds = 2\n")
    with pytest.raises(StudyConflictError, match="trial 0, seed 1 is not under") as caught:
        run_study(study, tmp_path / "runs", trials=1)
    assert caught.value.keys == ("digests.data",)
