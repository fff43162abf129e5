"""An observer of a running study that has what the dashboard shows of it drawn.

One thread does that now and then and at the end. The driver never waits for it while trials run,
and whatever fails there is told in one line and costs nothing else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from hpo import trials
from hpo.events import (
    Event,
    Note,
    Observe,
    RepeatEnded,
    StudyStarted,
    TrialEnded,
    TrialEvaluated,
    TrialStarted,
)
from hpo.output import visible
from hpo.processes import importing_us
from hpo.storage import StorageError

if TYPE_CHECKING:
    import optuna

_LEAST_PAUSE_S = 15.0
_PAUSE_SHARE = 30.0
"""It rests this many times as long as it worked, so that it takes three percent of a core."""
_SYNC_S = 5.0
"""How long it waits until the database has what the driver knows."""
_DRAWING_LIMIT_S = 600.0


class DrawingError(Exception):
    """What is shown of a study could not be drawn."""


class Draw(Protocol):
    """Says which system attributes of the study to set."""

    def __call__(self, *, apart: bool) -> Mapping[str, Any]: ...


def draw(storage_url: str | None, name: str, runs: Path, *, apart: bool) -> Mapping[str, Any]:
    """What `lay_out` says. With `apart` by another process, which takes with it what that needs:
    some hundred MiB, and ten more for every hundred trials that were added.

    Raises: DrawingError; without `apart` what `lay_out` raises.
    """
    if apart:
        return _draw_apart(storage_url, name, runs)
    from hpo.showcase.contents import lay_out

    return lay_out(storage_url, name, runs)


def _draw_apart(storage_url: str | None, name: str, runs: Path) -> dict[str, Any]:
    child = [sys.executable, "-P", "-m", "hpo.showcase.child", str(os.getpid())]
    try:
        drawn = subprocess.run(  # noqa: S603  # our own module
            [*child, name, str(runs), storage_url or ""],
            env=importing_us(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_DRAWING_LIMIT_S,
            check=False,
            process_group=0,  # a terminal's Ctrl-C is for the driver
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DrawingError(str(error)) from None
    if drawn.returncode != 0:
        said = drawn.stderr.decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(said) if line.strip()), "")
        raise DrawingError(visible(last) or f"exit code {drawn.returncode}")
    news: dict[str, Any] = json.loads(drawn.stdout)
    return news


class Showcase:
    """An observer that keeps what the dashboard shows of a study up to date; a context."""

    def __init__(
        self,
        found: optuna.Study,
        draw: Draw,
        observe: Observe,
    ) -> None:
        """`found` is the driver's study."""
        self._found = found
        self._draw = draw
        self._observe = observe
        self._changed = threading.Condition()
        self._is_stale = self._is_closing = self._has_complained = False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Lays out how the study ended, unless it broke off."""
        with self._changed:
            self._is_closing = True
            self._is_stale &= error is None
            self._changed.notify_all()
        self._thread.join()

    def __call__(self, event: Event) -> None:
        """Passes the event on, and remembers that there is something new."""
        self._observe(event)
        if isinstance(
            event, StudyStarted | TrialStarted | TrialEvaluated | TrialEnded | RepeatEnded
        ):
            with self._changed:
                self._is_stale = True
                self._changed.notify_all()

    def _work(self) -> None:
        rest_until = time.monotonic() + _LEAST_PAUSE_S
        while self._is_due(rest_until):
            begun = time.monotonic()
            try:
                self._lay_out()
            except StorageError:
                pass  # the driver says so itself
            except Exception as error:
                self._complain(error)
            took_s = time.monotonic() - begun
            rest_until = begun + took_s + max(_LEAST_PAUSE_S, _PAUSE_SHARE * took_s)

    def _is_due(self, rest_until: float) -> bool:
        """Waits until there is something to do; false to end."""
        with self._changed:
            while not self._is_closing:
                left_s = rest_until - time.monotonic()
                if self._is_stale and left_s <= 0:
                    break
                self._changed.wait(left_s if self._is_stale else None)
            is_due, self._is_stale = self._is_stale, False
            return is_due

    def _complain(self, error: Exception) -> None:
        if not self._has_complained:
            self._has_complained = True
            told = " ".join(str(error).split())
            if not isinstance(error, DrawingError):
                told = f"{type(error).__name__}: {told}"
            self._observe(Note(f"the dashboard does not show all of the study ({told})"))

    def _lay_out(self) -> None:
        give_up = time.monotonic() + _SYNC_S
        trials.sync(self._found, lambda: time.monotonic() > give_up)
        # At the end memory is no concern, and the report draws by the same libraries.
        news = self._draw(apart=not self._is_closing)
        trials.set_system_attributes(self._found, news)
