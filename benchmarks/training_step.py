"""Training steps a second as a run makes them: batches, forward, loss, backward, clip and AdamW.

    python -m benchmarks.training_step --d-model 128 --vocab 8000 --batch 128 --length 15

On random tokens, in lengths that vary as captions' do, those of a pair by themselves. Seconds are
the thread's own where one thread computes, so that a busy machine disturbs less, else those of the
clock. GFLOP/s count matrix products on tokens, not on padding.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

import torch

from core.kernels import kernels_for
from core.nn import token_cross_entropy
from core.nn.blocks import lay_out
from core.optimizer import StageOptimizer
from core.precision import Precision, choose
from core.task import Stage
from core.translation.batching import BatchPlan
from core.translation.effort import update_flops
from core.translation.model import Transformer
from core.translation.settings import ModelSettings, PretrainSettings
from core.translation.special import PAD_ID, SPECIAL_TOKENS
from core.translation.tokens import TokenRows

_MAX_LEN = 64
_BATCHES_AN_EPOCH = 8


class Training:
    """A model that is trained on random sentence pairs."""

    def __init__(
        self,
        settings: ModelSettings,
        device: torch.device,
        precision: Precision,
        *,
        vocab: int,
        batch: int,
        length: int,
        label_smoothing: float = 0.1,
    ) -> None:
        """`length` is the mean of both sides, in tokens."""
        self._device, self._precision = device, precision
        self._label_smoothing = label_smoothing
        self._model = Transformer(settings, vocab, PAD_ID).to(self._device)
        stage = Stage("pretrain", 0, 10_000, PretrainSettings(), 1, 10_000, 1.0)
        self._optimizer = StageOptimizer(self._model, stage, precision)
        pairs = _BATCHES_AN_EPOCH * batch
        sources, targets = (draw_sentences(vocab, length, pairs, seed=seed) for seed in (1, 2))
        self._plan = BatchPlan(
            TokenRows.of(sources),
            TokenRows.of(targets),
            batch_size=batch,
            max_len=_MAX_LEN,
            seed=1,
            block_rows=kernels_for(self._device).block_rows,
        )
        self._steps = 0
        source, target = (
            sum(min(len(one) + 1, _MAX_LEN) for one in side) / pairs for side in (sources, targets)
        )
        self.tokens = batch * target
        """Target tokens of an update, in the mean over an epoch of 8."""
        self.flops = batch * update_flops(settings, vocab, source, target)
        """Of an update, likewise."""

    def step(self) -> None:
        """Makes one update."""
        batch = self._plan.batch(self._steps).to(self._device)
        self._steps += 1
        with self._precision.autocast():
            loss = token_cross_entropy(
                self._model.read(batch.src, batch.tgt_in),
                self._model.embedding.weight,
                lay_out(batch.labels),
                ignore_id=PAD_ID,
                label_smoothing=self._label_smoothing,
            )
        self._optimizer.update(loss)


def draw_sentences(vocab: int, length: int, count: int, *, seed: int = 1) -> list[list[int]]:
    """Random tokens, without specials; lengths deviate by a third of their mean, as captions'."""
    dice = random.Random(seed)
    ids = range(len(SPECIAL_TOKENS), vocab)
    lengths = (dice.gauss(length, length / 3) for _ in range(count))
    return [dice.choices(ids, k=max(1, round(one))) for one in lengths]


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--d-model", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--layers", type=int, default=3, help="of encoder and decoder each")
    parser.add_argument("--d-ff", type=int, help="default: 4 times d_model")
    parser.add_argument("--vocab", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--length", type=int, default=15, help="mean of both sides")
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
    cpu = torch.device("cpu")
    training = Training(
        settings,
        cpu,
        choose("fp32", cpu),
        vocab=args.vocab,
        batch=args.batch,
        length=args.length,
        label_smoothing=args.label_smoothing,
    )
    clock = time.thread_time if args.threads == 1 else time.perf_counter
    for _ in range(3):
        training.step()
    seconds = []
    for _ in range(args.steps):
        start = clock()
        training.step()
        seconds.append(clock() - start)
    work = training.flops / 1e9
    middle, best = statistics.median(seconds), min(seconds)
    print(
        f"{work:.2f} GFLOP a step; median {1 / middle:.2f} steps/s, {work / middle:.1f} GFLOP/s; "
        f"best {1 / best:.2f} steps/s; {args.threads} thread(s)"
    )
    if args.profile:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            for _ in range(5):
                training.step()
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=35))


if __name__ == "__main__":
    main()
