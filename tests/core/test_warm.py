"""What a worker loads before it is told its device."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WARM = """
import sys
import torch

def asked(*_):
    raise SystemExit("CUDA was asked")

torch.cuda._is_compiled = lambda: True
torch.cuda._lazy_init = asked
torch._C._cuda_getCurrentRawStream = None  # a build for the CPU has none
torch._C._cuda_getDeviceCount = asked
torch.cuda._raw_device_count_nvml = asked

from core.run import warm
warm()
assert {"core.train", "core.translation.task", "pyarrow.parquet"} <= set(sys.modules)
print("warm")
torch.cuda.is_available()
"""


def test_warming_up_loads_what_a_run_needs_and_asks_no_cuda() -> None:
    # In a process of its own: here all is imported already.
    done = subprocess.run(
        [sys.executable, "-c", WARM],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == "warm\n"
    assert done.stderr == "CUDA was asked\n", "the last line would have noticed"
