"""Words and options in any order, examples in every help, completion in a shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpo.arguments import COMMANDS, read_arguments
from hpo.cli import main
from hpo.commands.declaring import SHELLS
from hpo.examples import EXAMPLES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("translate s --trial 3 Ein Hund", {"study": "s", "trial": 3, "texts": ["Ein", "Hund"]}),
        ("translate --trial 3 s Hund", {"study": "s", "trial": 3, "texts": ["Hund"]}),
        ("translate s Ein --trial 3 Hund", {"trial": 3, "texts": ["Ein", "Hund"]}),
        ("translate s --trial 3", {"study": "s", "trial": 3, "texts": []}),
        ("translate s -- --trial 3", {"study": "s", "trial": None, "texts": ["--trial", "3"]}),
        ("show s --runs-dir r 3", {"study": "s", "trial": 3, "runs_dir": Path("r")}),
        ("export s --format x y 3", {"study": "s", "trial": 3, "format": ["x", "y"]}),
        ("status --json s --follow", {"study": "s", "json": True, "follow": True}),
        ("compare s 1 --json 2 3", {"study": "s", "others": ["1", "2", "3"], "json": True}),
        ("cache list --json", {"action": "list", "json": True}),
    ],
)
def test_options_may_stand_among_the_words(words: str, expected: dict[str, object]) -> None:
    got = vars(read_arguments(words.split()))
    assert {key: got[key] for key in expected} == expected


def test_every_command_is_there_and_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(EXAMPLES) == set(COMMANDS)
    for name in COMMANDS:
        with pytest.raises(SystemExit):
            read_arguments([name, "--help"])
        _, _, examples = capsys.readouterr().out.partition("examples:\n")
        assert f" {name}" in examples, name
        assert "{prog}" not in examples


def test_every_example_can_be_read() -> None:
    for text in EXAMPLES.values():
        for line in text.splitlines()[1:]:
            words = line.partition("{prog} ")[2].partition("|")[0].partition("<")[0]
            words = words.partition(">")[0].partition(')"')[0].replace('"', "")
            assert read_arguments(words.split()).command in COMMANDS


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_is_given_code_that_asks_the_program(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert "_ARGCOMPLETE" in out
    assert "hpo" in out


def completed(line: str, folder: Path) -> list[str]:
    """What the program answers a shell that asks how this line may go on."""
    answer = folder / "answer"
    program = "import sys; sys.argv = ['hpo']\nfrom hpo.__main__ import main\nmain()"
    script = f'"{sys.executable}" -c "$PROGRAM" 8>"{answer}" 9>/dev/null'
    subprocess.run(
        ["/bin/sh", "-c", script],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PROGRAM": program,
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_SHELL": "bash",
            "COMP_TYPE": "9",
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
        },
        capture_output=True,
        timeout=60,
        check=False,
    )
    return answer.read_text().split("\v")


def test_commands_studies_and_options_are_completed(tmp_path: Path) -> None:
    for name in ("toy", "tall"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "study.json").touch()
    assert "import-study" in completed("hpo ", tmp_path)
    assert set(completed("hpo show t", tmp_path)) == {"toy", "tall"}
    assert {"--json", "--runs-dir"} <= set(completed("hpo show toy --", tmp_path))
    assert "quickstart" in completed("hpo run --study ", tmp_path)
