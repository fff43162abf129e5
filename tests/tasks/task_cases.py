"""The table of tasks that the battery runs over; another task is one more line.

Protocols are cut so that a run takes a second or two. `score` is what the built-in data must at
least be learned to in that: far beyond the floor, and a good way from what seeds make of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.registry import all_tasks, find_task
from core.settings import RunConfig, Settings
from core.task import TaskSpec

PAGE = Path(__file__).parents[2] / "docs" / "own-task.md"


@dataclass(frozen=True)
class Case:
    """A task at a size for tests."""

    task: str
    score: float
    protocol: Mapping[str, Any] = field(default_factory=dict)
    longer: Mapping[str, Any] = field(default_factory=dict)
    """What of the protocol is another for learning, where obeying takes less."""
    data: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def spec(self) -> TaskSpec:
        return find_task(self.task)

    def config(self, cache: Path, *, longer: bool = False) -> RunConfig:
        """A run, its data prepared in `cache`."""
        spec, protocol, data = self.spec, *self.settings(longer=longer)
        groups = {
            name: model(**self.groups.get(name, {})).model_dump(mode="json")
            for name, model in spec.groups.items()
        }
        return RunConfig(
            task=spec.name,
            groups=groups,
            protocol=protocol.model_dump(mode="json"),
            data=data.model_dump(mode="json"),
            data_digest=spec.prepare(protocol, data, cache).digests["data"],
            structure_seed=3,
            seed=5,
        )

    def settings(self, *, longer: bool = False) -> tuple[Settings, Settings]:
        """Its protocol and data."""
        protocol = {**self.protocol, **(self.longer if longer else {})}
        return self.spec.protocol(**protocol), self.spec.data(**self.data)


CASES = [
    Case(
        "translation",
        score=6.0,
        protocol={
            "pretrain_pairs": 1500, "finetune_pairs": 60, "validation_pairs": 31, "test_pairs": 7,
            "vocab_size": 600, "max_len": 28, "batch_size": 16, "beam_size": 2,
            "pretrain_steps": 40, "finetune_steps": 20, "eval_every": 20,
            "finetune_corpus": "pretrain",
            "pretrain": {"learning_rate": 6e-3, "warmup_steps": 20},
        },
        longer={"pretrain_steps": 280, "finetune_steps": 80, "eval_every": 40},
        data={"pocket": {"pretrain_pairs": 1500, "finetune_pairs": 60}},
        groups={
            "model": {"d_model": 64, "num_heads": 2, "num_layers": 1, "d_ff": 128, "dropout": 0.0},
            "finetune": {"learning_rate": 2e-3},
        },
    ),
    Case(
        "speech",
        score=60.0,
        protocol={
            "train_steps": 30, "eval_every": 10, "batch_size": 8, "mel_bands": 24,
            "validation_utterances": 61, "test_utterances": 7, "max_audio_s": 2.0, "max_units": 3,
        },
        longer={"train_steps": 200, "eval_every": 100},
        data={"synthetic": {"speakers": 2, "takes": 5}, "strings": {"max_words": 2}},
        groups={
            "model": {"d_model": 48, "num_heads": 2, "num_layers": 1, "d_ff": 96, "dropout": 0.1},
            "train": {"learning_rate": 4e-3, "warmup_ratio": 0.1},
        },
    ),
    Case(
        "amplifier",
        score=-24.0,  # eight linear taps come to -23.4
        protocol={"train_steps": 60, "eval_every": 20},
        longer={"train_steps": 200, "eval_every": 100},
        data={"ofdm": {"train_samples": 2048, "validation_samples": 512, "test_samples": 512}},
        groups={"train": {"learning_rate": 2e-2, "batch_size": 32}},
    ),
    Case(
        "spirals:SPEC",
        score=15.0,
        protocol={"train_steps": 240, "eval_every": 60},
        groups={"net": {"width": 32}, "train": {"learning_rate": 2e-2}},
    ),
]  # fmt: skip
"""The last one is the task of docs/own-task.md."""


def names_without_a_case() -> set[str]:
    """Tasks that ship and are not in the table."""
    return {spec.name for spec in all_tasks()} - {case.task for case in CASES}


def write_page(folder: Path) -> None:
    """Writes the files of docs/own-task.md, each named by its first line, into a folder."""
    text = PAGE.read_text(encoding="utf-8")
    for _, block in re.findall(r"^```(python|toml)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        first = block.partition("\n")[0]
        assert first.startswith("# "), f"name the file of:\n{block}"
        file = folder / first.removeprefix("# ")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block, encoding="utf-8")


def page_commands() -> list[str]:
    """The commands of that page."""
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.strip().split("\n")]
