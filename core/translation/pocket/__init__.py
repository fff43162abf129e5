"""The built-in corpus: German-English pairs in two registers, drawn from a small grammar.

Captions are short scenes in the present, talks longer sentences in every tense. Both put their
verbs where German does, decline what German declines, and share some words that mean different
things (Bank: bench, bank), so that learning the talks can cost some of the captions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from core.errors import DataError
from core.settings import derive_seed
from core.translation.pocket.captions import Captions
from core.translation.pocket.draw import Draw
from core.translation.pocket.lexicon import lexicon
from core.translation.pocket.phrases import Pair
from core.translation.pocket.talks import Talks
from core.translation.settings import PocketSettings

_REGISTERS: dict[str, type[Captions] | type[Talks]] = {"captions": Captions, "talks": Talks}


def draw_corpus(
    name: str, settings: PocketSettings, train: int, languages: tuple[str, str]
) -> dict[str, list[Pair]]:
    """The sets of a corpus, `pretrain` (captions) or `finetune` (talks), that share no sentence.

    Raises: DataError if the languages are not German and English, in either order.
    """
    if set(languages) != {"de", "en"}:
        raise DataError(
            "the built-in corpus is German and English",
            got="-".join(languages),
            allowed="de and en",
            way_out="Use --data FOLDER for another pair of languages.",
        )
    register = "captions" if name == "pretrain" else "talks"
    counts = {"validation": settings.validation_pairs, "test": settings.test_pairs, "train": train}
    if name == "finetune":
        del counts["test"]
    splits: dict[str, list[Pair]] = {}
    taken: set[str] = set()
    # Training text last: held out sentences stay the same however much is trained on.
    for split, count in counts.items():
        splits[split] = draw_pairs(register, split, count, seed=settings.seed, taken=taken)
        taken.update(german for german, _ in splits[split])
    if languages == ("en", "de"):
        return {split: [(en, de) for de, en in pairs] for split, pairs in splits.items()}
    return splits


def draw_pairs(
    register: str, split: str, count: int, *, seed: int, taken: Iterable[str]
) -> list[Pair]:
    """`count` different pairs of a register whose German is none of `taken`.

    A longer list begins with the shorter one; each split has its own stream.
    """
    sentence = _REGISTERS[register](Draw(derive_seed(seed, register, split)), lexicon()).sentence
    seen = set(taken)
    pairs: list[Pair] = []
    while len(pairs) < count:
        pair = _finished(sentence)
        if pair[0] not in seen:
            seen.add(pair[0])
            pairs.append(pair)
    return pairs


def _finished(sentence: Callable[[], Pair]) -> Pair:
    german, english = sentence()
    return _punctuated(german), _punctuated(english)


def _punctuated(sentence: str) -> str:
    mark = "" if sentence.endswith("?") else "."
    return sentence[0].upper() + sentence[1:] + mark
