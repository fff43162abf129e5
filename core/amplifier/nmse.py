"""How well a predicted output fits the measured one: NMSE and the figures of the spectrum.

Everything is taken over segments of the recording, to which a model comes without a past, as
OpenDPD has it: its first samples, in which a state builds up, count as all others do.

Legend: N samples, L samples of a segment.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.amplifier.recording import Band, Complex

SIGNATURE = "NMSE|mean of segments' dB|state:zero at each segment|warm-up:counted"

_LEAST = 1e-20
"""Of ratios of powers, so that a perfect prediction has a number, -200 dB."""


def nmse_db(predicted: Complex, measured: Complex, segment: int) -> float:
    """Normalised mean squared error: the mean over segments of 10 log10(sum |e|^2 / sum |y|^2).

    The last segment may be shorter.
    """
    error, power = np.abs(predicted - measured) ** 2, np.abs(measured) ** 2
    starts = np.arange(0, len(measured), segment)
    ratios = np.add.reduceat(error, starts) / np.add.reduceat(power, starts)
    return float(_decibels(ratios).mean())


def figures(predicted: Complex, measured: Complex, band: Band) -> dict[str, float]:
    """What is reported beside the score.

    `nmse_whole_db` is the NMSE of all samples as one; `evm_db` the error of the main channel's
    spectrum, `acpr_db` the power in the neighbouring channels over that of the strongest part of
    the main channel, mean of both sides, and `acpr_error_db` by how much it misses the measured
    one's, mean size of both sides. Where the neighbours lie beyond half the sampling rate there
    is no ACPR. A segment that is not whole is left out of the spectra, unless it is the only one.
    """
    found = {"nmse_whole_db": nmse_db(predicted, measured, len(measured))}
    found["evm_db"] = _evm_db(_segments(predicted, band), _segments(measured, band), band)
    own, true = (acpr_db(signal, band) for signal in (predicted, measured))
    if own is not None and true is not None:
        found["acpr_db"] = float(own.mean())
        found["acpr_error_db"] = float(np.abs(own - true).mean())
    return found


def acpr_db(signal: Complex, band: Band) -> NDArray[np.float64] | None:
    """Adjacent channel power ratio, [left, right], by Welch's method; `None` where there is none.

    A neighbour is as wide as a part of the main channel and compared with its strongest part.
    """
    parts = _segments(signal, band)
    length = parts.shape[1]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    spectra = np.fft.fft((parts - parts.mean(1, keepdims=True)) * window)
    power = (np.abs(spectra) ** 2).mean(0)
    width = band.bandwidth_hz / band.channels
    if band.bandwidth_hz / 2 + width > band.sample_rate_hz / 2:
        return None
    edges = -band.bandwidth_hz / 2 + width * np.arange(-1, band.channels + 2)
    powers = np.array([power[bins].sum() for bins in _bins(edges, length, band)])
    return _decibels(powers[[0, -1]] / powers[1:-1].max())


def _evm_db(predicted: Complex, measured: Complex, band: Band) -> float:
    """OpenDPD's spectral EVM: |error| over |spectrum| in each part of the main channel.

    It is no EVM of demodulated symbols.
    """
    edges = np.linspace(-band.bandwidth_hz / 2, band.bandwidth_hz / 2, band.channels + 1)
    error, size = np.abs(np.fft.fft(predicted - measured)), np.abs(np.fft.fft(measured))
    shares = [
        error[:, bins].mean(1) / size[:, bins].mean(1)
        for bins in _bins(edges, measured.shape[1], band)
    ]
    return 2 * float(_decibels(np.mean(shares)))


def _segments(signal: Complex, band: Band) -> Complex:
    """The whole segments, [segments, L]; all samples as one where none is whole."""
    length = min(band.segment, len(signal))
    return signal[: len(signal) // length * length].reshape(-1, length)


def _bins(edges: NDArray[np.floating[Any]], length: int, band: Band) -> list[NDArray[np.bool_]]:
    """Bins of a spectrum of `length` between each two edges, the lower one included."""
    places = np.fft.fftfreq(length, 1 / band.sample_rate_hz)
    return [(low <= places) & (places < high) for low, high in pairwise(edges)]


def _decibels(ratio: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    return 10 * np.log10(np.maximum(ratio, _LEAST))
