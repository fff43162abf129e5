"""Freeze-thaw Bayesian search: what promises most per second is run next, and only as far.

After Swersky, Snoek and Adams, "Freeze-Thaw Bayesian Optimization" (2014), with expected
improvement per second in place of their entropy. Reasons in docs/decisions/0018.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtr

from core.settings import derive_seed
from core.task import Evaluation, Grid, Verdict
from hpo.schedulers import Choice, Costs, Points, Propose, Standing, Thaw
from hpo.schedulers.curve_data import Candidate, CurveData, Curves, key_of
from hpo.schedulers.curve_model import Belief, CurveModel, Floats, Runs

INITIAL = 4
"""Trials that the study's sampler proposes before the model is asked."""
DRAWN = 160
"""Points drawn at random for each decision."""
NEIGHBOURS_OF = 4
NEIGHBOURS = 16
"""Points beside each of the best trials, in one or two parameters different."""
REDRAWN_AFTER = 4
"""Trials after which other points are drawn."""
PROBE_SHARE = 0.2
"""Share of all steps that goes to probes. A probe is a trial that the study's sampler proposed and
that is followed to its end whatever it looks like: were none followed but those that start well,
nobody would learn whether starting well means anything."""
FIRST_PROBES = 6
"""The probes are trials 0, 6, 18, 42, ...: twice as rare each time."""
TRUSTED_AFTER = 3.0
"""Whole curves that make what they say of early values half believed."""
CLOSE = 32
"""Options that are looked at closely, what one more report would tell included."""
HOPELESS = 0.003
"""A run that beats the leader by more than the noise with less than this probability is over."""


@dataclass(frozen=True)
class _Option:
    """Something a slot could do."""

    choice: Choice
    score: float
    """Expected improvement per second."""


class ThawScheduler:
    """Chooses and judges by a Gaussian process over configuration, progress and run.

    Every choice follows from what is stored and the seed; what is kept between calls only saves
    computing it twice.
    """

    def __init__(
        self,
        points: Points,
        grid: Grid,
        direction: Literal["maximize", "minimize"],
        *,
        seed: int,
        only_finished: bool = True,
        score_of: Callable[[FrozenTrial], float | None] | None = None,
        reluctance: float = 0.1,
        trials_per_structure: int | None = None,
    ) -> None:
        """`only_finished`: whether a trial counts at the end of its curve alone.

        Args:
            score_of: The score of an ended trial, the better the higher as `direction` says of
                the curves; for studies whose curves are of something else than the score.
            reluctance: What share another option must promise more per second than a running
                trial for the trial to be paused: a switch costs time.
            trials_per_structure: How many trials may share a stage A; any number without.
        """
        self._points, self._grid = points, grid
        self._seed = seed
        self._only_finished = only_finished
        self._reluctance = reluctance
        self._cap = trials_per_structure
        self._data = CurveData(points, grid, direction, score_of)
        self._models: dict[bytes, CurveModel] = {}
        self._pools: dict[int, dict[Any, list[Candidate]]] = {}
        self._seen: tuple[Any, _View] | None = None

    def choose(self, standing: Standing) -> Choice | None:
        """See `Scheduler.choose`."""
        return self._prescribed(standing) or self._most_promising(standing)

    def judge(self, trial: optuna.Trial, evaluation: Evaluation, standing: Standing) -> Verdict:
        """See `Scheduler.judge`."""
        if evaluation.replayed:  # from the cache, at no cost: what was chosen comes after it
            return Verdict.CONTINUE
        view, number = self._view(standing), trial.number
        if view is None or number not in view.place:
            return Verdict.CONTINUE
        if not self._can_end(number, standing):
            return Verdict.PAUSE
        is_probe = _is_probe(number)
        if (is_probe and _may_probe(standing)) or view.anchor == number:
            return Verdict.CONTINUE
        others = standing.running - {number}
        own, clear = self._own(view, standing, number, others)
        is_sure = view.anchor < 0 and view.curves.followed >= TRUSTED_AFTER
        if clear < HOPELESS and is_sure and not is_probe:
            return Verdict.STOP
        best = self._best(view, standing, pending=others, apart_from=number)
        gives_way = best is not None and best.score > (1 + self._reluctance) * own
        return Verdict.PAUSE if gives_way else Verdict.CONTINUE

    # What a free slot does

    def _prescribed(self, standing: Standing) -> Choice | None:
        """What is done whatever the model believes: the first trials, and probes."""
        begun = sum(one.state != TrialState.FAIL for one in standing.trials)
        if begun < INITIAL and standing.can_propose:
            return Propose()
        if _may_probe(standing):
            for number in sorted(standing.paused):
                if _is_probe(number) and self._can_end(number, standing):
                    return Thaw(number)
        number = len(standing.trials)
        if _is_probe(number) and standing.can_propose:
            # What the sampler will propose is not known yet: a point at random stands for it.
            generator = np.random.default_rng(derive_seed(self._seed, "probe", number))
            point = self._points.draw(generator)
            whole = standing.costs.of_new(point, self._grid.total_steps)
            return None if self._is_late(whole, standing) else Propose()
        return None

    def _most_promising(self, standing: Standing) -> Choice | None:
        view = self._view(standing)
        if view is None:
            return Propose() if standing.can_propose else None
        if view.anchor in standing.paused and self._can_end(view.anchor, standing):
            return Thaw(view.anchor)
        best = self._best(view, standing, pending=standing.running)
        if best is not None:
            return best.choice
        return Propose() if standing.can_propose and not view.candidates else None

    # What is believed

    def _view(self, standing: Standing) -> _View | None:
        """The model conditioned on all that is stored; `None` before the first report."""
        # Whether a trial waits or runs changes nothing of this.
        states = (one.state if one.state.is_finished() else None for one in standing.trials)
        steps = ((len(one.intermediate_values), one.last_step) for one in standing.trials)
        key = (tuple(zip(states, steps, strict=True)), standing.can_propose)
        if self._seen is None or self._seen[0] != key:
            curves = self._data.read(standing.trials)
            if curves is None:
                return None
            model = self._model(curves)
            candidates = self._candidates(curves, standing) if standing.can_propose else []
            self._seen = (key, _View(curves, model, candidates, self._only_finished))
        return self._seen[1]

    def _model(self, curves: Curves) -> CurveModel:
        """Fitted to the part of the curves that is kept for it, once."""
        key = curves.fit_key
        if key not in self._models:
            self._models = {
                key: CurveModel(curves.shape).fitted(curves.runs, curves.fit_at, curves.fit_values)
            }
        return self._models[key]

    def _candidates(self, curves: Curves, standing: Standing) -> list[Candidate]:
        """Points to choose from, each different from the trials and from one another."""
        block = len(standing.trials) // REDRAWN_AFTER
        if self._pools.keys() != {block}:
            self._pools = {block: {}}
        pool = self._pools[block]
        chosen = list(self._drawn(pool, block, None))
        for params in curves.best(NEIGHBOURS_OF):
            chosen += self._drawn(pool, block, params)
        told = [one for one in standing.trials if one.state != TrialState.FAIL]
        tried = {key_of(one.params) for one in told}
        # What became another point when it was asked for would do so again.
        tried |= {key_of(one.system_attrs.get("fixed_params", {})) for one in told}
        fresh = {one.key: one for one in chosen if one.key not in tried}
        return [
            one
            for one in fresh.values()
            if self._cap is None or one.group is None or curves.count_in_group(one) < self._cap
        ]

    def _drawn(
        self, pool: dict[Any, list[Candidate]], block: int, beside: dict[str, Any] | None
    ) -> list[Candidate]:
        """Points at random, or beside one: in one or two parameters different, or its structure's.

        The same for some trials on end, so that they need not be drawn at each decision.
        """
        place = None if beside is None else key_of(beside)
        if place in pool:
            return pool[place]
        generator = np.random.default_rng(derive_seed(self._seed, "candidates", block, place))
        if beside is None:
            points = [self._points.draw(generator) for _ in range(DRAWN)]
        else:
            names, points = sorted(beside), []
            for _ in range(NEIGHBOURS):
                changed = generator.permutation(len(names))[: generator.integers(1, 3)]
                fixed = {name: beside[name] for i, name in enumerate(names) if i not in changed}
                points.append(self._points.draw(generator, fixed))
            structure = {n: v for n, v in beside.items() if n in self._points.structure}
            if structure and len(structure) < len(beside):
                points += [self._points.draw(generator, structure) for _ in range(NEIGHBOURS)]
        pool[place] = [self._data.candidate(point) for point in points]
        return pool[place]

    # What it is worth

    def _best(
        self,
        view: _View,
        standing: Standing,
        *,
        pending: frozenset[int],
        apart_from: int | None = None,
    ) -> _Option | None:
        """The option that promises most per second while the pending trials go on."""
        numbers = [n for n in sorted(standing.paused) if n in view.place and n != apart_from]
        places = [view.place[n] for n in numbers]
        places += list(range(view.first_candidate, view.count))
        if not places:
            return None
        chosen = np.array(places)
        gain, hope, _ = view.worth(chosen, [view.place[n] for n in pending if n in view.place])
        ranked = np.argsort(-gain, kind="stable")
        for begin in range(0, len(ranked), CLOSE):  # beyond the first if none of those can end
            order = ranked[begin : begin + CLOSE]
            cost = self._costs(view, standing, chosen[order], hope[order])
            if not np.isfinite(cost).any():
                continue
            score = np.where(np.isfinite(cost), gain[order] / cost, -1.0)
            best = int(np.argmax(score))
            place = int(chosen[order][best])
            if place < view.first_candidate:
                return _Option(Thaw(view.numbers[place]), float(score[best]))
            drawn = view.candidates[place - view.first_candidate].drawn
            return _Option(Propose(drawn), float(score[best]))
        return None

    def _own(
        self, view: _View, standing: Standing, number: int, others: frozenset[int]
    ) -> tuple[float, float]:
        """What going on promises per second, and its chance to beat the leader clearly."""
        chosen = np.array([view.place[number]])
        gain, hope, clear = view.worth(chosen, [view.place[n] for n in others if n in view.place])
        return float((gain / self._costs(view, standing, chosen, hope))[0]), float(clear[0])

    def _costs(
        self, view: _View, standing: Standing, chosen: Floats | Any, hope: Floats
    ) -> Floats:
        """Seconds that an option is expected to take; infinite if it could not end in time.

        The next report is paid for in any case, the rest as far as that report is not expected to
        settle the matter, or settles it well.
        """
        costs: Costs = standing.costs
        until, informed = view.informed(chosen)
        result = np.empty(len(chosen))
        for i, place in enumerate(chosen):
            end = view.curves.end_after(int(until[i]))
            if place >= view.first_candidate:
                drawn = view.candidates[place - view.first_candidate].drawn
                first = costs.of_new(drawn, int(until[i]))
                whole = costs.of_new(drawn, end)
            else:
                first = costs.to_go(view.numbers[place], int(until[i]))
                whole = costs.to_go(view.numbers[place], end)
            if self._is_late(whole, standing):
                result[i] = np.inf
            else:
                rest = max(0.0, whole - first)
                result[i] = first + (1 - informed[i] * (1 - hope[i])) * rest
        return np.maximum(result, 1e-9)

    def _can_end(self, number: int, standing: Standing) -> bool:
        whole = standing.costs.to_go(number, self._grid.total_steps)
        return not self._is_late(whole, standing)

    def _is_late(self, seconds: float, standing: Standing) -> bool:
        left = standing.time_left_s
        return self._only_finished and left is not None and seconds > left


class _View:
    """A belief, and what it says of the ends of live trials and candidates."""

    def __init__(
        self,
        curves: Curves,
        model: CurveModel,
        candidates: Sequence[Candidate],
        only_finished: bool,
    ) -> None:
        self.curves = curves
        self.candidates = candidates
        self._belief: Belief = model.given(curves.runs, curves.at, curves.values)
        self.numbers = list(curves.live)
        self.place = {number: i for i, number in enumerate(self.numbers)}
        self.first_candidate = len(self.numbers)
        self.count = self.first_candidate + len(candidates)
        self._queries: Runs = curves.queries(self.numbers, candidates)
        self._noise = model.noise(curves.shape.segments - 1)
        self._at = curves.ends(self.count)
        self.mean, self._variance, self._solved = self._belief.predict(self._queries, self._at)
        expected = self.mean[: self.first_candidate]
        has_ended = bool(curves.ended)
        self.anchor = -1 if has_ended or not self.numbers else self.numbers[np.argmax(expected)]
        """Before any trial has ended, the one that is expected to end best; it goes to its end."""
        if only_finished:
            ended = curves.queries(curves.ended, [])
            means = self._belief.predict(ended, curves.ends(len(ended)))[0]
            self._leader = float(means.max(initial=-np.inf))
        else:
            self._leader = curves.best_reported
        if not np.isfinite(self._leader):
            self._leader = float(expected.max(initial=-1.0))

    def worth(self, chosen: Any, pending: Sequence[int]) -> tuple[Floats, Floats, Floats]:
        """Expected improvement, its chance, and the chance of one by more than the noise.

        Pending trials are believed to end as predicted.
        """
        leader, variance = self._leader, self._variance[chosen]
        if pending:
            waits = np.array(pending)
            leader = max(leader, float(self.mean[waits].max()))
            known = self._between(waits, waits)
            known[np.diag_indices_from(known)] += self._noise**2 + 1e-9
            cross = self._between(waits, chosen)
            variance = variance - np.sum(cross * np.linalg.solve(known, cross), axis=0)
        spread = np.sqrt(np.maximum(variance, 1e-9))
        ahead = (self.mean[chosen] - leader) / spread
        density = np.exp(-0.5 * ahead**2) / np.sqrt(2 * np.pi)
        chance = ndtr(ahead)
        gain = np.maximum(spread * (ahead * chance + density), 1e-300)
        return gain, chance, ndtr(ahead - self._noise / spread)

    def informed(self, chosen: Any) -> tuple[Any, Floats]:
        """Steps of the next reports, and what share of the doubt about the end each removes.

        Only as far as there were curves long enough to tell.
        """
        until, at = self.curves.next_reports(
            [self.numbers[p] if p < self.first_candidate else None for p in chosen],
            self._queries.group[chosen],
        )
        trust = self.curves.followed / (self.curves.followed + TRUSTED_AFTER)
        return until, trust * self._belief.model.told_of_end(at)

    def _between(self, a: Any, b: Any) -> Floats:
        return self._belief.covariance(
            self._queries,
            self._at.take(a),
            self._solved[:, a],
            self._at.take(b),
            self._solved[:, b],
        )


def _is_probe(number: int) -> bool:
    rung, rest = divmod(number, FIRST_PROBES)
    return rest == 0 and (rung + 1).bit_count() == 1


def _may_probe(standing: Standing) -> bool:
    """Whether probes have had less than their share of the steps."""
    steps = [(_is_probe(one.number), one.last_step or 0) for one in standing.trials]
    return sum(step for probes, step in steps if probes) <= PROBE_SHARE * sum(s for _, s in steps)
