"""`hpo new`: what it writes loads as it is, and nothing is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.cli import main
from hpo.declarations import load_study, validate_path


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_study_takes_the_space_of_its_name_and_both_load_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "space", "wide"]) == 0
    assert main(["new", "study", "wide"]) == 0
    assert capsys.readouterr().out == "search_spaces/wide.toml\nstudies/wide.toml\n"
    study = load_study("wide")
    assert (study.space.name, study.trials) == ("wide", 6)
    assert [one.problem for one in validate_path(str(tmp_path))] == [None, None]


def test_a_study_alone_takes_a_shipped_space() -> None:
    assert main(["new", "study", "alone"]) == 0
    assert load_study("alone").space.name == "quickstart"


def test_a_space_of_another_task_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "other.toml").write_text('task = "speech"\n')
    assert main(["new", "study", "other"]) == 0
    assert load_study("other").space.name == "quickstart"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("study", "league"), "there is a study of that name already"),
        (("space", "league"), "there is a search space of that name already"),
        (("study", "../x"), "not a name, got '../x'. Allowed: 1 to 64 of"),
        (("study", "x.toml"), "give a name, not a file, got 'x.toml'"),
        (("study", "hpo.db"), "not a name"),
        (("thing", "x"), "invalid choice: 'thing'"),
    ],
)
def test_what_cannot_be_written_is_one_line(
    words: tuple[str, str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    assert main(["new", "study", "mine"]) == 0
    path = tmp_path / "studies" / "mine.toml"
    path.write_text("changed")
    assert main(["new", "study", "mine"]) == 2
    assert path.read_text() == "changed"


def test_a_folder_that_cannot_be_made_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "studies").touch()
    assert main(["new", "study", "mine"]) == 2
    assert "studies/mine.toml: cannot be written" in capsys.readouterr().err
