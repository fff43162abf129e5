"""The sealed test set: every opening of it is remembered, and the next one must be asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna

from core.atomic import make_folder, replace_text
from core.errors import DamagedFileError, UserError
from core.sealed import read_sealed, write_sealed
from core.task import Scores
from hpo.attributes import OPENINGS
from hpo.records import SCHEMA_VERSION, TestReading, TestScore

_FILE = "ledger.json"
_UNDER_WAY = "opening.json"
_TEXTS = "test"

Run = tuple[int, int | None]
"""(trial, fresh seed, or `None` for the run of the search)."""


class LedgerError(UserError):
    """The ledger of test readings cannot be read."""


def read_ledger(folder: Path) -> tuple[TestReading, ...]:
    """All openings of a study's test set, in order; `folder` is the study's.

    Raises: LedgerError if there is a ledger that makes no sense.
    """
    path = folder / _FILE
    try:
        readings = read_sealed(path)["readings"]
        return tuple(_reading_of(reading) for reading in readings)
    except FileNotFoundError:
        return ()
    except (DamagedFileError, KeyError, TypeError) as error:
        raise LedgerError(
            f"the record of test readings is damaged ({_briefly(error)})",
            where=str(path),
            way_out="Restore it; deleting it breaks the seal of the test set.",
        ) from None


def unlisted(
    found: optuna.Study, readings: Sequence[TestReading], under_way: Opening | None = None
) -> int:
    """How many openings the study remembers that are neither in its ledger nor `under_way`."""
    listed = {one.when for one in readings} | ({under_way.begun} if under_way else set())
    return sum(one["when"] not in listed for one in found.user_attrs.get(OPENINGS, ()))


def remember(found: optuna.Study, opening: Opening) -> None:
    """Notes an opening in the database, once: a ledger that is deleted does not renew the seal."""
    known = found.user_attrs.get(OPENINGS, [])
    if all(one["when"] != opening.begun for one in known):
        entry = {"when": opening.begun, "selected": opening.selected}
        found.set_user_attr(OPENINGS, [*known, entry])


class Opening:
    """One opening of the test set, which reads all of its runs and then is one entry.

    What it has scored is on disk before the next score is begun, so that an opening that was cut
    short goes on without reading anything twice. Whether the seal may be broken is the caller's to
    know: see `read_ledger`.
    """

    def __init__(self, folder: Path, stored: dict[str, Any]) -> None:
        self._folder = folder
        self.begun: str = stored["begun"]
        """UTC, ISO 8601; tells openings apart."""
        self.selected: int = stored["selected"]
        self._data_digest: str = stored["data_digest"]
        self._signature: str = stored["signature"]
        self._left: dict[Run, float | None] = {
            (trial, seed): validation for trial, seed, validation in stored["left"]
        }
        self._scored = [TestScore(**one) for one in stored["scored"]]
        self._fresh: int | None = stored.get("fresh")
        self._known: int = stored.get("known", 0)

    @classmethod
    def begin(
        cls,
        folder: Path,
        selected: int,
        data_digest: str,
        runs: Sequence[tuple[int, int | None, float | None]],
        *,
        known: Sequence[TestScore] = (),
        signature: str = "",
        fresh: int | None = None,
    ) -> Opening:
        """A new opening, for `runs` as (trial, seed, validation score) in the order to read them.

        `known` are scores that enter without reading, and `signature` is theirs.
        `fresh`: see `TestReading`.
        """
        stored = {
            "begun": datetime.now(UTC).isoformat("T", "milliseconds"),
            "selected": selected,
            "data_digest": data_digest,
            "signature": signature,
            "left": [list(run) for run in runs],
            "scored": [asdict(one) for one in known],
            "known": len(known),
            "fresh": fresh,
        }
        opening = cls(folder, stored)
        opening._write()
        return opening

    @classmethod
    def under_way(cls, folder: Path) -> Opening | None:
        """The opening that an earlier run of the study began and did not end.

        None without one, nor where it has read nothing yet: it is begun afresh then.
        Raises: LedgerError if it cannot be read.
        """
        path = folder / _UNDER_WAY
        try:
            opening = cls(folder, read_sealed(path))
        except FileNotFoundError:
            return None
        except (DamagedFileError, ValueError, KeyError, TypeError) as error:
            raise LedgerError(
                f"the record of an opening of the test set is damaged ({_briefly(error)})",
                where=str(path),
                way_out="Delete it and run again; some runs may then be read a second time.",
            ) from None
        entered = opening._is_entered
        if entered or not opening.has_read:
            path.unlink()
            return None
        return opening

    @property
    def left(self) -> tuple[Run, ...]:
        """The runs still to be read, in order."""
        return tuple(self._left)

    @property
    def has_read(self) -> bool:
        """Whether a run was scored, beside those whose scores were known."""
        return len(self._scored) > self._known

    def enter(self, run: Run, scores: Scores) -> None:
        """Keeps the score of a run, and its texts."""
        trial, seed = run
        self._scored.append(TestScore(trial, seed, scores.value, self._left.pop(run)))
        self._signature = self._signature or scores.signature
        if scores.texts:
            make_folder(self._folder / _TEXTS)
        stem = f"trial{trial:04d}" + ("" if seed is None else f".seed{seed}")
        for name, text in scores.texts.items():
            replace_text(self._folder / _TEXTS / f"{stem}.{name}", text)
        self._write()

    def leave_out(self, run: Run) -> None:
        """Gives up a run that cannot be scored."""
        del self._left[run]
        self._write()

    def close(self) -> TestReading:
        """Enters all that was read in the ledger, as one entry."""
        assert self._scored
        assert not self._left
        reading = self._reading()
        entries = [asdict(one) for one in (*read_ledger(self._folder), reading)]
        write_sealed(self._folder / _FILE, {"schema_version": SCHEMA_VERSION, "readings": entries})
        (self._folder / _UNDER_WAY).unlink()
        return reading

    @property
    def _is_entered(self) -> bool:
        """Whether a kill came between the entry and the end of the opening."""
        earlier = read_ledger(self._folder)
        return bool(earlier) and not self._left and earlier[-1] == self._reading()

    def _reading(self) -> TestReading:
        return TestReading(
            when=self.begun,
            selected=self.selected,
            runs=tuple(self._scored),
            signature=self._signature,
            data_digest=self._data_digest,
            fresh=self._fresh,
        )

    def _write(self) -> None:
        stored = {
            "schema_version": SCHEMA_VERSION,
            "begun": self.begun,
            "selected": self.selected,
            "data_digest": self._data_digest,
            "signature": self._signature,
            "left": [[*run, validation] for run, validation in self._left.items()],
            "scored": [asdict(one) for one in self._scored],
            "known": self._known,
            "fresh": self._fresh,
        }
        write_sealed(self._folder / _UNDER_WAY, stored)


def _briefly(error: Exception) -> str:
    return error.what if isinstance(error, UserError) else str(error)


def _reading_of(stored: dict[str, Any]) -> TestReading:
    """An entry; before there were finals, one had the best trial's score and nothing else."""
    if "runs" in stored:
        reading = TestReading(**stored)
        return replace(reading, runs=tuple(TestScore(**one) for one in stored["runs"]))
    trial, value = stored["trial"], stored["value"]
    run = TestScore(trial, None, value, None)
    return TestReading(stored["when"], trial, (run,), stored["signature"], stored["data_digest"])
