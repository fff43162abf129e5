"""docs/amplifier.md, read out: its commands run, and its layout of a recording is what is read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from core.amplifier.settings import ModelSettings, TrainSettings
from hpo.cli import main

PAGE = (Path(__file__).parents[3] / "docs" / "amplifier.md").read_text(encoding="utf-8")
TINY = "--trials 1 --set protocol.train_steps=6 --set protocol.eval_every=3"


def _commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.strip().split("\n")]


@pytest.mark.timeout(600)  # two commands that start workers, which import torch
def test_its_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in _commands():
        words = shlex.split(command)
        assert words[0] == "hpo"
        # Later options win over earlier ones, so what the page says is still parsed.
        more = shlex.split(TINY) if words[1] == "run" else []
        assert main([*words[1:], *more]) == 0
        said = capfd.readouterr().out
        if words[1] == "run":
            assert re.search(r"^FINAL_TEST_NMSE = -?\d+\.\d\d \(NMSE.+\)$", said, re.MULTILINE), (
                said
            )
        else:
            assert "Baseline: generalized memory polynomial: NMSE -" in said


def test_it_names_everything_that_may_vary() -> None:
    rows = dict(re.findall(r"^\| `(model|train)` \| (.+) \|$", PAGE, re.MULTILINE))
    for name, model in (("model", ModelSettings), ("train", TrainSettings)):
        named = set(re.findall(r"`(\w+)`", rows[name]))
        left_out = {
            "label_smoothing_factor", "adam_beta1", "adam_beta2", "adam_epsilon",
            "gru", "lstm", "transformer_encoder",
        }  # fmt: skip
        assert named - left_out == set(model.model_fields) - left_out
