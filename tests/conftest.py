"""What every test shares: one thread per process, no network, and the real corpora where named."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from benchmarks.postgres_server import NoServerError, PostgresServer, serving

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


# A property is tried on the same examples each time, however busy the machine is; new ones are
# drawn where they are asked for.
hypothesis.settings.register_profile(
    "same",
    deadline=None,
    derandomize="HPO_FUZZ" not in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("same")


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """Unseeded draws are those of the test alone, whatever its process ran before it."""
    random.seed(0)
    # Not imported for this: most tests need neither.
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


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


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of the session's own; skips the test where there is none to start."""
    try:
        with serving() as server:
            yield server
    except NoServerError as error:
        pytest.skip(str(error))


@pytest.fixture
def postgres(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty database, whose password is in the environment."""
    monkeypatch.setenv("PGPASSWORD", postgres_server.password)
    return postgres_server.create_database()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest tests first, so that none is left at the end for one worker alone."""
    items.sort(key=lambda item: item.path.name != "test_readme.py")
