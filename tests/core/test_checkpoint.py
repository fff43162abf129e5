"""Bundles that are whole or refused, and checkpoints and weights on top of them."""

import dataclasses
import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

from core.atomic import replace_json, replace_text
from core.bundle import read_bundle, write_bundle
from core.checkpoint import (
    Checkpoint,
    CheckpointPace,
    load_checkpoint,
    load_weights,
    read_weights,
    remove_checkpoint,
    save_checkpoint,
    save_weights,
)
from core.errors import CheckpointError
from core.seeding import put_generators, read_generators, seed_everything
from core.task import Evaluation

CPU = torch.device("cpu")
TENSORS = {"a": torch.arange(7.0).view(7, 1), "b": torch.tensor(3, dtype=torch.int64)}
META = {"steps": [1, 2], "share": 0.1, "nested": {"10": None, "9": "ü"}}


class Tied(nn.Module):
    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, width)
        self.norm = nn.BatchNorm1d(width)
        self.output = nn.Linear(width, 7)
        self.output.weight = self.embedding.weight
        self.register_buffer("table", torch.ones(3), persistent=False)


def checkpoint(step: int = 3) -> Checkpoint:
    seed_everything(5)
    return Checkpoint(
        stage=1,
        stage_step=step,
        weights=read_weights(Tied()),
        optimizer={"step": torch.tensor(3.0), "exp_avg.norm.weight": torch.rand(5)},
        scaler={"scale": 1024.0, "_growth_tracker": 3},
        generators=read_generators(CPU),
        telemetry=torch.rand(step, 4),
        curve=(Evaluation("train", 2, 0.1 + 0.2, {"other": 1 / 3}, elapsed_s=1.5),),
        seconds={"train": 2.25},
        cache_saved_s=None,
        machine={"threads": 1},
        changes=("threads 1 from step 2 on, 2 before",),
    )


@pytest.mark.parametrize(
    ("size_bytes", "dues"),
    [
        (0, {4.9: False, 5.0: True}),
        (15_000_000, {5.0: False, 13.3: False, 13.4: True}),  # 0.1 s to write, twice, at 150 MB/s
        (10**10, {299.9: False, 300.0: True}),
    ],
)
def test_when_the_first_checkpoint_is_due(size_bytes: int, dues: dict[float, bool]) -> None:
    pace = CheckpointPace(size_bytes, 1000.0)
    assert {after_s: pace.is_due(1000.0 + after_s) for after_s in dues} == dues


def test_a_wait_before_a_stage_pays_for_no_checkpoint() -> None:
    pace = CheckpointPace(15_000_000, 1000.0)
    pace.begin_stage(1100.0)
    assert not pace.is_due(1113.3)
    assert pace.is_due(1113.4)


@pytest.mark.parametrize("costs_s", [(0.007,), (0.1,), (0.02, 0.02, 0.02, 0.3), (1.0, 2.0)])
def test_checkpoints_and_a_pause_at_any_moment_take_little_time(
    costs_s: tuple[float, ...],
) -> None:
    """A stage of an hour in updates of 0.1 s, its checkpoints taking `costs_s` by turns."""
    costs, cost_s = itertools.cycle(costs_s), costs_s[-1]
    # Each may be dearer than the one before, from which it is foretold, and so may the pause.
    surprise_s = 2 * (max(costs_s) - min(costs_s))
    pace = CheckpointPace(0, 0.0)
    pace.note(-cost_s, 0.0)
    pace.begin_stage(0.0)
    now = spent_s = 0.0
    while now < 3600.0:
        now += 0.1
        if pace.is_due(now):
            cost_s = next(costs)
            pace.note(now, now + cost_s)
            now, spent_s = now + cost_s, spent_s + cost_s
            assert spent_s + cost_s <= 0.015 * now + surprise_s
    assert spent_s > min(0.01 * now, 500 * cost_s)  # it is not stingy either


def test_a_bundle_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_bundle(tmp_path / "new" / "bundle", "data.safetensors", TENSORS, META)
    tensors, meta = read_bundle(tmp_path / "new" / "bundle", way_out="")
    assert meta == META
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())
    assert {path.name for path in (tmp_path / "new" / "bundle").iterdir()} == {
        "data.safetensors",
        "meta.json",
    }


@pytest.mark.parametrize("name", ["data.safetensors", "meta.json"])
def test_any_flipped_byte_is_refused(name: str, tmp_path: Path) -> None:
    write_bundle(tmp_path, "data.safetensors", TENSORS, META)
    path = tmp_path / name
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(CheckpointError, match=r"(json|safetensors): .*Way out\."):
            read_bundle(tmp_path, way_out="Way out.")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("meta.json", None, "meta.json: there is no such file"),
        ("meta.json", b"", "meta.json: this is no sealed JSON"),
        ("meta.json", b"[1]", "meta.json: this is no sealed JSON"),
        ("meta.json", b"{}", "meta.json: this is no sealed JSON"),
        ("meta.json", b'{"digest": "0"}', "meta.json: this is no sealed JSON"),
        (
            "meta.json",
            b'{"seal": "' + b"0" * 64 + b'",\n}',
            "meta.json: digest does not fit the content",
        ),
        ("data.safetensors", None, "data.safetensors: there is no such file"),
        ("data.safetensors", b"", "data.safetensors: sha256 does not fit the content"),
    ],
)
def test_torn_files_are_refused(
    name: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    write_bundle(tmp_path, "data.safetensors", TENSORS, META)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_bundle(tmp_path, way_out="")


def test_another_schema_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as future:
        future.setattr("core.bundle.SCHEMA_VERSION", 3)
        write_bundle(tmp_path, "data.safetensors", TENSORS, META)
    with pytest.raises(CheckpointError, match=r"unknown schema_version, got 3\. Allowed: 2\."):
        read_bundle(tmp_path, way_out="")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    replace_text(path, "old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace_json(path, float("nan"))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    assert load_checkpoint(folder, "mine") is None
    save_checkpoint(folder, checkpoint(step=2), "mine")
    written = checkpoint()
    save_checkpoint(folder, written, "mine")
    read = load_checkpoint(folder, "mine")
    assert read is not None
    for field in dataclasses.fields(Checkpoint):
        ours, theirs = getattr(read, field.name), getattr(written, field.name)
        if field.name in ("weights", "optimizer", "generators"):
            assert ours.keys() == theirs.keys()
            # As bytes, for a NaN among the generators stands for `None`.
            assert all(
                ours[name].numpy().tobytes() == value.numpy().tobytes()
                for name, value in theirs.items()
            )
        elif field.name == "telemetry":
            assert torch.equal(ours, theirs)
        else:
            assert ours == theirs
    assert len(list(folder.iterdir())) == 2  # the older state is gone
    remove_checkpoint(folder)
    assert load_checkpoint(folder, "mine") is None
    remove_checkpoint(folder)


def test_a_crash_between_state_and_meta_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, checkpoint(step=2), "mine")
    with monkeypatch.context() as crash:
        crash.setattr("core.bundle.write_sealed", _fail)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, checkpoint(step=5), "mine")
    read = load_checkpoint(tmp_path, "mine")
    assert read is not None
    assert read.stage_step == 2


def _fail(*args: object) -> None:
    raise KeyboardInterrupt


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(), "mine")
    with pytest.raises(CheckpointError, match=r"meta.json: config_digest is that of another"):
        load_checkpoint(tmp_path, "yours")


def test_a_checkpoint_of_another_recipe_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.checkpoint.RECIPE_VERSION", 1)
    save_checkpoint(tmp_path, checkpoint(), "mine")
    monkeypatch.undo()
    with pytest.raises(
        CheckpointError, match=r"recipe_version .*, got '1'.*Delete .* begin this run"
    ):
        load_checkpoint(tmp_path, "mine")


def test_generators_go_on_alike(tmp_path: Path) -> None:
    def draw() -> list[float]:
        import random

        import numpy as np

        # A normal draw leaves half of its pair behind, which is state, too.
        python, numpy = random.gauss(0, 1), float(np.random.standard_normal())
        return [python, random.random(), numpy, float(np.random.rand()), torch.rand(()).item()]

    seed_everything(3)
    draw()
    states = read_generators(CPU)
    expected = [draw(), draw()]
    seed_everything(4)
    put_generators(states, CPU)
    assert [draw(), draw()] == expected


def test_weights_are_read_as_they_were_written_ties_once(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model, other = Tied(), Tied()
    save_weights(tmp_path, model, config_digest="mine", facts={"threads": 1})
    tensors, meta = read_bundle(tmp_path, way_out="")
    assert meta == {"config_digest": "mine", "facts": {"threads": 1}}
    assert "embedding.weight" in tensors
    assert not {"output.weight", "table"} & tensors.keys()
    load_weights(tmp_path, other, config_digest="mine")
    assert other.output.weight is other.embedding.weight
    for name, weight in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], weight), name


def test_weights_of_another_model_or_configuration_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path, Tied(), config_digest="mine", facts={})
    with pytest.raises(CheckpointError, match="config_digest is that of another configuration"):
        load_weights(tmp_path, Tied(), config_digest="yours")
    with pytest.raises(
        CheckpointError,
        match=r"'embedding.weight' does not fit the model, got '\[7, 5\] torch.float32'. "
        r"Allowed: \[7, 3\] torch.float32.",
    ):
        load_weights(tmp_path, Tied(width=3))
    with pytest.raises(CheckpointError, match="'bias' does not fit the model, got 'nothing'"):
        load_weights(tmp_path, nn.Linear(5, 7))
