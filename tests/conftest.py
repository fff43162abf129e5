"""What every test shares: one thread per process, no network, and the real corpora where named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before torch, tokenizers or a hub library is imported, here or in a child process, for each reads
# these once. One thread a process keeps parallel tests from fighting over the cores, and sums in
# the same order on every machine.
os.environ.update(
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    OPENBLAS_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
)


@pytest.fixture(scope="session")
def hpo_data() -> Path:
    """The folder of real corpora that `HPO_DATA` names; skips the test where it is unset."""
    named = os.environ.get("HPO_DATA")
    if not named:
        pytest.skip("HPO_DATA names no folder of real corpora (see CONTRIBUTING.md)")
    folder = Path(named).resolve()
    # A wrong path is a mistake to tell, not a reason to skip.
    assert folder.is_dir(), f"HPO_DATA is not a folder: {named}"
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest tests first, so that none is left at the end for one worker alone."""
    items.sort(key=lambda item: item.path.name != "test_readme.py")
