"""The league's corpora from the Hugging Face hub, read by `datasets`.

Set HF_ENDPOINT to read from a mirror.
"""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import DataError
from core.settings import digest_of
from core.translation.kept import read_kept, write_kept

Pair = tuple[str, str]

_REACH_S = 5.0
"""Patience with a hub that does not answer; the libraries' own retries take half a minute."""
_OTHERS = "Use --data pocket (built in) or --data FOLDER (files of your own)."


@dataclass(frozen=True)
class HubCorpus:
    """A corpus on the hub."""

    repository: str
    loader: str
    """What `datasets.load_dataset` is given: the repository, or the format of its files."""
    data_files: Mapping[str, str] | None
    splits: tuple[str, ...]
    column: str | None
    """Column that holds both languages; `None` where each has its own."""


MULTI30K = HubCorpus(
    repository="bentrevett/multi30k",
    loader="bentrevett/multi30k",
    data_files=None,
    splits=("train", "validation", "test"),
    column=None,
)
# The repository's own loader is a script, which datasets 4 and later refuse.
_IWSLT = "hf://datasets/IWSLT/iwslt2017@refs/convert/parquet/iwslt2017-de-en"
IWSLT2017 = HubCorpus(
    repository="IWSLT/iwslt2017",
    loader="parquet",
    data_files={split: f"{_IWSLT}/{split}/*.parquet" for split in ("train", "validation")},
    splits=("train", "validation"),
    column="translation",
)
CORPORA = {"pretrain": MULTI30K, "finetune": IWSLT2017}


def read_corpus(
    name: str,
    languages: tuple[str, str],
    caps: Mapping[str, int | None],
    cache: Path | None = None,
) -> tuple[dict[str, list[Pair]], dict[str, int]]:
    """The sets of a corpus, at most `caps` pairs each, and how many blank pairs were left out.

    With a `cache` folder the hub is asked once: the pairs are kept there, so that workers and
    later runs need no network and see the same text.

    Raises: DataError if the hub cannot be reached or does not hold what it should.
    """
    if set(languages) != {"de", "en"}:
        raise DataError(
            "the hub's corpora are German and English",
            got="-".join(languages),
            allowed="de and en",
            way_out="Use --data FOLDER for another pair of languages.",
        )
    corpus = CORPORA[name]
    kept = None
    if cache is not None:
        key = digest_of([corpus.repository, languages, dict(caps)])
        kept = cache / "hub" / f"{key}.json"
        text = read_kept(kept)
        if text is not None:
            found = json.loads(text)
            pairs = {split: [(s, t) for s, t in rows] for split, rows in found["pairs"].items()}
            return pairs, found["blank"]
    pairs, blank = _download(corpus, languages, caps)
    if kept is not None:
        write_kept(kept, json.dumps({"pairs": pairs, "blank": blank}, ensure_ascii=False))
    return pairs, blank


def _download(
    corpus: HubCorpus, languages: tuple[str, str], caps: Mapping[str, int | None]
) -> tuple[dict[str, list[Pair]], dict[str, int]]:
    pairs: dict[str, list[Pair]] = {}
    blank: dict[str, int] = {}
    for split, rows in _fetch(corpus, languages).items():
        full = [pair for pair in rows if all(pair)]
        if not full:
            raise DataError(f"no pairs in the {split} set", where=corpus.repository)
        blank[split] = len(rows) - len(full)
        pairs[split] = full[: caps.get(split)]
    return pairs, blank


def _fetch(corpus: HubCorpus, languages: tuple[str, str]) -> dict[str, list[Pair]]:
    """All pairs of the corpus, stripped, by set."""
    try:
        with _quiet():
            import datasets

            _reach_hub()
            files = dict(corpus.data_files) if corpus.data_files else None
            tables: Any = datasets.load_dataset(corpus.loader, data_files=files)
            return {split: _rows(tables[split], corpus, languages) for split in corpus.splits}
    except Exception as error:
        # datasets, huggingface_hub, httpx, fsspec and pyarrow raise what they like; to the user
        # all of it means that the corpus cannot be had.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"the corpus {corpus.repository} cannot be had from the Hugging Face hub ({lines[0]})",
            way_out=_OTHERS,
        ) from error


def _reach_hub() -> None:
    """Raises within seconds if nothing answers at the hub's address."""
    from huggingface_hub import constants, get_session

    get_session().head(constants.ENDPOINT, timeout=_REACH_S)


def _rows(table: Any, corpus: HubCorpus, languages: tuple[str, str]) -> list[Pair]:
    if corpus.column is None:
        columns = [list(table[language]) for language in languages]
    else:
        both = list(table[corpus.column])
        columns = [[row[language] for row in both] for language in languages]
    # A sentence is one line everywhere else.
    cleaned = ([" ".join((text or "").split("\n")).strip() for text in side] for side in columns)
    return list(zip(*cleaned, strict=True))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, warnings or retry messages of the libraries; one line of ours says it."""
    import datasets

    loggers = [
        logging.getLogger(name) for name in ("datasets", "huggingface_hub", "httpx2", "fsspec")
    ]
    levels = [logger.level for logger in loggers]
    bars = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if not bars:
            datasets.enable_progress_bars()
