"""Studies of the toy task, and slots that run it in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from core import registry
from core.settings import RunConfig
from core.task import OnEvent, Outcome, Placement, Scores
from hpo.declarations import Study, load_study
from hpo.slots import Work

SPACE = """
task = "toy"
[parameters]
"model.width" = { type = "int", low = 2, high = 97 }
"finetune.rate" = { type = "float", low = 1e-5, high = 1e-1, log = true }
"""

MakeStudy = Callable[..., Study]


@pytest.fixture
def make_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeStudy:
    """Writes and loads a study of the toy task: `make_study("x", {"trials": 5}, space=...)`."""
    monkeypatch.setitem(registry._MODULES, "toy", "toy_curves")

    def make(
        name: str = "toy",
        overrides: Mapping[str, Any] | None = None,
        *,
        space: str = SPACE,
        rest: str = "",
    ) -> Study:
        folder = tmp_path / "declared"
        folder.mkdir(exist_ok=True)
        (folder / "space.toml").write_text(space)
        (folder / "toy.toml").write_text(
            f'task = "toy"\nsearch_space = "space.toml"\ntrials = 7\nseed = 3\n{rest}'
        )
        changes = {"pruner.name": "none", **(overrides or {})}
        options = [
            f"{key}={str(value).lower() if isinstance(value, bool) else value}"
            for key, value in changes.items()
        ]
        return load_study(str(folder / "toy.toml"), overrides=options, name=name)

    return make


class ToySlot:
    """A slot that runs the toy task in the calling thread."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.is_closed = False

    def run(self, work: Work, on_event: OnEvent) -> Outcome:
        import toy_curves

        return toy_curves.run(work.config, Placement(), work.folder, self.cache, on_event)

    def score_test(self, config: RunConfig, folder: Path) -> Scores:
        import toy_curves

        return toy_curves.score_test(config, Placement(), folder, self.cache)

    def kill(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True


def toy_slots(number: int, cache: Path) -> list[ToySlot]:
    """Slots as `launch` asks for them."""
    return [ToySlot(cache) for _ in range(number)]
