"""What is laid out of a study for the dashboard: figures, notes on trials, samples of texts."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.artifacts import FileSystemArtifactStore

from core.atomic import replace_text
from hpo import attributes
from hpo.folders import make_private
from hpo.output import visible
from hpo.reading import detached, found_study, record_of
from hpo.records import StudyRecord, TrialRecord
from hpo.storage import locate

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

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


def lay_out(storage_url: str | None, name: str, runs: Path) -> dict[str, Any]:
    """The study's system attributes that have to be set for the dashboard to show it as it is.

    Samples are written into `runs`; the database is only read. A note that is there, by a person
    too, and samples that are there stay.

    Raises: UnknownStudyError; StorageError.
    """
    database = locate(storage_url, runs)
    with found_study(database, name) as study:
        record = record_of(detached(study), database, runs)
        # By these the dashboard knows them; a driver has other ids in its memory. Read after the
        # record, so that none of its trials is missing.
        identifiers = {one.number: one._trial_id for one in study.get_trials(deepcopy=False)}
        drawn = list(figures(record))
        # Last, so that a person's note is hardly ever written between this and ours.
        known = study._storage.get_study_system_attrs(study._study_id)
    board = _Board(known)
    for figure_name, figure in drawn:
        board.hang(figure_name, figure)
    if _OBJECTIVES not in known:
        board.set(_OBJECTIVES, [record.metric.name])
    key = uuid.UUID(record.optuna_study.user_attrs[attributes.FOLDER_KEY])
    for trial in record.trials:
        if trial.is_finished:
            board.describe(identifiers[trial.number], trial)
            board.add_samples(identifiers[trial.number], trial, key, _store_of(runs))
    return board.news


class _Board:
    """A study in memory on which the dashboard's own functions write."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        self._known = known
        self._study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
        for key, value in known.items():
            if key.startswith("dashboard:plot_data:"):  # which a shorter figure has to blank
                self.set(key, value)

    @property
    def news(self) -> dict[str, Any]:
        """What is other than it was, by key."""
        written = self._study._storage.get_study_system_attrs(self._study._study_id)
        return {
            key: value
            for key, value in written.items()
            if key not in self._known or self._known[key] != value
        }

    def set(self, key: str, value: Any) -> None:
        self._study._storage.set_study_system_attr(self._study._study_id, key, value)

    def hang(self, name: str, figure: go.Figure) -> None:
        """Puts up a figure in place of the one that has its name."""
        from optuna_dashboard import save_plotly_graph_object

        # The dashboard gives it a place of its own height and colour, and no heading.
        figure.update_layout(
            title={"text": _TITLES[name], "y": 0.97, "font": {"size": 17}},
            margin={"t": 50},
            legend={"y": -0.2, "yanchor": "top"},  # above, it runs into the heading on a phone
            paper_bgcolor="#ffffff",
            height=None,
        )
        save_plotly_graph_object(self._study, figure, graph_object_id=name)

    def describe(self, identifier: int, trial: TrialRecord) -> None:
        """Writes the note on a trial, unless there is one."""
        # By `save_note` itself the note would be on a trial of this study in memory.
        from optuna_dashboard._note import note_ver_key, save_note_with_version

        if note_ver_key(identifier) not in self._known:
            save_note_with_version(
                self._study._storage, self._study._study_id, identifier, 1, note_on(trial)
            )

    def add_samples(
        self, identifier: int, trial: TrialRecord, key: uuid.UUID, store: Path
    ) -> None:
        """Adds a complete trial's, unless they are there.

        Stored with the study: Optuna lets nobody add to a trial that has ended.
        """
        name = str(uuid.uuid5(key, str(trial.number)))
        place = f"dashboard:artifacts:{identifier}:{name}"
        if trial.state != "complete" or place in self._known:
            return
        lines = list(sample_lines(trial.folder))
        if lines:
            content = "".join(f"{json.dumps(line)}\n" for line in lines)
            replace_text(make_private(store) / name, content)
            about = {
                "artifact_id": name,
                "filename": f"samples of trial {trial.number}.jsonl",
                "mimetype": "application/jsonl",
                "encoding": None,
            }
            self.set(place, json.dumps(about))


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
