"""A study as JSON lines: a line for the study, one a trial and a record, and one that ends it.

The last line has the number and the digest of the others, so that a file that was cut off or
changed is refused. What is large stays behind: weights, checkpoints, telemetry, texts, logs.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial

from core.atomic import make_folder, replace_text
from core.errors import DamagedFileError, UserError
from core.registry import find_task, is_task
from core.sealed import read_sealed
from hpo import __version__, as_json, attributes
from hpo.declarations.files import declared_files
from hpo.disk import telling_of_room
from hpo.folders import StudyFolder, finite, make_private, write_json, write_record
from hpo.names import is_name, label, without_place
from hpo.output import study_page, trial_page
from hpo.reading import found_study, opened, record_of
from hpo.records import SCHEMA_VERSION
from hpo.repair import Repaired, discard, rebuild, repair
from hpo.storage import Database, locate
from hpo.storage.database import quieten
from hpo.study_file import StudyRow, described_row, row_of, write_row
from hpo.trial_file import described_trial, trial_of, write_trial

FORMAT = "hpo-study"
_LONGEST = 2**26
"""Bytes of a line."""
_DIGITS = 18
"""Of a whole number, its sign among them."""
_OF_A_PLACE = (
    attributes.FOLDER_KEY,
    attributes.RUNS_DIR,
    attributes.STORAGE,
    attributes.STOP_REQUEST,
)
"""Attributes that say where a study lies, and what it is asked there."""
_ATTEMPTS = "finals/attempts.json"
_RECORD = re.compile(
    rf"ledger\.json|opening\.json|finals/finals\.json|{re.escape(_ATTEMPTS)}|"
    r"(?:trials/([0-9]{4,7})|finals/trial[0-9]{4,7}/seed[0-9]{1,5})/(?:config|outcome)\.json"
)
"""The files that go along, by their paths in the study's folder; no other is ever written."""
_OF_A_RUN = ("config.json", "outcome.json")
_KINDS: Mapping[str, type] = {
    "reason": str,
    "outcome": str,
    "device": str,
    "attempt": int,
    "health": dict,
    "cost": dict,
}
"""What trials' attributes are, wherever they are shown."""


_NEEDED = (
    attributes.SCHEMA,
    attributes.IDENTITY,
    attributes.DECLARATION,
    attributes.GRID,
    attributes.TOTAL,
    attributes.CHANGES,
)
"""Attributes without which nothing is a study."""


class ExchangeError(UserError):
    """A file that is no whole study, or a place where none can be put."""


@dataclass(frozen=True)
class _Parcel:
    """A study as it was read from a file."""

    name: str
    row: StudyRow
    trials: list[FrozenTrial]
    records: dict[str, Any]
    """Path in the study's folder -> JSON."""

    @property
    def parameters(self) -> list[str]:
        return list(self.row.own[attributes.DECLARATION]["search_space"]["parameters"])


def export_study(storage_url: str | None, name: str, runs_dir: Path) -> Iterator[str]:
    """The lines of a study as it stands, without their ends.

    Raises: UnknownStudyError; StorageError; DamagedFileError for a ledger or finals that are.
    """
    runs = runs_dir.expanduser().resolve()
    with found_study(locate(storage_url, runs), name) as study:
        of_optuna = study._storage.get_study_system_attrs(study._study_id)
        own = {key: one for key, one in study.user_attrs.items() if key not in _OF_A_PLACE}
        trials = study.get_trials(deepcopy=False)
    declaration = own[attributes.DECLARATION]
    names, sources = list(declaration["search_space"]["parameters"]), _sources(declaration)
    own[attributes.DECLARATION] = {
        **declaration,
        "path": Path(declaration["path"]).name,
        "data": without_place(declaration["data"], sources),
    }
    ended = {one.number for one in trials if one.state.is_finished()}
    digest, number = hashlib.sha256(), 0
    head = {"format": FORMAT, "schema_version": SCHEMA_VERSION, "name": name, "hpo": __version__}
    told: list[tuple[str, Mapping[str, Any]]] = [
        ("study", {**head, **described_row(StudyRow(own, of_optuna))}),
        *(("trial", described_trial(trial, names)) for trial in trials),
    ]
    for kind, value in (*told, *_records(StudyFolder(runs, name), ended, sources)):
        line = json.dumps(finite({"kind": kind, **value}), allow_nan=False)
        digest.update(line.encode() + b"\n")
        number += 1
        yield line
    yield json.dumps({"kind": "end", "lines": number, "sha256": digest.hexdigest()})


def write_lines(lines: Iterable[str], file: Path) -> Path:
    """Writes lines into a new file, all of them or nothing; returns the file.

    Raises: ExchangeError where there is something already, or nothing can be written.
    """
    if file.exists():
        raise ExchangeError("there is a file already", where=label(file), way_out="Name another.")
    try:
        make_folder(file.absolute().parent)
        replace_text(file, "".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise ExchangeError(f"cannot be written ({error.strerror})", where=label(file)) from error
    return file


def _sources(declaration: Mapping[str, Any]) -> Collection[str]:
    """The values of `data.source` that are no folder."""
    return find_task(declaration["task"]).sources


def _records(
    folder: StudyFolder, ended: Collection[int], sources: Collection[str]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The files beside the trials' own; of trials that have not ended none, they begin again."""
    for path in sorted(folder.path.rglob("*.json")):
        name = path.relative_to(folder.path).as_posix()
        found = _RECORD.fullmatch(name)
        if not found or not path.is_file() or (found[1] and int(found[1]) not in ended):
            continue
        try:
            content = json.loads(path.read_bytes()) if name == _ATTEMPTS else read_sealed(path)
        except DamagedFileError:
            if path.name in _OF_A_RUN:  # which cost a report a line or two
                continue
            raise
        if path.name == "config.json":
            config = content["config"]
            data = without_place(config["data"], sources)
            content = {**content, "config": {**config, "data": data}}
        yield "record", {"path": name, "content": content}


def import_study(
    file: Path, storage_url: str | None, runs_dir: Path, *, name: str | None = None
) -> Repaired:
    """Puts a study that `export_study` wrote into a database and a runs folder: all or nothing.

    `-` is standard input; the study keeps its name unless `name` is another.

    Raises: ExchangeError for a file that is not whole, or not of this kind, and where a study or
        a folder of that name is there already; FolderError, DiskFullError, StorageError.
    """
    runs = runs_dir.expanduser().resolve()
    database = locate(storage_url, runs)
    where = "standard input" if file == Path("-") else label(file)
    with telling_of_room(runs), _refusing_nonsense(where):
        parcel = _read(_lines(file, where), where, name)
        folder = StudyFolder(runs, parcel.name)
        _refuse_taken(database, folder)
        declaration = parcel.row.own[attributes.DECLARATION]
        file_name = Path(declaration["path"])
        here = declared_files("study").get(file_name.stem, file_name)
        parcel.row.own.update(
            {
                attributes.DECLARATION: {**declaration, "name": parcel.name, "path": str(here)},
                attributes.FOLDER_KEY: secrets.token_hex(16),
                attributes.RUNS_DIR: str(runs),
                attributes.STORAGE: database.shown,
            }
        )
        with TemporaryDirectory(prefix=".import-", dir=make_private(runs)) as scratch:
            staged = StudyFolder(Path(scratch), parcel.name)
            _write(parcel, staged)
            _look_through(parcel, staged, database)
            staged.path.rename(folder.path)
    try:
        return repair(storage_url, parcel.name, runs)
    except BaseException:
        shutil.rmtree(folder.path)
        with suppress(UserError):  # such as a database that is away, which was told already
            discard(storage_url, parcel.name, runs)
        raise


@contextmanager
def _refusing_nonsense(where: str) -> Iterator[None]:
    """What is of the wrong kind fails wherever it is first used: nobody writes such a file but by
    hand."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        _refuse(f"what it says of the study makes no sense ({error!r})", where, error)


def _lines(file: Path, where: str) -> Iterator[bytes]:
    """The lines of a file with their ends; one that is too long is cut where that is clear."""
    try:
        with (
            sys.stdin.buffer if file == Path("-") else file.expanduser().open("rb") as opened_file
        ):
            while line := opened_file.readline(_LONGEST + 1):
                yield line
    except OSError as error:
        raise ExchangeError(f"cannot be read ({error.strerror})", where=where) from error


def _read(lines: Iterable[bytes], where: str, name: str | None) -> _Parcel:
    row: StudyRow | None = None
    trials: list[FrozenTrial] = []
    records: dict[str, Any] = {}
    for number, value in enumerate(_values(lines, where)):
        at = f"{where}, line {number + 1}"
        if row is None:
            row, name = _head(value, at), name or value["name"]
        elif value["kind"] == "trial" and not records:
            trials.append(_trial(value, len(trials), at))
        elif value["kind"] == "record":
            path, content = value.get("path"), value.get("content")
            kind = list if path == _ATTEMPTS else dict
            if not (isinstance(path, str) and _RECORD.fullmatch(path)) or path in records:
                _refuse("no record of a study is called so", at)
            if not isinstance(content, kind) or not content:
                _refuse(f"the record {path} is not what such a record is", at)
            records[path] = content
        else:
            _refuse("this line is not expected here", at)
    if row is None or name is None:
        _refuse("there is no study in it", where)
    if not is_name(name):
        _refuse("no study can be called so", where)
    declaration = row.own.get(attributes.DECLARATION)
    if not isinstance(declaration, dict) or not is_task(declaration.get("task")):
        _refuse("it declares no task that is known here", where)
    return _Parcel(name, row, trials, records)


def _values(lines: Iterable[bytes], where: str) -> Iterator[dict[str, Any]]:
    """The lines' objects but the last one's, which has the others' number and their digest."""
    digest, number = hashlib.sha256(), 0
    end: dict[str, Any] | None = None
    for line in lines:
        if end is not None:
            _refuse("something follows the line that ends the study", where)
        value = _object(line, f"{where}, line {number + 1}")
        if value["kind"] == "end":
            end = value
            continue
        digest.update(line)
        number += 1
        yield value
    if end is None:
        _refuse("it is cut off: the line that ends a study is missing", where)
    if end.get("lines") != number or end.get("sha256") != digest.hexdigest():
        _refuse("it was changed: the digest in its last line does not fit", where)


def _object(line: bytes, at: str) -> dict[str, Any]:
    if len(line) > _LONGEST:
        _refuse("the line is too long", at)
    if not line.endswith(b"\n"):
        _refuse("it is cut off in the middle of this line", at)
    try:
        value = json.loads(line, parse_constant=_no_number, parse_int=_integer)
        json.dumps(value, ensure_ascii=False).encode()  # has no half of a surrogate pair
    except (ValueError, RecursionError) as error:
        _refuse("this is no line of JSON", at, error)
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        _refuse("this is no line of a study", at)
    return value


def _no_number(word: str) -> NoReturn:
    raise ValueError(word)


def _integer(text: str) -> int:
    """A whole number that a database has room for."""
    if len(text) > _DIGITS:
        raise ValueError(text[:_DIGITS])
    return int(text)


def _head(value: Mapping[str, Any], at: str) -> StudyRow:
    if value["kind"] != "study" or value.get("format") != FORMAT:
        _refuse("it does not begin as a file of `hpo export-study`", at)
    if value.get("schema_version") != SCHEMA_VERSION:
        raise ExchangeError(
            "written in another format",
            where=at,
            got=value.get("schema_version"),
            allowed=str(SCHEMA_VERSION),
        )
    row = row_of(value, where=at)
    missing = [key for key in _NEEDED if key not in row.own]
    if missing or row.own[attributes.SCHEMA] != SCHEMA_VERSION:
        _refuse(f"the study lacks {', '.join(missing) or 'its format'}", at)
    return row


def _trial(value: Mapping[str, Any], number: int, at: str) -> FrozenTrial:
    if value.get("number") != number:
        raise ExchangeError(
            "trials are not in order", where=at, got=value.get("number"), allowed=str(number)
        )
    for key, kind in _KINDS.items():
        if value.get(key) is not None and not isinstance(value[key], kind):
            _refuse(f"{key} of trial {number} is not what it is in a study", at)
    return trial_of(value, number, where=at)


def _refuse_taken(database: Database, folder: StudyFolder) -> None:
    is_there = folder.path.exists() and any(folder.path.iterdir())
    where = str(folder.path)
    if database.exists:
        with opened(database) as storage:
            if folder.name in optuna.get_all_study_names(storage):
                is_there, where = True, database.shown
    if is_there:
        raise ExchangeError(
            f"there is a study {folder.name!r} already",
            where=where,
            way_out="Give it another name with --name NEW.",
        )


def _write(parcel: _Parcel, staged: StudyFolder) -> None:
    make_private(staged.trials)
    write_row(staged, parcel.row)
    for trial in parcel.trials:
        make_private(staged.trial(trial.number))
        write_trial(staged, trial, parcel.parameters)
    for path, content in parcel.records.items():
        place = staged.path / path
        make_private(place.parent)
        (write_json if path == _ATTEMPTS else write_record)(place, content)


def _look_through(parcel: _Parcel, staged: StudyFolder, database: Database) -> None:
    """Reads and shows the study as it lies in `staged`, which fails where it makes no sense."""
    quieten()
    study = rebuild(InMemoryStorage(), parcel.name, parcel.row, parcel.trials)
    record = record_of(study, database, staged.runs)
    study_page(record)
    for trial in record.trials:
        trial_page(record, trial)
    as_json.document(as_json.study(record))


def _refuse(what: str, where: str, cause: Exception | None = None) -> NoReturn:
    raise ExchangeError(
        what, where=where, way_out="Nothing was imported; export the study again."
    ) from cause
