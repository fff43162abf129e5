"""The commands of the README and of the how-to pages, read out of them and run.

A page is run in an empty folder: its TOML blocks are written to the files that their first line
names, then its `sh` blocks run line by line and its Python blocks as scripts. Searches are cut
to a few steps by the settings below and by nothing else; no command is left out.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hpo.arguments import read_arguments

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    *(
        ROOT / "docs" / f"{name}.md"
        for name in (
            "laboratory",
            "leaderboard",
            "league",
            "other-tools",
            "own-data",
            "own-study",
            "parallel",
            "use-the-model",
        )
    ),
]

TINY = {
    "protocol.pretrain_pairs": 60,
    "protocol.finetune_pairs": 30,
    "protocol.validation_pairs": 5,
    "protocol.test_pairs": 5,
    "protocol.vocab_size": 300,
    "protocol.batch_size": 7,
    "protocol.beam_size": 2,
    "protocol.finetune_steps": 4,
    "protocol.eval_every": 2,
    "data.pocket.pretrain_pairs": 60,
    "data.pocket.finetune_pairs": 30,
}
"""What makes a trial take a second."""

TINY_STAGE_A = {"protocol.pretrain_steps": 2}
"""The same for studies that have a stage A."""

WITHOUT_STAGE_A = "depth_sweep"


def _blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page that are marked with a language; "" for those without a mark."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    return [block for mark, block in fenced if mark == language]


def _tiny_settings(study: str) -> dict[str, Any]:
    # The league repeats its finalists: once each is enough to see that the page's command runs.
    finals = {"finals.seeds": 1} if study == "league" else {}
    return TINY | finals if study == WITHOUT_STAGE_A else TINY | TINY_STAGE_A | finals


def _behind_make(target: str) -> list[str]:
    """The command that a make target runs once the environment is set up."""
    # Under `make test` the variables of that make would speak to this one.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(
        ["make", "-n", target],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    interpreter, *words = shlex.split(done.stdout.strip().split("\n")[-1])
    assert interpreter == ".venv/bin/python"
    return words


def _as_run_here(command: str) -> tuple[list[str], Path | None]:
    """A page's command as this test runs it, and the folder it must run in if there is one."""
    words = shlex.split(command)
    if words[0] == "make":
        assert len(words) == 2, command
        words = _behind_make(words[1])
        if words[:2] == ["-m", "pytest"]:
            # The suite cannot run inside itself; one quick test shows that the options are good.
            one = "tests/test_imports.py::test_the_rules_see_every_form_of_import"
            return [sys.executable, *words, one], ROOT
        assert words[:2] == ["-m", "hpo"], words
        words = ["hpo", *words[2:]]
    assert words[0] == "hpo", f"how shall the test run {command!r}?"
    if words[1] == "run":
        study = words[words.index("--study") + 1]
        # Later options win over earlier ones, so what the page says is still parsed.
        jobs = words[words.index("--jobs") + 1] if "--jobs" in words else "1"
        words += ["--trials", jobs]
        for key, value in _tiny_settings(study).items():
            words += ["--set", f"{key}={value}"]
    return [sys.executable, "-m", *words], None


def _run(words: list[str], folder: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if "PYTEST" not in key}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        words,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _write_corpora(folder: Path, declared: dict[str, Any]) -> None:
    """Two small corpora where the data section of a study says they are."""
    languages = declared["source_language"], declared["target_language"]
    for corpus in ("pretrain", "finetune"):
        place = declared[corpus]
        for split, pairs in (("train", 60), ("validation", 7), ("test", 5)):
            if split not in place:
                continue
            for language in languages:
                file = folder / place["folder"] / f"{place[split]}.{language}"
                file.parent.mkdir(parents=True, exist_ok=True)
                lines = (f"{language} {split} {corpus} sentence {n}\n" for n in range(pairs))
                file.write_text("".join(lines), encoding="utf-8")


LEAGUE_LAYOUT = {
    "source_language": "de",
    "target_language": "en",
    "pretrain": {
        "folder": "multi30k",
        "train": "train",
        "validation": "val",
        "test": "test_2016_flickr",
    },
    "finetune": {"folder": "iwslt2017", "train": "train", "validation": "val"},
}


def _lay_out(page: Path, folder: Path) -> None:
    """Writes the files that a page declares, and the corpora that it speaks of."""
    import tomllib

    _write_corpora(folder / "corpora", LEAGUE_LAYOUT)
    for block in _blocks(page, "toml"):
        first = block.partition("\n")[0]
        assert first.startswith("# ") and first.endswith(".toml"), f"name the file of:\n{block}"
        file = folder / first.removeprefix("# ")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block, encoding="utf-8")
        data = tomllib.loads(block).get("data")
        if data:
            _write_corpora(file.parent / data["source"], data)


@pytest.mark.slow
@pytest.mark.timeout(900)  # a dozen commands, each of which starts interpreters and imports torch
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    _lay_out(page, tmp_path)
    commands = [line for block in _blocks(page, "sh") for line in block.strip().split("\n")]
    assert commands, f"{page.name} has no command in a block marked sh"
    for command in commands:
        words, folder = _as_run_here(command)
        said = _run(words, folder or tmp_path)
        if words[:4] == [sys.executable, "-m", "hpo", "run"]:
            assert re.search(r"^FINAL_TEST_BLEU = \d+\.\d\d \(.+\)$", said, re.MULTILINE), said
    for number, block in enumerate(_blocks(page, "python") if page != PAGES[0] else ()):
        script = tmp_path / f"script{number}.py"
        script.write_text(block, encoding="utf-8")
        assert _run([sys.executable, str(script)], tmp_path), f"{page.name} printed nothing"


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    (block,) = _blocks(ROOT / "README.md", "python")
    given = "overrides={"
    assert block.count(given) == 1
    script = tmp_path / "script.py"
    script.write_text(
        block.replace(given, f"{given}**{_tiny_settings('quickstart')}, "), encoding="utf-8"
    )
    assert "TrialRecord" in _run([sys.executable, str(script)], tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_stands_in_a_block_that_runs(page: Path) -> None:
    lines = {line for block in _blocks(page, "") for line in block.strip().split("\n")}
    assert not {line for line in lines if line.startswith(("hpo ", "make ", "python "))}


@pytest.mark.parametrize(
    "page",
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *ROOT.glob("docs/**/*.md"),
    ],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [
        link
        for link in links
        if not link.startswith(("http://", "https://")) and not (page.parent / link).exists()
    ]
    assert not missing


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_every_command_that_a_page_names_is_one(page: Path) -> None:
    """Also of the pages that want a cluster, a server or a browser, and so are not run here."""
    fenced = re.findall(
        r"^ *```\w*\n(.*?)^ *```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    for line in "\n".join(fenced).replace("\\\n", " ").splitlines():
        named = re.match(r" *(?:[A-Z_]+=\S+ )*(?:python -m )?hpo (.*)", line)
        if named is not None:
            words = re.split(r" *[|<>;]| # |&&", named[1])[0]
            assert read_arguments(shlex.split(words)).command
