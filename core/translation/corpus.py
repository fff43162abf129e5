"""The corpora of a study: where they come from, what they hold, and what is odd about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.settings import digest_of
from core.task import Facts
from core.translation import folder, hub, pocket
from core.translation.settings import TranslationData, TranslationProtocol

Pair = tuple[str, str]
"""Source and target sentence."""

_SPOKEN = {"train": "training", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class PairSet:
    """Sentence pairs in order: `src[i]` is translated by `tgt[i]`."""

    src: tuple[str, ...]
    tgt: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.src)


@dataclass(frozen=True)
class Corpus:
    """One corpus, its caps applied."""

    name: str
    """`pretrain` or `finetune`."""
    train: PairSet
    validation: PairSet
    test: PairSet | None

    @property
    def splits(self) -> dict[str, PairSet]:
        """The sets that it has, by name."""
        splits = {"train": self.train, "validation": self.validation}
        return splits | ({"test": self.test} if self.test is not None else {})

    def digest(self) -> str:
        """SHA-256 of its pairs."""
        return digest_of({name: [pairs.src, pairs.tgt] for name, pairs in self.splits.items()})


@dataclass(frozen=True)
class Corpora:
    """Both corpora of a study."""

    pretrain: Corpus
    finetune: Corpus
    """The same object as `pretrain` where no stage trains on a second corpus."""
    digest: str
    """Of the pairs, after the caps."""
    notes: tuple[str, ...] = ()
    """What was left out in reading them, one line each."""

    @property
    def distinct(self) -> tuple[Corpus, ...]:
        """The corpora, each once."""
        if self.finetune is self.pretrain:
            return (self.pretrain,)
        return (self.pretrain, self.finetune)


def load_corpora(
    protocol: TranslationProtocol, data: TranslationData, cache: Path | None = None
) -> Corpora:
    """The corpora that `data` names, cut to the protocol's numbers of pairs.

    What came from the hub is kept in the `cache` folder and read from there the next time. A
    second corpus is loaded only if the protocol fine-tunes on it.

    Raises: DataError if one is missing, damaged or empty.
    """
    names = ["pretrain", "finetune"][: 1 if protocol.finetune_corpus == "pretrain" else 2]
    notes: list[str] = []
    corpora = []
    for name in names:
        splits, blank = _read(name, protocol, data, cache)
        notes += _blank_notes(name, blank)
        corpora.append(_cut(name, splits, protocol))
    digest = digest_of([corpus.digest() for corpus in corpora])
    return Corpora(corpora[0], corpora[-1], digest, tuple(notes))


def prepare(protocol: TranslationProtocol, data: TranslationData, cache: Path) -> Facts:
    """Loads and checks the corpora, trains the tokenizer, encodes what is trained on.

    Tokenizer and token ids are found in the cache the next time.

    Raises: DataError for a bad corpus, SettingsError for a vocabulary that is too small.
    """
    from core.translation.prepared import prepare_data
    from core.translation.tokenizer import load_tokenizer

    corpora = load_corpora(protocol, data, cache)
    tokenizer = load_tokenizer(protocol, corpora, cache)
    prepare_data(protocol, corpora, tokenizer, cache)
    counts = {
        f"{corpus.name}_{split}": len(pairs)
        for corpus in corpora.distinct
        for split, pairs in corpus.splits.items()
    }
    counts["vocabulary"] = tokenizer.vocab_size
    notes = [*corpora.notes, *_cap_notes(protocol, corpora)]
    for corpus in corpora.distinct:
        counts[f"{corpus.name}_duplicates"] = repeated = _duplicates(corpus.train)
        if repeated:
            total = len(corpus.train)
            notes.append(
                f"{corpus.name}: {repeated:,} of {total:,} training pairs are repetitions."
            )
    overlaps = _overlaps(corpora)
    counts["overlap"] = sum(shared for _, shared in overlaps)
    notes += [line for line, _ in overlaps]
    if tokenizer.vocab_size < protocol.vocab_size:
        notes.append(
            f"tokenizer: {tokenizer.vocab_size:,} entries, fewer than the {protocol.vocab_size:,} "
            "of protocol.vocab_size: the training text has no more to merge."
        )
    if not protocol.pretrain_steps:
        only = corpora.pretrain if protocol.finetune_corpus == "pretrain" else corpora.finetune
        notes.append(f"protocol: no stage A; the one stage trains on the {only.name} corpus.")
    digests = {"data": corpora.digest, "tokenizer": tokenizer.digest}
    return Facts(digests, counts, tuple(notes))


def _read(
    name: str, protocol: TranslationProtocol, data: TranslationData, cache: Path | None
) -> tuple[Mapping[str, Sequence[Pair]], Mapping[str, int]]:
    """The sets of one corpus, and how many blank pairs were left out of each."""
    files = data.pretrain if name == "pretrain" else data.finetune
    languages = (data.source_language, data.target_language)
    if data.source == "pocket":
        count = getattr(data.pocket, f"{name}_pairs")
        train = min(count, _caps(name, protocol)["train"] or count)
        return pocket.draw_corpus(name, data.pocket, train, languages), {}
    if data.source == "hub":
        return hub.read_corpus(name, languages, _caps(name, protocol), cache)
    return folder.read_corpus(Path(data.source), files, languages)


def _caps(name: str, protocol: TranslationProtocol) -> dict[str, int | None]:
    """How many pairs of each set the protocol asks for; `None` for all."""
    train = protocol.pretrain_pairs if name == "pretrain" else protocol.finetune_pairs
    return {"train": train, "validation": protocol.validation_pairs, "test": protocol.test_pairs}


def _cut(name: str, splits: Mapping[str, Sequence[Pair]], protocol: TranslationProtocol) -> Corpus:
    sets = {}
    for split, cap in _caps(name, protocol).items():
        pairs = splits.get(split)
        if pairs is not None:
            src, tgt = zip(*pairs[:cap], strict=True)
            sets[split] = PairSet(src, tgt)
    return Corpus(name, sets["train"], sets["validation"], sets.get("test"))


def _blank_notes(name: str, blank: Mapping[str, int]) -> list[str]:
    return [
        f"{name}: blank pairs left out of the {_SPOKEN[split]} set: {count:,}."
        for split, count in blank.items()
        if count
    ]


def _cap_notes(protocol: TranslationProtocol, corpora: Corpora) -> list[str]:
    """A line for each set that has fewer pairs than the protocol asks for."""
    return [
        f"{corpus.name}: only {len(pairs):,} of the {cap:,} {_SPOKEN[split]} pairs asked for."
        for corpus in corpora.distinct
        for split, pairs in corpus.splits.items()
        if (cap := _caps(corpus.name, protocol)[split]) and len(pairs) < cap
    ]


def _duplicates(pairs: PairSet) -> int:
    return len(pairs) - len(set(zip(pairs.src, pairs.tgt, strict=True)))


def _overlaps(corpora: Corpora) -> list[tuple[str, int]]:
    """For each two sets that should share nothing and do: a line, and the sentences they share.

    Sentences are compared on the source side: a test sentence that was trained on is known,
    whatever its reference.
    """
    trained = {text for corpus in corpora.distinct for text in corpus.train.src}
    overlaps = []
    for corpus in corpora.distinct:
        validation = set(corpus.validation.src)
        for split, pairs in corpus.splits.items():
            others = [("validation", validation)] if split == "test" else []
            if split != "train":
                others.insert(0, ("training", trained))
            for other, texts in others:
                shared = sum(text in texts for text in pairs.src)
                if shared:
                    line = (
                        f"{corpus.name}: {shared:,} of {len(pairs):,} {split} sentences also "
                        f"stand in the {other} text."
                    )
                    overlaps.append((line, shared))
    return overlaps
