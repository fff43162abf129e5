"""Where studies and search spaces lie, and how their TOML is read."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from core.errors import did_you_mean
from hpo.mistakes import DeclarationError
from hpo.names import check_name, label

Kind = Literal["study", "search space"]
_FOLDERS: dict[Kind, str] = {"study": "studies", "search space": "search_spaces"}


def shipped_folder(kind: Kind) -> Path:
    """The folder of the declarations that come with the package, or, in a checkout, its own."""
    package = Path(__file__).resolve().parents[1]
    in_wheel = package / "shipped" / _FOLDERS[kind]
    return in_wheel if in_wheel.is_dir() else package.parent / _FOLDERS[kind]


def declared_folder(kind: Kind) -> Path:
    """The folder of the user's own declarations, below the current one."""
    return Path.cwd() / _FOLDERS[kind]


def toml_files(folder: Path) -> list[Path]:
    """The TOML files in a folder by name, but hidden ones; none if there is no such folder."""
    try:
        files = [path for path in folder.iterdir() if path.suffix == ".toml" and path.is_file()]
    except OSError:
        return []
    return sorted(path for path in files if not path.name.startswith("."))


def declared_files(kind: Kind) -> dict[str, Path]:
    """Name -> file of all that can be named: the current folder's before the shipped ones."""
    folders = (shipped_folder(kind), declared_folder(kind))
    found = {path.stem: path for folder in folders for path in toml_files(folder)}
    return dict(sorted(found.items()))


def is_path(name_or_path: str) -> bool:
    """Whether it is meant as a path: it ends with .toml or has a separator in it."""
    return name_or_path.endswith(".toml") or "/" in name_or_path or "\\" in name_or_path


def find_file(kind: Kind, name_or_path: str, *, where: str, beside: Path | None = None) -> Path:
    """The file of a declaration.

    A path is taken as it is, from the folder `beside` if there is one. A name is looked up in that
    folder and in the folder of its kind next to or below it, then as `declared_files` does.

    Raises: DeclarationError if there is none, naming those that there are.
    """
    if is_path(name_or_path):
        path = (beside or Path()) / expand_home(name_or_path)
        if not _is_there(path):
            raise _not_found(kind, path.name.removesuffix(".toml"), path, where=where)
        return path
    check_name(name_or_path, where=where, way_out="A path ends with .toml.")
    if beside is not None:
        folder = _FOLDERS[kind]
        for place in (beside, beside / folder, beside.parent / folder):
            path = place / f"{name_or_path}.toml"
            if path.is_file() and (kind == "study" or is_search_space(path)):
                return path
    names = declared_files(kind)
    if name_or_path not in names:
        raise _not_found(kind, name_or_path, None, where=where)
    return names[name_or_path]


def expand_home(text: str) -> Path:
    """A path in which `~` is the home folder; as it is where nobody's home is meant."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user
        return Path(text)


def is_folder(path: Path) -> bool:
    """Whether a path leads to a folder; one that cannot be looked at does not."""
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name too long, a folder that may not be entered, a NUL
        return False


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _not_found(kind: Kind, name: str, path: Path | None, *, where: str) -> DeclarationError:
    names = list(declared_files(kind))
    return DeclarationError(
        f"unknown {kind}" if path is None else "no such file",
        where=where,
        got=name if path is None else str(path),
        allowed=f"a path ending with .toml, or {', '.join(names) or 'a declared name'}",
        way_out=did_you_mean(name, names),
    )


def is_search_space(path: Path) -> bool:
    """Whether a TOML file is no study, which has a `search_space` or a number of `trials`.

    Studies and spaces may share a folder and a name. A file that cannot be read passes as a space:
    reading it as one tells what is wrong with it.
    """
    try:
        return read_toml(path).keys().isdisjoint({"search_space", "trials"})
    except DeclarationError:
        return True


def read_toml(path: Path) -> dict[str, Any]:
    """The top table of a TOML file.

    Raises: DeclarationError if it cannot be read, is not UTF-8, or is not TOML.
    """
    where = label(path)
    if path.is_dir():
        raise DeclarationError("this is a folder, not a TOML file", where=where)
    if not path.is_file():  # a pipe or a device would be waited for
        raise DeclarationError("this is not a file", where=where)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DeclarationError(f"cannot be read: {error.strerror}", where=where) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DeclarationError(
            f"invalid UTF-8 at byte {error.start}, line {line}", where=where
        ) from error
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise DeclarationError("invalid TOML: nested too deeply", where=where) from error
    except ValueError as error:  # TOMLDecodeError, or an integer of thousands of digits
        raise DeclarationError(f"invalid TOML: {_place(str(error), text)}", where=where) from error


def _place(message: str, text: str) -> str:
    """tomllib's message, with line and column also where it says only `at end of document`."""
    lines = text.split("\n")
    end = f"at line {len(lines)}, column {len(lines[-1]) + 1}, the end of the document"
    return message.rstrip(".").replace("at end of document", end)
