"""What earlier studies make one expect of a search space, and when a trial follows it.

Each earlier study is a Gaussian process over the parameters that it shares by name with the
present space, fitted to the ranks of its trials: scores of other data or other lengths are not
comparable, their order mostly is. A trial is drawn where a sample of these processes has its best
among many random points, so that what the studies left uncertain is tried more often than what
they saw fail. What they do not share is drawn at random.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from core.settings import derive_seed
from hpo.declarations import Study
from hpo.declarations.parameters import FloatParameter, IntParameter, Parameter, is_number
from hpo.declarations.space import SearchSpace
from hpo.reading import read_study
from hpo.records import StudyRecord, TrialRecord
from hpo.reliability import measure

HALF_AFTER = 6
"""Complete trials of the study's own after which a trial follows the prior half as often."""
IGNORED_BY_EVERY = 4
"""Every so many-th trial is the sampler's whatever the prior says, in case it is wrong."""
LEAST_TRIALS = 3
"""Trials below which there is no order to learn from, or to compare with what was expected."""
MOST_TRIALS = 400
"""The latest so many of an earlier study are learned from: the cost is cubic."""
_CANDIDATES = 256

Array = NDArray[np.float64]
Own = tuple[Mapping[str, Any], float]
"""Realised values of a complete trial, and its value."""
Drawn = dict[str, Any]
"""Raw values by the names under which Optuna draws them."""


class WarmStartError(UserError):
    """A study that another one cannot learn from."""


def read_prior(study: Study, names: Sequence[str], storage: str | None, runs_dir: Path) -> Prior:
    """What the studies called `names`, in the same database, tell of a study's search space.

    Raises: WarmStartError for one that it cannot learn from; UnknownStudyError; StorageError.
    """
    records = []
    for name in dict.fromkeys(names):
        where = f"--warm-start {name}"
        if name == study.name:
            raise WarmStartError("a study cannot learn from itself", where=where)
        record = read_study(storage, name, runs_dir)
        _check(study, record, where)
        records.append(record)
    return Prior(study.space, records)


def _check(study: Study, record: StudyRecord, where: str) -> None:
    if record.task != study.task:
        raise WarmStartError(
            "it is of another task", where=where, got=record.task, allowed=study.task
        )
    if record.metric.direction != study.spec.metric.direction:
        raise WarmStartError(
            "its score goes the other way",
            where=where,
            got=record.metric.direction,
            allowed=study.spec.metric.direction,
        )
    if record.is_owned:
        raise WarmStartError("it is running", where=where, way_out="Wait for its end.")
    finished = len(_learned_from(record))
    if finished < LEAST_TRIALS:
        raise WarmStartError(
            "it has too few finished trials",
            where=where,
            got=finished,
            allowed=f"{LEAST_TRIALS} or more",
        )
    if not _shared(study.space, record):
        raise WarmStartError(
            "it shares no parameter with the search space",
            where=where,
            allowed=", ".join(study.space.parameters),
        )


class Prior:
    """What earlier studies make one expect of a search space."""

    def __init__(self, space: SearchSpace, studies: Sequence[StudyRecord]) -> None:
        self.studies = tuple(record.name for record in studies)
        self.shared = tuple(
            name
            for name in space.parameters
            if any(name in _shared(space, record) for record in studies)
        )
        self._space = space
        self._records = studies
        self._is_rising = all(record.metric.direction == "maximize" for record in studies)
        self._surrogates: list[_Surrogate] | None = None

    def propose(
        self,
        *,
        seed: int,
        number: int,
        own: Sequence[Own],
        tried: Collection[Drawn],
        fixed: Mapping[str, Any] | None = None,
    ) -> Drawn | None:
        """The point that trial `number` is to try; `None` leaves it to the study's sampler.

        The same for the same study seed, number, `own` complete trials so far, values that are
        `fixed` already, and points `tried`, none of which is proposed again. Where a whole point
        is fixed there would be nothing left to propose, and the prior's goes before it.
        """
        fixed = {} if fixed is None or self._is_whole(fixed) else fixed
        if (number + 1) % IGNORED_BY_EVERY == 0:
            return None
        rng = random.Random(derive_seed(seed, "warm start", number))  # noqa: S311 - no secret
        if rng.random() >= HALF_AFTER / (HALF_AFTER + len(own)):
            return None
        if self._is_refuted(own):
            return None
        points = [
            point
            for point in self._draw(rng, fixed)
            if point[1] not in tried and point[1] != fixed
        ]
        if not points:
            return None
        generator = np.random.default_rng(rng.getrandbits(32))
        realised = [point[0] for point in points]
        liked = [surrogate.sample(realised, generator) for surrogate in self._fitted()]
        return points[int(np.sum(liked, axis=0).argmax())][1]

    def _is_refuted(self, own: Sequence[Own]) -> bool:
        """Whether the study's own trials are not at all in the order that the prior expects."""
        if len(own) < LEAST_TRIALS:
            return False
        points, values = zip(*own, strict=True)
        expected = np.sum([surrogate.mean(points) for surrogate in self._fitted()], axis=0)
        sign = 1.0 if self._is_rising else -1.0
        tau = measure(list(expected), [sign * value for value in values]).tau
        return tau is not None and tau <= 0

    def _is_whole(self, fixed: Mapping[str, Any]) -> bool:
        """Whether nothing is left to draw beside what is fixed."""
        missing: list[str] = []

        def choose(name: str, parameter: Parameter, base: Any) -> Any:
            key = parameter.drawn_name(name)
            if key not in fixed:
                missing.append(key)
                return parameter.draw(random.Random(0), base)  # noqa: S311 - no secret
            return fixed[key]

        self._space.walk(choose)
        return not missing

    def _draw(
        self, rng: random.Random, fixed: Mapping[str, Any]
    ) -> list[tuple[dict[str, Any], Drawn]]:
        """Random points, each in realised values and in drawn ones."""
        points = []
        for _ in range(_CANDIDATES):
            drawn: Drawn = {}

            def choose(name: str, parameter: Parameter, base: Any, drawn: Drawn = drawn) -> Any:
                key = parameter.drawn_name(name)
                raw = drawn[key] = fixed[key] if key in fixed else parameter.draw(rng, base)
                return raw

            points.append((self._space.walk(choose), drawn))
        return points

    def _fitted(self) -> list[_Surrogate]:
        if self._surrogates is None:
            # The same points for whoever fits: they only set the scale of derived parameters.
            usual = [point for point, _ in self._draw(random.Random(0), {})]  # noqa: S311
            self._surrogates = [
                _Surrogate(_Encoder(self._space, record, usual), record)
                for record in self._records
            ]
        return self._surrogates


class _Surrogate:
    """A Gaussian process over one earlier study's points, of their standardized ranks."""

    def __init__(self, encoder: _Encoder, record: StudyRecord) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        trials = _learned_from(record)
        points = encoder.encode([trial.parameters for trial in trials])
        ranks = _ranks([_merit(record, trial) for trial in trials])
        self._encoder = encoder
        signal = ConstantKernel(1.0, (0.05, 20.0)) * Matern(
            np.ones(points.shape[1]), (0.1, 20.0), nu=2.5
        )
        self._process = GaussianProcessRegressor(
            signal + WhiteKernel(0.2, (0.01, 2.0)), random_state=0
        )
        with warnings.catch_warnings():
            # A parameter that does not matter has its length at the bound, which is no trouble.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._process.fit(points, ranks)

    def mean(self, points: Sequence[Mapping[str, Any]]) -> Array:
        """What is expected at each of the points."""
        mean: Array = self._process.predict(self._encoder.encode(points))
        return mean

    def sample(self, points: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> Array:
        """A function drawn from what is known, at each of the points; noise is left out."""
        mean, covariance = self._process.predict(self._encoder.encode(points), return_cov=True)
        covariance -= self._process.kernel_.k2.noise_level * np.eye(len(mean))
        values, vectors = np.linalg.eigh(covariance)
        spread = vectors * np.sqrt(np.clip(values, 0.0, None))
        drawn: Array = mean + spread @ rng.standard_normal(len(mean))
        return drawn


class _Encoder:
    """Points as rows of numbers about 1 wide, by the parameters shared with an earlier study."""

    def __init__(
        self, space: SearchSpace, record: StudyRecord, usual: Sequence[Mapping[str, Any]]
    ) -> None:
        earlier = [trial.parameters for trial in _learned_from(record)]
        self._columns: list[Callable[[Mapping[str, Any]], list[float]]] = []
        for name in _shared(space, record):
            parameter = space.parameters[name]
            values = [point[name] for point in (*usual, *earlier) if name in point]
            if parameter.type == "categorical":
                self._columns.append(_one_of(name, parameter.choices))
            else:
                self._columns.append(_scaled(name, parameter, filter(is_number, values)))

    def encode(self, points: Sequence[Mapping[str, Any]]) -> Array:
        """[points, columns]"""
        rows = [[cell for column in self._columns for cell in column(point)] for point in points]
        return np.array(rows, dtype=float)


def _one_of(name: str, choices: Sequence[Any]) -> Callable[[Mapping[str, Any]], list[float]]:
    """A column a choice; all are 0 where the parameter was not drawn."""
    return lambda point: [float(name in point and point[name] == one) for one in choices]


def _scaled(
    name: str, parameter: Parameter, values: Any
) -> Callable[[Mapping[str, Any]], list[float]]:
    """The value between 0 and 1, in the logarithm where it is drawn so or derived; and whether
    there is one."""
    known = [float(value) for value in values]
    is_plain = isinstance(parameter, IntParameter | FloatParameter) and not parameter.log
    scale = np.log if not is_plain and min(known) > 0 else float
    low, high = scale(min(known)), scale(max(known))

    def column(point: Mapping[str, Any]) -> list[float]:
        value = point.get(name)
        if not is_number(value) or (scale is np.log and value <= 0):
            return [0.5, 1.0]
        return [float((scale(value) - low) / ((high - low) or 1.0)), 0.0]

    return column


def _shared(space: SearchSpace, record: StudyRecord) -> list[str]:
    """Parameters of the space that some finished trial of the earlier study drew."""
    drawn = {name for trial in _learned_from(record) for name in trial.parameters}
    return [name for name in space.parameters if name in drawn]


def _learned_from(record: StudyRecord) -> list[TrialRecord]:
    """Trials that say something about their configuration: failed ones do not."""
    told = [trial for trial in record.trials if trial.state in ("complete", "pruned")]
    return told[-MOST_TRIALS:]


def _merit(record: StudyRecord, trial: TrialRecord) -> tuple[int, int, float]:
    """What trials are ordered by: wrecks, then pruned ones by how far they came, then complete."""
    sign = 1.0 if record.metric.direction == "maximize" else -1.0
    score = float("-inf") if trial.value is None else sign * trial.value
    if trial.state == "complete":
        return (2, 0, score)
    is_wreck = trial.health.get("verdict") in ("diverged", "collapsed")
    return (0, 0, 0.0) if is_wreck else (1, max(trial.curve, default=0), score)


def _ranks(merits: Sequence[tuple[int, int, float]]) -> Array:
    """Ranks, those of equals averaged, with mean 0 and variance 1."""
    order = sorted(merits)
    places = [order.index(one) + (order.count(one) - 1) / 2 for one in merits]
    ranks = np.array(places) - np.mean(places)
    return np.asarray(ranks / (ranks.std() or 1.0), dtype=float)
