"""Trials side by side: in what they differ, what they scored and cost, and what sentences tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.text import Text

from core.errors import IncomparableError, SettingsError, UserError
from core.registry import find_task
from core.sealed import read_sealed
from core.sizes import size_text
from core.task import Resampled
from hpo import as_json
from hpo.analysis.finals import entrant, interval_text, leader_of
from hpo.analysis.formats import MISSING, ScoreFormat, count, decimals_for, duration, value_text
from hpo.analysis.settings import flatten
from hpo.analysis.trials import COSTS, cost_of, outcome_of, seconds_of
from hpo.finals.statistics import SENTENCES_AT, Interval
from hpo.identity import differences
from hpo.output import rows_table, visible
from hpo.records import StudyRecord, TrialRecord

if TYPE_CHECKING:
    from rich.console import RenderableType

_HEALTH = {
    "verdict": "verdict",
    "grad_norm_median": "gradient norm, median",
    "grad_norm_p95": "gradient norm, 95 %",
    "grad_norm_max": "gradient norm, largest",
    "steps_above_alarm": "steps above 10",
    "loss_spikes": "loss spikes",
    "nonfinite_steps": "steps not finite",
    "amp_scale_drops": "AMP scale drops",
}
"""Fields of `core.task.Health` in words."""
_NAMED = 4
"""Differences of protocols that are told one by one."""


class ComparisonError(UserError):
    """What cannot be put side by side."""


@dataclass(frozen=True)
class Contender:
    """One of the trials."""

    name: str
    """`trial 3`, or among studies `wide, trial 3`."""
    record: StudyRecord
    trial: TrialRecord
    drawn: Resampled | None = None
    """Its score over draws of sentences; `None` where `Comparison.obstacle` says why."""

    @property
    def metric(self) -> tuple[str, str]:
        """What it was scored by."""
        return self.record.metric.name, self.record.metric.unit


@dataclass(frozen=True)
class Comparison:
    """Trials side by side; what is said of a difference is against the first."""

    contenders: tuple[Contender, ...]
    settings: Mapping[str, tuple[Any, ...]]
    """Dotted name -> the value of each contender; `None` where it has none."""
    obstacle: str
    """Why no sentences were drawn; empty where they were."""
    notes: tuple[str, ...]

    @property
    def differing(self) -> dict[str, tuple[Any, ...]]:
        """Those of the settings that are not the same for all."""
        return {
            name: values
            for name, values in self.settings.items()
            if any(value != values[0] for value in values)
        }

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        differing = self.differing
        return {
            "contenders": [
                {
                    "study": one.record.name,
                    "metric": asdict(one.record.metric),
                    **as_json.trial(one.record, one.trial),
                    "bootstrap": None if one.drawn is None else asdict(one.drawn),
                }
                for one in self.contenders
            ],
            "differing": {name: list(values) for name, values in differing.items()},
            "equal": {
                name: values[0] for name, values in self.settings.items() if name not in differing
            },
            "obstacle": self.obstacle or None,
            "notes": list(self.notes),
        }


def compare(
    record: StudyRecord, others: Sequence[str], read: Callable[[str], StudyRecord]
) -> Comparison:
    """Trials of a study by their numbers, or the leading trials of it and of other studies.

    `read` reads a study by its name.

    Raises: ComparisonError for numbers among names, a trial that is not there, a study without a
        complete one, or a single contender.
    """
    numbers = [int(one) for one in others if one.isascii() and one.isdecimal()]
    if numbers and len(numbers) < len(others):
        raise ComparisonError(
            "either trials of one study are compared, or studies",
            got=" ".join(others),
            allowed="numbers of trials, or names of studies",
        )
    if numbers:
        chosen = [_numbered(record, number) for number in dict.fromkeys(numbers)]
    else:
        names = dict.fromkeys(name for name in others if name != record.name)
        chosen = [_leading(one) for one in (record, *map(read, names))]
    if len(chosen) < 2:
        raise ComparisonError(
            "there is nothing to compare it with",
            got=chosen[0].name,
            allowed="two trials of a study or more, or two studies or more",
        )
    drawn, obstacle = _draw(chosen)
    drawn_of: Sequence[Resampled | None] = drawn or [None] * len(chosen)
    return Comparison(
        contenders=tuple(
            Contender(one.name, one.record, one.trial, found)
            for one, found in zip(chosen, drawn_of, strict=True)
        ),
        settings=_settings(chosen),
        obstacle=obstacle,
        notes=tuple(_notes(chosen, drawn)),
    )


def _numbered(record: StudyRecord, number: int) -> Contender:
    for trial in record.trials:
        if trial.number == number:
            return Contender(f"trial {number}", record, trial)
    raise ComparisonError(
        f"there is no trial {number}", where=record.name, way_out=f"See `hpo show {record.name}`."
    )


def _leading(record: StudyRecord) -> Contender:
    number = leader_of(record)
    if number is None:
        raise ComparisonError(
            "no trial is complete, so none can stand for the study",
            where=record.name,
            way_out=f"Compare its trials by number: `hpo compare {record.name} 0 1`.",
        )
    found = _numbered(record, number)
    return Contender(f"{record.name}, trial {number}", record, found.trial)


def _settings(chosen: Sequence[Contender]) -> dict[str, tuple[Any, ...]]:
    """The whole configurations where all have theirs on disk, else what was varied."""
    known = [_groups(one.trial) for one in chosen]
    found = (
        [dict(flatten(groups)) for groups in known if groups is not None]
        if all(groups is not None for groups in known)
        else [dict(one.trial.parameters) for one in chosen]
    )
    names = dict.fromkeys(name for settings in found for name in settings)
    return {name: tuple(settings.get(name) for settings in found) for name in names}


def _groups(trial: TrialRecord) -> Mapping[str, Any] | None:
    try:
        groups = read_sealed(trial.folder / "config.json")["config"]["groups"]
    except (OSError, UserError, KeyError, TypeError):
        return None
    return groups if isinstance(groups, dict) else None


def _draw(chosen: Sequence[Contender]) -> tuple[list[Resampled] | None, str]:
    """Each contender's score over draws of sentences, or why there is none."""
    tasks = {one.record.task for one in chosen}
    if len(tasks) > 1:
        return None, f"they are of different tasks ({', '.join(sorted(tasks))})"
    try:
        resample = find_task(chosen[0].record.task).resample
    except SettingsError as error:
        return None, str(error)
    if resample is None:
        return None, f"the task {chosen[0].record.task} has no examples to draw"
    best = [one.record.best.folder for one in chosen if one.record.best is not None]
    try:
        return list(resample([one.trial.folder for one in chosen], best)), ""
    except IncomparableError as error:
        return None, error.what
    except (OSError, ValueError) as error:
        return None, f"what the trials left cannot be read ({error})"


def _notes(chosen: Sequence[Contender], drawn: Sequence[Resampled] | None) -> Iterator[str]:
    """What a reader should know before a difference is believed."""
    yield from _protocol_notes(chosen)
    for place, one in enumerate(chosen):
        step = max(one.trial.curve, default=0) if drawn is None else drawn[place].step
        total = one.record.grid.total_steps
        if step < total:
            yield (
                f"{one.name} is {outcome_of(one.trial)}: its score is of step {step} of {total}."
            )
    if drawn is not None:
        yield from _verdicts(chosen, drawn)
        yield (
            "That is the luck of the sentences alone; each is one run, and another seed would "
            "score otherwise."
        )


def _protocol_notes(chosen: Sequence[Contender]) -> Iterator[str]:
    first = chosen[0]
    for other in chosen[1:]:
        if other.record.name == first.record.name:
            continue
        mine, theirs = first.record.lock, other.record.lock
        if mine is None or theirs is None:
            yield f"{first.name} and {other.name}: no locked protocol tells what they share."
        elif mine.hash != theirs.hash:
            found = differences(mine.content, theirs.content)
            told = "; ".join(
                f"{one.key} {value_text(one.before)} and {value_text(one.now)}"
                for one in found[:_NAMED]
            )
            more = f"; {len(found) - _NAMED} more" if len(found) > _NAMED else ""
            yield (
                f"{first.name} and {other.name} have different protocols, so a difference is not "
                f"of their configurations alone: {told}{more}."
            )


def _verdicts(chosen: Sequence[Contender], drawn: Sequence[Resampled]) -> Iterator[str]:
    """Each against the first, in words."""
    first, scores = chosen[0], _scores(chosen)
    for one, found in zip(chosen[1:], drawn[1:], strict=True):
        assert found.p_value is not None
        if found.p_value == 1.0 and found.value == drawn[0].value:
            yield f"{one.name} and {first.name} translate all sentences alike."
            continue
        is_higher = found.value > drawn[0].value
        high, low = max(found.value, drawn[0].value), min(found.value, drawn[0].value)
        by = scores.difference(high, low)
        is_clear = found.p_value < SENTENCES_AT
        yield (
            f"{one.name} is {by} {'above' if is_higher else 'below'} {first.name}: "
            f"{'more than' if is_clear else 'within'} the luck of the sentences "
            f"(p {_p_text(found.p_value)}){'' if is_clear else ', a tie'}."
        )


def comparison_page(comparison: Comparison) -> list[RenderableType]:
    """The comparison as the command prints it."""
    chosen, differing = comparison.contenders, comparison.differing
    heads = [one.name for one in chosen]
    numeric = range(1, len(heads) + 1)
    parts: list[RenderableType] = []
    if differing:
        rows = [(name, *map(value_text, values)) for name, values in differing.items()]
        parts.append(rows_table(("configuration", *heads), rows, numeric=numeric))
    equal = len(comparison.settings) - len(differing)
    if equal:
        parts.append(Text(f"The same in all: {count(equal, 'setting')}."))
    for title, rows in (
        ("score", list(_score_rows(chosen))),
        ("cost", list(_cost_rows(chosen))),
        ("health", list(_health_rows(chosen))),
    ):
        if rows:
            parts.append(rows_table((title, *heads), rows, numeric=numeric))
    if comparison.obstacle:
        parts.append(Text(visible(f"No sentences were drawn: {comparison.obstacle}.")))
    return [*parts, *(Text(visible(note)) for note in comparison.notes)]


def _score_rows(chosen: Sequence[Contender]) -> Iterator[tuple[str, ...]]:
    scores, first = _scores(chosen), chosen[0]
    yield "state", *(outcome_of(one.trial) for one in chosen)
    yield "step", *(str(max(one.trial.curve, default=0)) for one in chosen)
    for name, unit in dict.fromkeys(one.metric for one in chosen):
        of_it = [one.trial.value if one.metric == (name, unit) else None for one in chosen]
        yield f"validation {name}", *map(scores.number, of_it)
    is_one_set = first.drawn is not None or len({one.record.name for one in chosen}) == 1
    if is_one_set and first.trial.value is not None:
        gaps = (_gap(one.trial.value, first.trial.value, scores) for one in chosen[1:])
        yield f"against {first.name}", "", *gaps
    if chosen[0].drawn is not None:
        drawn = [one.drawn for one in chosen if one.drawn is not None]
        yield (
            "over draws of sentences",
            *(interval_text(Interval(one.mean, one.half_width, 0), scores) for one in drawn),
        )
        yield (
            f"p against {first.name}",
            "",
            *(_p_text(one.p_value).removeprefix("= ") for one in drawn[1:]),
        )
    if any(one.record.finals for one in chosen):
        yield "on fresh seeds", *(_on_fresh_seeds(one, scores) for one in chosen)


def _gap(value: float | None, first: float, scores: ScoreFormat) -> str:
    if value is None:
        return MISSING
    shown = scores.difference(value, first)
    return shown if shown.startswith("-") else f"+{shown}"


def _on_fresh_seeds(one: Contender, scores: ScoreFormat) -> str:
    finals = one.record.finals
    found = None if finals is None else entrant(finals, one.trial.number)
    if found is None:
        return MISSING
    number = len(found.values)
    return f"{interval_text(Interval(found.mean, found.half_width, number), scores)} ({number})"


def _cost_rows(chosen: Sequence[Contender]) -> Iterator[tuple[str, ...]]:
    yield "time", *(duration(seconds_of(one.trial)) for one in chosen)
    for key, words in COSTS.items():
        spent = [cost_of(one.trial.cost, key) for one in chosen]
        if max(spent) >= 0.05:
            yield words, *map(duration, spent)
    if any(one.trial.cost.get("cache_hit") for one in chosen):
        hits = ("yes" if one.trial.cost.get("cache_hit") else "no" for one in chosen)
        yield "first stage cached", *hits
    memory = [int(cost_of(one.trial.cost, "peak_memory_bytes")) for one in chosen]
    if any(memory):
        yield "largest memory", *(size_text(size) if size else MISSING for size in memory)
    yield "attempts", *(str(one.trial.attempts) for one in chosen)


def _health_rows(chosen: Sequence[Contender]) -> Iterator[tuple[str, ...]]:
    for key, words in _HEALTH.items():
        values = [one.trial.health.get(key) for one in chosen]
        if any(value not in (None, 0) for value in values):
            yield words, *map(value_text, values)


def _scores(chosen: Sequence[Contender]) -> ScoreFormat:
    values = [one.trial.value for one in chosen]
    return ScoreFormat(chosen[0].record.metric, decimals_for(values))


def _p_text(p_value: float | None) -> str:
    if p_value is None:
        return MISSING
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.3f}"
