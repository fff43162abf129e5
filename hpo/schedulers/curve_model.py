"""A Gaussian process over configuration, progress and run, from which a run's end is predicted.

A study's curves have one or more segments (stage A, then stage B; or a signal, then the score).
A value is

    value = mean(segment, progress) + config(x; segment, progress) + run(segment, progress) + noise

where `config` is smooth over configurations and `run` belongs to one run alone. Each is a level, a
slope and a random walk backwards from the end, with a learned covariance between the levels and
slopes of all segments; the mean is a level and a walk. So how much an early value says
of the end, with which sign, and how much of it only that run shares, is learned and not assumed.

N observations, Q queries, R runs, F features, P parameters, M = 2 x segments basis functions.
Sources: Swersky, Snoek, Adams 2014 (freeze-thaw); Bonilla et al. 2008 (covariance of levels).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

MEAN_SD = 2.0
"""How far the ends of curves may lie from zero in common, in standardised values."""
_SPREAD = 0.5
"""Standard deviation of the prior of each entry of the covariances' factors."""
_JITTER = 1e-6


@dataclass(frozen=True)
class Runs:
    """What is known of runs, or of configurations not yet run, apart from their values."""

    features: Floats
    """[R, F], each in [0, 1]."""
    run: Ints
    """[R] who shares the last segment: the run itself; negative for none."""
    group: Ints
    """[R] who shares all segments but the last; negative for none."""

    def __len__(self) -> int:
        return len(self.run)


@dataclass(frozen=True)
class Places:
    """Points on curves."""

    of: Ints
    """[N] index into the runs."""
    segment: Ints
    """[N]"""
    progress: Floats
    """[N] in [0, 1] within the segment; 1 is its end."""

    def __len__(self) -> int:
        return len(self.of)

    def take(self, chosen: Ints) -> Places:
        """Some of them."""
        return Places(self.of[chosen], self.segment[chosen], self.progress[chosen])


@dataclass(frozen=True)
class Shape:
    """What the model's size follows from."""

    parameter: Ints
    """[F] which parameter a feature belongs to; one length scale each."""
    shared: npt.NDArray[np.bool_]
    """[F] whether a feature acts on all segments; the others act on the last alone."""
    segments: int

    @property
    def parameters(self) -> int:
        """P"""
        return int(self.parameter.max(initial=-1)) + 1

    def basis(self, segment: Ints, progress: Floats) -> Floats:
        """[N, M]: level and slope of each segment."""
        result = np.zeros((len(segment), 2 * self.segments))
        rows = np.arange(len(segment))
        result[rows, 2 * segment] = 1.0
        result[rows, 2 * segment + 1] = 1.0 - progress
        return result


class _Layout:
    """Names for the parts of the vector of hyperparameters."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        basis = 2 * shape.segments
        self.lower = np.tril_indices(basis)
        self.last = np.tril_indices(2)
        sizes = {
            "scale": shape.parameters,
            "config": len(self.lower[0]),
            "run": len(self.lower[0]),
        }
        if shape.segments > 1:
            sizes |= {"config_last": 3, "run_last": 3}
        sizes |= {"path": 3, "noise": shape.segments}
        ends = np.cumsum([0, *sizes.values()])
        self.part = {name: slice(int(ends[i]), int(ends[i + 1])) for i, name in enumerate(sizes)}
        self.size = int(ends[-1])

    def prior(self) -> tuple[Floats, Floats]:
        """Means and standard deviations of the hyperparameters."""
        mean, spread = np.zeros(self.size), np.full(self.size, _SPREAD)
        wide = max(1, self.shape.parameters)
        mean[self.part["scale"]] = np.log(0.5 * np.sqrt(wide))
        spread[self.part["scale"]] = 1.0
        for name, level, slope in (("config", 0.8, 0.5), ("run", 0.3, 0.3)):
            factor = np.diag(np.tile([level, slope], self.shape.segments))
            factor[2::2, 0] = level / 2  # later levels follow the first
            mean[self.part[name]] = factor[self.lower]
            if f"{name}_last" in self.part:
                mean[self.part[f"{name}_last"]] = np.array([level / 2, 0.0, slope / 2])
        mean[self.part["path"]] = np.log([2.0, 0.3, 0.2])  # common, of configurations, of runs
        spread[self.part["path"]] = [1.0, 0.7, 0.7]
        mean[self.part["noise"]] = np.log(0.1)
        spread[self.part["noise"]] = 0.7
        return mean, spread

    def factor(self, theta: Floats, name: str) -> Floats:
        """The lower triangle whose square is a covariance."""
        where = self.last if name.endswith("_last") else self.lower
        size = 2 if name.endswith("_last") else 2 * self.shape.segments
        result = np.zeros((size, size))
        result[where] = theta[self.part[name]]
        return result


class CurveModel:
    """The process, its hyperparameters at the mode of their posterior."""

    def __init__(self, shape: Shape, theta: Floats | None = None) -> None:
        """`theta`: hyperparameters as `fitted` found them; the prior's means without."""
        self._layout = _Layout(shape)
        self._shape = shape
        self.theta = self._layout.prior()[0] if theta is None else theta

    def fitted(self, runs: Runs, at: Places, values: Floats, iterations: int = 30) -> CurveModel:
        """The same model with hyperparameters that explain the values.

        Values [N] are standardised per segment, the better the higher.
        """
        pairs = _Pairs(self._layout, runs, at, values)
        found = minimize(
            pairs.loss,
            self.theta,
            jac=True,
            method="L-BFGS-B",
            bounds=pairs.bounds(),
            options={"maxiter": iterations},
        )
        theta = np.asarray(found.x, dtype=np.float64)
        return CurveModel(self._shape, theta if np.isfinite(found.fun) else self.theta)

    def given(self, runs: Runs, at: Places, values: Floats) -> Belief:
        """The process conditioned on values [N]."""
        return Belief(self, runs, at, values)

    def noise(self, segment: int) -> float:
        """Standard deviation of a value around its run's curve."""
        return float(np.exp(self.theta[self._layout.part["noise"]][segment]))

    def told_of_end(self, at: Places) -> Floats:
        """[N] what share of the differences between runs' ends a value at each place explains.

        Before anything is known of the run; differences between configurations included.
        """
        theta, layout, shape = self.theta, self._layout, self._shape
        here = shape.basis(at.segment, at.progress)
        end = shape.basis(np.full(len(at), shape.segments - 1), np.ones(len(at)))
        between, at_end = np.zeros(len(at)), np.zeros(len(at))
        at_here = np.exp(2 * theta[layout.part["noise"]])[at.segment]
        at_here += np.exp(2 * theta[layout.part["path"]][1:]).sum() * (1 - at.progress)
        for name in ("config", "run", "config_last", "run_last"):
            if name not in layout.part:
                continue
            factor = layout.factor(theta, name)
            width = len(factor)
            a, b = here[:, -width:] @ factor, end[:, -width:] @ factor
            between += np.sum(a * b, axis=1)
            at_here += np.sum(a * a, axis=1)
            at_end += np.sum(b * b, axis=1)
        return np.asarray(between**2 / np.maximum(at_here * at_end, 1e-12))

    def covariance(self, a: Runs, at: Places, b: Runs, bt: Places) -> Floats:
        """[len(at), len(bt)] between curves, noise apart."""
        theta, layout, shape = self.theta, self._layout, self._shape
        scale = np.exp(theta[layout.part["scale"]])[shape.parameter]
        phi_a, phi_b = (shape.basis(one.segment, one.progress) for one in (at, bt))
        same = at.segment[:, None] == bt.segment[None, :]
        common = _common(at.progress, bt.progress) * same
        of_all, of_config, of_run = np.exp(2 * theta[layout.part["path"]])
        result = MEAN_SD**2 * same + of_all * common
        cells = np.ix_(at.of, bt.of)

        def smooth(columns: npt.NDArray[np.bool_]) -> Floats:
            left, right = ((one.features / scale)[:, columns] for one in (a, b))
            return _matern(_squared_distance(left, right))

        def times(name: str, left: Floats, right: Floats) -> Floats:
            factor = layout.factor(theta, name)
            return np.asarray((left @ factor) @ (right @ factor).T)

        result += smooth(shape.shared)[cells] * (
            times("config", phi_a, phi_b) + of_config * common
        )
        own = a.run[at.of][:, None] == b.run[bt.of][None, :]
        own &= a.run[at.of][:, None] >= 0
        grouped = a.group[at.of][:, None] == b.group[bt.of][None, :]
        grouped &= a.group[at.of][:, None] >= 0
        rows, columns = np.nonzero(grouped)
        factor = layout.factor(theta, "run")
        result[rows, columns] += np.sum((phi_a @ factor)[rows] * (phi_b @ factor)[columns], axis=1)
        if shape.segments > 1:
            everything = np.ones_like(shape.shared)
            last_a, last_b = phi_a[:, -2:], phi_b[:, -2:]
            result += smooth(everything)[cells] * times("config_last", last_a, last_b)
            rows, columns = np.nonzero(own)
            factor = layout.factor(theta, "run_last")
            result[rows, columns] += np.sum(
                (last_a @ factor)[rows] * (last_b @ factor)[columns], axis=1
            )
        rows, columns = _same_curve(own, grouped, at.segment, bt.segment, shape.segments)
        result[rows, columns] += of_run * common[rows, columns]
        return np.asarray(result)

    def variance(self, at: Places) -> Floats:
        """[len(at)] of curves before any value is known, noise apart."""
        theta, layout, shape = self.theta, self._layout, self._shape
        phi = shape.basis(at.segment, at.progress)
        to_go = 1.0 - at.progress
        result = MEAN_SD**2 + np.exp(2 * theta[layout.part["path"]]).sum() * to_go
        for name in ("config", "run"):
            result += np.sum((phi @ layout.factor(theta, name)) ** 2, axis=1)
            if shape.segments > 1:
                factor = layout.factor(theta, f"{name}_last")
                result += np.sum((phi[:, -2:] @ factor) ** 2, axis=1)
        return np.asarray(result)


class Belief:
    """What a model believes of curves, given values."""

    def __init__(self, model: CurveModel, runs: Runs, at: Places, values: Floats) -> None:
        self.model = model
        self._runs, self._at = runs, at
        matrix = model.covariance(runs, at, runs, at)
        matrix[np.diag_indices_from(matrix)] += _noise_variance(model, at)
        self._lower = cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
        self._weights = cho_solve((self._lower, True), values, check_finite=False)

    def predict(self, runs: Runs, at: Places) -> tuple[Floats, Floats, Floats]:
        """Mean [Q], variance [Q] and what `covariance` wants [N, Q], of curves without noise."""
        cross = self.model.covariance(runs, at, self._runs, self._at)
        solved = solve_triangular(self._lower, cross.T, lower=True, check_finite=False)
        variance = self.model.variance(at) - np.einsum("nq,nq->q", solved, solved)
        return cross @ self._weights, np.maximum(variance, 1e-9), solved

    def covariance(
        self, runs: Runs, at: Places, solved_a: Floats, bt: Places, solved_b: Floats
    ) -> Floats:
        """[len(at), len(bt)] between predicted curves of some runs."""
        product: Floats = self.model.covariance(runs, at, runs, bt) - solved_a.T @ solved_b
        return product


@dataclass
class _Term:
    """A part of the covariance: how near two runs are, times how two points in time vary."""

    name: str
    basis: Floats
    """[N, M] or, of the last segment alone, [N, 2]."""
    space: Floats
    """[N, N]"""
    time: Floats
    """[N, N]"""
    which: Any = None
    """[P] the parameters that `space` depends on."""
    slope: Floats | None = None
    """[runs, runs] derivative by the log of a length scale, over (gap / scale)^2."""


class _Pairs:
    """Everything about pairs of observations that the hyperparameters do not change."""

    def __init__(self, layout: _Layout, runs: Runs, at: Places, values: Floats) -> None:
        shape = layout.shape
        self._layout, self._places, self._values = layout, at, values
        used, self._row = np.unique(at.of, return_inverse=True)
        features = runs.features[used]
        self._gaps = np.zeros((shape.parameters, len(used), len(used)))
        for feature, parameter in enumerate(shape.parameter):
            column = features[:, feature]
            self._gaps[parameter] += (column[:, None] - column[None, :]) ** 2
        self._is_shared = np.zeros(shape.parameters, dtype=bool)
        self._is_shared[shape.parameter[shape.shared]] = True
        self._phi = shape.basis(at.segment, at.progress)
        run, group = runs.run[at.of], runs.group[at.of]
        self._own = (run[:, None] == run[None, :]).astype(float)
        self._grouped = (group[:, None] == group[None, :]).astype(float)
        rows, columns = _same_curve(
            self._own > 0, self._grouped > 0, at.segment, at.segment, shape.segments
        )
        self._curve = np.zeros_like(self._own)
        self._curve[rows, columns] = 1.0
        same = at.segment[:, None] == at.segment[None, :]
        self._common = _common(at.progress, at.progress) * same
        self._fixed = MEAN_SD**2 * same + _JITTER * np.eye(len(values))
        self._prior = layout.prior()

    def bounds(self) -> list[tuple[float, float]]:
        mean, spread = self._prior
        return [(m - 4 * s, m + 4 * s) for m, s in zip(mean, spread, strict=True)]

    def loss(self, theta: Floats) -> tuple[float, Floats]:
        """Minus the log posterior of the hyperparameters and its gradient."""
        part = self._layout.part
        terms = self._terms(theta)
        of_all, _, of_run = np.exp(2 * theta[part["path"]])
        matrix = self._fixed + of_all * self._common + of_run * self._common * self._curve
        for term in terms:
            matrix += term.space * term.time
        noise = np.exp(2 * theta[part["noise"]])[self._places.segment]
        matrix[np.diag_indices_from(matrix)] += noise
        try:
            lower = cholesky(matrix, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return float("inf"), np.zeros_like(theta)
        inverse = cho_solve((lower, True), np.eye(len(noise)), check_finite=False)
        weights = inverse @ self._values
        mean, spread = self._prior
        away = (theta - mean) / spread
        loss = 0.5 * self._values @ weights + np.log(np.diag(lower)).sum() + 0.5 * away @ away
        push = 0.5 * (inverse - np.outer(weights, weights))
        return float(loss), away / spread + self._gradient(theta, terms, push, noise)

    def _terms(self, theta: Floats) -> list[_Term]:
        layout, everything = self._layout, np.ones_like(self._is_shared)
        squares = np.exp(-2 * theta[layout.part["scale"]])
        cells = np.ix_(self._row, self._row)
        of_config = np.exp(2 * theta[layout.part["path"]][1])

        def time(name: str, basis: Floats) -> Floats:
            product = basis @ layout.factor(theta, name)
            return np.asarray(product @ product.T)

        def smooth(name: str, basis: Floats, which: npt.NDArray[np.bool_]) -> _Term:
            root = np.sqrt(5 * np.tensordot(squares[which], self._gaps[which], axes=1))
            decay = np.exp(-root)
            space = ((1 + root + root**2 / 3) * decay)[cells]
            slope = (5 / 3) * (1 + root) * decay
            return _Term(name, basis, space, time(name, basis), which, slope)

        phi, last = self._phi, self._phi[:, -2:]
        config = smooth("config", phi, self._is_shared)
        config.time += of_config * self._common
        terms = [config, _Term("run", phi, self._grouped, time("run", phi))]
        if layout.shape.segments > 1:
            terms.append(smooth("config_last", last, everything))
            terms.append(_Term("run_last", last, self._own, time("run_last", last)))
        return terms

    def _gradient(self, theta: Floats, terms: list[_Term], push: Floats, noise: Floats) -> Floats:
        """Of the likelihood, from its derivative `push` by the matrix."""
        layout, part = self._layout, self._layout.part
        gradient = np.zeros_like(theta)
        squares = np.exp(-2 * theta[part["scale"]])
        cells = np.ix_(self._row, self._row)
        for term in terms:
            inner = term.basis.T @ (push * term.space) @ term.basis
            where = layout.last if term.name.endswith("_last") else layout.lower
            gradient[part[term.name]] = (2 * inner @ layout.factor(theta, term.name))[where]
            if term.slope is not None and len(squares):
                by_run = np.zeros_like(self._gaps[0])
                np.add.at(by_run, cells, push * term.time)
                scales = np.tensordot(self._gaps[term.which], by_run * term.slope, axes=2)
                gradient[part["scale"]][term.which] += scales * squares[term.which]
        of_all, of_config, of_run = np.exp(2 * theta[part["path"]])
        pushed = 2 * push * self._common
        gradient[part["path"]] = [
            of_all * np.sum(pushed),
            of_config * np.sum(pushed * terms[0].space),
            of_run * np.sum(pushed * self._curve),
        ]
        on_noise = 2 * np.diag(push) * noise
        segments = layout.shape.segments
        gradient[part["noise"]] = np.bincount(self._places.segment, on_noise, segments)
        return gradient


def _same_curve(
    own: npt.NDArray[np.bool_],
    grouped: npt.NDArray[np.bool_],
    left: Ints,
    right: Ints,
    segments: int,
) -> tuple[Ints, Ints]:
    """Pairs on one curve's one segment: a run's last, or what its group shares."""
    is_last = left == segments - 1
    same = (left[:, None] == right[None, :]) & np.where(is_last[:, None], own, grouped)
    rows, columns = np.nonzero(same)
    return rows, columns


def _common(a: Floats, b: Floats) -> Floats:
    """Covariance of a walk that ends at 0: how much of it lies before both ends."""
    shared: Floats = np.minimum(1.0 - a[:, None], 1.0 - b[None, :])
    return shared


def _noise_variance(model: CurveModel, at: Places) -> Floats:
    by_segment = np.array([model.noise(one) for one in range(int(at.segment.max()) + 1)])
    return np.asarray(by_segment[at.segment] ** 2 + _JITTER)


def _squared_distance(a: Floats, b: Floats) -> Floats:
    squares = np.sum(a**2, axis=1)[:, None] + np.sum(b**2, axis=1)[None, :] - 2 * a @ b.T
    return np.asarray(np.maximum(squares, 0.0))


def _matern(squared: Floats) -> Floats:
    """Smoothness 5/2."""
    root = np.sqrt(5 * squared)
    return np.asarray((1 + root + root**2 / 3) * np.exp(-root))
