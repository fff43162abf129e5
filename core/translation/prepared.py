"""What trials need of the corpora, kept in the cache folder: token ids mapped, held out text read.

The training text itself is read by what prepares it alone, once for all workers.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from core.atomic import make_folder
from core.errors import DamagedFileError
from core.sealed import read_sealed, write_sealed
from core.settings import digest_of
from core.translation.corpus import Corpora, Corpus, PairSet, load_corpora
from core.translation.settings import TranslationData, TranslationProtocol
from core.translation.tokenizer import Tokenizer, load_tokenizer
from core.translation.tokens import TokenRows

_VERSION = 1
"""Of the files below; raised when they change meaning."""
_INDEX = "index.json"
_AT_ONCE = 10_000
"""Sentences encoded together: as lists of numbers they take fifty times as much memory."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodedSet:
    """Training pairs as token ids."""

    src: TokenRows
    tgt: TokenRows


@dataclass(frozen=True)
class PreparedData:
    """What all trials of a study share."""

    digest: str
    """Of the corpora."""
    tokenizer: Tokenizer
    train: Mapping[str, EncodedSet]
    """Training pairs by corpus, `pretrain` and `finetune`; only those somebody trains on."""
    held_out: Mapping[str, Mapping[str, PairSet]]
    """Validation and test pairs by corpus and set."""


def prepare_data(
    protocol: TranslationProtocol, corpora: Corpora, tokenizer: Tokenizer, cache: Path
) -> None:
    """Puts into the cache what `load_prepared` gives, unless it is there.

    Of several processes one does it and the others wait.
    """
    folder = _folder(protocol, corpora.digest, cache)
    make_folder(folder)
    with FileLock(folder / "lock", mode=0o600):
        if _read(folder, corpora.digest) is None:
            _write(folder, protocol, corpora, tokenizer)


def load_prepared(
    protocol: TranslationProtocol, data: TranslationData, digest: str, cache: Path
) -> PreparedData:
    """What was prepared of the corpora that have this digest, or of those that are there now.

    Raises: DataError as `load_corpora` does, if nothing is in the cache.
    """
    found = _read(_folder(protocol, digest, cache), digest)
    if found is not None:
        return found
    corpora = load_corpora(protocol, data, cache)
    prepare_data(protocol, corpora, load_tokenizer(protocol, corpora, cache), cache)
    found = _read(_folder(protocol, corpora.digest, cache), corpora.digest)
    assert found is not None
    return found


def _folder(protocol: TranslationProtocol, digest: str, cache: Path) -> Path:
    key = [_VERSION, digest, protocol.vocab_size, _trained_on(protocol)]
    return cache / "tokens" / digest_of(key)


def _trained_on(protocol: TranslationProtocol) -> list[str]:
    """The corpora that some stage trains on."""
    return sorted(
        {protocol.finetune_corpus} | ({"pretrain"} if protocol.pretrain_steps else set())
    )


def _write(
    folder: Path, protocol: TranslationProtocol, corpora: Corpora, tokenizer: Tokenizer
) -> None:
    by_name = {"pretrain": corpora.pretrain, "finetune": corpora.finetune}
    files: list[Path] = []
    for name in _trained_on(protocol):
        train = by_name[name].train
        for side, sentences in (("src", train.src), ("tgt", train.tgt)):
            rows = TokenRows.joined(
                TokenRows.of(tokenizer.encode(sentences[begin : begin + _AT_ONCE]))
                for begin in range(0, len(sentences), _AT_ONCE)
            )
            files += rows.write(folder / f"{name}.{side}")
    write_sealed(
        folder / _INDEX,
        {
            "schema_version": _VERSION,
            "files": {file.name: _digest_of_file(file) for file in files},
            "tokenizer": tokenizer.text,
            "held_out": {name: _held_out(one) for name, one in by_name.items()},
        },
    )


def _held_out(corpus: Corpus) -> dict[str, list[tuple[str, ...]]]:
    return {
        split: [pairs.src, pairs.tgt] for split, pairs in corpus.splits.items() if split != "train"
    }


def _read(folder: Path, digest: str) -> PreparedData | None:
    """`None` if it is not there, damaged or half written."""
    try:
        index = read_sealed(folder / _INDEX)
        for name, expected in index["files"].items():
            if _digest_of_file(folder / name) != expected:
                raise DamagedFileError("digest does not fit the content", where=str(folder / name))
        sides = sorted({name.rsplit(".", 2)[0] for name in index["files"]})
        rows = {side: TokenRows.open(folder / side) for side in sides}
    except FileNotFoundError:
        return None
    except DamagedFileError as error:
        logger.warning("%s It is prepared again.", error)
        return None
    return PreparedData(
        digest,
        Tokenizer(index["tokenizer"]),
        {
            name: EncodedSet(rows[f"{name}.src"], rows[f"{name}.tgt"])
            for name in sorted({side.partition(".")[0] for side in sides})
        },
        {
            name: {split: PairSet(tuple(src), tuple(tgt)) for split, (src, tgt) in splits.items()}
            for name, splits in index["held_out"].items()
        },
    )


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
