"""Speed on one device: training, decoding, a league trial, and trials side by side.

    python -m benchmarks.gpu [--device cuda] [--d-model 128 256 512 1024] [--side-by-side 1 2 4 8]

On the CPU, which it takes where there is no GPU, pass small sizes: it is the same code. MFU is the
share of the rate of a product of two square matrices, measured in the same precision on the same
device. Seconds are the clock's, the device waited for.

Rivals join by `--peer MODULE`: its `measure(arguments)` yields `Figure`s under the same names.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from benchmarks.decoding import Steered
from benchmarks.training_step import Training, draw_sentences
from core.precision import Precision, choose
from core.registry import find_task
from core.run import run
from core.settings import RunConfig
from core.task import Evaluation, Placement, Progress, Verdict
from core.translation.decoding import beam_search, greedy
from core.translation.settings import ModelSettings
from core.translation.special import PAD_ID

_WARMUP = 3


@dataclasses.dataclass(frozen=True)
class Figure:
    """One measured number."""

    name: str
    setting: str
    value: float
    unit: str


def measure(arguments: argparse.Namespace) -> Iterator[Figure]:
    """All figures of this project's own code."""
    device = torch.device(arguments.device)
    precision = choose("auto", device)
    peak = _product_rate(arguments, device, precision)
    size = arguments.product
    yield Figure("matrix product", f"{size:,} squared, {precision.name}", peak / 1e12, "TFLOP/s")
    for d_model in arguments.d_model:
        yield from _training(arguments, device, precision, d_model, peak)
    for d_model in arguments.d_model:
        yield from _decoding(arguments, device, precision, d_model)
    with tempfile.TemporaryDirectory() as folder:
        yield from _trials(arguments, Path(folder))


def _settings(arguments: argparse.Namespace, d_model: int) -> ModelSettings:
    return ModelSettings(d_model=d_model, num_layers=arguments.layers, d_ff=4 * d_model)


def _seconds_of(device: torch.device, repeats: int, work: Callable[[], object]) -> float:
    """Seconds of one `work`, after some to warm up."""
    for _ in range(_WARMUP):
        work()
    _wait_for(device)
    begun = time.perf_counter()
    for _ in range(repeats):
        work()
    _wait_for(device)
    return (time.perf_counter() - begun) / repeats


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _product_rate(
    arguments: argparse.Namespace, device: torch.device, precision: Precision
) -> float:
    """Operations a second of a large matrix product."""
    size = arguments.product
    # In the precision's own type: autocast would time its casts.
    left, right = torch.randn(2, size, size, device=device, dtype=precision.dtype)
    with torch.inference_mode():
        seconds = _seconds_of(device, arguments.repeats, lambda: left @ right)
    return float(2 * size**3 / seconds)


def _training(
    arguments: argparse.Namespace,
    device: torch.device,
    precision: Precision,
    d_model: int,
    peak: float,
) -> Iterator[Figure]:
    batch = arguments.batch
    training = Training(
        _settings(arguments, d_model),
        device,
        precision,
        vocab=arguments.vocab,
        batch=batch,
        length=arguments.length,
    )
    seconds = _seconds_of(device, arguments.repeats, training.step)
    share = training.flops / seconds / peak
    setting = f"d_model {d_model}, batch {batch}, {precision.name}"
    yield Figure("training", setting, training.tokens / seconds, "target tokens/s")
    yield Figure("MFU", setting, 100 * share, "percent")


def _decoding(
    arguments: argparse.Namespace, device: torch.device, precision: Precision, d_model: int
) -> Iterator[Figure]:
    model = Steered(_settings(arguments, d_model), arguments.vocab, PAD_ID).to(device)
    model.mean_length = arguments.length
    sources = draw_sentences(arguments.vocab, arguments.length, arguments.sentences)
    for name, beam_size in (("greedy", 1), (f"beam {arguments.beam_size}", arguments.beam_size)):

        def decode(beam_size: int = beam_size) -> None:
            with precision.autocast():
                if beam_size == 1:
                    greedy(model, sources, max_len=64)
                else:
                    beam_search(model, sources, beam_size=beam_size, max_len=64)

        seconds = _seconds_of(device, 1, decode)
        yield Figure(name, f"d_model {d_model}", len(sources) / seconds, "sentences/s")


def _trials(arguments: argparse.Namespace, folder: Path) -> Iterator[Figure]:
    """A first trial with both stages, then fine-tunings of its structure side by side."""
    cache = folder / "cache"
    config = _league_trial(arguments, cache)
    steps = f"{arguments.pretrain_steps:,} and {arguments.finetune_steps:,} steps"
    placement = Placement(arguments.device, arguments.threads)
    begun = time.perf_counter()
    outcome = run(config, placement, folder / "first", cache, _go_on)
    setting = f"d_model {arguments.trial_d_model}, {steps}"
    yield Figure("first trial", setting, time.perf_counter() - begun, "s")
    cost = outcome.cost
    share = 100 * cost.evaluate_s / (cost.pretrain_s + cost.finetune_s + cost.evaluate_s)
    yield Figure("evaluations", setting, share, "percent of training and evaluating")
    for count in arguments.side_by_side:
        seconds = _side_by_side(config, placement, folder / f"beside{count}", cache, count)
        rate = 3600 * count / seconds
        yield Figure("fine-tunings", f"{count} at a time, stage A cached", rate, "trials/hour")


def _league_trial(arguments: argparse.Namespace, cache: Path) -> RunConfig:
    spec = find_task("translation")
    protocol = spec.protocol.model_validate(
        {
            "pretrain_steps": arguments.pretrain_steps,
            "finetune_steps": arguments.finetune_steps,
            "eval_every": arguments.eval_every,
            "pretrain_pairs": arguments.pairs,
            "finetune_pairs": arguments.pairs,
            "validation_pairs": arguments.sentences,
            "vocab_size": arguments.trial_vocab,
            "batch_size": arguments.batch,
        }
    )
    data = spec.data.model_validate({"source": arguments.data})
    facts = spec.prepare(protocol, data, cache)
    groups = {
        "model": _settings(arguments, arguments.trial_d_model).model_dump(mode="json"),
        "finetune": spec.groups["finetune"].model_validate({}).model_dump(mode="json"),
    }
    return RunConfig(
        task=spec.name,
        groups=groups,
        protocol=protocol.model_dump(mode="json"),
        data=data.model_dump(mode="json"),
        data_digest=facts.digests["data"],
        structure_seed=1,
        seed=1,
    )


def _go_on(_: Progress | Evaluation) -> Verdict:
    return Verdict.CONTINUE


def _side_by_side(
    config: RunConfig, placement: Placement, folder: Path, cache: Path, count: int
) -> float:
    """Seconds from the start of `count` trials, each in a warm process, to the last one's end."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count + 1)
    children = [
        context.Process(
            target=_one_trial,
            args=(config.model_copy(update={"seed": 2 + i}), placement, folder / str(i), cache),
            kwargs={"barrier": barrier},
        )
        for i in range(count)
    ]
    for child in children:
        child.start()
    barrier.wait(timeout=300)
    begun = time.perf_counter()
    for child in children:
        child.join()
    seconds = time.perf_counter() - begun
    failed = [child.exitcode for child in children if child.exitcode]
    if failed:
        raise SystemExit(f"{len(failed)} of {count} trials side by side failed, see above")
    return seconds


def _one_trial(
    config: RunConfig, placement: Placement, folder: Path, cache: Path, *, barrier: object
) -> None:
    torch.zeros(1, device=placement.device)  # starts CUDA
    find_task(config.task).build(config, placement, cache)  # reads the data, which stay
    barrier.wait(timeout=300)  # type: ignore[attr-defined]
    run(config, placement, folder, cache, _go_on)


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    has_gpu = torch.cuda.is_available()
    parser.add_argument("--device", default="cuda" if has_gpu else "cpu")
    parser.add_argument("--d-model", type=int, nargs="+", default=[128, 256, 512, 1024])
    parser.add_argument("--layers", type=int, default=3, help="of encoder and decoder each")
    parser.add_argument("--vocab", type=int, default=8_000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--length", type=int, default=15, help="mean length of both sides")
    parser.add_argument("--repeats", type=int, default=30 if has_gpu else 3)
    parser.add_argument("--product", type=int, default=8_192 if has_gpu else 2_048)
    parser.add_argument("--sentences", type=int, default=1_014)
    parser.add_argument("--beam-size", type=int, default=5)
    trial = parser.add_argument_group("trials", "of the league, on the data given")
    trial.add_argument("--data", default=os.environ.get("HPO_DATA", "pocket"))
    trial.add_argument("--pairs", type=int, default=20_000)
    trial.add_argument("--trial-d-model", type=int, default=256)
    trial.add_argument("--trial-vocab", type=int, default=8_000)
    trial.add_argument("--pretrain-steps", type=int, default=1_500)
    trial.add_argument("--finetune-steps", type=int, default=500)
    trial.add_argument("--eval-every", type=int, default=250)
    trial.add_argument("--side-by-side", type=int, nargs="*", default=[1, 2, 4, 8])
    trial.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peer", action="append", default=[], help="a module that measures too")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints a line for each figure."""
    args = read_arguments(arguments)
    torch.manual_seed(1)
    torch.set_num_threads(args.threads)
    is_gpu = torch.device(args.device).type == "cuda"
    print(f"device: {torch.cuda.get_device_name(args.device) if is_gpu else 'the CPU'}")
    print("| who | what | setting | figure |\n|---|---|---|---|")
    measured = [("core", measure)]
    measured += [(name, importlib.import_module(name).measure) for name in args.peer]
    for who, figures in measured:
        for figure in figures(args):
            value = f"{figure.value:,.{1 if figure.value >= 10 else 4}f} {figure.unit}"
            print(f"| {who} | {figure.name} | {figure.setting} | {value} |", flush=True)


if __name__ == "__main__":
    main()
