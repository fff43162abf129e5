"""What a variant of the product is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from unittest import mock

from torch import Tensor

from core.kernels import CPU
from core.nn import token_cross_entropy
from core.precision import Requested
from core.translation.batching import BatchPlan
from core.translation.model import Transformer

Context = Callable[[], AbstractContextManager[object]]
Read = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]
"""Decoder states of blocks of sources and targets, as `Transformer.read`."""


@dataclass(frozen=True)
class Variant:
    """The product with one thing changed."""

    name: str
    context: Context = nullcontext
    """Entered around everything the variant does: its patches."""
    read: Callable[[Transformer], Read] = lambda model: model.read
    """What is called in the place of the model's `read`."""
    plan: type[BatchPlan] = BatchPlan
    block_rows: int = CPU.block_rows
    loss: Callable[..., Tensor] = token_cross_entropy
    precision: Requested = "auto"
    search: Mapping[str, int] | None = None
    """Arguments of the search that differ."""


def patch(*targets: str, by: object) -> Context:
    """A context in which the names `targets` mean `by`."""

    @contextmanager
    def patched() -> Iterator[None]:
        with ExitStack() as stack:
            for target in targets:
                stack.enter_context(mock.patch(target, by))
            yield

    return patched


by_sdpa = patch("core.kernels.CPU", by=replace(CPU, uses_fused_attention=True))
"""Attention by torch's fused kernel."""
