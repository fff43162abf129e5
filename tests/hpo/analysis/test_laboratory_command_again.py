"""The command that runs a study again says what a declaration leaves out: a linear warmup."""

from __future__ import annotations

from pathlib import Path

from made_records import record

from hpo.analysis.command import command_again
from hpo.declarations import load_study


def test_a_linear_warmup_in_the_place_of_another_is_told(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(
        'task = "translation"\nsearch_space = "quickstart"\ntrials = 5\n'
        '[protocol.pretrain]\nwarmup_shape = "cosine"\n'
    )
    option = "--set protocol.pretrain.warmup_shape=linear"
    for overrides, is_told in (([], False), ([option.removeprefix("--set ")], True)):
        study = load_study(str(file), overrides=overrides)
        command = command_again(record(declaration=study.as_json(), name="own"))
        assert (option in command) is is_told
        assert "warmup_shape=cosine" not in command
