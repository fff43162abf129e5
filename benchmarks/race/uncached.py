"""What a slot runs for the contestant without a stage cache: every trial pretrains by itself."""

from __future__ import annotations

import shutil
from pathlib import Path

from core import run as cached
from core.run import score_test, warm
from core.settings import RunConfig
from core.task import OnEvent, Outcome, Placement

__all__ = ["run", "score_test", "warm"]


def run(
    config: RunConfig, placement: Placement, folder: Path, cache_dir: Path, on_event: OnEvent
) -> Outcome:
    """As `core.run.run`, with what is prepared for all, such as the tokenizer, but no stages."""
    private = folder / "cache"
    if not private.exists():
        shutil.copytree(cache_dir, private, ignore=shutil.ignore_patterns("stages"))
    return cached.run(config, placement, folder, private, on_event)
