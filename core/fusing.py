"""How many runs to train as one: the one rule, by measurement where fusing can pay."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from core.machine import occupy
from core.nn.dropout import drawing_from
from core.optimizer import StageOptimizer
from core.precision import Precision, Requested, choose
from core.stack import Stack
from core.task import FusableTask, Placement

_LEAST_GAIN = 1.1
"""Twice the runs in one are worth it where they make this many times the steps a second. What they
cost besides: a place on the device for each, and evaluations that wait for one another."""


MOST = 32
"""Beyond it a proposal is made with so few results known that a search is none."""


def choose_size(
    task: FusableTask, placement: Placement, precision: Requested, most: int = MOST
) -> int:
    """The number of runs like `task`, at most `most`, to train as one on a device.

    `precision` is a protocol's.

    On the CPU it is 1 without a measurement: there a step is bound by arithmetic, and stacking
    spares none (docs/log.md, "Fused fine-tuning on the CPU").
    """
    device = occupy(placement)
    if device.type == "cpu":
        return 1
    chosen = choose(precision, device)
    return best_size(lambda size: measure_rate(task, device, chosen, size), most)


def best_size(rate_of: Callable[[int], float], most: int) -> int:
    """The largest of 1, 2, 4, ... up to `most` that gained enough over the one before it.

    `rate_of` gives the steps a second of that many runs together, and may raise OutOfMemoryError:
    1 also where not even one fits, as that run will say by itself.
    """
    best, rate, size = 1, 0.0, 1
    while size <= most:
        try:
            found = rate_of(size)
        except torch.OutOfMemoryError:
            break
        if found < rate * _LEAST_GAIN:
            break
        best, rate, size = size, found, 2 * size
    return best


def measure_rate(
    task: FusableTask,
    device: torch.device,
    precision: Precision,
    size: int,
    steps: int = 13,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Steps a second that `size` runs make together in their last stage, each on batches of its
    own.

    The median of `steps`, the first three left out where there are more. Draws from the global
    generators.
    """
    stage = task.stages[-1]
    models = [task.build_model().to(device) for _ in range(size)]
    optimizers = [StageOptimizer(model, stage, precision, is_flat=True) for model in models]
    stack = Stack(models[0], optimizers)
    generators = [torch.Generator().manual_seed(index) for index in range(size)]
    seconds = []
    for step in range(min(steps, stage.steps)):
        start = clock()
        places = [(step * size + index) % stage.steps for index in range(size)]
        batches = [task.batch(stage, place) for place in places]
        with precision.autocast(), drawing_from(generators):
            losses = task.losses(stack.model, batches, [stage] * size)
        stack.update(losses)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(clock() - start)
    return size / statistics.median(seconds[3:] or seconds)
