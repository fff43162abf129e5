"""A recording in OpenDPD's format: `spec.json`, and a CSV of I and Q for each side of each set."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.amplifier.recording import Band, Complex, Recording
from core.errors import DataError

_FILES = {"train": "train", "validation": "val", "test": "test"}
_SIDES = ("input", "output")
_SHORTEST = 64
"""Samples of a set."""
_KEYS = {
    "input_signal_fs": "the sampling rate in Hz",
    "bw_main_ch": "the main channel's width in Hz",
    "n_sub_ch": "the number of parts of the main channel",
    "nperseg": "the samples of a segment",
}


def recording_files(root: Path) -> list[Path]:
    """Those files of a recording that there are."""
    names = [f"{name}_{side}.csv" for name in _FILES.values() for side in _SIDES]
    return [path for path in (root / name for name in ("spec.json", *names)) if path.is_file()]


def read_recording(root: Path) -> tuple[dict[str, Recording], Band]:
    """The sets by name, and their band.

    Raises: DataError, one line that names the file.
    """
    if not root.is_dir():
        raise DataError(
            "is no folder" if root.exists() else "the data folder does not exist",
            where=str(root),
            way_out="Use ofdm (built in), or a folder in OpenDPD's format.",
        )
    band = _read_band(root / "spec.json")
    splits = {}
    for name, stem in _FILES.items():
        paths = [root / f"{stem}_{side}.csv" for side in _SIDES]
        sent, received = (_read_samples(path) for path in paths)
        if len(sent) != len(received):
            raise DataError(
                f"{len(sent)} samples, but {paths[1].name} has {len(received)}",
                where=str(paths[0]),
                way_out="Sample n of the output is what came of sample n of the input.",
            )
        splits[name] = Recording(sent, received)
    return splits, band


def _read_band(path: Path) -> Band:
    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            "no such file",
            where=str(path),
            way_out="A folder in OpenDPD's format has a spec.json and six CSV files.",
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read as JSON ({error})", where=str(path)) from None
    if not isinstance(spec, dict):
        raise DataError("must be a JSON object", where=str(path))
    layout = spec.get("dataset_format", "split_csv")
    if layout != "split_csv":
        raise DataError(
            "dataset_format", where=str(path), got=layout, allowed="split_csv, a CSV for each set"
        )
    rate, width, channels, segment = (_positive(spec, key, path) for key in _KEYS)
    if width >= rate:
        raise DataError(
            "bw_main_ch must be below input_signal_fs",
            where=str(path),
            got=width,
            allowed=f"< {rate:g}",
        )
    for key, value, least in (("n_sub_ch", channels, 1), ("nperseg", segment, _SHORTEST)):
        if value != int(value) or value < least:
            raise DataError(
                f"{key} must be a whole number", where=str(path), got=value, allowed=f">= {least}"
            )
    return Band(rate, width, int(channels), int(segment))


def _positive(spec: Mapping[str, Any], key: str, path: Path) -> float:
    value = spec.get(key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None or not is_number or not math.isfinite(value) or value <= 0:
        raise DataError(
            f"{key}, {_KEYS[key]}, must be a positive number", where=str(path), got=value
        )
    return float(value)


def _read_samples(path: Path) -> Complex:
    """The samples of one CSV, [N]."""
    try:
        head, *lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise DataError("no such file", where=str(path)) from None
    except OSError as error:
        raise DataError(f"the file cannot be read ({error.strerror})", where=str(path)) from None
    except UnicodeDecodeError as error:
        raise DataError(f"is no text ({error})", where=str(path)) from None
    if [name.strip().strip('"') for name in head.split(",")] != ["I", "Q"]:
        raise DataError(
            "the first line must name the columns", where=str(path), got=head[:40], allowed="I,Q"
        )
    while lines and not lines[-1].strip():
        lines.pop()
    if len(lines) < _SHORTEST:
        raise DataError(
            "too few samples", where=str(path), got=len(lines), allowed=f"at least {_SHORTEST}"
        )
    samples = np.empty(len(lines), np.complex128)
    for number, line in enumerate(lines):
        try:
            in_phase, quadrature = line.split(",")
            samples[number] = complex(float(in_phase), float(quadrature))
        except ValueError:
            in_phase = "nan"
        if not np.isfinite(samples[number]) or in_phase == "nan":
            raise DataError(
                f"line {number + 2} is no sample",
                where=str(path),
                got=line[:40],
                allowed="two finite numbers, I,Q",
            )
    return samples
