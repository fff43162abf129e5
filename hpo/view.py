"""Watching a study run: one live picture on a terminal, plain lines anywhere else."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from core.task import Metric, Progress
from hpo.analysis.formats import MISSING, ScoreFormat, duration
from hpo.events import (
    Event,
    Note,
    RepeatEnded,
    RepeatProgressed,
    RepeatStarted,
    StudyStarted,
    TrialEnded,
    TrialEvaluated,
    TrialProgressed,
    TrialStarted,
)
from hpo.output import short_parameters, visible

_DECIMALS = 2
"""Of scores on the way; a running study cannot know how large they will be."""
_RECENT = 6
"""Ended trials that the live picture keeps."""


class PlainView:
    """Prints a line an event, for logs and pipes."""

    def __init__(self, metric: Metric, console: Console) -> None:
        self._scores = ScoreFormat(metric, _DECIMALS)
        self._console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves the lines as they are."""

    def __call__(self, event: Event) -> None:
        line = plain_line(event, self._scores)
        if line is not None:
            self._console.print(Text(line), soft_wrap=True)


def plain_line(event: Event, scores: ScoreFormat) -> str | None:
    """The event in one line; `None` for what a log is better without."""
    line = None
    match event:
        case StudyStarted():
            line = _started_line(event)
        case TrialStarted():
            line = f"trial {event.number} {_started(event)}"
            line += f": {short_parameters(event.parameters)}"
        case TrialEvaluated(number, evaluation) if not evaluation.replayed:
            score = scores.named(evaluation.value)
            line = f"trial {number} {visible(evaluation.stage)} step {evaluation.step}: {score}"
        case TrialEnded():
            line = _ended_line(event, scores)
        case RepeatStarted(number, seed):
            line = f"finals: trial {number} on fresh seed {seed} {_started(event)}"
        case RepeatEnded():
            line = _repeat_line(event, scores)
        case Note():
            line = visible(event.text)
    return line


def _started(event: TrialStarted | RepeatStarted) -> str:
    """Where and how often it started; the one CPU slot is not worth naming."""
    on = "" if event.place in ("", "cpu") else f" on {visible(event.place)}"
    return f"started again{on}, attempt {event.attempt}" if event.attempt > 1 else f"started{on}"


def _repeat_line(event: RepeatEnded, scores: ScoreFormat) -> str:
    line = f"finals: trial {event.number} on fresh seed {event.seed} {visible(event.outcome)}"
    if event.value is not None:
        line += f", {scores.named(event.value)}"
    line += f", after {duration(event.seconds)}"
    return f"{line}: {visible(event.reason)}" if event.reason else line


def _started_line(event: StudyStarted) -> str:
    if event.resumed:
        return f"{visible(event.study)}: {event.finished} of {event.total} trials done, going on"
    at_once = f", {event.slots} at the same time" if event.slots > 1 else ""
    return f"{visible(event.study)}: {event.total} trials{at_once}"


def _ended_line(event: TrialEnded, scores: ScoreFormat) -> str:
    line = f"trial {event.number} {visible(event.outcome)} at step {event.step}"
    if event.value is not None:
        line += f", {scores.named(event.value)}"
    line += f", after {duration(event.seconds)}"
    if event.is_best:
        line += ", the best so far"
    return f"{line}: {visible(event.reason)}" if event.reason else line


@dataclass
class _Running:
    """A running trial as the board knows it."""

    name: str
    """`7`, or `7 seed 2` in the finals."""
    place: str
    progress: Progress
    score: float | None = None


@dataclass
class Board:
    """What the live picture shows: a study as its events have told it."""

    metric: Metric
    started: float
    """Seconds on some clock, the same as `draw` is given."""
    study: str = ""
    finished: int = 0
    total: int = 0
    best: tuple[int, float] | None = None
    """Number and score of the best complete trial."""
    running: dict[tuple[int, int], _Running] = field(default_factory=dict)
    """By number and fresh seed, which is 0 for a trial of the search."""
    recent: deque[TrialEnded] = field(default_factory=lambda: deque(maxlen=_RECENT))

    def take(self, event: Event) -> None:
        """Brings the board up to date with an event."""
        match event:
            case StudyStarted():
                self.study, self.best = event.study, event.best
                self.finished, self.total = event.finished, event.total
            case TrialStarted():
                waiting = Progress("", 0, event.total_steps, None, 0.0, note="starting")
                self.running[event.number, 0] = _Running(str(event.number), event.place, waiting)
            case TrialProgressed(number, progress) if (number, 0) in self.running:
                self.running[number, 0].progress = progress
            case TrialEvaluated(number, evaluation) if (number, 0) in self.running:
                self.running[number, 0].score = evaluation.value
            case RepeatStarted(number, seed):
                waiting = Progress("", 0, event.total_steps, None, 0.0, note="starting")
                name = f"{number} seed {seed}"
                self.running[number, seed] = _Running(name, event.place, waiting)
            case RepeatProgressed(number, seed, progress) if (number, seed) in self.running:
                self.running[number, seed].progress = progress
            case RepeatEnded(number, seed):
                self.running.pop((number, seed), None)
            case TrialEnded():
                self.running.pop((event.number, 0), None)
                self.recent.append(event)
                self.finished += event.outcome in ("complete", "pruned", "failed")
                if event.is_best and event.value is not None:
                    self.best = (event.number, event.value)

    def draw(self, now: float) -> RenderableType:
        """The board as a line and two tables."""
        scores = ScoreFormat(self.metric, _DECIMALS)
        head = Text(visible(self.study), style="bold")
        head.append(f"  {self.finished}/{self.total} trials  {duration(now - self.started)}")
        if self.best is not None:
            head.append(f"  best {scores.named(self.best[1])} (trial {self.best[0]})")
        tables = []
        if self.running:
            tables.append(_running_table(list(self.running.values()), scores))
        if self.recent:
            best = self.best[0] if self.best else None
            tables.append(_recent_table(list(self.recent), scores, best))
        return Group(head, *tables)


def _running_table(trials: list[_Running], scores: ScoreFormat) -> Table:
    table = _picture_table(
        "trial", "slot", "stage", "step", "loss", scores.metric.name, "steps/s", "left", ""
    )
    for trial in trials:
        now = trial.progress
        speed = now.steps_per_s
        left = duration((now.total_steps - now.step) / speed) if speed > 0 else MISSING
        cells = (
            trial.name,
            trial.place,
            now.stage,
            f"{now.step}/{now.total_steps}",
            MISSING if now.loss is None else f"{now.loss:.3f}",
            scores.number(trial.score),
            f"{speed:.1f}" if speed > 0 else MISSING,
            left,
            now.note,
        )
        table.add_row(*(Text(visible(cell)) for cell in cells))
    return table


def _recent_table(trials: list[TrialEnded], scores: ScoreFormat, best: int | None) -> Table:
    table = _picture_table("trial", "outcome", scores.metric.name, "step", "time", "")
    for trial in trials:
        cells = (
            str(trial.number),
            trial.outcome,
            scores.number(trial.value),
            str(trial.step),
            duration(trial.seconds),
            "the best so far" if trial.number == best else trial.reason,
        )
        style = "green" if trial.number == best else ""
        table.add_row(*(Text(visible(cell)) for cell in cells), style=style)
    return table


def _picture_table(*columns: str) -> Table:
    """A table without lines; only the last column, free text, gives way on a narrow terminal."""
    table = Table(box=None, pad_edge=False, collapse_padding=True, expand=True, header_style="dim")
    for column in columns[:-1]:
        is_word = column in ("stage", "outcome")
        table.add_column(
            Text(visible(column)), justify="left" if is_word else "right", no_wrap=True
        )
    table.add_column(columns[-1], ratio=1, no_wrap=True, overflow="ellipsis")
    return table


class LiveView:
    """Keeps a board on the terminal up to date; notes are printed above it."""

    def __init__(self, metric: Metric, console: Console) -> None:
        self._board = Board(metric, started=time.monotonic())
        self._notes = PlainView(metric, console)
        self._lock = threading.Lock()
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves the last picture on the screen."""
        self._live.stop()

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._board.take(event)
        goes_on = isinstance(event, StudyStarted) and event.resumed
        if goes_on or isinstance(event, Note | RepeatEnded):
            self._notes(event)

    def _draw(self) -> RenderableType:
        with self._lock:
            return self._board.draw(time.monotonic())


def choose_view(metric: Metric, console: Console) -> LiveView | PlainView:
    """The live view where the console can draw over itself, else plain lines."""
    if console.is_terminal and console.file.isatty() and not console.is_dumb_terminal:
        return LiveView(metric, console)
    return PlainView(metric, console)
