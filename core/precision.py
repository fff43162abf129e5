"""Number format of a run: the lowest precision that its device does well."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

PrecisionName = Literal["fp32", "bf16", "fp16"]
Requested = Literal["auto", "fp32", "bf16", "fp16"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Either makes bf16 matrix products faster than fp32 ones. With AVX2 alone they are emulated, tens
# of times slower (512 squared: 208 ms, and 4.5 in fp32).
_BF16_CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Precision:
    """Weights stay fp32; `name` is what matrix products and attention are computed in."""

    name: PrecisionName
    device_type: str

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which a model is run."""
        if self.name == "fp32":
            return nullcontext()
        return torch.autocast(self.device_type, dtype=self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        """What `name` is to torch."""
        return _DTYPES[self.name]

    @property
    def needs_scaler(self) -> bool:
        """Whether small gradients vanish without a loss scale: fp16 has 5 bits of exponent."""
        return self.name == "fp16"


def choose(requested: Requested, device: torch.device) -> Precision:
    """The precision for `requested`: `auto` is decided by the device, all else is obeyed."""
    if requested == "auto":
        return Precision(_best_of(device), device.type)
    return Precision(requested, device.type)


def _best_of(device: torch.device) -> PrecisionName:
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability >= (8, 0):
            return "bf16"
        # Tensor cores for fp16 came with 7.0; most devices before that are slower in fp16.
        return "fp16" if capability >= (7, 0) else "fp32"
    if device.type == "cpu" and _BF16_CPU_FLAGS & set(read_cpu_field("flags").split()):
        return "bf16"
    return "fp32"


def read_cpu_field(name: str) -> str:
    """A field of the first CPU as Linux tells it, such as `flags`; empty where it does not say."""
    try:
        text = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    for line in text.split("\n"):
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
