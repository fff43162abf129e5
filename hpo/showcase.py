"""What a running study lays out for the dashboard: figures, notes on trials, samples of texts.

One thread reads the study and writes into its attributes, now and then and at the end. The driver
never waits for it, and whatever fails there is told in one line and costs nothing else.
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from optuna.artifacts import FileSystemArtifactStore

from core.atomic import replace_text
from hpo import attributes, trials
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
from hpo.folders import make_private
from hpo.output import visible
from hpo.records import StudyRecord, TrialRecord
from hpo.storage import StorageError

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    import plotly.graph_objects as go

_LEAST_PAUSE_S = 15.0
_PAUSE_SHARE = 30.0
"""It rests this many times as long as it worked, so that it takes three percent of a core."""
_SYNC_S = 5.0
"""How long it waits until the database has what the driver knows."""
_POINTS = 5_000
"""Of the gradient norms: all commands that list studies read past the figures."""
_ATTEMPTS = 1_000
"""Of the timeline, the latest."""
_SAMPLES = 10
_OBJECTIVES = "dashboard:objective_names"
"""Of the dashboard alone: Optuna's own names of metrics would rename columns of its tables."""
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#+!|~$&-])")

GRADIENTS, STABILITY, TIMELINE = "gradient-norms", "stability-map", "timeline"
"""Names of the figures, by which they are replaced."""
_TITLES = {
    GRADIENTS: "Gradient norms",
    STABILITY: "Stability: depth against learning rate",
    TIMELINE: "Slots over time",
}


class Showcase:
    """An observer that keeps what the dashboard shows of a study up to date; a context."""

    def __init__(
        self,
        found: optuna.Study,
        read: Callable[[], StudyRecord],
        runs: Path,
        observe: Observe,
    ) -> None:
        """`found` is the driver's study, `read` reads it as people see it, `observe` is told."""
        self._found = found
        self._read = read
        self._runs = runs
        self._observe = observe
        self._changed = threading.Condition()
        self._is_stale = self._is_closing = self._has_complained = False
        self._drawn: dict[str, str] = {}
        """Figure -> its JSON as it was saved last."""
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
            told = " ".join(f"{type(error).__name__}: {error}".split())
            self._observe(Note(f"the dashboard does not show all of the study ({told})"))

    def _lay_out(self) -> None:
        give_up = time.monotonic() + _SYNC_S
        trials.sync(self._found, lambda: time.monotonic() > give_up)
        record = self._read()
        for name, figure in figures(record):
            self._save_figure(name, figure)
        known = self._found._storage.get_study_system_attrs(self._found._study_id)
        if _OBJECTIVES not in known:
            self._set(_OBJECTIVES, [record.metric.name])
        for trial in record.trials:
            identifier = trials.stored_id(self._found, trial.number)
            if not trial.is_finished or identifier is None:
                continue
            if f"dashboard:{identifier}:note_ver" not in known:
                self._save_note(identifier, note_on(trial))
            self._save_samples(identifier, trial, known)

    def _save_figure(self, name: str, figure: go.Figure) -> None:
        from optuna_dashboard import save_plotly_graph_object

        # The dashboard gives it a place of its own height and colour, and no heading.
        figure.update_layout(
            title={"text": _TITLES[name], "y": 0.97, "font": {"size": 17}},
            margin={"t": 50},
            legend={"y": -0.2, "yanchor": "top"},  # above, it runs into the heading on a phone
            paper_bgcolor="#ffffff",
            height=None,
        )
        drawn = figure.to_json()
        if self._drawn.get(name) != drawn:
            with trials.transaction(self._found):
                save_plotly_graph_object(self._found, figure, graph_object_id=name)
            self._drawn[name] = drawn

    def _save_note(self, identifier: int, text: str) -> None:
        # By `save_note` itself the note would be on the trial with the driver's own id.
        from optuna_dashboard._note import save_note_with_version

        with trials.transaction(self._found):
            save_note_with_version(
                self._found._storage, self._found._study_id, identifier, 1, text
            )

    def _save_samples(self, identifier: int, trial: TrialRecord, known: dict[str, Any]) -> None:
        """Stored with the study: Optuna lets nobody add to a trial that has ended."""
        study_key = uuid.UUID(self._found.user_attrs[attributes.FOLDER_KEY])
        name = str(uuid.uuid5(study_key, str(trial.number)))
        key = f"dashboard:artifacts:{identifier}:{name}"
        if trial.state != "complete" or key in known:
            return
        lines = list(sample_lines(trial.folder))
        if lines:
            content = "".join(f"{json.dumps(line)}\n" for line in lines)
            replace_text(make_private(_store_of(self._runs)) / name, content)
            about = {
                "artifact_id": name,
                "filename": f"samples of trial {trial.number}.jsonl",
                "mimetype": "application/jsonl",
                "encoding": None,
            }
            self._set(key, json.dumps(about))

    def _set(self, key: str, value: Any) -> None:
        self._found._storage.set_study_system_attr(self._found._study_id, key, value)


def sample_store(runs: Path) -> FileSystemArtifactStore:
    """Where samples are, and what is uploaded in the dashboard."""
    return FileSystemArtifactStore(_store_of(runs))


def _store_of(runs: Path) -> Path:
    return runs / ".artifacts"


def note_on(trial: TrialRecord) -> str:
    """How a finished trial ended and how it was, as Markdown in which all text is text."""
    said = [f"{trial.state}: {trial.reason}" if trial.reason else trial.state]
    if trial.health:
        detail = trial.health.get("detail")
        verdict = f"health: {trial.health.get('verdict')}"
        said.append(f"{verdict}; {detail}" if detail else verdict)
    return "\n\n".join(_MARKDOWN.sub(r"\\\1", visible(line)) for line in said)


def sample_lines(folder: Path) -> Iterator[dict[str, Any]]:
    """Up to ten examples, evenly spaced over the validation set, of a trial's last texts.

    Each is its line from 1, and by name what the files of equal length hold there.
    """
    from hpo.analysis.translations import read_texts

    texts = {
        name.removeprefix("validation."): lines
        for name, lines in read_texts(folder).items()
        if name.startswith("validation.")
    }
    outputs = texts.get("hyp", [])
    size = len(outputs)
    alike = {name: lines for name, lines in texts.items() if len(lines) == size}
    first = ("src", "ref", "hyp")
    names = [*filter(alike.__contains__, first), *sorted(alike.keys() - set(first))]
    for sample in range(min(_SAMPLES, size)):
        at = sample * size // min(_SAMPLES, size)
        yield {"line": at + 1, **{name: alike[name][at] for name in names}}


def figures(record: StudyRecord) -> Iterator[tuple[str, go.Figure]]:
    """The figures that a study has something to show for, by name."""
    from hpo.analysis.formats import ScoreFormat
    from hpo.analysis.grad_norms import draw_grad_norms, grad_norm_table
    from hpo.analysis.stability import collapse_table, draw_collapse
    from hpo.analysis.timeline import draw_timeline, timeline_table

    norms = grad_norm_table(record)
    if not norms.empty:
        clip = (record.declaration.get("protocol") or {}).get("grad_clip")
        yield GRADIENTS, draw_grad_norms(thinned(norms), ScoreFormat.of(record), clip)
    stability = collapse_table(record)
    if not stability.empty:
        yield STABILITY, draw_collapse(record, stability)
    attempts = timeline_table(record)
    if not attempts.empty:
        figure = draw_timeline(attempts.tail(_ATTEMPTS))
        if len(attempts) > _ATTEMPTS:
            figure.update_xaxes(autorange=True)
        yield TIMELINE, figure


def thinned(norms: pd.DataFrame) -> pd.DataFrame:
    """The largest norm of each of so many runs of steps that `_POINTS` are left."""
    each = max(2, _POINTS // norms["number"].nunique())
    of_trial = norms.groupby("number")["step"]
    run = of_trial.cumcount() * each // of_trial.transform("size")
    picked = norms["grad_norm"].fillna(-1.0).groupby([norms["number"], run]).idxmax()
    return norms.loc[sorted(set(picked) | set(norms.index[norms["nonfinite"]]))]
