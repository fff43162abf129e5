"""The bench of one device on its CPU path, in small sizes."""

import shlex
import sys
from types import ModuleType

import pytest
import torch

from benchmarks import gpu
from benchmarks.training_step import Training
from core.precision import choose
from core.translation.settings import ModelSettings

_SMALL = shlex.split(
    "--device cpu --d-model 16 --layers 1 --vocab 300 --batch 4 --length 5 --repeats 1 "
    "--product 64 --sentences 4 --data pocket --pairs 40 --trial-d-model 16 --trial-vocab 300 "
    "--pretrain-steps 2 --finetune-steps 2 --eval-every 2 --side-by-side 1"
)


def test_every_figure_and_those_of_a_peer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peer = ModuleType("a_peer")
    peer.measure = lambda _: [gpu.Figure("training", "d_model 16", 1.0, "target tokens/s")]
    monkeypatch.setitem(sys.modules, "a_peer", peer)
    gpu.main([*_SMALL, "--peer", "a_peer"])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[3:]]
    assert [row[0].removeprefix("| ") for row in rows] == ["core"] * 8 + ["a_peer"]
    assert [row[1] for row in rows] == [
        "matrix product",
        "training",
        "MFU",
        "greedy",
        "beam 5",
        "first trial",
        "evaluations",
        "fine-tunings",
        "training",
    ]
    assert all(float(row[3].split()[0].replace(",", "")) >= 0 for row in rows)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_update_does_not_wait_for_the_device() -> None:
    device = torch.device("cuda")
    settings = ModelSettings(d_model=64, num_layers=2, d_ff=128)
    training = Training(settings, device, choose("auto", device), vocab=500, batch=16, length=9)
    for _ in range(3):
        training.step()
    torch.cuda.set_sync_debug_mode("error")  # has every wait raise
    try:
        for _ in range(3):
            training.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
