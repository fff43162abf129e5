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
from hpo.showcase.child import STORAGE_FAILED
from hpo.storage import StorageError

if TYPE_CHECKING:
    import optuna

_LEAST_PAUSE_S = 15.0
_PAUSE_SHARE = 30.0
"""It rests this many times as long as it worked, so that it takes three percent of a core."""
_SYNC_S = 5.0
"""How long it waits until the database has what the driver knows."""
_LONGEST_PAUSE_S = 600.0
_DRAWING_LIMIT_S = 600.0


class DrawingError(Exception):
    """What is shown of a study could not be drawn."""


class _StoppedError(Exception):
    """Nobody waits any more for what was being drawn."""


class Drawing(Protocol):
    """Says which system attributes of the study to set, so that the dashboard shows it."""

    def here(self) -> Mapping[str, Any]:
        """Draws in this process."""
        ...

    def apart(self) -> Mapping[str, Any]:
        """Draws elsewhere, so that what it takes is no memory of this process."""
        ...

    def stop(self) -> None:
        """Ends what is drawn apart, now and from now on."""
        ...


class StudyDrawing:
    """Draws by `lay_out`."""

    def __init__(self, storage_url: str | None, name: str, runs: Path) -> None:
        self._storage_url = storage_url
        self._name = name
        self._runs = runs
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._is_stopped = False

    def here(self) -> Mapping[str, Any]:
        """Raises: what `lay_out` raises."""
        from hpo.showcase.contents import lay_out

        return lay_out(self._storage_url, self._name, self._runs)

    def apart(self) -> Mapping[str, Any]:
        """By a process that ends with this thread at the latest. It takes with it what drawing
        needs: some hundred MiB, and ten more for every hundred trials that were added.

        Raises: DrawingError, in one line; StorageError.
        """
        try:
            with self._lock:
                if self._is_stopped:
                    raise _StoppedError
                child = self._child = self._start()
            said, complaint = child.communicate(timeout=_DRAWING_LIMIT_S)
        except OSError as error:
            raise DrawingError(str(error)) from None
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            raise DrawingError(f"drawing took over {_DRAWING_LIMIT_S:.0f} s") from None
        if self._is_stopped:
            raise _StoppedError
        if child.returncode == STORAGE_FAILED:
            raise StorageError(_last_line(complaint))
        if child.returncode < 0:
            raise DrawingError(f"drawing was ended by signal {-child.returncode}")
        if child.returncode > 0:
            raise DrawingError(_last_line(complaint) or f"exit code {child.returncode}")
        news: dict[str, Any] = json.loads(said)
        return news

    def stop(self) -> None:
        with self._lock:
            self._is_stopped = True
            if self._child is not None:
                self._child.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        child = [sys.executable, "-P", "-m", "hpo.showcase.child", str(os.getpid())]
        return subprocess.Popen(  # noqa: S603  # our own module
            [*child, self._name, str(self._runs), self._storage_url or ""],
            env=importing_us(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,  # a terminal's Ctrl-C is for the driver
        )


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").split("\n")
    return visible(next((line.strip() for line in reversed(lines) if line.strip()), ""))


class Showcase:
    """An observer that keeps what the dashboard shows of a study up to date; a context."""

    def __init__(
        self,
        found: optuna.Study,
        drawing: Drawing,
        observe: Observe,
    ) -> None:
        """`found` is the driver's study."""
        self._found = found
        self._drawing = drawing
        self._observe = observe
        self._changed = threading.Condition()
        self._is_stale = self._is_closing = self._is_broken = self._has_complained = False
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
            self._is_broken = error is not None
            self._changed.notify_all()
        self._drawing.stop()
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
            begun, is_last = time.monotonic(), self._is_closing
            try:
                self._lay_out(is_last=is_last)
            except StorageError:  # of which the driver tells itself
                self._is_stale |= not is_last
            except _StoppedError:
                self._is_stale = True
            except Exception as error:
                self._complain(error)
            took_s = time.monotonic() - begun
            pause_s = min(max(_LEAST_PAUSE_S, _PAUSE_SHARE * took_s), _LONGEST_PAUSE_S)
            rest_until = begun + took_s + pause_s

    def _is_due(self, rest_until: float) -> bool:
        """Waits until there is something to do; false to end."""
        with self._changed:
            while not self._is_closing:
                left_s = rest_until - time.monotonic()
                if self._is_stale and left_s <= 0:
                    break
                self._changed.wait(left_s if self._is_stale else None)
            is_due, self._is_stale = self._is_stale and not self._is_broken, False
            return is_due

    def _complain(self, error: Exception) -> None:
        if not self._has_complained:
            self._has_complained = True
            told = " ".join(str(error).split())
            if not isinstance(error, DrawingError):
                told = f"{type(error).__name__}: {told}"
            self._observe(Note(f"the dashboard does not show all of the study ({told})"))

    def _lay_out(self, *, is_last: bool) -> None:
        give_up = time.monotonic() + _SYNC_S
        is_stored = trials.sync(self._found, lambda: not is_last and time.monotonic() > give_up)
        if not is_stored:  # what is read would be older than what was laid out
            raise StorageError("what the driver knows is not stored yet")
        # At the end memory is no concern, and the report draws by the same libraries.
        news = self._drawing.here() if is_last else self._drawing.apart()
        trials.set_system_attributes(self._found, news)
