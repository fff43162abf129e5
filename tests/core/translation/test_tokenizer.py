"""The tokenizer: any text comes back, specials are no text, the cache is trusted and checked."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import SettingsError
from core.translation.corpus import Corpora, load_corpora
from core.translation.settings import PocketSettings, TranslationData, TranslationProtocol
from core.translation.tokenizer import Tokenizer, load_tokenizer, train_tokenizer

PROTOCOL = TranslationProtocol(vocab_size=500)


@pytest.fixture(scope="module")
def corpora() -> Corpora:
    pocket = PocketSettings(pretrain_pairs=307, finetune_pairs=7, validation_pairs=5, test_pairs=5)
    return load_corpora(PROTOCOL, TranslationData(pocket=pocket))


@pytest.fixture(scope="module")
def tokenizer(corpora: Corpora, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_tokenizer(PROTOCOL, corpora, tmp_path_factory.mktemp("cache"))


# Surrogates are no text. Characters that this Python's tables do not know yet may compose in the
# tokenizer's newer ones.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=40)


@given(TEXT)
def test_any_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    expected = unicodedata.normalize("NFC", text).strip()
    assert tokenizer.decode(tokenizer.encode([text])) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "Ein  Hund\tund \u3000 zwei\nKatzen",
        "東京 😀 naïve Ωμέγα עברית",
        "<eos> <pad><bos> a<unk>",
        "a\u2028b\u0085c\x00d\ufeffe",
        "e\u0301 fine",
        "",
        " \u2003\t",
    ],
)
def test_hard_texts_come_back(tokenizer: Tokenizer, text: str) -> None:
    expected = unicodedata.normalize("NFC", text).strip()
    assert tokenizer.decode(tokenizer.encode([text])) == [expected]


def test_specials_come_first_and_are_nobody_s_text(tokenizer: Tokenizer) -> None:
    vocabulary = json.loads(tokenizer.text)["model"]["vocab"]
    assert [vocabulary[token] for token in ("<bos>", "<pad>", "<eos>", "<unk>")] == [0, 1, 2, 3]
    ids = tokenizer.encode(["<bos> <pad> <eos> <unk> <eos>", "東京"])
    assert min(min(row) for row in ids) > 3
    assert [tokenizer.bos_id, tokenizer.pad_id, tokenizer.eos_id, tokenizer.unk_id] == [0, 1, 2, 3]


def test_decoding_skips_specials(tokenizer: Tokenizer) -> None:
    [ids] = tokenizer.encode(["Ein Hund"])
    assert tokenizer.decode([[0, *ids, 2, 1, 1, 3], []]) == ["Ein Hund", ""]


def test_a_word_is_the_same_at_the_start(tokenizer: Tokenizer) -> None:
    alone, after = tokenizer.encode(["Hund", "Hund Hund"])
    assert after == alone + alone


def test_a_cut_character_decodes_to_a_mark(tokenizer: Tokenizer) -> None:
    [ids] = tokenizer.encode(["東"])
    assert "\ufffd" in tokenizer.decode([ids[:-1]])[0]


def test_only_the_pretraining_text_is_learned_from(corpora: Corpora) -> None:
    text = train_tokenizer(corpora.pretrain.train, 500)
    changed = Corpora(corpora.pretrain, corpora.pretrain, "another")
    assert train_tokenizer(changed.pretrain.train, 500) == text
    held_out = train_tokenizer(corpora.pretrain.validation, 500)
    assert held_out != text


@pytest.mark.parametrize("threads", ["1", "3"])
def test_training_gives_the_same_in_any_process(
    tokenizer: Tokenizer, tmp_path: Path, threads: str
) -> None:
    code = (
        "from pathlib import Path\n"
        "from core.translation.corpus import load_corpora\n"
        "from core.translation.settings import *\n"
        "from core.translation.tokenizer import load_tokenizer\n"
        "protocol = TranslationProtocol(vocab_size=500)\n"
        "pocket = PocketSettings(pretrain_pairs=307, finetune_pairs=7, validation_pairs=5,"
        " test_pairs=5)\n"
        "corpora = load_corpora(protocol, TranslationData(pocket=pocket))\n"
        f"print(load_tokenizer(protocol, corpora, Path({str(tmp_path)!r})).digest)\n"
    )
    environment = os.environ | {"RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == tokenizer.digest
    assert done.stderr == ""


def test_the_digest_is_of_the_json(tokenizer: Tokenizer) -> None:
    assert tokenizer.digest == hashlib.sha256(tokenizer.text.encode()).hexdigest()
    assert tokenizer.vocab_size == 500


def test_a_small_text_gives_a_small_vocabulary(corpora: Corpora, tmp_path: Path) -> None:
    big = load_tokenizer(TranslationProtocol(vocab_size=8000), corpora, tmp_path)
    assert 500 < big.vocab_size < 8000


def test_the_smallest_vocabulary(corpora: Corpora, tmp_path: Path) -> None:
    assert load_tokenizer(TranslationProtocol(vocab_size=260), corpora, tmp_path).vocab_size == 260
    with pytest.raises(SettingsError, match=r"at least 260: 256 bytes .* got 259\. Use 1000"):
        load_tokenizer(TranslationProtocol(vocab_size=259), corpora, tmp_path)


def test_trained_once(corpora: Corpora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_tokenizer(PROTOCOL, corpora, tmp_path)
    monkeypatch.setattr("core.translation.tokenizer.train_tokenizer", None)
    assert load_tokenizer(PROTOCOL, corpora, tmp_path).text == first.text
    # Another vocabulary is another tokenizer.
    with pytest.raises(TypeError, match="not callable"):
        load_tokenizer(TranslationProtocol(vocab_size=501), corpora, tmp_path)


@pytest.mark.parametrize("damage", ["flip", "cut", "no digest", "not text"])
def test_a_damaged_cache_is_trained_anew(corpora: Corpora, tmp_path: Path, damage: str) -> None:
    first = load_tokenizer(PROTOCOL, corpora, tmp_path)
    [path] = tmp_path.rglob("tokenizer.json")
    content = path.read_bytes()
    if damage == "flip":
        path.write_bytes(content.replace(b"Hund", b"Mund"))
    elif damage == "cut":
        path.write_bytes(content[:-1])
    elif damage == "no digest":
        path.with_name("tokenizer.json.sha256").unlink()
    else:
        path.write_bytes(b"\xff\xfe")
        path.with_name("tokenizer.json.sha256").write_bytes(b"\xff")
    assert load_tokenizer(PROTOCOL, corpora, tmp_path).text == first.text
    assert path.read_bytes() == content
