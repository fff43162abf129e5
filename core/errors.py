"""The mistakes a user can make, told in one line that says how to mend them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in what the user declared or supplied; the command prints it and exits 2.

    Its message is one line made of its parts: where, what, the value got, what is allowed, and the
    way out. Parts that are `None` are left out. A subclass names the kind of mistake.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        got: object | None = None,
        allowed: str | None = None,
        way_out: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.got = got
        self.allowed = allowed
        self.way_out = way_out
        super().__init__(self._line())

    def _line(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        if self.got is not None:
            line += f", got {self.got!r}"
        line += "."
        if self.allowed:
            line += f" Allowed: {self.allowed}."
        if self.way_out:
            line += f" {self.way_out}"
        return " ".join(line.split())


class SettingsError(UserError):
    """A setting has the wrong type, lies outside its bounds, or contradicts another."""


class DataError(UserError):
    """A corpus is missing, damaged or empty."""


class CheckpointError(UserError):
    """A checkpoint is damaged, foreign or of another configuration."""


class DamagedFileError(CheckpointError):
    """What a file holds is not what was written into it."""


class IncomparableError(UserError):
    """Runs that were not scored on the same examples, or left nothing to compare."""


class MissingPackageError(UserError):
    """A package of an extra is asked for and not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed",
            way_out=f"Install it: pip install 'hpo-harness[{extra}]'.",
        )


class FolderTakenError(UserError):
    """A new folder is to be made where there is something already."""

    def __init__(self, folder: object) -> None:
        super().__init__(
            "there is something here already",
            where=str(folder),
            allowed="a new folder, or an empty one",
            way_out="Name another, or remove it.",
        )


class DiskFullError(UserError):
    """There was no room for something that a study writes. What was there before is untouched."""

    def __init__(self, what: object) -> None:
        """`what` could not be written: a file, or a database in words."""
        super().__init__(
            f"disk full: {what}",
            way_out="Make room and give the same command again: it goes on from here.",
        )


def did_you_mean(name: object, names: Iterable[str]) -> str | None:
    """The way out for a mistyped name; `None` when nothing valid resembles it."""
    if not isinstance(name, str):
        return None
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"Did you mean {near[0]!r}?" if near else None
