"""Sound from WAV files, at one rate and in one channel."""

from __future__ import annotations

import math
import struct
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.errors import DataError

Wave = npt.NDArray[np.float32]
"""Samples in [-1, 1], one channel."""

_SILENCE = 1e-4
"""Peak of a recording, -80 dB, below which nothing is in it."""


def read_wave(path: Path, rate: int) -> Wave:
    """The samples of a WAV file at `rate`, its channels averaged.

    PCM of 8 to 32 bits and floats are read; another rate is resampled.

    Raises: DataError, which names the file, for one that is missing, cut short, of another format,
        empty, or silent.
    """
    from scipy.io import wavfile

    where = str(path)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Reached EOF prematurely")
            warnings.filterwarnings("ignore", message="Chunk .* not understood")
            found_rate, samples = wavfile.read(path)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=where) from error
    except (ValueError, EOFError, struct.error, wavfile.WavFileWarning) as error:
        # The library's words, without what follows its first sentence.
        why = str(error).split(". ")[0].rstrip(".") or type(error).__name__
        raise DataError(
            f"this is no whole WAV file ({why})",
            where=where,
            allowed="PCM of 8 to 32 bits, or floats",
        ) from error
    if not samples.size or not found_rate:
        raise DataError("this recording has no samples", where=where)
    wave = _in_one_channel(samples)
    if not np.isfinite(wave).all():
        raise DataError("this recording has samples that are no numbers", where=where)
    if np.abs(wave - wave.mean()).max() < _SILENCE:
        raise DataError("this recording is silent", where=where)
    return resampled(wave, found_rate, rate)


def resampled(wave: Wave, rate: int, wanted: int) -> Wave:
    """The same sound at another rate, low-passed where that is lower."""
    if rate == wanted:
        return wave
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    return np.asarray(resample_poly(wave, wanted // common, rate // common), dtype=np.float32)


def _in_one_channel(samples: npt.NDArray[np.generic]) -> Wave:
    wave: Wave = samples.astype(np.float32)
    if samples.dtype == np.uint8:  # 8 bits are without a sign
        wave = np.asarray(wave / 128 - 1, dtype=np.float32)
    elif np.issubdtype(samples.dtype, np.integer):  # 24 bits come as the upper ones of 32
        wave *= 2.0 ** (1 - 8 * samples.dtype.itemsize)
    return wave if wave.ndim == 1 else np.asarray(wave.mean(axis=1))
