"""A trained model as `transformers` loads it: the same tokens, the same translations."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from trained_on_pocket import (
    BEAM_SIZE,
    LENGTH_PENALTY,
    MAX_LEN,
    Trained,
    check_same_texts,
    train_on_pocket,
)
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from core.errors import MissingPackageError
from core.translation.spec import SPEC

EXPORT = SPEC.exports["transformers"]


@dataclass(frozen=True)
class Exported:
    """A model and what `transformers` loads of it."""

    ours: Trained
    model: Any
    tokenizer: Any


@pytest.fixture(scope="module", params=["pre", "post"])
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Exported]:
    folder = tmp_path_factory.mktemp(request.param)
    with train_on_pocket(request.param, folder) as ours:
        assert "from_pretrained" in EXPORT(ours.task, ours.model, folder / "out")
        yield Exported(
            ours,
            AutoModelForSeq2SeqLM.from_pretrained(folder / "out"),
            AutoTokenizer.from_pretrained(folder / "out"),
        )


@pytest.mark.parametrize("is_greedy", [True, False])
def test_it_translates_to_the_same_text(exported: Exported, is_greedy: bool) -> None:
    settings = {"num_beams": 1} if is_greedy else {}
    sources, found = exported.ours.pairs.src, []
    for start in range(0, len(sources), 25):  # as the card says, in batches
        batch = exported.tokenizer(
            list(sources[start : start + 25]), return_tensors="pt", padding=True, truncation=True
        )
        ids = exported.model.generate(**batch, **settings)
        found += exported.tokenizer.batch_decode(ids, skip_special_tokens=True)
    check_same_texts(exported.ours, found, is_greedy=is_greedy)


def test_its_generation_is_that_of_the_protocol(exported: Exported) -> None:
    found = exported.model.generation_config
    assert (found.num_beams, found.length_penalty) == (BEAM_SIZE, LENGTH_PENALTY)
    assert found.max_length == MAX_LEN + 1
    assert (found.forced_bos_token_id, found.forced_eos_token_id) == (None, None)


def test_its_tokenizer_encodes_and_decodes_as_ours(exported: Exported) -> None:
    ours, theirs = exported.ours.task.tokenizer, exported.tokenizer
    texts = ["", "  zwei  Wörter\t ", "<eos> 🙂 <pad>", "e\u0301 \u00a0"]
    texts += exported.ours.pairs.src[:7]
    for text, ids in zip(texts, ours.encode(texts), strict=True):
        assert theirs(text).input_ids == [*ids, ours.eos_id]
        (decoded,) = ours.decode([ids])
        assert theirs.decode([*ids, ours.eos_id], skip_special_tokens=True) == decoded
    longest = theirs("Hund " * 99, truncation=True).input_ids
    assert (len(longest), longest[-1]) == (MAX_LEN, ours.eos_id)


def test_without_transformers_it_says_what_to_install(
    exported: Exported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'hpo-harness\[export\]'"):
        EXPORT(exported.ours.task, exported.ours.model, tmp_path)
    assert list(tmp_path.iterdir()) == []
