"""docs/speech.md, read out: its commands run, and its studies find the recordings it speaks of."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from hpo.cli import main
from hpo.declarations import load_study

PAGE = (Path(__file__).parents[3] / "docs" / "speech.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def _write(path: Path, rate: int, seed: int) -> None:
    path.parent.mkdir(exist_ok=True)
    wave = np.random.default_rng(seed).uniform(-0.5, 0.5, rate // 10).astype(np.float32)
    wavfile.write(path, rate, wave)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for block in _blocks("toml"):
        first = block.partition("\n")[0]
        (tmp_path / first.removeprefix("# ")).write_text(block)
    for speaker in ("theo", "ann"):
        for index in range(11):
            _write(tmp_path / "recordings" / f"5_{speaker}_{index}.wav", 8_000, index)
    for split in ("train", "val", "test"):
        _write(tmp_path / "clips" / f"{split}.wav", 16_000, 1)
        (tmp_path / "clips" / f"{split}.tsv").write_text(f"{split}.wav\twhat was said\n")
    return tmp_path


def test_its_commands_run(folder: Path) -> None:
    commands = [line for block in _blocks("sh") for line in block.strip().split("\n")]
    assert len(commands) == 3
    for command in commands:
        words = shlex.split(command)
        assert words[0] == "hpo"
        assert main(words[1:]) == 0


def test_its_studies_find_the_recordings(folder: Path) -> None:
    digits, utterances = (load_study(f"{name}.toml") for name in ("digits", "utterances"))
    found = digits.spec.prepare(digits.protocol, digits.data, folder)
    assert found.counts == {"train words": 1, "validation words": 5, "test words": 11}
    found = utterances.spec.prepare(utterances.protocol, utterances.data, folder)
    assert set(found.counts.values()) == {1}
