"""Damaged files are found before anything in them is used: cuts, flips, NaN, pickles."""

import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from core.bundle import read_bundle, write_bundle
from core.checkpoint import load_checkpoint
from core.errors import DamagedFileError
from core.sealed import read_sealed, write_sealed
from core.settings import Recipe
from core.task import Stage
from core.telemetry import Telemetry, read_telemetry

TENSORS = {"model.a": torch.rand(7, 11), "telemetry": torch.full((3, 4), float("nan"))}
META = {"config_digest": "mine", "curve": [1, 2.5], "text": "zwei\nZeilen"}
DATA = "model.safetensors"


def damages(whole: bytes, cuts: int, flips: int) -> list[bytes]:
    """`whole` cut at random lengths, and with one bit flipped at random places."""
    draw = random.Random(5)
    cut = [whole[: draw.randrange(len(whole))] for _ in range(cuts)]
    flipped = []
    for _ in range(flips):
        content = bytearray(whole)
        content[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        flipped.append(bytes(content))
    return [b"", *cut, *flipped]


def assert_all_found(path: Path, contents: list[bytes], read: Callable[[], object]) -> None:
    whole = path.read_bytes()
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(DamagedFileError):
            read()
    path.write_bytes(whole)
    read()


@pytest.mark.parametrize("name", [DATA, "meta.json"])
def test_a_bundle_of_which_any_bit_is_not_as_written_is_refused(name: str, tmp_path: Path) -> None:
    write_bundle(tmp_path, DATA, TENSORS, META)
    path = tmp_path / name

    def read() -> object:
        return read_bundle(tmp_path, way_out="", may_be_nan=("telemetry",))

    assert_all_found(path, damages(path.read_bytes(), cuts=100, flips=500), read)


def test_a_sealed_file_of_which_any_bit_is_not_as_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_sealed(path, {"schema_version": 1, "text": "ü", "number": 0.1, "list": [[], {}]})
    every = path.read_bytes()
    flips = [
        every[:at] + bytes([every[at] ^ 1 << bit]) + every[at + 1 :]
        for at in range(len(every))
        for bit in range(8)
    ]
    assert_all_found(
        path, [every[:end] for end in range(len(every))] + flips, lambda: read_sealed(path)
    )


def test_damaged_telemetry_is_refused(tmp_path: Path) -> None:
    telemetry = Telemetry([Stage("only", 0, 7, Recipe(), seed=1, eval_every=7, grad_clip=2.0)])
    telemetry.put(np.random.default_rng(3).random((7, 4), np.float32))
    path = tmp_path / "telemetry.parquet"
    telemetry.write(path)
    whole, found = read_telemetry(path), 0
    contents = damages(path.read_bytes(), cuts=100, flips=300)
    for content in contents:
        path.write_bytes(content)
        try:
            assert read_telemetry(path).equals(whole)
        except DamagedFileError:
            found += 1
    # A flip in the mark that says that there is a digest makes it a file of an older version.
    assert found > 0.98 * len(contents)


def test_what_is_not_finite_is_named(tmp_path: Path) -> None:
    broken = {**TENSORS, "optimizer.exp_avg.a": torch.tensor([1.0, float("nan")])}
    write_bundle(tmp_path, DATA, broken, META)
    with pytest.raises(DamagedFileError, match=r"tensor 'optimizer.exp_avg.a' is not finite"):
        load_checkpoint(tmp_path, "mine")


class Canary:
    """Whoever unpickles it creates a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._path),)


@pytest.mark.parametrize("name", [DATA, "meta.json", "telemetry.parquet"])
@pytest.mark.parametrize("is_vouched_for", [False, True])
def test_nothing_is_unpickled(name: str, is_vouched_for: bool, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    folder = tmp_path / "bundle"

    def put(path: Path) -> None:
        path.write_bytes(pickle.dumps(Canary(canary)))

    with pytest.MonkeyPatch.context() as patch:
        if is_vouched_for:  # by a digest that an attacker computed
            patch.setattr("core.bundle.save_file", lambda tensors, path: put(path))
        write_bundle(folder, DATA, TENSORS, META)
    if not is_vouched_for or name != DATA:
        put(folder / name)
    with pytest.raises(DamagedFileError):
        read_telemetry(folder / name) if "tele" in name else read_bundle(folder, way_out="")
    assert not canary.exists()
    pickle.loads((folder / name).read_bytes())
    assert canary.exists(), "the canary sings when it is let out"


def test_a_file_from_before_there_were_seals_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text('{\n "schema_version": 1,\n "a": 2\n}\n')
    assert read_sealed(path) == {"schema_version": 1, "a": 2}
