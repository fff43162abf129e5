"""A trial explained: why it lost or won, its checklist, curves in short, what it translates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.text import Text

from core.errors import IncomparableError, SettingsError
from core.registry import find_task
from hpo import as_json
from hpo.analysis.checklist import Check, checklist
from hpo.analysis.formats import MISSING, ScoreFormat, is_finite, value_text
from hpo.analysis.histories import read_history
from hpo.analysis.reasons import Rivals, reasons
from hpo.analysis.translations import chrf_differences, read_texts
from hpo.analysis.trials import outcome_of, stage_of
from hpo.names import label
from hpo.output import rows_table, visible
from hpo.records import StudyRecord, TrialRecord

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

_SCORES = 8
"""Evaluations shown of a curve, at most."""
_SAMPLES = 3


@dataclass(frozen=True)
class StageSummary:
    """What training was like in one stage."""

    stage: str
    steps: int
    first_loss: float
    last_loss: float
    peak_learning_rate: float
    grad_norm_median: float
    grad_norm_max: float


@dataclass(frozen=True)
class Sample:
    """A sentence of the validation set, and what became of it."""

    line: int
    """In the validation set, from 1."""
    source: str
    reference: str
    ours: str
    best: str | None = None
    """The best trial's translation; `None` for that trial itself."""
    ahead: float = 0.0
    """chrF of ours less that of the best."""


@dataclass(frozen=True)
class Explanation:
    """What is to be told of a trial."""

    record: StudyRecord
    trial: TrialRecord
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]
    stages: tuple[StageSummary, ...]
    """Empty without telemetry."""
    samples: tuple[Sample, ...]
    """Where it differs most from the best trial; of that one a few sentences. Empty without
    texts."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "study": self.record.name,
            **as_json.trial(self.record, self.trial),
            "reasons": list(self.reasons),
            "checklist": [asdict(one) for one in self.checks],
            "stages": [asdict(one) for one in self.stages],
            "translations": [asdict(one) for one in self.samples],
        }


def explain(record: StudyRecord, trial: TrialRecord) -> Explanation:
    """What a trial's telemetry, curve and texts tell of it, beside the others of its study."""
    rivals, history = Rivals.of(record), read_history(trial.folder)
    return Explanation(
        record=record,
        trial=trial,
        reasons=tuple(reasons(trial, rivals, _p_value(record, trial))),
        checks=tuple(checklist(trial, history, record.grid, rivals.scores)),
        stages=tuple(_stages(history)),
        samples=tuple(_samples(record, trial)),
    )


def _p_value(record: StudyRecord, trial: TrialRecord) -> float | None:
    """The paired bootstrap against the best trial; `None` where there is nothing to draw."""
    best = record.best
    if best is None or best.number == trial.number or trial.state != "complete":
        return None
    try:
        resample = find_task(record.task).resample
        return resample and resample([best.folder, trial.folder], [])[1].p_value
    except (SettingsError, IncomparableError, OSError, ValueError):
        return None


def _stages(history: pd.DataFrame) -> Iterator[StageSummary]:
    for name, rows in history.groupby("stage", sort=False, observed=True):
        losses, norms = rows["loss"], rows["grad_norm"]
        yield StageSummary(
            stage=str(name),
            steps=len(rows),
            first_loss=float(losses.iloc[0]),
            last_loss=float(losses.iloc[-1]),
            peak_learning_rate=float(rows["learning_rate"].max()),
            grad_norm_median=float(norms.median()),
            grad_norm_max=float(norms.max()),
        )


def _samples(record: StudyRecord, trial: TrialRecord) -> list[Sample]:
    best = record.best
    if best is None:
        return []
    texts, ours = read_texts(best.folder), read_texts(trial.folder).get("validation.hyp", [])
    sources, references = texts.get("validation.src", []), texts.get("validation.ref", [])
    theirs = texts.get("validation.hyp", [])
    if not ours or len({len(lines) for lines in (ours, theirs, sources, references)}) > 1:
        return []
    if best.number == trial.number:
        number = min(_SAMPLES, len(ours))
        places = [i * len(ours) // number for i in range(number)]
        return [Sample(at + 1, sources[at], references[at], ours[at]) for at in places]
    ahead = chrf_differences(ours, theirs, references)
    return [
        Sample(at + 1, sources[at], references[at], ours[at], theirs[at], ahead[at])
        for at in sorted(ahead, key=lambda at: (-abs(ahead[at]), at))[:_SAMPLES]
    ]


def explanation_page(found: Explanation) -> list[RenderableType]:
    """The explanation as the command prints it."""
    record, trial = found.record, found.trial
    scores, best = ScoreFormat.of(record), record.best
    head = f"{record.name}, trial {trial.number}: {outcome_of(trial)}"
    if is_finite(trial.value):
        head += f", {scores.named(trial.value)}"
    other = None if best is None or best.number == trial.number else best
    parts: list[RenderableType] = [Text(visible(head))]
    parts += [Text(visible(sentence)) for sentence in found.reasons]
    if trial.health:
        verdict, detail = trial.health.get("verdict", MISSING), trial.health.get("detail", "")
        parts.append(Text(visible(f"Health: {verdict}{f', {detail}' if detail else ''}.")))
    parts.append(_configuration(trial, other))
    rows = [(one.verdict, one.name, one.said) for one in found.checks]
    parts.append(rows_table(("check", "", "found"), rows))
    if found.stages:
        parts.append(_training(found.stages))
    if trial.curve:
        parts.append(_curve(record, trial, other, scores))
    parts += [_sample(sample, trial, best) for sample in found.samples]
    return [*parts, Text(visible(label(trial.folder)))]


def _configuration(trial: TrialRecord, best: TrialRecord | None) -> RenderableType:
    heads = ["parameter", f"trial {trial.number}"]
    heads += [] if best is None else [f"best, trial {best.number}"]
    rows = []
    for name, value in trial.parameters.items():
        theirs = [] if best is None else [value_text(best.parameters.get(name))]
        rows.append((name, value_text(value), *theirs))
    return rows_table(heads, rows, numeric=range(1, len(heads)))


def _training(stages: Sequence[StageSummary]) -> RenderableType:
    heads = ("stage", "steps", "loss from", "to", "peak rate", "median norm", "largest")
    rows = [
        (
            one.stage,
            one.steps,
            *(
                value_text(value) if is_finite(value) else MISSING
                for value in (
                    one.first_loss,
                    one.last_loss,
                    one.peak_learning_rate,
                    one.grad_norm_median,
                    one.grad_norm_max,
                )
            ),
        )
        for one in stages
    ]
    return rows_table(heads, rows, numeric=range(1, len(heads)))


def _curve(
    record: StudyRecord, trial: TrialRecord, best: TrialRecord | None, scores: ScoreFormat
) -> RenderableType:
    """The scores at a few of the steps, the last one among them."""
    steps = sorted(trial.curve)
    number = min(_SCORES, len(steps))
    chosen = [steps[round((i + 1) * len(steps) / number) - 1] for i in range(number)]
    heads = ["stage", "step", scores.metric.name]
    heads += [] if best is None else [f"best, trial {best.number}"]
    rows = []
    for step in chosen:
        theirs = [] if best is None else [scores.number(best.curve.get(step))]
        stage = stage_of(record.grid, step)[0]
        rows.append((stage, step, scores.number(trial.curve[step]), *theirs))
    return rows_table(heads, rows, numeric=range(1, len(heads)))


def _sample(sample: Sample, trial: TrialRecord, best: TrialRecord | None) -> RenderableType:
    rows = [
        ("source", sample.source),
        ("reference", sample.reference),
        (f"trial {trial.number}", sample.ours),
    ]
    head = ""
    if best is not None and sample.best is not None:
        rows.append((f"trial {best.number}", sample.best))
        side = "better" if sample.ahead > 0 else "worse"
        head = f"{abs(sample.ahead):.0f} chrF {side} than trial {best.number}"
    return rows_table((f"line {sample.line}", head), rows)
