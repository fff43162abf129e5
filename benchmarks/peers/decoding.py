"""Decoding Multi30k's validation sentences on one core with the same weights: sentences a second.

    HPO_DATA=FOLDER python -m benchmarks.peers.decoding [--rounds 5]

The weights are the project's after a few hundred updates, trained once and kept in the cache
folder. Every round runs each decoder once, in a process of its own. A ratio counts only where 99
percent of the hypotheses are the same, token by token.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.peers.bounds import Bound, print_bounds
from benchmarks.peers.processes import (
    all_cores,
    ask,
    find_data,
    find_peers,
    one_core,
    own_python,
    parser,
    run_command,
)
from benchmarks.peers.setting import DECODED
from benchmarks.peers.weights import train_weights

AGREEMENT = 0.99
"""Share of identical hypotheses below which two decoders did not do the same."""
_FEW = 40
"""Sentences that suffice where a decoder takes them one by one at the same rate."""


@dataclass(frozen=True)
class Decoder:
    """A contestant."""

    name: str
    module: str
    settings: dict[str, Any] = field(default_factory=dict)
    widths: tuple[int, ...] = (1, 4)
    at_most: int = DECODED
    """Sentences that it is given."""


OURS = Decoder("ours", "decode_ours")
GENERATE = Decoder("HF generate", "decode_transformers", {"tuned": False})
CTRANSLATE = Decoder("CTranslate2 float32", "decode_ctranslate2", {"compute_type": "float32"})
DECODERS = (
    GENERATE,
    Decoder("HF generate, tuned", "decode_transformers", {"tuned": True}),
    CTRANSLATE,
    Decoder("CTranslate2 int8", "decode_ctranslate2", {"compute_type": "int8"}),
    Decoder("nn.Transformer, no cache", "decode_loop", widths=(1,), at_most=_FEW),
    OURS,
)
BOUNDS = {
    (1, GENERATE.name): Bound("greedy sentences/s to HF generate's", 4.2, 7),
    (1, CTRANSLATE.name): Bound("greedy sentences/s to CTranslate2 float32's", 0.58, 1),
    (4, GENERATE.name): Bound("beam 4 sentences/s to HF generate's", 5.8, 9),
    (4, CTRANSLATE.name): Bound("beam 4 sentences/s to CTranslate2 float32's", 0.6, 1),
}


@dataclass
class Answers:
    """What a decoder did in all rounds with one width."""

    rates: list[float] = field(default_factory=list)
    """Sentences a second."""
    hypotheses: list[list[int]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """The median."""
        return statistics.median(self.rates)

    def agreement(self, with_ours: Answers) -> float:
        """Share of its hypotheses that equal ours."""
        same = sum(
            one == other for one, other in zip(self.hypotheses, with_ours.hypotheses, strict=False)
        )
        return same / len(self.hypotheses)


def main() -> None:
    arguments = _parse()
    data, peers = find_data(), find_peers(arguments.peers)
    train_weights(
        data, arguments.cache, arguments.d_model, arguments.trained, threads=len(all_cores())
    )
    request = {
        "data": str(data),
        "cache": str(arguments.cache),
        "d_model": arguments.d_model,
        "trained": arguments.trained,
    }
    core = one_core()
    found = {(width, one.name): Answers() for one in DECODERS for width in one.widths}
    for number in range(1, arguments.rounds + 1):
        print(f"round {number}, load {os.getloadavg()[0]:.1f}")
        for decoder in DECODERS:
            for width in decoder.widths:
                asked = request | decoder.settings
                asked |= {"beam_size": width}
                asked |= {"sentences": min(arguments.sentences, decoder.at_most)}
                python = own_python() if decoder is OURS else peers
                answer = ask(python, decoder.module, asked, core)
                answers = found[width, decoder.name]
                answers.hypotheses = answer["hypotheses"]
                answers.rates.append(len(answers.hypotheses) / answer["seconds"])
                print(f"  {decoder.name:26} beam {width} {answers.rates[-1]:8.1f}", flush=True)
    _print_table(found)
    print_bounds(f"decoding, d_model {arguments.d_model}", _measured(found))


def _print_table(found: dict[tuple[int, str], Answers]) -> None:
    print(f"\n{'sentences/s, median':26} {'beam':>4} {'rate':>8} {'ours to it':>10}  identical")
    for (width, name), answers in sorted(found.items(), key=lambda item: item[0][0]):
        ours = found[width, OURS.name]
        fewer = len(answers.hypotheses) < len(ours.hypotheses)
        few = f", from {len(answers.hypotheses)} sentences" if fewer else ""
        print(
            f"{name:26} {width:4} {answers.rate:8.1f} {ours.rate / answers.rate:10.2f}  "
            f"{100 * answers.agreement(ours):.1f} percent{few}"
        )


def _measured(found: dict[tuple[int, str], Answers]) -> Iterator[tuple[Bound, float | None]]:
    for (width, name), bound in BOUNDS.items():
        ours, theirs = found[width, OURS.name], found[width, name]
        is_same = theirs.agreement(ours) >= AGREEMENT
        yield bound, ours.rate / theirs.rate if is_same else None


def _parse() -> argparse.Namespace:
    command = parser("decoding", __doc__)
    command.add_argument("--d-model", type=int, default=128)
    command.add_argument("--rounds", type=int, default=5)
    command.add_argument("--sentences", type=int, default=DECODED)
    command.add_argument("--trained", type=int, default=600, help="updates of the weights")
    return command.parse_args()


if __name__ == "__main__":
    run_command(main)
