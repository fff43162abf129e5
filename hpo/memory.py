"""Which configurations cannot fit in memory, found out before they are tried.

Only what is certain is refused: what a run needs at least, as its task bounds it from below,
against all the memory that its slot's share of the machine or GPU has. What passes and does not
fit all the same is an ordinary out-of-memory fault.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import SettingsError
from hpo.analysis.formats import percent
from hpo.declarations import Study
from hpo.declarations.assembly import build_groups, end_points
from hpo.names import label
from hpo.workers.memory import total_bytes

_DRAWS = 200
"""Random points among which those are counted that cannot fit."""
_QUERY = ("--query-gpu=memory.total", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Misfit:
    """A configuration that cannot fit."""

    needs_bytes: int
    has_bytes: int

    def __str__(self) -> str:
        needs, has = _amounts(self.needs_bytes, self.has_bytes)
        return f"needs at least {needs}, a trial's share of the memory is {has}"


@dataclass(frozen=True)
class MemoryCheck:
    """Compares configurations of a study with the memory of a slot."""

    study: Study
    has_bytes: int | None
    """Of the largest slot; `None` where the system does not tell, and nothing is refused."""

    def misfit(self, realised: Mapping[str, Any]) -> Misfit | None:
        """Why a point cannot fit; `None` where it may."""
        study, least = self.study, self.study.spec.least_memory
        if self.has_bytes is None or least is None:
            return None
        groups = build_groups(study.space, study.spec, realised, where=label(study.space.path))
        needs = least(groups, study.protocol, study.data)
        return Misfit(needs, self.has_bytes) if needs > self.has_bytes else None

    def refusal(self, realised: Mapping[str, Any]) -> str | None:
        """The same in one line."""
        misfit = self.misfit(realised)
        return None if misfit is None else str(misfit)

    def refuse_start(self) -> None:
        """Raises: SettingsError if the study's start configuration cannot fit."""
        misfit = None if self.study.start is None else self.misfit(self.study.start)
        if misfit is not None:
            raise SettingsError(
                f"the start configuration {misfit}",
                where=f"study {self.study.name!r}",
                way_out="Enqueue a smaller one, or run fewer trials at the same time.",
            )

    def warning(self) -> str | None:
        """One line if some of the search space cannot fit."""
        if self.has_bytes is None or self.study.spec.least_memory is None:
            return None
        space, rng = self.study.space, random.Random(0)  # noqa: S311 - examples, not secrets
        draws = [
            space.walk(lambda _, parameter, base: parameter.draw(rng, base)) for _ in range(_DRAWS)
        ]
        drawn = [misfit for point in draws if (misfit := self.misfit(point))]
        found = [
            *drawn,
            *(misfit for point in end_points(space) if (misfit := self.misfit(point))),
        ]
        if not found:
            return None
        most = max(found, key=lambda misfit: misfit.needs_bytes)
        share = percent(len(drawn) / _DRAWS) if drawn else "less than 1 %"
        return f"about {share} of the search space cannot fit in memory: the largest {most}"


def slot_memory(devices: Sequence[str]) -> int | None:
    """Bytes of the largest share that a slot has, by the slots' devices (`Slot.device`).

    Slots on one device share it evenly. CUDA is not asked, for a process that has asked it cannot
    hand its devices out. `None` where the system does not tell, or other machines take part.
    """
    sharing = min(Counter(devices).values(), default=1)
    if set(devices) == {"cpu"}:
        # Not what is free now: a trial that is refused is refused for good.
        total = total_bytes()
    elif all(re.fullmatch(r"gpu [0-9]+", device) for device in devices):
        total = max(parse_memory(_ask_nvidia()), default=None)
    else:
        return None
    return None if total is None else total // sharing


def parse_memory(text: str) -> list[int]:
    """Bytes of each GPU, from `nvidia-smi --query-gpu=memory.total`."""
    return [int(line) << 20 for line in text.split() if line.isdecimal()]


def _ask_nvidia() -> str:
    command = shutil.which("nvidia-smi")
    if command is None:
        return ""
    try:
        asked = subprocess.run(  # noqa: S603  # a fixed command found on the path
            [command, *_QUERY], capture_output=True, text=True, check=False, timeout=60
        )
    except subprocess.TimeoutExpired:
        return ""
    return asked.stdout if asked.returncode == 0 else ""


def _amounts(needs: int, has: int) -> tuple[str, str]:
    """Both in GiB, with as many decimals as tell them apart."""
    for decimals in (0, 1, 2, 3):
        told = f"{needs / 2**30:.{decimals}f} GiB", f"{has / 2**30:.{decimals}f} GiB"
        if told[0] != told[1] and not told[1].startswith("0 "):
            break
    return told
