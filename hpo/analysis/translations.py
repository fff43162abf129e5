"""Sample texts: sources, references and what the best trial made of them."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from hpo.analysis.tables import text_table
from hpo.records import StudyRecord

SAMPLES = 10
COLUMNS = ["line", "source", "reference", "beam", "greedy"]
_FILE = re.compile(r"step(\d+)\.(.+)")


def translations_table(record: StudyRecord) -> pd.DataFrame:
    """Up to ten samples of the best trial: line (from 1), source, reference, beam, greedy.

    The lines that have a beam-search output, else ten evenly spaced over the validation set;
    `beam` is None without one. Empty where `translations_obstacle` gives a reason.
    """
    if translations_obstacle(record) is not None:
        return text_table((), COLUMNS)
    assert record.best is not None
    texts = read_texts(record.best.folder)
    sources, references = texts["validation.src"], texts["validation.ref"]
    greedy, beam = texts["validation.hyp"], texts.get("validation.beam", [])
    if beam:
        chosen = list(range(min(SAMPLES, len(beam), len(sources))))
    else:
        count = min(SAMPLES, len(sources))
        chosen = [i * len(sources) // count for i in range(count)]
    rows = [
        (i + 1, sources[i], references[i], beam[i] if beam else None, greedy[i]) for i in chosen
    ]
    return text_table(rows, COLUMNS)


def translations_obstacle(record: StudyRecord) -> str | None:
    """Why there are no samples to show; None where there are."""
    best = record.best
    if best is None:
        return "No trial is complete, so there is no best one to show texts of."
    texts = read_texts(best.folder)
    needed = ("validation.src", "validation.ref", "validation.hyp")
    missing = [name for name in needed if not texts.get(name)]
    if missing:
        return f"Trial {best.number} left no {' and no '.join(missing)} among its artifacts."
    lengths = [len(texts[name]) for name in needed]
    if len(set(lengths)) > 1:
        sizes = ", ".join(f"{name} {n}" for name, n in zip(needed, lengths, strict=True))
        return f"The files of trial {best.number} have unequal numbers of lines: {sizes}."
    return None


def read_texts(folder: Path) -> dict[str, list[str]]:
    """The lines of a trial's artifacts by name, of each name the file of the latest step."""
    latest: dict[str, tuple[int, Path]] = {}
    artifacts = folder / "artifacts"
    for path in sorted(artifacts.iterdir()) if artifacts.is_dir() else ():
        found = _FILE.fullmatch(path.name)
        if found and path.is_file():
            step, name = int(found[1]), found[2]
            if name not in latest or step > latest[name][0]:
                latest[name] = (step, path)
    return {name: _lines(path) for name, (_, path) in latest.items()}


def _lines(path: Path) -> list[str]:
    """Lines split on newlines only: a sentence may hold U+2028 and its like."""
    text = path.read_bytes().decode("utf-8", errors="replace")
    return text.removesuffix("\n").split("\n") if text else []
