"""Training on one core: target tokens a second and peak memory, ours beside what others use.

    HPO_DATA=FOLDER python -m benchmarks.peers.training [--rounds 3] [--d-model 256 128]

Every round runs each trainer once, in a process of its own, and a matrix product as large as a
core does best; figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.peers.bounds import Bound, print_bounds
from benchmarks.peers.processes import (
    ask,
    find_data,
    find_peers,
    one_core,
    own_python,
    parser,
    run_command,
)
from benchmarks.peers.setting import model_settings, read_captions
from core.precision import choose
from core.translation.effort import update_flops

PEAK_SIZE = 2_048
_BOUND_WIDTH = 256
"""The width for which memory and the share of the core's rate are promised."""
Found = dict[str, Any]
"""What a trainer answered."""


@dataclass(frozen=True)
class Trainer:
    """A contestant."""

    name: str
    module: str
    tuned: bool = False


OURS = Trainer("ours", "train_ours")
AS_WRITTEN = Trainer("Seq2SeqTrainer as people write it", "train_transformers")
TUNED = Trainer("Seq2SeqTrainer, tuned", "train_transformers", tuned=True)
TUTORIAL = Trainer("nn.Transformer in a tutorial loop", "train_loop")
TRAINERS = (AS_WRITTEN, TUNED, TUTORIAL, OURS)


def main() -> None:
    arguments = _parse()
    data, peers = find_data(), find_peers(arguments.peers)
    _, tokenizer = read_captions(data, arguments.cache)  # trained here, not on a trainer's time
    precision = choose("auto", torch.device("cpu")).name
    if precision == "fp32":
        print("This CPU has no bf16 instructions: ours and the tuned one train in fp32.")
    core = one_core()
    for d_model in arguments.d_model:
        request = {
            "data": str(data),
            "cache": str(arguments.cache),
            "d_model": d_model,
            "warmup": arguments.warmup,
            "steps": arguments.steps,
        }
        found: dict[str, list[Found]] = {trainer.name: [] for trainer in TRAINERS}
        peaks = []
        for seed in range(1, arguments.rounds + 1):
            product = {"size": PEAK_SIZE, "precision": precision}
            peaks.append(ask(own_python(), "gemm", product, core)["gflops"])
            print(
                f"d_model {d_model}, round {seed}, load {os.getloadavg()[0]:.1f}: "
                f"{peaks[-1]:.1f} GFLOP/s in {precision}"
            )
            for trainer in TRAINERS:
                python = own_python() if trainer is OURS else peers
                one = request | {"seed": seed, "tuned": trainer.tuned}
                answer = ask(python, trainer.module, one, core)
                found[trainer.name].append(answer)
                print(
                    f"  {trainer.name:36} {_rate(answer):7.0f} tokens/s, "
                    f"{answer['peak_rss_mb']:.0f} MB, {answer['precision']}",
                    flush=True,
                )
        _print_table(d_model, found)
        shares = [
            _work(d_model, answer, tokenizer.vocab_size) / peak
            for answer, peak in zip(found[OURS.name], peaks, strict=True)
        ]
        share = statistics.median(shares)
        print(f"ours: {share:.2f} of the core's rate for {PEAK_SIZE:,} cubed in {precision}")
        print_bounds(f"training, d_model {d_model}, {precision}", _measured(d_model, found, share))


def _rate(answer: Found) -> float:
    """Target tokens a second, padding not counted."""
    return float(answer["tgt_tokens"] / answer["seconds"])


def _rates(answers: Sequence[Found]) -> float:
    return statistics.median([_rate(answer) for answer in answers])


def _memory(answers: Sequence[Found]) -> float:
    return statistics.median([answer["peak_rss_mb"] for answer in answers])


def _print_table(d_model: int, found: dict[str, list[Found]]) -> None:
    print(f"\n{f'd_model {d_model}':36} {'tokens/s':>9} {'ratio':>6} {'peak RSS':>9}  in rounds")
    first = _rates(found[AS_WRITTEN.name])
    for name, answers in found.items():
        rate = _rates(answers)
        rounds = " ".join(f"{_rate(answer):.0f}" for answer in answers)
        memory = f"{_memory(answers):.0f} MB"
        print(f"{name:36} {rate:9.0f} {rate / first:6.2f} {memory:>9}  {rounds}")


def _measured(
    d_model: int, found: dict[str, list[Found]], share: float
) -> Iterator[tuple[Bound, float]]:
    ours, written, tuned = (found[one.name] for one in (OURS, AS_WRITTEN, TUNED))
    rate = _rates(ours)
    yield Bound("target tokens/s to Seq2SeqTrainer's as written", 6.5, 8), rate / _rates(written)
    yield Bound("target tokens/s to Seq2SeqTrainer's tuned", 1.5, 2), rate / _rates(tuned)
    if d_model == _BOUND_WIDTH:
        yield Bound("share of the core's rate for matrix products", 0.45, 0.6), share
        memory = _memory(ours) / _memory(written)
        yield Bound("peak RSS to Seq2SeqTrainer's as written", 0.65, 0.5), memory


def _work(d_model: int, answer: Found, vocab_size: int) -> float:
    """GFLOP/s of the matrix products on tokens; those on padding are wasted and not counted."""
    pairs = answer["pairs"]
    src, tgt = answer["src_tokens"] / pairs, answer["tgt_tokens"] / pairs
    products = update_flops(model_settings(d_model), vocab_size, src, tgt)
    return float(pairs * products / answer["seconds"] / 1e9)


def _parse() -> argparse.Namespace:
    command = parser("training", __doc__)
    command.add_argument("--d-model", type=int, nargs="+", default=[256, 128])
    command.add_argument("--rounds", type=int, default=3)
    command.add_argument("--warmup", type=int, default=4, help="updates before the clock starts")
    command.add_argument("--steps", type=int, default=20, help="updates on the clock")
    return command.parse_args()


if __name__ == "__main__":
    run_command(main)
