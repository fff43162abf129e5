"""Sentences a second of greedy and beam search, by an untrained model on synthetic sources.

    python -m benchmarks.decoding --d-model 128 --vocab 8000 --sentences 400 --length 13

Past half the length each step ends a hypothesis with probability 2 / length, so that sentences
leave their batch one by one. Seconds are the thread's own where one thread computes.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from core.translation.decoding import beam_search, greedy
from core.translation.model import DecoderState, Transformer
from core.translation.settings import ModelSettings
from core.translation.special import EOS_ID, PAD_ID, SPECIAL_TOKENS


class Steered(Transformer):
    """A model whose hypotheses end by chance."""

    mean_length = 13
    place = 0

    def step(self, tokens: Tensor, state: DecoderState) -> Tensor:
        """Remembers how far the hypotheses have come."""
        self.place = state.length
        return super().step(tokens, state)

    def project(self, states: Tensor) -> Tensor:
        """Logits, that of `<eos>` far above or far below the others."""
        logits = super().project(states)
        hazard = 2 / self.mean_length if 2 * self.place > self.mean_length else 0
        ends = torch.rand(logits.shape[:-1], device=logits.device) < hazard
        logits[..., EOS_ID] = torch.where(ends, 1e3, -1e3)
        return logits


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--d-model", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--layers", type=int, default=3, help="of encoder and decoder each")
    parser.add_argument("--vocab", type=int, default=8000)
    parser.add_argument("--sentences", type=int, default=400)
    parser.add_argument("--length", type=int, default=13, help="mean length of both sides")
    parser.add_argument("--max-len", type=int, default=64)
    parser.add_argument("--beam-size", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Measures and prints a line for each kind of search."""
    args = read_arguments()
    torch.manual_seed(1)
    torch.set_num_threads(args.threads)
    settings = ModelSettings(
        d_model=args.d_model,
        num_heads=args.heads,
        num_layers=args.layers,
        d_ff=4 * args.d_model,
    )
    model = Steered(settings, args.vocab, PAD_ID)
    model.mean_length = args.length
    dice = random.Random(1)
    tokens = range(len(SPECIAL_TOKENS), args.vocab)
    sources = [
        dice.choices(tokens, k=max(1, round(dice.gauss(args.length, args.length / 3))))
        for _ in range(args.sentences)
    ]
    common = {"max_len": args.max_len, "batch_size": args.batch_size}
    searches: dict[str, Callable[[], list[list[int]]]] = {
        "greedy": lambda: greedy(model, sources, **common),
        f"beam {args.beam_size}": lambda: beam_search(
            model, sources, beam_size=args.beam_size, **common
        ),
    }
    clock = time.thread_time if args.threads == 1 else time.perf_counter
    for name, search in searches.items():
        seconds = []
        for _ in range(5):
            torch.manual_seed(1)
            start = clock()
            hypotheses = search()
            seconds.append(clock() - start)
        rate = len(sources) / statistics.median(seconds)
        mean = statistics.mean(map(len, hypotheses))
        print(f"{name}: {rate:.0f} sentences/s, {mean:.1f} tokens a sentence")


if __name__ == "__main__":
    main()
