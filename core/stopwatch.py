"""Where the time of a run went: every moment is charged to exactly one account."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from core.task import Cost, Stage


class Stopwatch:
    """Seconds by account, earlier attempts included; runs from its construction."""

    def __init__(self, account: str, *, started: float | None = None) -> None:
        """`started` is a reading of `time.monotonic()`; now by default."""
        self._account = account
        self._since = time.monotonic() if started is None else started
        self._seconds: dict[str, float] = {}

    def charge(self, account: str) -> str:
        """Charges the time from now on to `account`; returns the account charged until now."""
        now = time.monotonic()
        spent = self._seconds.get(self._account, 0.0)
        self._seconds[self._account] = spent + now - self._since
        previous, self._account, self._since = self._account, account, now
        return previous

    @contextmanager
    def charging(self, account: str) -> Iterator[None]:
        """Charges the time inside the block to `account`."""
        previous = self.charge(account)
        try:
            yield
        finally:
            self.charge(previous)

    def add(self, seconds: Mapping[str, float]) -> None:
        """Adds what earlier attempts had spent."""
        for account, spent in seconds.items():
            self._seconds[account] = self._seconds.get(account, 0.0) + spent

    def read(self) -> dict[str, float]:
        """Seconds by account up to now."""
        self.charge(self._account)
        return dict(self._seconds)

    def spent_on(self, account: str) -> float:
        """Seconds charged to `account` up to now."""
        return self.read().get(account, 0.0)

    @property
    def elapsed_s(self) -> float:
        """Seconds over all accounts."""
        return sum(self.read().values())


def training(stage: Stage) -> str:
    """The account of a stage's updates."""
    return f"train {stage.name}"


def evaluating(stage: Stage) -> str:
    """The account of a stage's evaluations."""
    return f"evaluate {stage.name}"


def sum_up(
    seconds: Mapping[str, float],
    stages: Sequence[Stage],
    *,
    saved_s: float | None,
    peak_memory_bytes: int,
) -> Cost:
    """The accounts as an outcome has them: the last stage is fine-tuning, the others not."""
    trained = [seconds.get(training(stage), 0.0) for stage in stages]
    return Cost(
        prepare_s=seconds.get("prepare", 0.0),
        pretrain_s=sum(trained[:-1]),
        finetune_s=trained[-1],
        evaluate_s=sum(seconds.get(evaluating(stage), 0.0) for stage in stages),
        checkpoint_s=seconds.get("checkpoint", 0.0),
        wait_s=seconds.get("wait", 0.0),
        report_s=seconds.get("report", 0.0),
        cache_hit=saved_s is not None,
        cache_saved_s=saved_s or 0.0,
        peak_memory_bytes=peak_memory_bytes,
    )
