"""What the toy trials really did, in their own words, and what trouble is to befall them.

One file of lines, `seconds pid trial event argument`, each written by one append, so that their
order is that of the events whoever wrote them. The harness neither knows nor manages it. Seconds
are those of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

EVERY = "*"
"""In a plan of troubles: every trial."""


@dataclass(frozen=True)
class Trouble:
    """What is to happen to a trial, and where."""

    at: str
    """`step 7`, `resume`, `checkpoint 8` (half written), `cache` (half written), `written`
    (the outcome is, and nobody knows)."""
    what: str
    """A name in `benchmarks.faults.toy.TROUBLES`."""
    times: int = 1
    """In so many attempts."""
    gpu: str | None = None
    """Where `CUDA_VISIBLE_DEVICES` is this alone; anywhere by default."""


@dataclass(frozen=True)
class Line:
    """One thing that a process did."""

    at: float
    pid: int
    trial: str
    event: str
    """`begin`, `wait`, `step`, `checkpoint`, `trouble`, `end`, `test`."""
    argument: str = ""


class Journal:
    """The file and the plan beside it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "journal.txt"
        self._plan = folder / "plan.json"
        self._read: list[Line] = []
        self._offset = 0

    def write(self, trial: str, event: str, argument: object = "") -> None:
        line = f"{time.monotonic():.6f} {os.getpid()} {trial} {event} {argument}".rstrip()
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)

    def lines(self) -> Sequence[Line]:
        """All lines so far; reads what is new."""
        if self._file.exists():
            with self._file.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
            new = new[: new.rfind(b"\n") + 1]
            self._offset += len(new)
            self._read += [_parse(line) for line in new.decode().splitlines()]
        return self._read

    def of(self, trial: str) -> list[Line]:
        return [line for line in self.lines() if line.trial == trial]

    def troubles(self, trial: str) -> list[Trouble]:
        """The trial's, or else everyone's, that have not happened as often as they shall."""
        if not self._plan.exists():
            return []
        plan = json.loads(self._plan.read_text())
        due = [Trouble(**one) for one in plan.get(trial, plan.get(EVERY, []))]
        past = [line.argument for line in self.of(trial) if line.event == "trouble"]
        return [
            one
            for one in due
            if past.count(f"{one.at} {one.what}") < one.times
            and one.gpu in (None, os.environ.get("CUDA_VISIBLE_DEVICES"))
        ]

    def plan(self, troubles: Mapping[str, Iterable[Trouble]]) -> None:
        """Says what is to happen, by trial."""
        plan = {trial: [vars(one) for one in listed] for trial, listed in troubles.items()}
        self._plan.write_text(json.dumps(plan))


def name_of(number: int) -> str:
    """What the journal calls a trial."""
    return f"{number:04d}"


def _parse(text: str) -> Line:
    at, pid, trial, event, *rest = text.split(" ")
    return Line(float(at), int(pid), trial, event, " ".join(rest))
