"""The sealed test set: every reading of it is remembered, and the next one must be asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from core.atomic import replace_json, replace_text
from core.errors import UserError
from core.task import Scores
from hpo.records import SCHEMA_VERSION, TestReading

_FILE = "ledger.json"
_TEXTS = "test"


class LedgerError(UserError):
    """The ledger of test readings cannot be read."""


def read_ledger(folder: Path) -> tuple[TestReading, ...]:
    """All readings of a study's test set, in order; `folder` is the study's.

    Raises: LedgerError if there is a ledger that makes no sense.
    """
    path = folder / _FILE
    try:
        readings = json.loads(path.read_text(encoding="utf-8"))["readings"]
        return tuple(TestReading(**reading) for reading in readings)
    except FileNotFoundError:
        return ()
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(
            f"the record of test readings is damaged ({error})",
            where=str(path),
            way_out="Restore it; deleting it breaks the seal of the test set.",
        ) from None


def read_test_set(
    folder: Path, trial: int, data_digest: str, score: Callable[[], Scores]
) -> TestReading:
    """Scores trial `trial` on the test set, and enters the reading in the ledger of `folder`.

    Whether the seal may be broken is the caller's to know: see `read_ledger`.
    """
    earlier = read_ledger(folder)
    scores = score()
    reading = TestReading(
        when=datetime.now(UTC).isoformat("T", "seconds"),
        trial=trial,
        value=scores.value,
        signature=scores.signature,
        data_digest=data_digest,
    )
    if scores.texts:
        (folder / _TEXTS).mkdir(exist_ok=True)
        for name, text in scores.texts.items():
            replace_text(folder / _TEXTS / f"trial{trial:04d}.{name}", text)
    entries = [asdict(one) for one in (*earlier, reading)]
    replace_json(folder / _FILE, {"schema_version": SCHEMA_VERSION, "readings": entries})
    return reading
