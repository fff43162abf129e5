"""Which device gets which precision, what `auto` overrules, and what a machine says of itself."""

import ctypes
import sys
from pathlib import Path

import pytest
import torch

from core import precision
from core.machine import describe, describe_changes, occupy, peak_memory_bytes
from core.precision import Precision, choose
from core.task import Placement

CPU = torch.device("cpu")
CUDA = torch.device("cuda:0")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu sse2 avx2 fma", "fp32"),
        ("avx2 avx512f avx512_bf16", "bf16"),
        ("avx2 amx_bf16 amx_tile", "bf16"),
        ("avx512_bf16_like", "fp32"),
    ],
)
def test_auto_on_a_cpu(
    flags: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: {flags}\n")
    monkeypatch.setattr(precision, "_CPUINFO", cpuinfo)
    assert choose("auto", CPU) == Precision(expected, "cpu")


def test_auto_where_the_system_does_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_CPUINFO", tmp_path / "missing")
    assert choose("auto", CPU).name == "fp32"


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((6, 1), "fp32"), ((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")],
)
def test_auto_on_a_gpu(
    capability: tuple[int, int], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose("auto", CUDA) == Precision(expected, "cuda")


@pytest.mark.parametrize(
    ("name", "dtype", "needs_scaler"),
    [
        ("fp32", torch.float32, False),
        ("bf16", torch.bfloat16, False),
        ("fp16", torch.float16, True),
    ],
)
def test_a_named_precision_is_obeyed(name: str, dtype: torch.dtype, needs_scaler: bool) -> None:
    chosen = choose(name, CPU)
    assert (chosen.name, chosen.needs_scaler) == (name, needs_scaler)
    with chosen.autocast():
        assert (torch.ones(2, 3) @ torch.ones(3, 5)).dtype == dtype


def test_a_machine_says_what_decides_the_last_digits() -> None:
    device = occupy(Placement("cpu", threads=1))
    machine = describe(device, choose("fp32", device))
    assert machine["device"].startswith("cpu ")
    assert (machine["precision"], machine["threads"]) == ("fp32", 1)
    assert peak_memory_bytes(device) > 1e7
    assert describe_changes(machine, machine, 5) == ()
    assert describe_changes({**machine, "threads": 2}, machine, 5) == (
        "threads 1 from step 5 on, 2 before",
    )


@pytest.mark.skipif(sys.platform != "linux", reason="page faults are counted on Linux")
def test_freed_blocks_are_used_again() -> None:
    resource = pytest.importorskip("resource")
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("another allocator than glibc's")
    occupy(Placement("cpu", threads=1))

    def faults_of_use() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        # Freed together, 96 MiB would be handed back to the system.
        blocks = [torch.ones(6 * 2**20) for _ in range(4)]
        del blocks
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults_of_use()
    # Fresh memory has a fault for each of its 24,576 pages.
    assert min(faults_of_use() for _ in range(3)) < 2_000
