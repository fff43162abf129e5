"""What a study is doing now: read while another process runs it, drawn once or followed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from core.task import Metric
from hpo import attributes
from hpo.analysis.command import command_again
from hpo.analysis.formats import MISSING, ScoreFormat, decimals_for, duration
from hpo.folders import finite
from hpo.output import Printer, short_parameters, standing, visible
from hpo.reading import list_studies, read_study, state_of
from hpo.records import StudyRecord, TrialRecord
from hpo.spans import Span

if TYPE_CHECKING:
    from rich.console import RenderableType

LOOK_EVERY_S = 2.0
START_S = 10.0
"""A command that was given a moment ago needs that long at most until it owns its study."""
_LOOK_SHARE = 0.2
"""Of the time at most, for reading a study that is large."""
_SHOWN = 5
"""Failed trials that are listed one by one, the last ones."""


@dataclass(frozen=True)
class Running:
    """What a slot is at."""

    trial: int
    seed: int | None
    """Fresh seed of a repeat in the finals; `None`: a trial of the search."""
    place: str
    """Name of the slot; empty where that was not recorded."""
    step: int | None
    """Of the last evaluation, 0 before; `None` for a repeat, whose curve nobody stores."""
    value: float | None
    """The score there."""
    seconds: float | None
    """Since the attempt began."""


@dataclass(frozen=True)
class Status:
    """One study at one moment."""

    name: str
    state: str
    """`running`, `interrupted` or `finished`."""
    counts: dict[str, int]
    """Trials by state."""
    finished: int
    total: int
    total_steps: int
    """Of a trial's whole curve."""
    metric: Metric
    best: tuple[int, float] | None
    """Number and score of the best complete trial."""
    best_parameters: dict[str, Any]
    running: tuple[Running, ...]
    paused: tuple[int, ...]
    failed: tuple[tuple[int, str], ...]
    """Numbers and reasons."""
    quarantined: dict[str, str]
    """Device -> why it is given no more work."""
    elapsed_s: float
    left_s: float | None
    """Of the trials, at the pace so far, within the time limit; `None` where nobody knows."""
    line: str
    """How far it is, in words."""
    is_cut_off: bool
    """Whether its last run did not end by itself: it was killed, or an error ended it."""
    command: str | None
    """The one that goes on with it; `None` while it runs, and where nothing is left to do."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        told: dict[str, Any] = finite(asdict(self))
        del told["line"]
        told["best"] = self.best and {"trial": self.best[0], "value": self.best[1]}
        told["failed"] = [{"trial": number, "reason": reason} for number, reason in self.failed]
        return told

    @property
    def news(self) -> str:
        """The study in one line, which changes only when something has happened."""
        scores = _scores(self)
        parts = [f"{self.name}: {self.state}, {self.finished} of {self.total} trials finished"]
        if self.best is not None:
            parts.append(f"best {scores.named(self.best[1])} (trial {self.best[0]})")
        for one in self.running:
            parts.append(" ".join(part for part in _words(one, self) if part))
        if self.paused:
            parts.append(f"{len(self.paused)} paused")
        if self.failed:
            number, reason = self.failed[-1]
            parts.append(f"{len(self.failed)} failed, the last trial {number}: {reason}")
        return visible("; ".join(parts))


def read_status(
    storage_url: str | None, names: Sequence[str], runs_dir: Path, prog: str
) -> tuple[Status, ...]:
    """The studies of these names as they stand, or all that are running now.

    `prog` is how the program is called.

    Raises: UnknownStudyError; StorageError.
    """
    if not names:
        every = list_studies(storage_url, runs_dir)
        names = [one.name for one in every if one.state == "running"]
    return tuple(status_of(read_study(storage_url, name, runs_dir), prog) for name in names)


def status_of(record: StudyRecord, prog: str, now: datetime | None = None) -> Status:
    """The status of a study at a time, by default now."""
    now = now or datetime.now(UTC)
    state, best = state_of(record), record.best
    counts: dict[str, int] = {}
    for trial in record.trials:
        counts[trial.state] = counts.get(trial.state, 0) + 1
    attributes_ = record.optuna_study.user_attrs
    return Status(
        name=record.name,
        state=state,
        counts=counts,
        finished=record.finished,
        total=record.total,
        total_steps=record.grid.total_steps,
        metric=record.metric,
        best=None if best is None or best.value is None else (best.number, best.value),
        best_parameters=dict(best.parameters) if best else {},
        running=_running(record, now),
        paused=tuple(one.number for one in record.trials if one.state == "paused"),
        failed=tuple((one.number, one.reason) for one in record.trials if one.state == "failed"),
        quarantined=dict(attributes_.get(attributes.QUARANTINED) or {}),
        elapsed_s=record.elapsed_s,
        left_s=_left_s(record),
        line=str(standing(record)),
        is_cut_off=state == "interrupted" and not record.stopped,
        command=command_again(record, prog) if state == "interrupted" else None,
    )


def _running(record: StudyRecord, now: datetime) -> tuple[Running, ...]:
    """What runs, by place."""
    found = [_running_trial(one, now) for one in record.trials if one.state == "running"]
    for span in record.repeat_spans:
        if span.how == "running":
            found.append(Running(span.trial, span.seed, span.place, None, None, _since(span, now)))
    return tuple(sorted(found, key=lambda one: (one.place, one.trial)))


def _running_trial(trial: TrialRecord, now: datetime) -> Running:
    span = trial.spans[-1] if trial.spans else None
    step = max(trial.curve, default=0)
    return Running(
        trial=trial.number,
        seed=None,
        place=span.place if span else "",
        step=step,
        value=trial.curve.get(step),
        seconds=_since(span, now) if span else None,
    )


def _since(span: Span, now: datetime) -> float:
    return max((now - span.begun).total_seconds(), 0.0)


def _left_s(record: StudyRecord) -> float | None:
    limit_s = record.options.get("time_limit_s")
    if not record.is_owned or record.finished >= record.total:
        return None
    left = [] if limit_s is None else [max(limit_s - record.elapsed_s, 0.0)]
    if record.finished:
        left.append(record.elapsed_s / record.finished * (record.total - record.finished))
    return min(left, default=None)


def status_page(found: Sequence[Status]) -> list[RenderableType]:
    """The studies, each on one screen."""
    if not found:
        return [Text("No study is running here.")]
    parts: list[RenderableType] = []
    for status in found:
        parts += [Text("")] if parts else []
        parts += _page(status)
    return parts


def _page(status: Status) -> list[RenderableType]:
    scores = _scores(status)
    line = status.line
    if status.left_s is not None:
        line += f", about {duration(status.left_s)} left for the trials"
    if status.state == "interrupted":
        line += ", not running"
    parts: list[RenderableType] = [Text(line)]
    if status.best is not None:
        number, value = status.best
        best = f"Best: {scores.named(value)} (trial {number})"
        parts.append(Text(f"{best}: {short_parameters(status.best_parameters)}"))
    if status.running:
        table = Table(box=None, pad_edge=False)
        for head in ("trial", "slot", "step", status.metric.name, "for"):
            is_number = head not in ("trial", "slot")
            table.add_column(Text(head), justify="right" if is_number else "left")
        for one in status.running:
            step = MISSING if one.step is None else f"{one.step}/{status.total_steps}"
            cells = (_name(one), one.place, step, scores.number(one.value), duration(one.seconds))
            table.add_row(*(Text(visible(cell)) for cell in cells))
        parts.append(table)
    if status.paused:
        word = "trial" if len(status.paused) == 1 else "trials"
        parts.append(Text(f"Paused: {word} {', '.join(map(str, status.paused))}"))
    if len(status.failed) > _SHOWN:
        parts.append(Text(f"{len(status.failed)} trials have failed, the last ones:"))
    for number, reason in status.failed[-_SHOWN:]:
        parts.append(Text(visible(f"Failed: trial {number}: {reason}")))
    for device, reason in status.quarantined.items():
        parts.append(Text(visible(f"Given no more work: {device}: {reason}")))
    if status.is_cut_off:
        parts.append(Text("Its driver is gone: it was killed, or an error ended it."))
    if status.command is not None:
        parts.append(Text(visible(f"Go on with: {status.command}")))
    return parts


def status_json(found: Sequence[Status]) -> dict[str, Any]:
    """The studies for programs."""
    return {"studies": [one.as_json() for one in found]}


def follow(
    read: Callable[[], Sequence[Status]],
    out: Printer,
    *,
    as_json: bool = False,
    look_every_s: float = LOOK_EVERY_S,
) -> None:
    """Shows what `read` finds until nothing of it runs any more, or a KeyboardInterrupt.

    An interrupted study has `START_S` to be gone on with.

    On a terminal one picture is kept up to date; elsewhere, and as JSON, a line is printed when
    something has changed.
    """
    is_picture = out.is_terminal and not out.is_dumb_terminal and not as_json
    if is_picture:
        with Live(console=out, auto_refresh=False) as live:
            _watch(
                read,
                lambda found: live.update(Group(*status_page(found)), refresh=True),
                look_every_s,
            )
        return
    told: dict[str, str] = {}

    def tell(found: Sequence[Status]) -> None:
        for status in found:
            if told.get(status.name) != status.news:
                told[status.name] = status.news
                line = json.dumps(status.as_json(), allow_nan=False) if as_json else status.news
                out.say(line)
                out.file.flush()
        if not found:
            out.show(*([] if as_json else status_page(found)))

    _watch(read, tell, look_every_s)


def _watch(
    read: Callable[[], Sequence[Status]],
    show: Callable[[Sequence[Status]], None],
    look_every_s: float,
) -> None:
    give_up = time.monotonic() + START_S
    has_run = False
    while True:
        begun = time.monotonic()
        found = read()
        show(found)
        states = {status.state for status in found}
        has_run = has_run or "running" in states
        may_start = not has_run and "interrupted" in states and begun < give_up
        if "running" not in states and not may_start:
            return
        took = time.monotonic() - begun
        time.sleep(max(look_every_s - took, took * (1 / _LOOK_SHARE - 1)))


def _name(one: Running) -> str:
    return str(one.trial) if one.seed is None else f"{one.trial} seed {one.seed}"


def _words(one: Running, status: Status) -> tuple[str, ...]:
    """A running trial for the line of news."""
    score = f"({_scores(status).named(one.value)})" if one.value is not None else ""
    step = "" if one.step is None else f"at step {one.step} of {status.total_steps}"
    return f"trial {_name(one)}", f"on {one.place}" if one.place else "", step, score


def _scores(status: Status) -> ScoreFormat:
    known = [one.value for one in status.running]
    return ScoreFormat(
        status.metric, decimals_for([*known, status.best[1] if status.best else None])
    )
