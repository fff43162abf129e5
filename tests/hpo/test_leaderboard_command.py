"""The command `leaderboard` over studies that were run."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from toy_bench import MakeStudy, write_study
from toy_curves import SIGNATURE
from toy_runs import run_study

from core import registry
from hpo import attributes
from hpo.cli import main
from hpo.declarations import load_study
from hpo.protocol import SHORT
from hpo.reading import read_studies, read_study

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `hpo leaderboard`; returns exit code, standard output, standard error."""

    def go(*words: str) -> tuple[int, str, str]:
        code = main(["leaderboard", "--runs-dir", str(tmp_path / "runs"), *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return go


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies under one protocol, and one under another."""
    folder = tmp_path_factory.mktemp("made")
    write_study(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._MODULES, "toy", "toy_curves")
        for name, trials, changes in (
            ("one", 1, []),
            ("two", 2, ["sampler.name=random", "seed=7"]),
            ("long", 1, ["protocol.second_steps=15"]),
        ):
            options = ["pruner.name=none", *changes]
            study = load_study(str(folder / "toy.toml"), overrides=options, name=name)
            run_study(study, folder / "runs", trials=trials)
    return folder / "runs"


@pytest.fixture
def runs(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the studies that were made."""
    monkeypatch.setitem(registry._MODULES, "toy", "toy_curves")
    return Path(shutil.copytree(made, tmp_path / "runs"))


@pytest.mark.parametrize("form", [(), ("--html",)])
def test_without_studies_it_says_so_and_makes_nothing(
    form: tuple[str, ...], command: Command, tmp_path: Path
) -> None:
    assert command(*form) == (0, "No study has been run here.\n", "")
    assert list(tmp_path.iterdir()) == []


def test_without_studies_the_json_is_empty(command: Command) -> None:
    code, out, _ = command("--json")
    assert (code, json.loads(out)) == (0, {"schema_version": 1, "groups": [], "apart": []})


def test_it_ranks_the_studies_of_a_protocol(command: Command, runs: Path) -> None:
    read = {name: read_study(None, name, runs) for name in ("one", "two", "long")}
    scores = {name: one.readings[-1].runs[0].value for name, one in read.items()}
    code, out, err = command()
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    ranked = sorted(("one", "two"), key=lambda name: -scores[name])
    rows = [words for words in lines if words[1:2] and words[1] in scores]
    assert [words[:2] for words in rows] == [["1", ranked[0]], ["2", ranked[1]], ["1", "long"]]
    assert rows[0][2] == f"{scores[ranked[0]]:.2f}"
    assert "Ranked by the test score of the one run chosen on validation" in out
    assert "protocol.second_steps: 15, and 12 in the first" in out
    short = read["one"].lock.hash[:SHORT]
    assert f"Protocol {short} of toy: 2 studies" in out
    code, out, _ = command("--study", "long")
    assert code == 0
    assert out.startswith(f"Protocol {read['long'].lock.short} of toy: 1 study\n")


def test_a_study_with_finals_is_ranked_by_them(
    command: Command, make_study: MakeStudy, tmp_path: Path
) -> None:
    study = make_study("final", rest="[finals]\ntop = 2\nseeds = 3\n")
    reading = run_study(study, tmp_path / "runs", trials=2).reading
    assert reading is not None
    fresh = [one.value for one in reading.runs if one.trial == reading.selected and one.seed]
    code, out, _ = command("--json")
    (entry,) = json.loads(out)["groups"][0]["entries"]
    assert (code, entry["ranked_by"], entry["rank"]) == (0, "clean_test", 1)
    assert entry["clean_test"]["value"] == pytest.approx(sum(fresh) / 3)
    assert entry["clean_test"]["n"] == 3
    assert entry["final_test"]["value"] == max(one.value for one in reading.runs)
    assert " (n=3) " in command()[1]


def test_the_json_is_what_a_program_reads(command: Command, runs: Path) -> None:
    code, out, _ = command("--json")
    told = json.loads(out)
    assert code == 0
    first, second = told["groups"]
    assert first["protocol"]["content"]["signature"] == SIGNATURE
    assert {entry["study"] for entry in first["entries"]} == {"one", "two"}
    two = next(entry for entry in first["entries"] if entry["study"] == "two")
    assert two["trials"] == {"finished": 2, "complete": 2, "total": 2}
    assert two["devices"] == {"cpu toy": 2}
    assert two["trials_s"] == pytest.approx(0.04)
    assert [one["key"] for one in second["differs_from_first"]] == [
        "protocol.second_steps",
        "steps.second",
    ]


def test_the_page_lies_beside_the_reports(command: Command, runs: Path) -> None:
    code, out, _ = command("--html")
    assert code == 0
    assert out.strip().endswith("leaderboard.html")
    assert "Leaderboard" in (runs / "leaderboard.html").read_text()


def test_json_and_page_exclude_each_other(command: Command) -> None:
    code, out, err = command("--json", "--html")
    assert (code, out) == (2, "")
    assert "not allowed with" in err
    assert err.count("\n") == 1


def test_a_study_that_there_is_not_is_a_mistake(command: Command, runs: Path) -> None:
    code, out, err = command("--study", "tow")
    assert (code, out) == (2, "")
    assert "Did you mean 'two'?" in err


def _damage_ledger(runs: Path) -> None:
    (runs / "two" / "ledger.json").write_text("{")


def _damage_attribute(key: str, value: Any) -> Callable[[Path], None]:
    def damage(runs: Path) -> None:
        study = optuna.load_study(study_name="two", storage=f"sqlite:///{runs}/hpo.db")
        study.set_user_attr(key, value)
        study._storage.remove_session()

    return damage


def _damage_rows(statement: str) -> Callable[[Path], None]:
    def damage(runs: Path) -> None:
        with closing(sqlite3.connect(runs / "hpo.db")) as connection, connection:
            own = "trials JOIN studies USING (study_id) WHERE study_name = 'two'"
            first = f"(SELECT trial_id FROM {own} ORDER BY trial_id LIMIT 1)"
            connection.execute(statement.format(first=first))

    return damage


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_damage_rows("DELETE FROM trials WHERE trial_id = {first}"), "trial 0 is missing"),
        (
            _damage_rows(
                "INSERT INTO trial_values (trial_id, objective, value, value_type) "
                "SELECT {first}, 1, 0.5, 'FINITE'"
            ),
            "trial 0 has 2 values",
        ),
        (_damage_ledger, "the record of test readings is damaged"),
        (_damage_attribute(attributes.GRID, {}), "makes no sense (KeyError"),
        (_damage_attribute(attributes.GRID, None), "makes no sense (TypeError"),
        (_damage_attribute(attributes.PROTOCOL, {"hash": 3}), "the protocol lock is damaged"),
        (_damage_attribute(attributes.PROTOCOL, {"content": {}}), "the protocol lock is damaged"),
        (_damage_attribute(attributes.DECLARATION, {"task": "none"}), "makes no sense (KeyError"),
        (_damage_attribute(attributes.SCORING, {"metric": {}}), "makes no sense (TypeError"),
    ],
)
def test_a_study_that_cannot_be_read_is_listed_and_costs_the_others_nothing(
    damage: Callable[[Path], None], reason: str, command: Command, runs: Path
) -> None:
    damage(runs)
    read, unread = read_studies(None, runs)
    assert [one.name for one in read] == ["long", "one"]
    assert [one.name for one in unread] == ["two"]
    code, out, err = command()
    assert (code, err) == (0, "")
    (line,) = [line for line in out.splitlines() if line.startswith("  two: ")]
    assert reason in line


def test_studies_that_others_made_are_none_of_its_business(command: Command, runs: Path) -> None:
    optuna.create_study(storage=f"sqlite:///{runs}/hpo.db", study_name="foreign")
    code, out, _ = command()
    assert code == 0
    assert "foreign" not in out
