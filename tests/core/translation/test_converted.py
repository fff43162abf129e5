"""A trained model as CTranslate2 runs it, loaded as its card says."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from trained_on_pocket import (
    BEAM_SIZE,
    LENGTH_PENALTY,
    MAX_LEN,
    Trained,
    check_same_texts,
    train_on_pocket,
)

from core.errors import MissingPackageError
from core.translation.spec import SPEC

EXPORT = SPEC.exports["ctranslate2"]


@pytest.fixture(scope="module", params=["pre", "post"])
def ours(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Trained]:
    with train_on_pocket(request.param, tmp_path_factory.mktemp(request.param)) as model:
        yield model


def test_it_translates_to_the_same_text(
    ours: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ctranslate2 = pytest.importorskip("ctranslate2")
    usage = EXPORT(ours.task, ours.model, tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    translator = ctranslate2.Translator(str(tmp_path))
    sources = [tokenizer.encode(text).tokens for text in ours.pairs.src]
    for width in (1, BEAM_SIZE):
        results = translator.translate_batch(
            sources, beam_size=width, length_penalty=LENGTH_PENALTY, max_decoding_length=MAX_LEN
        )
        ids = [[tokenizer.token_to_id(one) for one in found.hypotheses[0]] for found in results]
        check_same_texts(ours, tokenizer.decode_batch(ids), is_greedy=width == 1)

    (program,) = re.findall(r"```python\n(.*?)```", usage, re.DOTALL)
    text = ours.pairs.src[0]
    exec(program.replace("FOLDER", str(tmp_path)).replace("TEXT", text), {})
    assert capsys.readouterr().out == ours.task.translate(ours.model, [text])[0] + "\n"


@pytest.mark.parametrize("package", ["transformers", "ctranslate2"])
def test_without_a_package_it_says_what_to_install(
    package: str, ours: Trained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=rf"{package} is not .*harness\[export\]'"):
        EXPORT(ours.task, ours.model, tmp_path)
    assert list(tmp_path.iterdir()) == []
