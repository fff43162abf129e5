"""What each of the core's tricks gives: every one switched off, or a rival put in, by itself.

    python -m benchmarks.ablation [--data FOLDER] [--d-model 128 256] [--only NAME ...] [--compile]

One core, one process. Every turn of a variant stands beside one of the product over the same
batches, first or second by turns, and a ratio compares the two, so that a busy machine disturbs
both; seconds are the process's own. A ratio above 1 says that the product is faster. A variant
replaces functions of `core`, which itself has no switch. FOLDER is laid out as docs/own-data.md
says and defaults to $HPO_DATA; without either the built-in corpus is used.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from benchmarks.ablation.freed_memory import has_mallopt, keeping_blocks
from benchmarks.ablation.measuring import Search, Training, compare, read_corpus
from benchmarks.ablation.search_rivals import beam_variants, greedy_variants
from benchmarks.ablation.training_rivals import training_variants
from benchmarks.ablation.variant import Variant
from core.translation.settings import ModelSettings


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("HPO_DATA", "pocket"))
    parser.add_argument("--d-model", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--layers", type=int, default=3, help="of encoder and decoder each")
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--sentences", type=int, default=1_014)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", nargs="+", help="variants by name, beside the product")
    parser.add_argument(
        "--parts", nargs="+", default=["training", "greedy", "beam"], help="default: all three"
    )
    parser.add_argument("--compile", action="store_true", help="torch.compile too; takes minutes")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints the tables."""
    args = read_arguments(arguments)
    torch.set_num_threads(1)
    has_compiler = shutil.which("g++") is not None
    if args.compile and not has_compiler:
        print("torch.compile: not measured, as it needs g++, which is not there")
    with tempfile.TemporaryDirectory() as cache:
        corpus = read_corpus(args.data, args.pairs, args.sentences, Path(cache))

    def chosen(variants: Iterator[Variant]) -> list[Variant]:
        wanted = args.only
        return [v for v in variants if not wanted or v.name in ("product", *wanted)]

    with ExitStack() as stack:
        if has_mallopt():
            stack.enter_context(keeping_blocks(keep=True)())
        for d_model in args.d_model:
            settings = ModelSettings(d_model=d_model, num_layers=args.layers, d_ff=4 * d_model)
            if "training" in args.parts:
                variants = training_variants(
                    settings.dropout, compiled=args.compile and has_compiler
                )
                rivals = [Training(v, corpus, settings) for v in chosen(variants)]
                compare(f"Training, d_model {d_model}", "target tokens/s", rivals, args.rounds)
            for part, beam_size, variants in (
                ("greedy", 1, greedy_variants()),
                ("beam", 4, beam_variants()),
            ):
                if part in args.parts:
                    searches = [Search(v, corpus, settings, beam_size) for v in chosen(variants)]
                    title = f"{part.capitalize()}, beam size {beam_size}, d_model {d_model}"
                    compare(title, "sentences/s", searches, args.rounds)


if __name__ == "__main__":
    main()
