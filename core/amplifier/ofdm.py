"""The built-in recording: OFDM symbols through a memory polynomial with noise, by seed."""

from __future__ import annotations

import numpy as np

from core.amplifier.recording import Band, Complex, Recording
from core.amplifier.settings import OfdmSettings
from core.settings import derive_seed

_SAMPLE_RATE_HZ = 80e6
_BANDWIDTH_HZ = 20e6
_CHANNELS = 4
_OCCUPIED = 0.9
"""Share of the band that has carriers; the rest keeps them apart from the neighbours."""
_LEVELS = np.array([-7, -5, -3, -1, 1, 3, 5, 7])  # of 64-QAM, on each axis

# By power of the envelope |x|**k and by samples of delay. The input's effective value is 1, so
# that peaks, at about 3, are compressed by a third and turned by 0.4 rad.
_KERNELS = {
    0: (1.0 + 0.05j, 0.22 - 0.12j, -0.09 + 0.04j),
    2: (-0.045 + 0.05j, 0.012 - 0.010j, -0.006 + 0.004j),
    4: (0.0012 - 0.0015j, -0.0005 + 0.0003j, 0.0002 + 0.0001j),
}


def draw_recording(settings: OfdmSettings) -> tuple[dict[str, Recording], Band]:
    """The sets by name, and their band."""
    sizes = {
        "train": settings.train_samples,
        "validation": settings.validation_samples,
        "test": settings.test_samples,
    }
    splits = {}
    for name, samples in sizes.items():
        # RandomState's numbers are promised never to change; default_rng's are not.
        draw = np.random.RandomState(derive_seed(settings.seed, "ofdm", name))
        sent = _draw_symbols(draw, samples, settings.segment)
        received = _amplify(draw, sent, settings.snr_db)
        # As a file would hold them: the last bits are not the same on every machine.
        splits[name] = Recording(np.round(sent, 6), np.round(received, 6))
    return splits, Band(_SAMPLE_RATE_HZ, _BANDWIDTH_HZ, _CHANNELS, settings.segment)


def _draw_symbols(draw: np.random.RandomState, samples: int, length: int) -> Complex:
    """Symbols of `length` samples, 64-QAM on every carrier in the band, of effective value 1."""
    count = -(-samples // length)
    half = int(_OCCUPIED * length * _BANDWIDTH_HZ / _SAMPLE_RATE_HZ / 2)
    carriers = np.r_[1 : half + 1, -half:0]
    real, imaginary = (draw.choice(_LEVELS, (count, 2 * half)) for _ in range(2))
    spectrum = np.zeros((count, length), np.complex128)
    spectrum[:, carriers] = real + 1j * imaginary
    sent = np.fft.ifft(spectrum).ravel()[:samples]
    unit: Complex = sent / np.sqrt(np.mean(np.abs(sent) ** 2))
    return unit


def _amplify(draw: np.random.RandomState, sent: Complex, snr_db: float) -> Complex:
    received: Complex = np.zeros_like(sent)
    for power, kernel in _KERNELS.items():
        term = sent * np.abs(sent) ** power
        for delay, weight in enumerate(kernel):
            received[delay:] += weight * term[: len(term) - delay]
    noise = draw.standard_normal((2, len(sent)))
    spread = np.sqrt(np.mean(np.abs(received) ** 2) / 10 ** (snr_db / 10) / 2)
    received += spread * (noise[0] + 1j * noise[1])
    return received
