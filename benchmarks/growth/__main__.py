"""How time and memory grow, with fitted exponents and charts.

    python -m benchmarks.growth [d_model layers batch pairs trials slots] [--short]
        [--out FOLDER] [--images docs/images]

One thread computes, every measurement has a process of its own. d_model, layers and batch: a
training step of a model with 3 + 3 layers of width 128, 32 pairs of 15 tokens in the mean, where
not varied.
Pairs: `pocket` repeated, in text files. Trials and slots: the real driver on SQLite, trials that
only report. Figures go to `growth.json` in `--out`, charts to `--images`; figures of an earlier
run that are not measured again are kept.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.growth.chart import draw
from benchmarks.growth.estimate import estimate
from benchmarks.growth.probe import Figures, measure
from benchmarks.growth.series import Series

_MODEL = {"d_model": 128, "layers": 3, "batch": 32}
_TITLES = {
    "d_model": "A training step by width",
    "layers": "A training step by depth",
    "batch": "A training step by batch",
    "pairs": "A corpus by its pairs",
    "trials": "A study by its finished trials",
    "slots": "One driver by its slots",
}
_BASE_PAIRS = 1_000
_PACE_S = 1.0


def main() -> None:
    """Measures what is asked for, draws it, prints tables with the exponents."""
    arguments = _parse()
    path = arguments.out / "growth.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    found = {chart: [Series(**one) for one in series] for chart, series in kept.items()}
    for folder in (arguments.out, arguments.images):
        folder.mkdir(parents=True, exist_ok=True)
    for chart in arguments.charts or _CHARTS:
        found[chart] = _CHARTS[chart](arguments.short)
        stored = {name: [asdict(one) for one in series] for name, series in found.items()}
        path.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        _print(found[chart])
        draw(_TITLES[chart], found[chart], arguments.images / f"growth_{chart}.svg")
    print("\n".join(estimate(found)))


def _grow_model(varied: str, sizes: Sequence[int], *, is_short: bool) -> list[Series]:
    time_s, memory = Series(varied, "step", "s"), Series(varied, "peak memory", "MiB")
    for size in sizes[:2] if is_short else sizes:
        # With the first one, an epoch of the bench's sentences.
        figures = measure("training", **_MODEL | {varied: size}, steps=7)
        time_s.add(size, figures["seconds"])
        memory.add(size, figures["bytes"] / 2**20)
    return [time_s, memory]


def _grow_corpus(is_short: bool) -> list[Series]:
    columns = {
        ("driver", "seconds"): Series("pairs", "driver prepares, CPU", "s"),
        ("driver", "again_s"): Series("pairs", "driver, prepared before, CPU", "s"),
        ("driver", "bytes"): Series("pairs", "driver's peak memory", "MiB"),
        ("worker", "seconds"): Series("pairs", "worker opens and plans, CPU", "s"),
        ("worker", "batch_s"): Series("pairs", "a batch, CPU", "s"),
        ("worker", "bytes"): Series("pairs", "worker's own memory", "MiB"),
        ("worker", "mapped_bytes"): Series("pairs", "worker's mapped pages", "MiB"),
    }
    for pairs in (10**3, 10**4) if is_short else (10**3, 10**4, 10**5, 10**6):
        with tempfile.TemporaryDirectory() as folder:
            figures = _measure_corpus(Path(folder), pairs)
        for (who, name), series in columns.items():
            scale = 2**20 if name.endswith("bytes") else 1
            series.add(pairs, figures[who][name] / scale)
    return list(columns.values())


def _measure_corpus(folder: Path, pairs: int) -> dict[str, Figures]:
    from core.translation.corpus import load_corpora
    from core.translation.pocket import draw_pairs
    from core.translation.settings import TranslationData, TranslationProtocol

    corpus = folder / "multi30k"
    corpus.mkdir()
    train = draw_pairs("captions", "train", _BASE_PAIRS, seed=1, taken=())
    held_out = draw_pairs("captions", "validation", 400, seed=1, taken=())
    for name, some, times in (
        ("train", train, pairs // _BASE_PAIRS),
        ("val", held_out, 1),
        ("test_2016_flickr", held_out, 1),
    ):
        for side, language in enumerate(("de", "en")):
            text = "".join(f"{pair[side]}\n" for pair in some)
            with (corpus / f"{name}.{language}").open("w", encoding="utf-8") as file:
                for _ in range(times):
                    file.write(text)
    shared = {"folder": str(folder), "cache": str(folder / "cache"), "pairs": pairs}
    driver = measure("prepare", **shared)
    protocol = TranslationProtocol(
        pretrain_pairs=pairs, finetune_corpus="pretrain", vocab_size=2000
    )
    digest = load_corpora(protocol, TranslationData(source=str(folder))).digest
    return {"driver": driver, "worker": measure("worker", **shared, digest=digest, batches=50)}


def _grow_trials(is_short: bool) -> list[Series]:
    columns = {
        "ask_s": Series("trials", "ask", "s"),
        "report_s": Series("trials", "report", "s"),
        "tell_s": Series("trials", "tell", "s"),
        "resume_s": Series("trials", "resume", "s"),
        "page_s": Series("trials", "report page", "s"),
        "bytes": Series("trials", "driver's peak memory", "MiB"),
    }
    for trials in (10, 30) if is_short else (10, 100, 1_000, 10_000):
        with tempfile.TemporaryDirectory() as runs:
            figures = measure("study", runs=runs, trials=trials, more=10)
        for name, series in columns.items():
            series.add(trials, figures[name] / (2**20 if name == "bytes" else 1))
    return list(columns.values())


def _grow_slots(is_short: bool) -> list[Series]:
    columns = {
        (_PACE_S, "reports_per_s"): Series("slots", "reports, one a second each", "1/s"),
        (_PACE_S, "cpu_share"): Series("slots", "driver's CPU then", "cores"),
        (_PACE_S, "report_s"): Series("slots", "a report then", "s"),
        (_PACE_S, "ask_s"): Series("slots", "ask then", "s"),
        (0.0, "reports_per_s"): Series("slots", "reports, as many as it takes", "1/s"),
    }
    for slots in (1, 2) if is_short else (1, 2, 4, 8, 16, 32, 64):
        for pace_s in (_PACE_S, 0.0):
            with tempfile.TemporaryDirectory() as runs:
                figures = measure("slots", runs=runs, slots=slots, trials=3, pace_s=pace_s)
            for (pace, name), series in columns.items():
                if pace == pace_s:
                    series.add(slots, figures[name])
    return list(columns.values())


def _print(series: Sequence[Series]) -> None:
    """As a table in Markdown."""
    sizes = [size for size, _ in series[0].points]
    print(
        "| | " + " | ".join(f"{size:,.0f}" for size in sizes) + " | exponent | of the last two |"
    )
    print("|---" * (len(sizes) + 3) + "|")
    for one in series:
        figures = " | ".join(f"{figure:.3g}" for _, figure in one.points)
        law = f"{one.fit()[0]:.2f} | {one.fit(2)[0]:.2f}" if one.is_fitted else "| "
        print(f"| {one.name} ({one.unit}) | {figures} | {law} |", flush=True)


_CHARTS: dict[str, Callable[[bool], list[Series]]] = {
    "d_model": lambda short: _grow_model("d_model", (64, 128, 256, 512, 1024), is_short=short),
    "layers": lambda short: _grow_model("layers", (1, 2, 4, 8, 12), is_short=short),
    "batch": lambda short: _grow_model("batch", (8, 16, 32, 64, 128, 256), is_short=short),
    "pairs": _grow_corpus,
    "trials": _grow_trials,
    "slots": _grow_slots,
}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("charts", nargs="*", choices=[*_CHARTS, []], help="all by default")
    parser.add_argument("--short", action="store_true", help="two small sizes each")
    parser.add_argument("--out", type=Path, default=Path("growth"))
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
