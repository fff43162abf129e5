"""Work in folders of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_work import MakeWork, config

from hpo.slots import Work


@pytest.fixture
def make_work(tmp_path: Path) -> MakeWork:
    def make(trouble: str = "fine", number: int = 0) -> Work:
        return Work(number, 1, config(trouble), tmp_path / f"{number:04d}")

    return make
