"""Parallel text in files: what is the same text, and what is a mistake told in one line."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import DataError
from core.translation.folder import corpus_files, read_corpus
from core.translation.settings import CorpusFiles, TranslationData
from core.translation.spec import SPEC

DE = "Ein Hund.\nZwei Katzen.\nGrüße\u2028aus Köln.\n"
EN = "A dog.\nTwo cats.\nGreetings\u0085from\x0bCologne.\n"
PAIRS = [
    ("Ein Hund.", "A dog."),
    ("Zwei Katzen.", "Two cats."),
    ("Grüße\u2028aus Köln.", "Greetings\u0085from\x0bCologne."),
]
FILES = CorpusFiles(folder="captions", train="train", validation="val")
LANGUAGES = ("de", "en")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data folder with one good corpus and no test set."""
    home = tmp_path / "data" / "captions"
    home.mkdir(parents=True)
    for name in ("train", "val"):
        (home / f"{name}.de").write_bytes(DE.encode())
        (home / f"{name}.en").write_bytes(EN.encode())
    return home.parent


def test_lines_end_with_line_feeds_only(root: Path) -> None:
    # splitlines() would make five lines of the third pair.
    pairs, blank = read_corpus(root, FILES, LANGUAGES)
    assert pairs == {"train": PAIRS, "validation": PAIRS}
    assert blank == {"train": 0, "validation": 0}


@pytest.mark.parametrize(
    "disguise",
    [
        pytest.param(lambda text: text.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(lambda text: b"\xef\xbb\xbf" + text, id="byte order mark"),
        pytest.param(lambda text: text.removesuffix(b"\n"), id="no last newline"),
        pytest.param(lambda text: text.replace(b"\n", b" \t\n"), id="blanks at the end"),
        pytest.param(
            lambda text: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n").removesuffix(b"\r\n"),
            id="all of them",
        ),
    ],
)
@pytest.mark.parametrize("sides", [("de",), ("en",), ("de", "en")])
def test_the_same_pairs_in_other_dress(
    root: Path, disguise: Callable[[bytes], bytes], sides: tuple[str, ...]
) -> None:
    for side in sides:
        path = root / "captions" / f"train.{side}"
        path.write_bytes(disguise(path.read_bytes()))
    assert read_corpus(root, FILES, LANGUAGES)[0]["train"] == PAIRS


def test_gzip_on_either_side(root: Path) -> None:
    plain = root / "captions" / "train.en"
    (root / "captions" / "train.en.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    assert read_corpus(root, FILES, LANGUAGES)[0]["train"] == PAIRS


def test_lines_blank_on_both_sides_are_counted(root: Path) -> None:
    for side, text in (("de", "eins\n\n \nzwei\n"), ("en", "one\n\t\n\ntwo\n")):
        (root / "captions" / f"train.{side}").write_text(text)
    pairs, blank = read_corpus(root, FILES, LANGUAGES)
    assert pairs["train"] == [("eins", "one"), ("zwei", "two")]
    assert blank == {"train": 2, "validation": 0}


def _write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda home: (home / name).write_bytes(content) and None


def _remove(name: str) -> Callable[[Path], None]:
    return lambda home: (home / name).unlink()


def _folder_instead(home: Path) -> None:
    (home / "val.en").unlink()
    (home / "val.en").mkdir()


def _pipe_instead(home: Path) -> None:
    (home / "val.en").unlink()
    os.mkfifo(home / "val.en")


def _bad_gzip(home: Path) -> None:
    (home / "train.de").unlink()
    (home / "train.de.gz").write_bytes(gzip.compress(DE.encode())[:-11])


def _no_gzip(home: Path) -> None:
    (home / "train.de").unlink()
    (home / "train.de.gz").write_bytes(DE.encode())


def _no_folder(home: Path) -> None:
    home.rename(home.with_name("elsewhere"))


BAD = {
    "a side longer": (
        _write("train.en", EN.encode() + b"More.\n"),
        "captions/train.de: 3 lines, but train.en has 4. Line n of one file must translate line n",
    ),
    "an empty last line": (
        _write("train.en", EN.encode() + b"\n"),
        "captions/train.de: 3 lines, but train.en has 4.",
    ),
    "Latin-1": (
        _write("val.de", "Ein Hund.\nGrüße.\n".encode("latin-1")),
        "captions/val.de: invalid UTF-8 at byte 12 (line 2). Convert the file to UTF-8.",
    ),
    "Latin-1 after CRLF": (
        _write("val.de", "a\r\nb\r\nü\r\n".encode("latin-1")),
        "captions/val.de: invalid UTF-8 at byte 6 (line 3).",
    ),
    "UTF-16": (
        _write("val.en", EN.encode("utf-16")),
        "captions/val.en: invalid UTF-8 at byte 0 (line 1).",
    ),
    "an empty file": (_write("train.en", b""), "captions/train.en: the file is empty."),
    "only a byte order mark": (
        lambda home: [_write(f"train.{side}", b"\xef\xbb\xbf")(home) for side in LANGUAGES],
        "captions/train.de: no line holds text.",
    ),
    "only blanks": (
        lambda home: [_write(f"train.{side}", b" \n\t\n")(home) for side in LANGUAGES],
        "captions/train.de: no line holds text.",
    ),
    "an empty source line": (
        _write("train.de", b"Ein Hund.\n \nDrei.\n"),
        "captions/train.de: line 2 is empty, but not in train.en. Remove the line from both",
    ),
    "an empty target line": (
        _write("val.en", b"A dog.\nTwo cats.\n\xc2\xa0\n"),
        "captions/val.en: line 3 is empty, but not in val.de.",
    ),
    "a missing side": (
        _remove("val.en"),
        "captions/val.en: no such file, nor one with .gz. The study's data section names",
    ),
    "a folder for a file": (
        _folder_instead,
        "captions/val.en: is a folder where a text file should be.",
    ),
    "a pipe for a file": (_pipe_instead, "captions/val.en: is no regular file."),
    "half a gzip file": (_bad_gzip, "captions/train.de.gz: damaged gzip file ("),
    "no gzip file": (_no_gzip, "captions/train.de.gz: damaged gzip file (Not a gzipped file"),
    "no folder": (_no_folder, "captions: the corpus's folder does not exist. The study's data"),
}


@pytest.mark.parametrize("spoil, message", BAD.values(), ids=BAD.keys())
def test_bad_corpora_are_told_in_one_line(
    root: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(root / "captions")
    with pytest.raises(DataError, match=re.escape(message)) as raised:
        read_corpus(root, FILES, LANGUAGES)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(str(root))


@pytest.mark.parametrize("given", ["../captions", "a/../../b", "/etc", "", "."])
def test_declared_names_stay_inside_the_data_folder(root: Path, given: str) -> None:
    files = CorpusFiles(folder=given)
    if given == ".":
        with pytest.raises(DataError, match=r"train\.de: no such file"):
            read_corpus(root, files, LANGUAGES)
        return
    with pytest.raises(DataError, match=r"must lead to a place inside the data folder, got"):
        read_corpus(root, files, LANGUAGES)
    if given:
        with pytest.raises(DataError, match=r"relative paths without '\.\.'"):
            read_corpus(root, CorpusFiles(folder="captions", test=given), LANGUAGES)


def test_a_linked_corpus_is_followed(root: Path) -> None:
    # A link in the data folder is its owner's; what may not lead out is what a study declares.
    (root / "captions").rename(root.parent / "real")
    (root / "captions").symlink_to(root.parent / "real")
    assert read_corpus(root, FILES, LANGUAGES)[0]["train"] == PAIRS


def test_an_unreadable_file(root: Path) -> None:
    path = root / "captions" / "train.de"
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(DataError, match=r"train\.de: no such file"):
        read_corpus(root, FILES, LANGUAGES)


def test_the_data_folder_itself(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    with pytest.raises(DataError, match=r"^poket: the data folder does not exist\. Did you mean "):
        read_corpus(Path("poket"), FILES, LANGUAGES)
    with pytest.raises(DataError, match=r"Use pocket \(built in\), hub .*\./hub"):
        read_corpus(root / "nowhere", FILES, LANGUAGES)
    with pytest.raises(DataError, match=r"train\.de: the data source is a file, not a folder\."):
        read_corpus(root / "captions" / "train.de", FILES, LANGUAGES)


def test_the_files_of_a_corpus_can_be_taken_elsewhere(root: Path) -> None:
    names = [path.relative_to(root).as_posix() for path in corpus_files(root, FILES, LANGUAGES)]
    assert names == [
        f"captions/{name}.{language}" for name in ("train", "val") for language in LANGUAGES
    ]
    data = TranslationData(source=str(root), pretrain=FILES, finetune=CorpusFiles(folder="none"))
    assert SPEC.files is not None
    found, files = SPEC.files(data)
    assert (found, len(files)) == (root, 4)
    assert SPEC.files(TranslationData(source="pocket"))[1] == ()
