"""Ten digit words, spoken by a source and three resonances: no voice, but as hard to tell apart.

A word is a few sounds. A sound has formants that glide from one place to another, and is voiced
(harmonics of the pitch), a hiss (noise around one frequency), or a stop. Speakers differ in pitch,
in the length of the vocal tract, which scales all formants, and in speed; takes in all of these a
little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.settings import derive_seed
from core.speech.audio import Wave

Formants = tuple[float, float, float]

_BANDWIDTHS = np.array([70.0, 100.0, 150.0])
_STRENGTHS = np.array([1.0, 0.6, 0.3])
_GRID_S = 0.005
"""Between two moments at which the formants are looked at."""


@dataclass(frozen=True)
class _Sound:
    """A part of a word."""

    seconds: float
    begin: Formants | None = None
    """Hz; `None` for a hiss or a stop."""
    end: Formants | None = None
    """Where it glides to; where it began, without."""
    hiss: float | None = None
    """Hz around which there is noise."""
    loud: float = 1.0


_EE, _EH, _AH, _AW, _OO = (
    (280.0, 2250.0, 2900.0),
    (530.0, 1800.0, 2500.0),
    (720.0, 1200.0, 2500.0),
    (560.0, 850.0, 2400.0),
    (310.0, 900.0, 2250.0),
)
_N, _R, _V, _IH = (
    (250.0, 1250.0, 2350.0),
    (420.0, 1200.0, 1600.0),
    (260.0, 1050.0, 2300.0),
    (400.0, 1950.0, 2550.0),
)
_S, _F, _T = _Sound(0.08, hiss=3500, loud=0.3), _Sound(0.06, hiss=1600, loud=0.1), 3000.0

_WORDS: dict[str, tuple[_Sound, ...]] = {
    "zero": (_Sound(0.05, hiss=3300, loud=0.15), _Sound(0.1, _IH, _R), _Sound(0.16, _R, _AW)),
    "one": (_Sound(0.13, _OO, _AH), _Sound(0.1, _AH, _N), _Sound(0.06, _N, loud=0.5)),
    "two": (_Sound(0.04, hiss=_T, loud=0.3), _Sound(0.2, _IH, _OO)),
    "three": (_F, _Sound(0.07, _R), _Sound(0.18, _R, _EE)),
    "four": (_F, _Sound(0.14, _AW), _Sound(0.1, _AW, _R)),
    "five": (_F, _Sound(0.2, _AH, _EE), _Sound(0.07, _V, loud=0.4)),
    "six": (_S, _Sound(0.09, _IH), _Sound(0.05), _S),
    "seven": (_S, _Sound(0.09, _EH, _V), _Sound(0.06, _V, _IH), _Sound(0.1, _N, loud=0.5)),
    "eight": (_Sound(0.17, _EH, _EE), _Sound(0.05), _Sound(0.03, hiss=_T, loud=0.3)),
    "nine": (_Sound(0.07, _N, loud=0.5), _Sound(0.19, _AH, _EE), _Sound(0.09, _N, loud=0.5)),
}
WORDS = tuple(_WORDS)
"""In the order of their values."""


def say(word: str, *, speaker: int, take: int, seed: int, rate: int) -> Wave:
    """One recording, a pure function of its arguments."""
    voice = np.random.default_rng(derive_seed(seed, "speaker", speaker))
    pitch, tract, speed = (
        voice.uniform(95, 230),
        voice.uniform(0.88, 1.15),
        voice.uniform(0.85, 1.2),
    )
    rng = np.random.default_rng(derive_seed(seed, "take", word, speaker, take))
    pitch, tract, speed = (
        value * rng.uniform(1 - spread, 1 + spread)
        for value, spread in ((pitch, 0.08), (tract, 0.03), (speed, 0.12))
    )
    parts = [_sound(sound, pitch, tract, speed, rate, rng) for sound in _WORDS[word]]
    wave = np.concatenate(parts)
    edge = np.minimum(1.0, np.minimum(np.arange(len(wave)), np.arange(len(wave))[::-1]) / 80)
    wave = wave * edge / np.abs(wave).max() * rng.uniform(0.3, 0.9)
    wave += rng.uniform(0.001, 0.01) * rng.standard_normal(len(wave))
    return np.asarray(wave, dtype=np.float32)


def _sound(  # noqa: PLR0917
    sound: _Sound,
    pitch: float,
    tract: float,
    speed: float,
    rate: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.float64]:
    count = max(2, int(sound.seconds * rng.uniform(0.85, 1.15) / speed * rate))
    if sound.hiss is not None:
        return sound.loud * _noise_around(min(sound.hiss * tract, 0.45 * rate), count, rate, rng)
    if sound.begin is None:
        return np.zeros(count)
    end = sound.begin if sound.end is None else sound.end
    return sound.loud * _voiced(np.array(sound.begin), np.array(end), count, pitch, tract, rate)


def _voiced(  # noqa: PLR0917
    begin: npt.NDArray[np.float64],
    end: npt.NDArray[np.float64],
    count: int,
    pitch: float,
    tract: float,
    rate: int,
) -> npt.NDArray[np.float64]:
    """Harmonics of a pitch that falls by a tenth, as strong as the formants let them through."""
    moments = np.linspace(0.0, 1.0, max(2, int(count / rate / _GRID_S)))
    formants = tract * (begin + (end - begin) * moments[:, None])  # [M, 3]
    numbers = np.arange(1, int(0.47 * rate / pitch) + 1)
    gaps = (numbers[:, None, None] * pitch - formants) / _BANDWIDTHS  # [harmonics, M, 3]
    strength = (_STRENGTHS / (1 + gaps**2)).sum(-1) / np.sqrt(numbers)[:, None]
    at = np.linspace(0.0, 1.0, count)
    phase = 2 * np.pi * np.cumsum(pitch * (1.05 - 0.1 * at)) / rate
    rows = zip(numbers, strength, strict=True)
    return np.asarray(
        sum(np.interp(at, moments, own) * np.sin(number * phase) for number, own in rows)
    )


def _noise_around(
    frequency: float, count: int, rate: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    spectrum = np.fft.rfft(rng.standard_normal(count))
    gap = (np.fft.rfftfreq(count, 1 / rate) - frequency) / 600.0
    noise = np.fft.irfft(spectrum / (1 + gap**2), count)
    return np.asarray(noise / (np.abs(noise).max() + 1e-9))
