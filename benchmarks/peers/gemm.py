"""The rate of one large matrix product, which bounds that of a training."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

from benchmarks.peers.processes import Request, answer

_ROUNDS = 7


def measure(request: Request) -> dict[str, Any]:
    """GFLOP/s of the product of two square matrices of `size` in `precision`, the median."""
    size = request["size"]
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[request["precision"]]
    left, right = torch.randn(2, size, size).to(dtype)
    seconds = []
    for _ in range(1 + _ROUNDS):
        began = time.perf_counter()
        torch.mm(left, right)
        seconds.append(time.perf_counter() - began)
    return {"gflops": 2 * size**3 / statistics.median(seconds[1:]) / 1e9}


if __name__ == "__main__":
    answer(measure)
