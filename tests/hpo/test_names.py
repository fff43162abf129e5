"""What may be the name of a study, wherever one enters."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from toy_bench import MakeStudy
from toy_runs import run_study

from hpo import attributes
from hpo.cli import main
from hpo.mistakes import DeclarationError
from hpo.names import is_name
from hpo.reading import list_studies, read_studies, read_study
from hpo.storage import locate

BAD = [
    "../x",
    "a/b",
    ".hidden",
    "a\0b",
    "x" * 600,
    "<script>",
    "a b",
    "",
    "hpo.db",
    "caf\u00e9",
    "a\n",
]
COMMANDS = [
    ["show"],
    ["ladder"],
    ["report"],
    ["clean"],
    ["stop"],
    ["status"],
    ["leaderboard", "--study"],
    ["run", "--study", "quickstart", "--name"],
    ["plan", "quickstart", "--name"],
    ["run", "--study", "quickstart", "--warm-start"],
]


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_name(name: str) -> None:
    assert not is_name(name)


@pytest.mark.parametrize("name", ["a", "Wide-2.1_b", "x" * 64, "-"])
def test_what_is_one(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("name", ["../x", "a\0b", "x" * 600, "<script>", ".hidden"])
def test_every_command_refuses_it_in_one_short_line(
    command: list[str], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    assert main([*command, name, "--runs-dir", str(runs)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "not a name" in said.err
    assert said.err.count("\n") == 1
    assert len(said.err) < 400
    assert "\0" not in said.err
    assert not runs.exists()


def test_a_name_that_somebody_wrote_into_the_database_leads_nowhere(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    run_study(make_study(), runs, trials=1)
    known = read_study(None, "toy", runs).optuna_study.user_attrs
    storage = locate(None, runs).open_for_driver()
    planted = optuna.create_study(study_name="../../x", storage=storage)
    for key, value in known.items():
        planted.set_user_attr(key, value)
    assert attributes.IDENTITY in planted.user_attrs
    assert [one.name for one in list_studies(None, runs)] == ["toy"]
    read, unread = read_studies(None, runs)
    assert ([one.name for one in read], unread) == (["toy"], [])
    with pytest.raises(DeclarationError, match="not a name"):
        read_study(None, "../../x", runs)
