"""The recording of a study: read or drawn, checked, normalised by its training set."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from core.amplifier import folder, ofdm
from core.amplifier.recording import Band, Complex, Recording
from core.amplifier.settings import AmplifierData
from core.errors import DataError
from core.settings import digest_of
from core.task import Facts


@dataclass(frozen=True)
class Signals:
    """A study's recording, input and output each of effective value 1 in the training set."""

    splits: Mapping[str, Recording]
    """`train`, `validation` and `test`."""
    band: Band
    digest: str
    """Of the samples as they were read, and of the band."""
    gain_db: float
    """Power of the training set's output over that of its input."""


def load_signals(data: AmplifierData) -> Signals:
    """The recording that `data` names.

    Raises: DataError if a file is missing or damaged, or a segment of output is silent.
    """
    if data.source == "ofdm":
        splits, band = ofdm.draw_recording(data.ofdm)
    else:
        splits, band = folder.read_recording(Path(data.source))
    for name, recording in splits.items():
        _refuse_silence(recording, band, f"{data.source}: {name} set")
    digests = {
        name: [_digest(recording.input), _digest(recording.output)]
        for name, recording in splits.items()
    }
    train = splits["train"]
    into, out = (
        float(np.sqrt(np.mean(np.abs(side) ** 2))) for side in (train.input, train.output)
    )
    return Signals(
        splits={
            name: Recording(recording.input / into, recording.output / out)
            for name, recording in splits.items()
        },
        band=band,
        digest=digest_of({"samples": digests, "band": asdict(band)}),
        gain_db=20 * float(np.log10(out / into)),
    )


def prepare(data: AmplifierData) -> Facts:
    """Loads and checks the recording, and fits the classical reference to it.

    Raises: DataError for a bad recording.
    """
    from core.amplifier.memory_polynomial import fit_baseline

    signals = load_signals(data)
    band = signals.band
    note = (
        f"recording: {band.sample_rate_hz / 1e6:g} million samples a second, main channel "
        f"{band.bandwidth_hz / 1e6:g} MHz wide in {band.channels} parts, scored in segments of "
        f"{band.segment:,} samples; gain {signals.gain_db:.1f} dB."
    )
    counts = {f"{name}_samples": len(recording) for name, recording in signals.splits.items()}
    return Facts({"data": signals.digest}, counts, (note,), (fit_baseline(signals),))


def _refuse_silence(recording: Recording, band: Band, where: str) -> None:
    """An error relative to no power at all is no number."""
    for start in range(0, len(recording), band.segment):
        part = slice(start, start + band.segment)
        if not recording.input[part].any() or not recording.output[part].any():
            raise DataError(
                f"silent from sample {start:,} on, for a whole segment",
                where=where,
                way_out="Cut it out of input and output.",
            )


def _digest(side: Complex) -> str:
    return hashlib.sha256(side.tobytes()).hexdigest()
