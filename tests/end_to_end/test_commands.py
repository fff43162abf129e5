"""The command before any study was run: help, declarations, and the mistakes a user can make."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hpo import __version__
from tests.end_to_end.command import TINY, Command, environment, hpo

HEAVY = ("torch", "optuna", "pandas", "plotly", "sqlalchemy", "rich", "pydantic")


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    program = (
        "import sys; from hpo.cli import main\n"
        "try: main(sys.argv[1:])\n"
        f"finally: print('loaded', *({set(HEAVY)!r} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "loaded\n")


def test_version(tmp_path: Path) -> None:
    assert hpo("--version", cwd=tmp_path).stdout == f"hpo {__version__}\n"


def test_an_empty_folder_has_the_shipped_studies(tmp_path: Path) -> None:
    done = hpo("studies", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("quickstart", "depth_sweep", "league", "finetune_sweep"):
        assert f"\n{name} " in done.stdout
    assert list(tmp_path.iterdir()) == [], "looking creates nothing"


def test_validate_checks_the_shipped_and_ones_own(tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    (studies / "mine.toml").write_text(
        'task = "translation"\nsearch_space = "depth"\ntrials = 0\n'
    )
    done = hpo("validate", cwd=tmp_path)
    assert done.returncode == 2
    assert "study depth_sweep: 10 trials" in done.stdout
    assert done.stderr.count("\n") == 1
    assert "studies/mine.toml: trials" in done.stderr
    assert hpo("validate", "depth_sweep", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--study", "depth_swep"], "Did you mean 'depth_sweep'?"),
        (["run", "--study", "no/such.toml"], "no/such.toml"),
        (["run", *TINY, "--set", "protocol.nothing=1"], "protocol"),
        (["run", *TINY, "--set", "protocol.eval_every=7"], "multiple of eval_every"),
        (["run", *TINY, "--set", "nonsense"], "section.key=value"),
        (["run", *TINY, "--data", "no/such/folder"], "no/such/folder"),
        (["run", *TINY, "--name", "../up"], "not a name"),
        (["run", *TINY, "--storage", "mysql://u:secret@h/d"], "sqlite:///FILE"),
        (["run", *TINY, "--jobs", "0"], "--jobs must be a whole number >= 1, got 0."),
        (["show", "depth_sweep"], "no study"),
        (["report", "depth_sweep"], "no study"),
        (["clean", "depth_sweep"], "no study"),
        (["translate", "depth_sweep", "Hallo"], "no study"),
        (["export", "depth_sweep", "--format", "transformers", "x"], "no study"),
        (["export", "depth_sweep", "--format", "transformers"], "expected 2 arguments"),
        (["dashboard"], "no study"),
        (["show", "../../etc/passwd"], "not a name"),
        (["show", "\x1b[2Jgone"], "not a name"),
        (["validate", "nosuch"], "no such study"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    words: list[str], message: str, command: Command, tmp_path: Path
) -> None:
    code, out, err = command(*words, cwd=tmp_path)
    assert (code, out) == (2, ""), err
    assert err.startswith("hpo: ")
    assert err.count("\n") == 1
    assert message in err
    assert "secret" not in err
    assert "\x1b" not in err


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    """A folder of corpora, small and without fault."""
    for folder, names in (
        ("multi30k", ("train", "val", "test_2016_flickr")),
        ("iwslt2017", ("train", "val")),
    ):
        (tmp_path / folder).mkdir()
        for name in names:
            for language in ("de", "en"):
                text = "".join(f"{folder} {name} {language} {n}\n" for n in range(31))
                (tmp_path / folder / f"{name}.{language}").write_text(text, "utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file|missing|not found|no file"),
        (b"one line\n", "31 .* 1|1 .* 31"),
        (b"", "empty"),
        (b"good\nb\xffd\n" + b"x\n" * 29, "byte 6.*line 2|line 2.*byte 6"),
    ],
    ids=["missing", "shorter", "empty", "not UTF-8"],
)
def test_a_bad_corpus_is_one_line_and_exit_2(
    corpora: Path, content: bytes | None, message: str, command: Command
) -> None:
    side = corpora / "multi30k" / "train.en"
    side.unlink() if content is None else side.write_bytes(content)
    code, _, err = command("run", *TINY, "--data", ".", cwd=corpora)
    assert code == 2, err
    assert err.count("\n") == 1
    assert "train.en" in err
    assert re.search(message, err), err


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m hpo studies | head -1",
        shell=True,
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
