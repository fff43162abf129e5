"""Texts through a trained model, as they come."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from core.errors import UserError
from core.registry import find_task
from core.task import Placement
from hpo.kept import KeptRun, opened
from hpo.options import RunOptions
from hpo.workers.devices import local_places

_READ_AT_ONCE = 2**16  # bytes
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""What breaks a line or acts on a terminal."""


class NoTranslationError(UserError):
    """The study's task has no texts to translate."""


def translations(run: KeptRun, batches: Iterable[list[str]]) -> Iterator[list[str]]:
    """One line for each text, a batch after the other; a blank one for a blank text.

    Raises: NoTranslationError, and as `core.run.trained`.
    """
    task_name = run.study.task
    translate = find_task(task_name).translate
    if translate is None:
        raise NoTranslationError(
            f"its task, {task_name}, has no text to translate", where=run.study.name
        )
    with opened(run, placement_here()) as (task, model):
        for batch in batches:
            found = iter(translate(task, model, [text for text in batch if text.strip()]))
            yield [_CONTROL.sub(" ", next(found)) if text.strip() else "" for text in batch]


def lines_of(descriptor: int) -> Iterator[list[str]]:
    """The lines of an open file or pipe without their ends, as many at a time as have come.

    A line ends at `\\n` alone; bytes that are no UTF-8 become U+FFFD.
    """
    rest = b""
    while piece := os.read(descriptor, _READ_AT_ONCE):
        *lines, rest = (rest + piece).split(b"\n")
        if lines:
            yield [line.decode(errors="replace") for line in lines]
    if rest:
        yield [rest.decode(errors="replace")]


def placement_here() -> Placement:
    """The first GPU that torch can use, else all of the CPU."""
    import torch

    from hpo.slots import is_on_gpu, threads_per_slot

    place = local_places(RunOptions())[0]
    has_gpu = is_on_gpu(place.device) and torch.cuda.is_available()
    return Placement("cuda" if has_gpu else "cpu", threads_per_slot(1))
