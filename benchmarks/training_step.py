"""Training steps a second on synthetic batches: forward, loss, backward, clip and AdamW.

    python -m benchmarks.training_step --d-model 128 --vocab 8000 --batch 128 --length 15

Seconds are the thread's own where one thread computes, so that a busy machine disturbs less, else
those of the clock. GFLOP/s count matrix products, sources and targets equally long.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from core.nn import token_cross_entropy
from core.translation.effort import update_flops
from core.translation.model import Transformer
from core.translation.settings import ModelSettings
from core.translation.special import PAD_ID, SPECIAL_TOKENS


def build_step(args: argparse.Namespace, settings: ModelSettings) -> Callable[[], Tensor]:
    """A function that does one training step and returns its loss."""
    model = Transformer(settings, args.vocab, PAD_ID)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    first = len(SPECIAL_TOKENS)
    src, tgt_in, labels = torch.randint(first, args.vocab, (3, args.batch, args.length))

    def step() -> Tensor:
        optimizer.zero_grad()
        states = model(src, tgt_in)
        weight = model.embedding.weight
        loss = token_cross_entropy(
            states, weight, labels, ignore_id=PAD_ID, label_smoothing=args.label_smoothing
        )
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.detach()

    return step


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--d-model", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--layers", type=int, default=3, help="of encoder and decoder each")
    parser.add_argument("--d-ff", type=int, help="default: 4 times d_model")
    parser.add_argument("--vocab", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--length", type=int, default=15)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--label-smoothing", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    return parser.parse_args()


def main() -> None:
    """Measures and prints one line."""
    args = read_arguments()
    torch.manual_seed(1)
    torch.set_num_threads(args.threads)
    settings = ModelSettings(
        d_model=args.d_model,
        num_heads=args.heads,
        num_layers=args.layers,
        d_ff=args.d_ff or 4 * args.d_model,
        dropout=args.dropout,
    )
    step = build_step(args, settings)
    clock = time.thread_time if args.threads == 1 else time.perf_counter
    for _ in range(3):
        step()
    seconds = []
    for _ in range(args.steps):
        start = clock()
        step()
        seconds.append(clock() - start)
    by_pair = update_flops(settings, args.vocab, args.length, args.length)
    work = args.batch * by_pair / 1e9
    middle, best = statistics.median(seconds), min(seconds)
    print(
        f"{work:.2f} GFLOP a step; median {1 / middle:.2f} steps/s, {work / middle:.1f} GFLOP/s; "
        f"best {1 / best:.2f} steps/s, {work / best:.1f} GFLOP/s; {args.threads} thread(s)"
    )
    if args.profile:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            for _ in range(5):
                step()
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=35))


if __name__ == "__main__":
    main()
