"""Parsers whose complaint is one line, and what a command is."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from core.errors import UserError

if TYPE_CHECKING:
    from hpo.output import Printer


class CommandError(UserError):
    """A command line that means nothing, or a value out of its bounds."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line, not a page of usage."""

    def error(self, message: str) -> NoReturn:
        raise CommandError(message, way_out=f"See `{self.prog} --help`.")


class CommandParser(Parser):
    """A command's own parser, which takes options before, among and behind the other words.

    Python 3.11 takes a word that may be left out for left out at the first option, and then does
    not know the word behind it: options are read first, then the rest.
    """

    is_in_order = False
    """Whether words and options are read in one go: while each of the two is, and to complete."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        if self.is_in_order or any(one.nargs == argparse.PARSER for one in self._actions):
            return super().parse_known_args(args, namespace)
        self.is_in_order = True  # for what follows calls this again
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self.is_in_order = False


@dataclass(frozen=True)
class Command:
    """A word behind `hpo`, what may follow it, and what it does."""

    name: str
    text: str
    """What it does, in the list of all commands."""
    run: Callable[[argparse.Namespace, Printer], int]
    """Does it and returns the exit code."""
    add_arguments: Callable[[CommandParser], None]
    has_place: bool = True
    """It looks at studies that were run, which are somewhere."""
    has_json: bool = False
    """It is given `--json`; `leaderboard` and the actions of `cache` add it among their own."""
    description: str = ""
    """What its own help begins with, where that is not `text`."""
