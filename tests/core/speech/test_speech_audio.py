"""WAV files good and bad: what is read, and what is said of the rest."""

from __future__ import annotations

import struct
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from core.errors import DataError
from core.speech.audio import read_wave, resampled

RATE = 8_000


def tone(rate: int = RATE, seconds: float = 0.25, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


def as_pcm(samples: np.ndarray, bytes_a_sample: int) -> bytes:
    """Little-endian, whose lowest bytes are left out."""
    whole = (samples * (2**31 - 1)).astype("<i4")
    return b"".join(one.tobytes()[4 - bytes_a_sample :] for one in whole.reshape(-1))


def write_pcm(path: Path, frames: bytes, *, rate: int, channels: int, width: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(frames)


def plain(path: Path) -> None:
    write_pcm(path, as_pcm(tone(), 2), rate=RATE, channels=1, width=2)


def of_24_bits(path: Path) -> None:
    write_pcm(path, as_pcm(tone(), 3), rate=RATE, channels=1, width=3)


def of_8_bits(path: Path) -> None:
    wavfile.write(path, RATE, (128 + 127 * tone()).astype(np.uint8))


def of_floats(path: Path) -> None:
    wavfile.write(path, RATE, tone().astype(np.float32))


def stereo(path: Path) -> None:
    both = np.stack([tone() * 1.5, tone() * 0.5], axis=1)
    write_pcm(path, as_pcm(both, 2), rate=RATE, channels=2, width=2)


def at_another_rate(path: Path) -> None:
    write_pcm(path, as_pcm(tone(rate=44_100), 2), rate=44_100, channels=1, width=2)


@pytest.mark.parametrize(
    "write", [plain, of_24_bits, of_8_bits, of_floats, stereo, at_another_rate]
)
def test_every_form_is_read_as_the_same_sound(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    write(tmp_path / "a.wav")
    found = read_wave(tmp_path / "a.wav", RATE)
    assert found.dtype == np.float32 and found.ndim == 1
    assert len(found) == len(tone())
    # Eight bits are steps of 1/128; a low-pass bends the edges of what was resampled.
    assert np.abs(found - tone())[50:-50].max() < 0.012


def cut_header(path: Path) -> None:
    plain(path)
    path.write_bytes(path.read_bytes()[:19])


def cut_sound(path: Path) -> None:
    plain(path)
    path.write_bytes(path.read_bytes()[:-700])


def text(path: Path) -> None:
    path.write_text("seven")


def nothing(path: Path) -> None:
    path.touch()


def no_samples(path: Path) -> None:
    write_pcm(path, b"", rate=RATE, channels=1, width=2)


def silence(path: Path) -> None:
    write_pcm(path, bytes(2 * RATE), rate=RATE, channels=1, width=2)


def a_constant(path: Path) -> None:
    write_pcm(path, struct.pack("<h", 4_000) * RATE, rate=RATE, channels=1, width=2)


def no_numbers(path: Path) -> None:
    wavfile.write(path, RATE, np.full(99, np.nan, dtype=np.float32))


def a_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (cut_header, "no whole WAV file"),
        (cut_sound, "no whole WAV file .Reached EOF prematurely"),
        (text, "no whole WAV file"),
        (nothing, "no whole WAV file"),
        (no_samples, "has no samples"),
        (silence, "is silent"),
        (a_constant, "is silent"),
        (no_numbers, "samples that are no numbers"),
        (a_folder, "cannot be read: Is a directory"),
        (lambda path: None, "cannot be read: No such file"),
    ],
)
def test_what_cannot_be_heard_is_said_in_one_line_that_names_the_file(
    write: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "7_ann_3.wav"
    write(path)
    with pytest.raises(DataError, match=said) as caught:
        read_wave(path, RATE)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_resampling_keeps_the_tone() -> None:
    found = resampled(tone(rate=16_000).astype(np.float32), 16_000, RATE)
    spectrum = np.abs(np.fft.rfft(found))
    assert np.fft.rfftfreq(len(found), 1 / RATE)[spectrum.argmax()] == pytest.approx(440, abs=4)
