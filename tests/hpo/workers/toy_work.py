"""Work for slots whose children run `toy_troubles`."""

from __future__ import annotations

from collections.abc import Callable

from core.settings import RunConfig
from hpo.slots import Work

MakeWork = Callable[..., Work]
"""(trouble, number) -> the first attempt at a trial in a folder of its own."""


def config(trouble: str) -> RunConfig:
    """A run that breaks down so at its first attempt."""
    return RunConfig(
        task="toy",
        groups={"model": {"kind": trouble}},
        protocol={},
        data={},
        data_digest="d",
        structure_seed=5,
        seed=7,
    )
