"""What trials need of the corpora: the same from the cache as from the text, and mapped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.translation import prepared
from core.translation.corpus import load_corpora
from core.translation.prepared import PreparedData, load_prepared
from core.translation.settings import PocketSettings, TranslationData, TranslationProtocol
from core.translation.tokenizer import load_tokenizer
from core.translation.tokens import TokenRows

PROTOCOL = TranslationProtocol(vocab_size=500)
POCKET = PocketSettings(pretrain_pairs=59, finetune_pairs=37, validation_pairs=7, test_pairs=5)
DATA = TranslationData(pocket=POCKET)
DIGEST = load_corpora(PROTOCOL, DATA).digest


def _load(cache: Path) -> PreparedData:
    return load_prepared(PROTOCOL, DATA, DIGEST, cache)


def _lists(rows: TokenRows) -> list[list[int]]:
    return [part.tolist() for part in np.split(np.asarray(rows.ids), rows.ends[:-1])]


def test_it_is_what_the_text_says(tmp_path: Path) -> None:
    corpora = load_corpora(PROTOCOL, DATA)
    tokenizer = load_tokenizer(PROTOCOL, corpora, tmp_path)
    found = _load(tmp_path)
    assert found.digest == corpora.digest
    assert found.tokenizer.text == tokenizer.text
    assert sorted(found.train) == ["finetune", "pretrain"]
    for corpus in corpora.distinct:
        encoded = found.train[corpus.name]
        assert _lists(encoded.src) == tokenizer.encode(corpus.train.src)
        assert _lists(encoded.tgt) == tokenizer.encode(corpus.train.tgt)
        held_out = {name: pairs for name, pairs in corpus.splits.items() if name != "train"}
        assert found.held_out[corpus.name] == held_out


def test_the_next_worker_maps_it_and_reads_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _load(tmp_path)
    monkeypatch.setattr(prepared, "load_corpora", None)
    found = _load(tmp_path)
    assert isinstance(found.train["pretrain"].src.ids, np.memmap)
    assert isinstance(found.train["pretrain"].src.ends, np.memmap)


@pytest.mark.parametrize("name", ["pretrain.src.ids.npy", "finetune.tgt.ends.npy", "index.json"])
@pytest.mark.parametrize("is_gone", [False, True])
def test_what_is_damaged_or_gone_is_prepared_again(
    name: str, is_gone: bool, tmp_path: Path
) -> None:
    before = _lists(_load(tmp_path).train["pretrain"].src)
    (path,) = tmp_path.glob(f"tokens/*/{name}")
    content = bytearray(path.read_bytes())
    path.unlink()
    if not is_gone:
        content[-3] ^= 1
        path.write_bytes(content)
    assert _lists(_load(tmp_path).train["pretrain"].src) == before
    assert path.exists()


def test_other_corpora_are_told_by_their_digest(tmp_path: Path) -> None:
    found = load_prepared(PROTOCOL, DATA, "another" * 9, tmp_path)
    assert found.digest == DIGEST


def test_ids_are_kept_small() -> None:
    rows = TokenRows.of([[7, 65535], [], [3]])
    assert rows.ids.dtype == np.uint16
    assert rows.lengths().tolist() == [2, 0, 1]
    assert TokenRows.of([[7, 65536]]).ids.dtype == np.int32


def test_parts_are_joined() -> None:
    parts = TokenRows.of([[7], [65536, 3]]), TokenRows.of([[], [5, 6]])
    assert _lists(TokenRows.joined(parts)) == [[7], [65536, 3], [], [5, 6]]


def test_rows_are_cut_and_filled_up() -> None:
    rows = TokenRows.of([[11, 12, 13], [14], [15, 16]])
    taken = rows.take(np.array([2, 0, 1]), 2, fill=-1)
    assert taken.tolist() == [[15, 16], [11, 12], [14, -1]]
