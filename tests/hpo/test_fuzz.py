"""Whatever is in a declaration, a corpus or a URL: an answer in one line, and soon.

`HPO_FUZZ=6000 pytest --timeout 0 tests/hpo/test_fuzz.py` draws so many examples of each instead of
a few.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import UserError
from core.translation.corpus import prepare
from core.translation.settings import TranslationData, TranslationProtocol
from hpo.declarations import load_study
from hpo.declarations.assembly import end_points
from hpo.declarations.files import shipped_folder
from hpo.sampling import suggest
from hpo.storage import locate

EXAMPLES = int(os.environ.get("HPO_FUZZ", "60"))
LIMIT_S = 5.0
fuzzed = settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

VALUES = (
    "nan", "inf", "-inf", "1e999", "-1", "0", "0.0", "1e-400", "9" * 400, "-9223372036854775809",
    '""', "''", '"\\u0000"', '"../../x"', '"\\u202e"', '"' + "x" * 600 + '"', "true", "[]", "{}",
    "[[]]", "[" * 200 + "]" * 200, "{ a = { b = 1 } }", "1979-05-27T07:32:00Z", "0x7fffffff",
    '{ type = "int", low = 1, high = 0 }', '{ type = "categorical", choices = [] }',
    '{ type = "float", low = 0.0, high = 1.0, log = true }', '{ ratio_of = "model.d_model" }',
    '{ type = "int", low = -9223372036854775808, high = 9223372036854775807 }',
)  # fmt: skip
SHIPPED = sorted(
    path
    for kind in ("study", "search space")
    for path in shipped_folder(kind).glob("*.toml")  # type: ignore[arg-type]
)


def mutated(text: str, rng: random.Random) -> str:
    """The text of a TOML file with one to four things gone wrong."""
    for _ in range(rng.randint(1, 4)):
        lines = text.split("\n")
        at = rng.randrange(len(lines))
        match rng.randrange(9):
            case 0:
                del lines[at]
            case 1:
                lines.insert(rng.randrange(len(lines) + 1), lines[at])
            case 2 | 3 | 4 if "=" in lines[at]:
                lines[at] = f"{lines[at].split('=')[0]}= {rng.choice(VALUES)}"
            case 5 if "=" in lines[at]:
                key, _, value = lines[at].partition("=")
                lines[at] = f"{key.strip()}{rng.choice('x._-é')} ={value}"
            case 6:
                lines = lines[:at]
            case 7:
                other = rng.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
            case _:
                here = rng.randrange(len(text) + 1)
                odd = rng.choice(["\x00", "\r", "\ufeff", "\u2028", '"', "[", "=", "\x1b[2J", "#"])
                lines = [*(text[:here] + odd + text[here:]).split("\n")]
        text = "\n".join(lines) or "\n"
    return text


def answer(ask: Callable[[], Any]) -> Any:
    """What `ask` returns, or `None` where it refused; in one line, and in time.

    Seconds of this process, which other work on the machine does not lengthen; what waits for
    something that never comes is pytest's limit to find.
    """
    begun = time.process_time()
    try:
        return ask()
    except UserError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 2000
        return None
    finally:
        assert time.process_time() - begun < LIMIT_S


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A copy of the shipped declarations in one folder."""
    for path in SHIPPED:
        folder = tmp_path / path.parent.name
        folder.mkdir(exist_ok=True)
        (folder / path.name).write_bytes(path.read_bytes())
    return tmp_path


@fuzzed
@given(at=st.integers(0, len(SHIPPED) - 1), seed=st.integers(0, 2**32 - 1))
def test_a_mutated_declaration_is_read_or_refused(shipped: Path, at: int, seed: int) -> None:
    origin, rng = SHIPPED[at], random.Random(seed)
    text = mutated(origin.read_text(encoding="utf-8"), rng)
    if origin.parent.name == "studies":
        study = shipped / "studies" / "mutated.toml"
        study.write_text(text, encoding="utf-8", newline="")
    else:
        space = shipped / "search_spaces" / "mutated.toml"
        space.write_text(text, encoding="utf-8", newline="")
        study = shipped / "studies" / "its.toml"
        head = 'task = "translation"\nsearch_space = "mutated"\ntrials = 4\n'
        study.write_text(head, encoding="utf-8")
    loaded = answer(lambda: load_study(str(study)))
    if loaded is not None:

        def draw() -> None:
            storage = optuna.storages.InMemoryStorage()
            sampler = optuna.samplers.RandomSampler(seed=seed)
            suggest(loaded.space, optuna.create_study(sampler=sampler, storage=storage).ask())
            list(end_points(loaded.space))

        answer(draw)


def noise() -> st.SearchStrategy[bytes]:
    """What may lie in a text file: sentences, odd line ends, other encodings, nothing."""
    pieces = st.sampled_from(
        [
            "ein Hund läuft .\n".encode(), b"a dog runs .\n", b"\n", b"\r\n", b"\r", b"\x00",
            b"\xff\xfe", b"\xef\xbb\xbf", "\u2028".encode(), "\u0085".encode(), b"\x0c", b" \t\n",
            b"x" * 5000, "日本語\n".encode(), b"\xed\xa0\x80", b"no line end", b"\x1b[2J\n",
        ]
    )  # fmt: skip
    return st.lists(pieces, max_size=12).map(b"".join)


@fuzzed
@given(files=st.lists(noise(), min_size=6, max_size=6))
def test_any_files_are_a_corpus_or_refused(tmp_path: Path, files: list[bytes]) -> None:
    names = [f"{split}.{side}" for split in ("train", "val", "test") for side in ("de", "en")]
    home = tmp_path / "text"
    home.mkdir(exist_ok=True)
    for name, content in zip(names, files, strict=True):
        (home / name).write_bytes(content)
    protocol = TranslationProtocol(vocab_size=300, pretrain_steps=0, finetune_corpus="pretrain")
    corpus = {"folder": "text", "train": "train", "validation": "val", "test": "test"}
    data = TranslationData.model_validate(
        {"source": str(tmp_path), "pretrain": corpus, "finetune": corpus}
    )
    facts = answer(lambda: prepare(protocol, data, tmp_path / "cache"))
    assert facts is None or facts.digests["data"]


URL = st.text(
    st.sampled_from([*"sqlite:///postgresql+psycopg@.?&=%~#[]", "\x00", "é", " ", "\n"])
    | st.characters(codec="utf-8"),
    max_size=80,
)


@fuzzed
@given(
    url=URL
    | st.builds(
        "{}{}".format, st.sampled_from(["sqlite:///", "postgresql+psycopg://", "mysql://"]), URL
    )
)
def test_any_storage_url_is_located_or_refused(tmp_path: Path, url: str) -> None:
    answer(lambda: locate(url, tmp_path))
