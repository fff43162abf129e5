"""OpenDPD's format: what is read, and every mistake told in one line that names the file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.amplifier.folder import read_recording, recording_files
from core.amplifier.recording import Band
from core.amplifier.settings import AmplifierData
from core.amplifier.signals import load_signals
from core.errors import DataError

SPEC = {
    "dataset_format": "split_csv", "split_ratios": {"train": 0.6, "val": 0.2, "test": 0.2},
    "input_signal_fs": 800e6, "bw_main_ch": 200e6, "n_sub_ch": 10, "nperseg": 64,
}  # fmt: skip
LENGTHS = {"train": 131, "val": 67, "test": 71}


def write_csv(path: Path, samples: int, seed: int) -> None:
    rows = np.random.RandomState(seed).standard_normal((samples, 2))
    path.write_text("I,Q\n" + "".join(f"{i:.6f},{q:.6f}\n" for i, q in rows))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "spec.json").write_text(json.dumps(SPEC))
    for seed, (name, samples) in enumerate(LENGTHS.items()):
        write_csv(tmp_path / f"{name}_input.csv", samples, seed)
        write_csv(tmp_path / f"{name}_output.csv", samples, seed + 10)
    return tmp_path


def test_a_folder_is_read(root: Path) -> None:
    splits, band = read_recording(root)
    assert band == Band(800e6, 200e6, 10, 64)
    assert {name: len(one) for name, one in splits.items()} == {
        "train": 131, "validation": 67, "test": 71,
    }  # fmt: skip
    lines = (root / "val_output.csv").read_text().split("\n")
    i, q = lines[3].split(",")
    assert splits["validation"].output[2] == complex(float(i), float(q))
    assert len(recording_files(root)) == 7


@pytest.mark.parametrize(
    "disguise",
    [
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="CRLF"),
        pytest.param(lambda text: "\ufeff" + text, id="byte order mark"),
        pytest.param(lambda text: text.removesuffix("\n"), id="no last newline"),
        pytest.param(lambda text: text + "\n\n", id="blank lines at the end"),
        pytest.param(lambda text: text.replace("I,Q", '"I", "Q"'), id="quoted header"),
        pytest.param(lambda text: text.replace(",", " , "), id="blanks"),
    ],
)
def test_the_same_samples_in_other_dress(root: Path, disguise: Callable[[str], str]) -> None:
    data = AmplifierData(source=str(root))
    before = load_signals(data).digest
    path = root / "train_input.csv"
    path.write_text(disguise(path.read_text()), encoding="utf-8", newline="")
    assert load_signals(data).digest == before
    path.write_text(path.read_text().replace("1", "2", 1))
    assert load_signals(data).digest != before


def _spec(**changes: Any) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        kept = {name: value for name, value in {**SPEC, **changes}.items() if value is not None}
        (root / "spec.json").write_text(json.dumps(kept))

    return change


def _text(name: str, text: str) -> Callable[[Path], None]:
    return lambda root: (root / name).write_text(text) and None


def _line(name: str, number: int, text: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        lines = (root / name).read_text().split("\n")
        lines[number - 1] = text
        (root / name).write_text("\n".join(lines))

    return change


def _silence(root: Path) -> None:
    rows = ["I,Q"] + ["0,0"] * 67
    (root / "val_output.csv").write_text("\n".join(rows))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: (root / "spec.json").unlink(), "spec.json: no such file. A folder in"),
        (_text("spec.json", "{"), "spec.json: cannot be read as JSON ("),
        (_text("spec.json", "[]"), "spec.json: must be a JSON object."),
        (_spec(dataset_format="single_csv"), "spec.json: dataset_format, got 'single_csv'."),
        (_spec(nperseg=None), "spec.json: nperseg, the samples of a segment, must be a positive"),
        (_spec(nperseg=2.5e3 + 0.5), "spec.json: nperseg must be a whole number, got 2500.5."),
        (_spec(nperseg=8), "spec.json: nperseg must be a whole number, got 8.0. Allowed: >= 64."),
        (
            _spec(input_signal_fs=-1),
            "input_signal_fs, the sampling rate in Hz, must be a positive",
        ),
        (_spec(n_sub_ch="ten"), "n_sub_ch, the number of parts of the main channel, must be a"),
        (_spec(bw_main_ch=900e6), "spec.json: bw_main_ch must be below input_signal_fs, got 9"),
        (lambda root: (root / "val_input.csv").unlink(), "val_input.csv: no such file."),
        (
            _text("val_input.csv", ""),
            "val_input.csv: the first line must name the columns, got ''",
        ),
        (_text("val_input.csv", "I,Q\n"), "val_input.csv: too few samples, got 0. Allowed: at le"),
        (_line("test_output.csv", 1, "re,im"), "test_output.csv: the first line must name the co"),
        (_line("test_output.csv", 9, "0.1"), "test_output.csv: line 9 is no sample, got '0.1'."),
        (_line("test_output.csv", 9, "1,2,3"), "line 9 is no sample, got '1,2,3'."),
        (_line("test_output.csv", 9, "0.1,nan"), "line 9 is no sample, got '0.1,nan'."),
        (_line("test_output.csv", 9, "one,two"), "line 9 is no sample, got 'one,two'."),
        (_line("test_output.csv", 9, "1,2\n3,4"), "71 samples, but test_output.csv has 72."),
        (_silence, "validation set: silent from sample 0 on, for a whole segment."),
    ],
)
def test_mistakes_are_told_in_one_line(
    root: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(root)
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        load_signals(AmplifierData(source=str(root)))
    assert str(root) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the data folder does not exist"):
        read_recording(tmp_path / "missing")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is no folder"):
        read_recording(tmp_path / "file")


def test_bytes_that_are_no_text(root: Path) -> None:
    (root / "train_input.csv").write_bytes(b"I,Q\n\xff\xfe")
    with pytest.raises(DataError, match=r"train_input\.csv: is no text"):
        read_recording(root)
