"""`--json`, alike for every command that prints a table: one object, documented keys, no NaN."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from toy_bench import KINDS, enqueue, write_study
from toy_runs import run_study

from core import registry
from hpo.as_json import document
from hpo.cli import main
from hpo.declarations import load_study

PAGE = Path(__file__).parents[2] / "docs" / "other-tools.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `toy` is declared and was run; one of its trials diverged."""
    place = tmp_path_factory.mktemp("json")
    write_study(place, space=KINDS, rest=enqueue(5) + enqueue(7, "diverge") + enqueue(11))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._MODULES, "toy", "toy_curves")
        study = load_study(str(place / "toy.toml"), overrides=["pruner.name=none"])
        run_study(study, place / "runs", trials=3)
    return place


@pytest.fixture
def told(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command with `--json` in the folder of the study, and reads what it prints."""
    monkeypatch.setitem(registry._MODULES, "toy", "toy_curves")
    monkeypatch.chdir(folder)

    def go(*words: str) -> dict[str, Any]:
        assert main([*words, "--json"]) == 0
        value = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
        assert isinstance(value, dict)
        assert next(iter(value)) == "schema_version"
        assert value["schema_version"] == 1
        return value

    return go


def documented(row: str) -> set[str]:
    """What a row of the page's table has in backticks."""
    (line,) = (
        line for line in PAGE.read_text("utf-8").splitlines() if line.startswith(f"| {row}")
    )
    return set(re.findall(r"`([a-z_]+)`", line))


@pytest.mark.parametrize(
    ("words", "row"),
    [
        (("studies",), "`studies`"),
        (("show", "toy"), "`show STUDY` |"),
        (("show", "toy", "1"), "`show STUDY TRIAL`"),
        (("plan", "toy.toml"), "`plan`"),
        (("status", "toy"), "`status`"),
        (("validate", "toy.toml"), "`validate`"),
        (("cache", "list"), "`cache list`"),
        (("cache", "prune", "--all"), "`cache prune`"),
        (("compare", "toy", "0", "2"), "`compare`"),
    ],
)
def test_its_keys_are_on_the_page(words: tuple[str, ...], row: str, told: Any) -> None:
    known = documented(row)
    value = told(*words)
    assert value.keys() - {"schema_version"} <= known
    for key in ("studies", "files"):
        for one in value.get(key, ()):
            assert one.keys() <= known


def test_an_explanation_has_a_trials_keys_and_its_own(told: Any) -> None:
    own, of_a_trial = documented("`explain`"), documented("`show STUDY TRIAL`")
    value = told("explain", "toy", "0")
    assert value.keys() - {"schema_version"} <= own | of_a_trial
    assert {"reasons", "checklist"} <= value.keys()


def test_a_study_is_told_with_its_trials(told: Any) -> None:
    study, trial = told("show", "toy"), told("show", "toy", "1")
    del trial["schema_version"]
    assert study["trials"][1] == trial
    assert [one["outcome"] for one in study["trials"]] == ["complete", "diverged", "complete"]
    assert study["best"]["trial"] in (0, 2)
    assert study["start"] == 0
    assert re.fullmatch(r"[0-9a-f]{64}", study["protocol"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", trial["started"])


def test_what_was_declared_and_not_run_is_told_too(told: Any) -> None:
    found = {one["name"]: one for one in told("studies")["studies"]}
    assert found["toy"]["state"] == "finished"
    assert found["quickstart"]["state"] == "declared"
    assert found["quickstart"]["best"] is None


def test_no_number_that_is_not_finite_is_told() -> None:
    assert json.loads(document({"a": [float("nan"), {"b": float("-inf")}], "c": (1.5,)})) == {
        "schema_version": 1,
        "a": [None, {"b": None}],
        "c": [1.5],
    }


def test_a_mistake_is_a_line_and_no_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "none", "--json", "--runs-dir", str(folder / "runs")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
