"""Parallel text in a folder: line n of one file translates line n of the other."""

from __future__ import annotations

import difflib
import gzip
import zlib
from pathlib import Path, PurePath

from core.errors import DataError
from core.translation.settings import CorpusFiles

Pair = tuple[str, str]

_SOURCES = (
    "Use pocket (built in), hub (the Hugging Face hub), or a folder (./hub, if it is so called)."
)


def read_corpus(
    root: Path, files: CorpusFiles, languages: tuple[str, str]
) -> tuple[dict[str, list[Pair]], dict[str, int]]:
    """The sets of a corpus below `root`, and how many blank pairs were left out of each.

    A set is two files, `{folder}/{name}.{language}`, plain or with `.gz`. Lines end with LF or
    CRLF and with nothing else; a byte order mark is no text; blanks around a sentence are dropped.

    Raises: DataError, one line that names the file.
    """
    _check_root(root)
    names = {"train": files.train, "validation": files.validation, "test": files.test}
    for given in (files.folder, *names.values()):
        if given is not None:
            _check_inside(root, given)
    home = root / files.folder
    if not home.is_dir():
        raise DataError(
            "the corpus's folder does not exist" if not home.exists() else "is no folder",
            where=str(home),
            way_out="The study's data section names the folders of both corpora.",
        )
    pairs: dict[str, list[Pair]] = {}
    blank: dict[str, int] = {}
    for split, name in names.items():
        if name is not None:
            paths = [_find(home, f"{name}.{language}") for language in languages]
            pairs[split], blank[split] = _read_pairs(paths[0], paths[1])
    return pairs, blank


def corpus_files(root: Path, files: CorpusFiles, languages: tuple[str, str]) -> list[Path]:
    """Those files of a corpus that there are."""
    names = [name for name in (files.train, files.validation, files.test) if name is not None]
    paths = (
        root / files.folder / f"{name}.{language}{suffix}"
        for name in names
        for language in languages
        for suffix in ("", ".gz")
    )
    return [path for path in paths if path.is_file()]


def _check_root(root: Path) -> None:
    if root.is_dir():
        return
    if root.exists():
        raise DataError(
            "the data source is a file, not a folder", where=str(root), way_out=_SOURCES
        )
    near = difflib.get_close_matches(root.name, ["pocket", "hub"], n=1)
    hint = f"Did you mean {near[0]!r}? " if near and root.name == str(root) else ""
    raise DataError("the data folder does not exist", where=str(root), way_out=hint + _SOURCES)


def _check_inside(root: Path, given: str) -> None:
    """Declared names stay below the data folder, whatever a study that someone sent declares."""
    path = PurePath(given)
    if path.is_absolute() or ".." in path.parts or not given or "\0" in given:
        raise DataError(
            "a corpus file's name must lead to a place inside the data folder",
            where=str(root),
            got=given,
            allowed="relative paths without '..'",
        )


def _find(home: Path, name: str) -> Path:
    for path in (home / name, home / f"{name}.gz"):
        if path.is_dir():
            raise DataError("is a folder where a text file should be", where=str(path))
        if path.is_file():
            return path
        if path.exists():
            raise DataError("is no regular file", where=str(path))
    raise DataError(
        "no such file, nor one with .gz",
        where=str(home / name),
        way_out="The study's data section names files and languages.",
    )


def _read_pairs(src_path: Path, tgt_path: Path) -> tuple[list[Pair], int]:
    src, tgt = _read_lines(src_path), _read_lines(tgt_path)
    if len(src) != len(tgt):
        raise DataError(
            f"{len(src)} lines, but {tgt_path.name} has {len(tgt)}",
            where=str(src_path),
            way_out="Line n of one file must translate line n of the other.",
        )
    pairs = []
    for number, (source, target) in enumerate(zip(src, tgt, strict=True), start=1):
        if source and target:
            pairs.append((source, target))
        elif source or target:
            empty, full = (tgt_path, src_path) if source else (src_path, tgt_path)
            raise DataError(
                f"line {number} is empty, but not in {full.name}",
                where=str(empty),
                way_out="Remove the line from both files.",
            )
    if not pairs:
        raise DataError("no line holds text", where=str(src_path))
    return pairs, len(src) - len(pairs)


def _read_lines(path: Path) -> list[str]:
    """The file's lines, stripped.

    `str.splitlines` would break lines at U+2028, U+0085 and others, which are text here.
    """
    content = _read_bytes(path)
    if not content:
        raise DataError("the file is empty", where=str(path))
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"invalid UTF-8 at byte {error.start} (line {line})",
            where=str(path),
            way_out="Convert the file to UTF-8.",
        ) from error
    lines = text.removeprefix("\ufeff").split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.strip() for line in lines]


def _read_bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"damaged gzip file ({error})", where=str(path)) from error
    except OSError as error:
        raise DataError(f"the file cannot be read ({error.strerror})", where=str(path)) from error
