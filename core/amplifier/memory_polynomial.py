"""The generalized memory polynomial, Morgan et al. 2006, fitted by least squares.

The classical reference: it is linear in its weights, so that there is nothing to search or train.

Legend: N samples, C columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.amplifier.nmse import figures, nmse_db
from core.amplifier.recording import Complex
from core.amplifier.signals import Signals
from core.task import Baseline

_POWERS, _DELAYS = 7, 8
"""Of the envelope, from 0, and of the samples, from the present one."""
_CROSS_POWERS, _CROSS_DELAYS, _CROSS_LAGS = 3, 6, 2
"""Of the terms whose envelope is another sample's: powers from 1, lags to either side."""
_PEAK = 4.0
"""The envelope in units of its effective value that powers are taken of, to keep them near 1."""


def fit_baseline(signals: Signals) -> Baseline:
    """The polynomial fitted to the training set, scored on the validation set."""
    train, validation = signals.splits["train"], signals.splits["validation"]
    terms = _terms(train.input)
    weights, *_ = np.linalg.lstsq(terms, train.output, rcond=1e-10)
    segment = signals.band.segment
    predicted = np.concatenate(
        [
            _terms(validation.input[start : start + segment]) @ weights
            for start in range(0, len(validation), segment)
        ]
    )
    return Baseline(
        name="generalized memory polynomial",
        value=nmse_db(predicted, validation.output, segment),
        num_parameters=2 * len(weights),
        metrics=figures(predicted, validation.output, signals.band),
    )


def _terms(x: Complex) -> Complex:
    """[N, C]: every product of a sample and a power of an envelope, none of them in the future."""
    return np.stack(list(_columns(x)), axis=1)


def _columns(x: Complex) -> Iterator[Complex]:
    envelope = np.abs(x) / _PEAK
    for delay in range(_DELAYS):
        for power in range(_POWERS):
            yield _delayed(x * envelope**power, delay)
    for delay in range(_CROSS_DELAYS):
        for lag in (*range(-min(delay, _CROSS_LAGS), 0), *range(1, _CROSS_LAGS + 1)):
            for power in range(1, _CROSS_POWERS + 1):
                yield _delayed(x, delay) * _delayed(envelope**power, delay + lag)


def _delayed(signal: NDArray[Any], samples: int) -> NDArray[Any]:
    """`signal` so many samples later, silent before."""
    return np.concatenate([np.zeros(samples, signal.dtype), signal[: len(signal) - samples]])
