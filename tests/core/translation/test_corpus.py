"""The corpora of a study: caps, digests, and what preparing them finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.errors import DataError
from core.translation.corpus import load_corpora, prepare
from core.translation.settings import (
    CorpusFiles,
    PocketSettings,
    TranslationData,
    TranslationProtocol,
)

POCKET = PocketSettings(pretrain_pairs=211, finetune_pairs=101, validation_pairs=13, test_pairs=17)


def _protocol(**settings: Any) -> TranslationProtocol:
    return TranslationProtocol(**{"vocab_size": 400, **settings})


def _folder(root: Path, **sets: tuple[list[str], list[str]]) -> TranslationData:
    """A data folder with corpora `a` and `b`; `a_train=(german, english)` and so on."""
    for name, sides in sets.items():
        corpus, split = name.split("_")
        (root / corpus).mkdir(exist_ok=True)
        for language, lines in zip(("de", "en"), sides, strict=True):
            (root / corpus / f"{split}.{language}").write_text("".join(f"{x}\n" for x in lines))
    return TranslationData(
        source=str(root),
        pretrain=CorpusFiles(folder="a", test="test"),
        finetune=CorpusFiles(folder="b"),
    )


@pytest.fixture
def folder(tmp_path: Path) -> TranslationData:
    """Corpora with duplicates and overlaps."""
    return _folder(
        tmp_path,
        a_train=(["eins", "zwei", "zwei", "zwei", "vier"], ["one", "two", "two", "2", "four"]),
        a_val=(["fünf", "eins", "neun"], ["five", "another one", "nine"]),
        a_test=(["sechs", "fünf", "sieben"], ["six", "five", "seven"]),
        b_train=(["sechs", "acht"], ["six", "eight"]),
        b_val=(["zehn"], ["ten"]),
    )


def test_pocket_has_two_registers() -> None:
    corpora = load_corpora(_protocol(), TranslationData(pocket=POCKET))
    assert [len(pairs) for pairs in corpora.pretrain.splits.values()] == [211, 13, 17]
    assert [len(pairs) for pairs in corpora.finetune.splits.values()] == [101, 13]
    assert corpora.finetune.test is None
    assert corpora.pretrain.train.src[0].endswith(".")


def test_caps_keep_the_first_pairs() -> None:
    data = TranslationData(pocket=POCKET)
    full = load_corpora(_protocol(), data)
    caps = {"pretrain_pairs": 7, "finetune_pairs": 5, "validation_pairs": 3, "test_pairs": 2}
    cut = load_corpora(_protocol(**caps), data)
    assert cut.pretrain.train.src == full.pretrain.train.src[:7]
    assert cut.finetune.train.tgt == full.finetune.train.tgt[:5]
    assert [len(cut.pretrain.validation), len(cut.finetune.validation)] == [3, 3]
    assert cut.pretrain.test is not None
    assert len(cut.pretrain.test) == 2
    assert cut.digest != full.digest


def test_the_digest_is_of_the_pairs_and_not_of_where_they_lie(tmp_path: Path) -> None:
    sets = {
        name: (["eins", "zwei"], ["one", "two"])
        for name in ("a_train", "a_val", "a_test", "b_train", "b_val")
    }
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    here, there = (_folder(tmp_path / name, **sets) for name in ("x", "y"))
    assert load_corpora(_protocol(), here).digest == load_corpora(_protocol(), there).digest
    before = load_corpora(_protocol(), there).digest
    # A word that moves to the neighbouring sentence must show.
    (tmp_path / "y" / "b" / "val.en").write_text("one two\nto\n")
    assert load_corpora(_protocol(), there).digest != before


def test_one_corpus_is_enough_for_one_stage(folder: TranslationData) -> None:
    protocol = _protocol(finetune_corpus="pretrain", pretrain_steps=0)
    alone = folder.model_copy(update={"finetune": CorpusFiles(folder="not there")})
    corpora = load_corpora(protocol, alone)
    assert corpora.finetune is corpora.pretrain
    assert corpora.distinct == (corpora.pretrain,)
    with pytest.raises(DataError, match="not there: the corpus's folder does not exist"):
        load_corpora(_protocol(), alone)


def test_prepare_counts_what_is_odd(folder: TranslationData, tmp_path: Path) -> None:
    facts = prepare(_protocol(), folder, tmp_path / "cache")
    assert set(facts.digests) == {"data", "tokenizer"}
    assert facts.counts["pretrain_train"] == 5
    assert facts.counts["pretrain_duplicates"] == 1
    assert facts.counts["overlap"] == 3
    assert facts.notes == (
        "pretrain: only 5 of the 20,000 training pairs asked for.",
        "finetune: only 2 of the 50,000 training pairs asked for.",
        "pretrain: 1 of 5 training pairs are repetitions.",
        "pretrain: 1 of 3 validation sentences also stand in the training text.",
        "pretrain: 1 of 3 test sentences also stand in the training text.",
        "pretrain: 1 of 3 test sentences also stand in the validation text.",
        f"tokenizer: {facts.counts['vocabulary']} entries, fewer than the 400 of "
        "protocol.vocab_size: the training text has no more to merge.",
    )


def test_prepare_tells_of_blank_pairs_and_of_a_missing_stage(tmp_path: Path) -> None:
    sides = (["eins", "", "zwei"], ["one", "", "two"])
    data = _folder(tmp_path, a_train=sides, a_val=sides, a_test=(["drei"], ["three"]))
    protocol = _protocol(pretrain_steps=0, finetune_corpus="pretrain", pretrain_pairs=2)
    notes = prepare(protocol, data, tmp_path / "cache").notes
    assert notes[0] == "pretrain: blank pairs left out of the training set: 1."
    assert notes[-1] == "protocol: no stage A; the one stage trains on the pretrain corpus."


def test_prepare_is_silent_where_nothing_is_odd(tmp_path: Path) -> None:
    protocol = _protocol(pretrain_pairs=211, finetune_pairs=101, vocab_size=300)
    facts = prepare(protocol, TranslationData(pocket=POCKET), tmp_path)
    assert facts.notes == ()
    assert facts.counts == {
        "pretrain_train": 211,
        "pretrain_validation": 13,
        "pretrain_test": 17,
        "finetune_train": 101,
        "finetune_validation": 13,
        "vocabulary": 300,
        "pretrain_duplicates": 0,
        "finetune_duplicates": 0,
        "overlap": 0,
    }


def test_the_real_corpora(hpo_data: Path) -> None:
    corpora = load_corpora(TranslationProtocol(), TranslationData(source=str(hpo_data)))
    assert len(corpora.pretrain.train) == 20_000
    assert len(corpora.pretrain.validation) == 1014
    assert corpora.pretrain.test is not None
    assert len(corpora.pretrain.test) == 1000
    assert corpora.pretrain.train.tgt[0] == "Two young, White males are outside near many bushes."
    assert corpora.notes == ()
