"""Tables of made-up curves, on which search is designed, so that real ones can judge it.

    python -m benchmarks.replay.families FOLDER

- `crossing`: what ends best starts slowest, so that early ranks are the wrong way round;
- `noisy`: small differences under checkpoints' noise;
- `staged`: a pretraining that says little, then a fine-tuning that says the most;
- `plain`: curves that rise together and keep their ranks.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FAMILIES = ("crossing", "noisy", "staged", "plain")
SPACE: dict[str, list[Any]] = {
    "bpe": [1000, 4000, 16000],
    "layers": [1, 2, 4],
    "dim": [128, 256, 512],
    "lr": [0.0001, 0.0003, 0.001, 0.003],
    "schedule": ["linear", "cosine", "constant"],
}
LENGTH = 50
"""Checkpoints of a median curve."""


def make_table(family: str, seed: int) -> dict[str, Any]:
    """A table in the format that is replayed; the same for the same family and seed."""
    generator = np.random.default_rng([FAMILIES.index(family), seed])
    points = list(itertools.product(*SPACE.values()))
    inputs = np.array(
        [
            [v.index(x) / (len(v) - 1) for v, x in zip(SPACE.values(), p, strict=True)]
            for p in points
        ]
    )
    quality, second, third = (_surface(inputs, generator) for _ in range(3))
    own = generator.normal(size=len(points))
    configs = []
    for i, point in enumerate(points):
        length = int(LENGTH * generator.uniform(0.7, 1.3))
        done = np.arange(1, length + 1) / LENGTH
        noise = generator.normal(size=length)
        if family == "crossing":
            end = 20 + 4 * quality[i] + 0.4 * own[i]
            bleu = end * (1 - 0.9 * np.exp(-done / np.exp(-1.6 + 0.7 * quality[i])))
        elif family == "noisy":
            bleu = (20 + 0.8 * quality[i] + 0.3 * own[i]) * (1 - np.exp(-6 * done)) + 0.4 * noise
        elif family == "staged":
            begin = (14 + 2 * second[i]) * (1 - np.exp(-6 * np.minimum(done, 0.5)))
            gain = 5 + 2 * quality[i] + 0.3 * own[i] - 0.5 * second[i]
            bleu = begin + gain * (1 - np.exp(-10 * np.maximum(done - 0.5, 0))) + 0.1 * noise
        else:
            end = 20 + 3 * quality[i] + 0.3 * own[i]
            bleu = end * (1 - np.exp(-done / np.exp(-1.5 + 0.1 * second[i])))
        if third[i] < -1.8:  # what does not train at all
            bleu = np.minimum(bleu, 1.0 + 0.2 * noise)
        bleu = np.maximum(bleu, 0.01)
        # Perplexity is per subword, so that its level depends on their number.
        ppl = np.exp(4.0 - 0.9 * np.log(bleu) + 0.6 * inputs[i, 0])
        weight = 0.2 + 0.8 * point[1] / 4 * (point[2] / 512)
        configs.append(
            dict(zip(SPACE, point, strict=True))
            | {"bleu": bleu.tolist(), "ppl": ppl.tolist(), "cost": 100 * weight}
        )
    return {"corpus": f"{family}-{seed}", "space": SPACE, "configs": configs}


def _surface(inputs: Floats, generator: np.random.Generator) -> Floats:
    """A smooth function of the points, standardised: one draw of a process with additive parts."""
    covariance = np.zeros((len(inputs), len(inputs)))
    gaps = (inputs[:, None, :] - inputs[None, :, :]) ** 2
    weights = generator.dirichlet(np.ones(inputs.shape[1]))
    for place, weight in enumerate(weights):
        covariance += weight * np.exp(-gaps[:, :, place] / (2 * 0.5**2))
    covariance += 0.5 * np.exp(-gaps.sum(axis=2) / (2 * 0.7**2))
    values, vectors = np.linalg.eigh(covariance)
    drawn = vectors @ (np.sqrt(np.maximum(values, 0.0)) * generator.normal(size=len(inputs)))
    return np.asarray((drawn - drawn.mean()) / drawn.std())


def main(folder: Path) -> None:
    """Writes a table of each family."""
    folder.mkdir(parents=True, exist_ok=True)
    for family in FAMILIES:
        (folder / f"{family}.json").write_text(json.dumps(make_table(family, 0)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
