"""What follows from breakdowns: for the trial that was at work, and for the device it was on.

Bookkeeping without threads, clock or storage. The reasons: docs/decisions/0023.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from hpo.endings import Ending
from hpo.slots import BreakdownKind, WorkerError

RETRIES = 1
"""Further attempts, each in a fresh process, after a breakdown; anew whenever one got further."""
MOST_FAULTS = 10
"""Breakdowns in all after which a trial is given up though each attempt got further."""
MOST_EXCUSED = 20
"""Attempts in a row that were killed or lost without having got further, and no more are made.
Where three attempts in five are killed so, that befalls four evaluations in 100,000."""
FAULTS_OF_A_DEVICE = 3
"""So many breakdowns in a row, of two trials at least, are the device's fault."""
FAILURES_IN_A_ROW = 5
"""So many failed trials one after another are no accident: the study stops."""
_EXCUSED: Collection[BreakdownKind] = ("killed", "lost")
"""What comes from outside and says nothing of trial or device."""


@dataclass(frozen=True)
class Breakdowns:
    """What the attempts at one trial have broken down of, over all runs of the study."""

    faults: int = 0
    """In all, but for those from outside."""
    fruitless: int = 0
    """The faults since an attempt last got further."""
    excused: int = 0
    """What came from outside since an attempt last got further."""
    step: int = 0
    """The furthest evaluation at the last breakdown."""

    @classmethod
    def stored(cls, attributes: Mapping[str, Any]) -> Self:
        """As a trial's user attributes remember them."""
        return cls(int(attributes.get("faults", 0)), **attributes.get("breakdowns", {}))

    @property
    def attributes(self) -> dict[str, Any]:
        """What the trial's user attributes are to remember."""
        since = {"fruitless": self.fruitless, "excused": self.excused, "step": self.step}
        return {"faults": self.faults, "breakdowns": since}

    def after(self, kind: BreakdownKind, step: int) -> Breakdowns:
        """With one more breakdown, after the evaluation at `step`."""
        is_further, is_excused = step > self.step, kind in _EXCUSED
        return Breakdowns(
            self.faults + (not is_excused),
            (0 if is_further else self.fruitless) + (not is_excused),
            (0 if is_further else self.excused) + is_excused,
            max(step, self.step),
        )

    def verdict(self, fault: WorkerError) -> str | None:
        """Why the trial is given up, `fault` being the last; `None` if it is tried again."""
        if self.fruitless > RETRIES:
            return fault.reason
        if self.excused >= MOST_EXCUSED:
            return f"{self.excused} attempts in a row came to nothing: {fault.reason}"
        if self.faults >= MOST_FAULTS:
            return f"it broke down {self.faults} times, at last so: {fault.reason}"
        return None


class Quarantine:
    """Tells devices that break down from trials that do.

    A breakdown is evidence against both until the trial is tried on another device: if it breaks
    down there too, the trial is at fault and no device.
    """

    def __init__(self) -> None:
        self.devices: set[str] = set()
        """Those that are given no more work."""
        self._faults: dict[str, list[Hashable]] = {}
        """Device -> whose breakdowns it has seen since work last ended well on it."""
        self._last: dict[Hashable, str] = {}
        """Work -> the device where it broke down last."""

    def note_fault(
        self, device: str, work: Hashable, kind: BreakdownKind, others: Collection[str]
    ) -> bool:
        """Notes a breakdown; true if it puts `device` into quarantine.

        `others` are the other devices at work: the last one that is left stays.
        """
        if kind == "killed":
            return False
        self._last[work] = device
        if kind == "lost":
            return False
        if any(work in seen for other, seen in self._faults.items() if other != device):
            self._faults = {
                other: [one for one in seen if one != work] for other, seen in self._faults.items()
            }
            return False
        seen = self._faults.setdefault(device, [])
        seen.append(work)
        is_at_fault = len(seen) >= FAULTS_OF_A_DEVICE and len(set(seen)) > 1
        if is_at_fault and device not in self.devices and set(others) - self.devices:
            self.devices.add(device)
            return True
        return False

    def note_success(self, device: str, work: Hashable) -> None:
        """Notes that an attempt ended well, in whatever outcome."""
        self._faults.pop(device, None)
        self._last.pop(work, None)

    def may_take(self, device: str, work: Hashable, others: Collection[str]) -> bool:
        """Whether work is for `device`: what broke down there goes to one of the `others`."""
        return self._last.get(work) != device or not set(others) - self.devices


class FailureRow:
    """Counts failed trials one after another, over all slots."""

    def __init__(self) -> None:
        self._length = 0

    def note(self, ending: Ending, *, is_any_complete: bool) -> int:
        """How many there are, with a trial that ended so.

        A configuration too large for the memory is a finding: it neither lengthens nor ends the
        row. But while no trial of the study is complete, it may as well be that there is none to
        have, and it counts.
        """
        if ending.state == "failed" or (ending.outcome == "memory" and not is_any_complete):
            self._length += 1
        elif ending.outcome != "memory":
            self._length = 0
        return self._length
