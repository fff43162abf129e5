"""What a budget will buy: seconds of trials as foretold, added up, before anything runs."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from core.settings import canonical_json
from hpo.analysis.formats import count, duration
from hpo.costs import CostModel, Prediction
from hpo.declarations import Study
from hpo.declarations.assembly import end_points, groups_at
from hpo.finals.repeats import COMPARING_S
from hpo.outlook import finals_seconds
from hpo.output import short_parameters, visible

if TYPE_CHECKING:
    from rich.console import RenderableType

_DRAWS = 201
"""Random points among which the median is found: an odd number has one."""
_WALKED = 500
"""Trials that are foretold one by one; beyond them their average counts."""


@dataclass(frozen=True)
class Example:
    """One configuration and what a trial of it will cost."""

    name: str
    """`smallest`, `median`, `largest` or `start`, by the seconds of a whole trial."""
    structure: Mapping[str, Any]
    """What it draws of the group that costs follow from."""
    whole: Prediction
    cached: Prediction | None
    """With stage A from the cache; `None` in a study of one stage."""


@dataclass(frozen=True)
class Plan:
    """What a study will take, or a time limit buy. No trial is taken to be stopped early."""

    study: str
    examples: tuple[Example, ...]
    jobs: int
    limit_s: float | None
    """`None`: the study's own number of trials."""
    asked: int
    """Finished trials that the study is to have."""
    finished: int
    """Trials that earlier runs of the study have finished."""
    elapsed_s: float
    """Wall-clock seconds that earlier runs have spent; a limit includes them."""
    trials: int
    """Beyond the finished ones: that the time left allows, or those left of what is asked for."""
    cached: int
    """Of these, trials that share the stage A of an earlier one."""
    search_s: float
    """Wall-clock seconds of these trials."""
    finals: tuple[int, int]
    """Finalists, and fresh seeds for each."""
    repeats: int
    """Of these, the start configuration's included, that a run keeps time for."""
    repeats_asked: int
    finals_s: float
    """Repeats and their readings of the test set; as much as a run keeps for them."""
    test_s: float
    """One reading."""
    basis: tuple[str, ...]
    """What the figures rest on."""

    @property
    def total_s(self) -> float:
        return self.search_s + self.finals_s + self.test_s


def make_plan(
    study: Study,
    model: CostModel,
    *,
    basis: tuple[str, ...],
    jobs: int = 1,
    trials: int | None = None,
    time_limit_s: float | None = None,
    elapsed_s: float = 0.0,
    finished: int = 0,
) -> Plan:
    """Foretells `trials` finished trials, the study's own number by default, or how many
    `time_limit_s` of wall-clock buy on `jobs` slots after finals and test set.

    Of both, earlier runs have used up `elapsed_s` seconds and `finished` trials.
    """
    points = [_Point(study, model, point) for point in _draws(study, _DRAWS)]
    ends = [_Point(study, model, point) for point in end_points(study.space)]
    ranked = sorted([*points, *ends], key=lambda point: point.whole.seconds)
    median = sorted(points, key=lambda point: point.whole.seconds)[len(points) // 2]
    chosen = {"smallest": ranked[0], "median": median, "largest": ranked[-1]}
    if study.start is not None:
        chosen["start"] = _Point(study, model, study.start)
    tops, seeds = study.finals.top, study.finals.seeds
    test_s = model.predict_test(median.groups).seconds
    left_s = math.inf if time_limit_s is None else max(time_limit_s - elapsed_s, 0.0)
    test_s = min(test_s, left_s)
    # Fresh seeds mean a stage A of their own, and the start is likely to be no finalist.
    entrants = tops + (study.start is not None)
    finals = finals_seconds(
        median.whole.seconds,
        test_s,
        entrants=entrants,
        seeds=seeds,
        slots=jobs,
        limit_s=time_limit_s,
        left_s=left_s - test_s,
        others_s=_rounds(tops - 1, jobs) * test_s + COMPARING_S * seeds * (entrants - 1),
    )
    asked = trials or study.trials
    if time_limit_s is None:
        left = max(asked - finished, 0)
        bought, cached, spent_s = _walk(study, model, jobs=jobs, after=finished, trials=left)
    else:
        search_s = max(left_s - finals.seconds - test_s, 0.0)
        bought, cached, spent_s = _walk(study, model, jobs=jobs, after=finished, search_s=search_s)
    return Plan(
        study=study.name,
        examples=tuple(point.example(name) for name, point in chosen.items()),
        jobs=jobs,
        limit_s=time_limit_s,
        asked=asked,
        finished=finished,
        elapsed_s=elapsed_s,
        trials=bought,
        cached=cached,
        search_s=spent_s,
        finals=(tops, seeds),
        repeats=finals.repeats,
        repeats_asked=entrants * seeds,
        finals_s=finals.seconds,
        test_s=test_s,
        basis=basis,
    )


class _Point:
    """A point of the space with its seconds."""

    def __init__(self, study: Study, model: CostModel, realised: Mapping[str, Any]) -> None:
        self.groups = groups_at(study, realised)
        prefix = f"{study.spec.structure_group}."
        self._structure = {
            name: value for name, value in realised.items() if name.startswith(prefix)
        }
        self.whole = model.predict(self.groups, cold=False)
        is_staged = len(study.grid.stages) > 1
        self._cached = model.predict(self.groups, cached=True, cold=False) if is_staged else None

    def example(self, name: str) -> Example:
        return Example(name, self._structure, self.whole, self._cached)


def _draws(study: Study, number: int) -> Iterator[dict[str, Any]]:
    rng = random.Random(study.seed)  # noqa: S311 - examples, not secrets
    for _ in range(number):
        yield study.space.walk(lambda _, parameter, base: parameter.draw(rng, base))


def _walk(
    study: Study,
    model: CostModel,
    *,
    jobs: int,
    after: int,
    trials: int | None = None,
    search_s: float = math.inf,
) -> tuple[int, int, float]:
    """(trials, those of them with a cached stage A, wall-clock seconds) of a search at random that
    makes so many `trials`, or as many as fit, `after` so many that were made before."""
    slots = [0.0] * jobs
    seen: set[str] = set()
    cached = done = 0
    shared = study.scheduler.trials_per_structure
    number = after + min(_WALKED if trials is None else trials, _WALKED)
    for place, point in enumerate(_with_groups(study, number, shared)):
        groups = groups_at(study, point)
        structure = canonical_json(groups[study.spec.structure_group])
        if place < after:
            seen.add(structure)
            continue
        is_cached = structure in seen and len(study.grid.stages) > 1
        seconds = model.predict(groups, cached=is_cached, cold=done < jobs).seconds
        slot = min(range(jobs), key=slots.__getitem__)
        if slots[slot] + seconds > search_s:
            break
        seen.add(structure)
        slots[slot] += seconds
        done += 1
        cached += is_cached
    spent_s = max(slots)
    if done == _WALKED:
        factor = search_s / spent_s if trials is None else trials / _WALKED
        return int(factor * done), int(factor * cached), factor * spent_s
    return done, cached, spent_s


def _with_groups(study: Study, number: int, shared: int) -> Iterator[Mapping[str, Any]]:
    """The points to try first, then random ones, `shared` of them to a structure."""
    points = [*study.enqueue, *_draws(study, number)][:number]
    prefix = f"{study.spec.structure_group}."
    for place, point in enumerate(points):
        leader = points[place - place % shared]
        yield {
            name: leader.get(name, value) if name.startswith(prefix) else value
            for name, value in point.items()
        }


def _rounds(number: int, jobs: int) -> int:
    """How many times all slots are filled until `number` equal runs are done."""
    return -(-number // jobs)


def plan_page(plan: Plan) -> list[RenderableType]:
    """The plan as the command prints it."""
    return [
        _examples_table(plan),
        *(Text(line) for line in _budget_lines(plan)),
        Text(visible(f"These figures rest on {'; '.join(plan.basis)}.")),
    ]


def _examples_table(plan: Plan) -> Table:
    has_cache = any(example.cached for example in plan.examples)
    table = Table(box=None, pad_edge=False)
    table.add_column("trial")
    for column in ("takes", "at most", *(("stage A cached",) if has_cache else ())):
        table.add_column(column, justify="right")
    table.add_column("structure", overflow="fold")
    for example in plan.examples:
        seconds = [example.whole.seconds, example.whole.at_most_s]
        if example.cached is not None:
            seconds.append(example.cached.seconds)
        cells = (example.name, *map(duration, seconds), short_parameters(example.structure))
        table.add_row(*map(Text, cells))
    return table


def _budget_lines(plan: Plan) -> Iterator[str]:
    number, slots = count(plan.trials, "trial"), count(plan.jobs, "slot")
    if plan.jobs > 1:
        slots += f", about {plan.trials / plan.jobs:.0f} a slot"
    how = f"{number} on {slots}"
    if plan.cached:
        how += f", {plan.cached} with a cached stage A"
    if plan.elapsed_s:
        done = count(plan.finished, "trial")
        yield f"Earlier runs have finished {done} and spent {duration(plan.elapsed_s)}."
    if plan.limit_s is None:
        yield f"{visible(plan.study)}: {how}, take about {duration(plan.search_s)}."
    else:
        budget = duration(plan.limit_s)
        if plan.elapsed_s:
            left_s = max(plan.limit_s - plan.elapsed_s, 0.0)
            budget = f"what is left of {budget}, {duration(left_s)},"
        yield (
            f"{visible(plan.study)}: {budget} buys {how}; about "
            f"{duration(plan.search_s)} of search."
        )
        if plan.finished + plan.trials > plan.asked:
            yield f"The study asks for {count(plan.asked, 'trial')}; --trials N asks for more."
    yield "Trials that are stopped early make room for more."
    tops, seeds = plan.finals
    aside = f"{duration(plan.test_s)} for the test set"
    if seeds:
        who = count(tops, "finalist") + " and the start" * (plan.repeats_asked > tops * seeds)
        part = f"{plan.repeats} of " if plan.repeats < plan.repeats_asked else ""
        trainings = f"{part}{count(plan.repeats_asked, 'training')}"
        finals = f"{duration(plan.finals_s)} for the finals"
        aside = f"{finals} ({trainings}: {who} on {count(seeds, 'seed')}), {aside}"
    yield f"Set aside: about {aside}. In all about {duration(plan.total_s)}."
