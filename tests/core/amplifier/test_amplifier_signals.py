"""The built-in recording, its normalisation, and the classical reference that is fitted to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.amplifier.memory_polynomial import fit_baseline
from core.amplifier.nmse import acpr_db
from core.amplifier.settings import AmplifierData, OfdmSettings
from core.amplifier.signals import Signals, load_signals, prepare


def signals_of(**settings: Any) -> Signals:
    return load_signals(AmplifierData(ofdm=OfdmSettings(**settings)))


@pytest.fixture(scope="module")
def built_in() -> Signals:
    return signals_of()


def test_the_same_seed_draws_the_same_recording(built_in: Signals) -> None:
    assert signals_of().digest == built_in.digest
    assert signals_of(seed=2).digest != built_in.digest
    assert signals_of(snr_db=30.0).digest != built_in.digest
    # Written out, so that a change of the generator does not go unseen.
    assert built_in.digest[:12] == "61d231ae627d"


def test_sets_have_their_sizes_and_share_nothing(built_in: Signals) -> None:
    sizes = {name: len(one) for name, one in built_in.splits.items()}
    assert sizes == {"train": 8_192, "validation": 2_048, "test": 2_048}
    starts = {name: one.input[:512] for name, one in built_in.splits.items()}
    assert not np.allclose(starts["validation"], starts["test"])
    assert not np.allclose(starts["validation"], starts["train"])


def test_the_training_set_gives_the_units(built_in: Signals) -> None:
    for side in (built_in.splits["train"].input, built_in.splits["train"].output):
        assert np.mean(np.abs(side) ** 2) == pytest.approx(1)
    assert np.mean(np.abs(built_in.splits["test"].input) ** 2) == pytest.approx(1, abs=0.1)


def test_the_amplifier_spills_into_the_neighbours(built_in: Signals) -> None:
    recording = built_in.splits["validation"]
    sent, received = (acpr_db(side, built_in.band) for side in (recording.input, recording.output))
    assert sent is not None
    assert received is not None
    # Symbols that follow one another without a window spill themselves, but less.
    assert (received > sent + 3).all()


def test_the_reference_comes_near_the_noise(built_in: Signals) -> None:
    reference = fit_baseline(built_in)
    # The noise lies at -45 dB; each segment's start, without its past, costs the rest.
    assert reference.value < -38
    assert reference.metrics["acpr_error_db"] < 0.5
    assert fit_baseline(signals_of(snr_db=25.0)).value > -26


def test_what_is_prepared_has_digest_counts_and_reference() -> None:
    facts = prepare(AmplifierData())
    assert facts.counts["train_samples"] == 8_192
    assert [one.name for one in facts.baselines] == ["generalized memory polynomial"]
    assert "scored in segments of 512 samples" in facts.notes[0]


def test_the_reference_on_a_real_recording(hpo_data: Path) -> None:
    folder = hpo_data / "opendpd" / "DPA_200MHz"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    signals = load_signals(AmplifierData(source=str(folder)))
    sizes = {name: len(one) for name, one in signals.splits.items()}
    assert sizes == {"train": 23_040, "validation": 7_680, "test": 7_680}
    # One complex gain comes to -20.1 dB, eight linear taps to -25.9, OpenDPD's GRU to -31.1.
    assert fit_baseline(signals).value == pytest.approx(-30.97, abs=0.05)
