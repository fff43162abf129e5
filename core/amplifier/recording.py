"""What went into an amplifier and what came out, and where it lies in the spectrum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]


@dataclass(frozen=True)
class Band:
    """The signal's place in the spectrum, and what is scored at once."""

    sample_rate_hz: float
    bandwidth_hz: float
    """Of the main channel, centred at 0."""
    channels: int
    """Equal parts of the main channel; a neighbour of the same width lies at either side."""
    segment: int
    """Samples of a segment: a model meets each without a past, and spectra are taken over it."""


@dataclass(frozen=True)
class Recording:
    """Complex baseband input and output at the same times, [samples] each."""

    input: Complex
    output: Complex

    def __len__(self) -> int:
        return len(self.input)
