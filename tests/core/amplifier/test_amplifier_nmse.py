"""The score and the figures of the spectrum, against what they are by construction."""

from __future__ import annotations

import numpy as np
import pytest

from core.amplifier.nmse import acpr_db, figures, nmse_db
from core.amplifier.recording import Band, Complex

L = 200
BAND = Band(sample_rate_hz=200.0, bandwidth_hz=40.0, channels=4, segment=L)
"""Bins of 1 Hz; parts of 10 Hz from -20 on, neighbours at -30 and 20."""


def tone(hz: float, samples: int = 3 * L) -> Complex:
    return np.exp(2j * np.pi * hz * np.arange(samples) / BAND.sample_rate_hz)


def test_nmse_is_the_mean_of_the_segments_decibels() -> None:
    measured = tone(3, 2 * L + 40)
    predicted = measured.copy()
    predicted[:L] *= 1.1  # -20 dB
    predicted[L : 2 * L] *= 1.01  # -40 dB
    predicted[2 * L :] *= 2  # 0 dB, of a segment that is not whole
    assert nmse_db(predicted, measured, L) == pytest.approx(-20, abs=1e-9)
    whole = 10 * np.log10((L * 0.01 + L * 1e-4 + 40) / (2 * L + 40))
    assert figures(predicted, measured, BAND)["nmse_whole_db"] == pytest.approx(whole, abs=1e-9)


def test_silence_scores_zero_and_perfection_has_a_number() -> None:
    measured = tone(3)
    assert nmse_db(np.zeros_like(measured), measured, L) == 0
    assert nmse_db(measured, measured, L) == -200


def test_acpr_compares_neighbours_with_the_strongest_part() -> None:
    signal = tone(5) + 0.1 * tone(-5) + 10**-1.5 * tone(25) + 1e-2 * tone(-25)
    found = acpr_db(signal, BAND)
    assert found is not None
    # The window spreads a tone over three bins, all of them in one part.
    assert found.tolist() == pytest.approx([-40, -30], abs=1e-3)
    off = signal + (10**-1 - 10**-1.5) * tone(25)
    told = figures(off, signal, BAND)
    assert told["acpr_error_db"] == pytest.approx((10 + 0) / 2, abs=1e-3)
    assert told["acpr_db"] == pytest.approx((-20 - 40) / 2, abs=1e-3)


def test_evm_is_the_error_of_the_main_channel_alone() -> None:
    measured = sum(tone(hz) for hz in (-15, -5, 5, 15))
    told = figures(1.01 * measured + 0.5 * tone(60), measured, BAND)
    assert told["evm_db"] == pytest.approx(-40, abs=1e-6)


def test_no_acpr_where_the_neighbours_are_not_sampled() -> None:
    band = Band(sample_rate_hz=200.0, bandwidth_hz=180.0, channels=4, segment=L)
    assert acpr_db(tone(3), band) is None
    assert "acpr_db" not in figures(tone(3), tone(3), band)


def test_a_recording_shorter_than_a_segment_is_one() -> None:
    measured = tone(3, 150)
    told = figures(1.1 * measured, measured, BAND)
    assert told["nmse_whole_db"] == pytest.approx(-20)
    assert told["evm_db"] < 0
