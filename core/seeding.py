"""The state of every random generator that a run may draw from: set, read, put back."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seeds the generators of Python, NumPy and torch, on every device."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def read_generators(device: torch.device) -> dict[str, torch.Tensor]:
    """The state of all generators as tensors, by name; `put_generators` takes it back."""
    _, words, gauss = random.getstate()
    numpy_state = np.random.get_state(legacy=False)
    assert isinstance(numpy_state, dict)
    twister = numpy_state["state"]
    words_and_position = [*twister["key"].tolist(), twister["pos"], numpy_state["has_gauss"]]
    states = {
        "python": torch.tensor(words, dtype=torch.int64),
        "python_gauss": torch.tensor(math.nan if gauss is None else gauss, dtype=torch.float64),
        "numpy": torch.tensor(words_and_position, dtype=torch.int64),
        "numpy_gauss": torch.tensor(numpy_state["gauss"], dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def put_generators(states: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """Puts back what `read_generators` read.

    A device kind that the states know nothing of keeps its generator: a run that moved from the
    CPU to a GPU goes on, though not with the numbers it would have drawn.
    """
    gauss = states["python_gauss"].item()
    words = tuple(states["python"].tolist())
    random.setstate((3, words, None if math.isnan(gauss) else gauss))
    *keys, position, has_gauss = states["numpy"].tolist()
    key_array = np.asarray(keys, dtype=np.uint32)
    np.random.set_state(("MT19937", key_array, position, has_gauss, states["numpy_gauss"].item()))
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
