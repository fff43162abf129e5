"""Completion in bash, zsh and fish: commands, options, and studies by their names."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path

import argcomplete
from argcomplete.completers import DirectoriesCompleter, FilesCompleter
from argcomplete.shell_integration import shellcode

from hpo.commands.parsing import CommandParser

_PROGRAM = "hpo"


def shell_code(shell: str) -> str:
    """What a shell is to run so that it completes the words of `hpo`."""
    return shellcode([_PROGRAM], shell=shell)


def complete(parser: argparse.ArgumentParser, commands: Mapping[str, CommandParser]) -> None:
    """Answers the shell that asks, and ends the process."""
    declared = ("run", "plan", "validate", "advise", "lr-find")
    for name, command in commands.items():
        command.is_in_order = True
        for action in command._actions:
            completer = {
                "study": _declared if name in declared else _run_here,
                "path": _declared,
                "others": _run_here,
                "warm_start": _run_here,
                "file": FilesCompleter(),
                "output": FilesCompleter(),
                "runs_dir": DirectoriesCompleter(),
                "dir": DirectoriesCompleter(),
            }.get(action.dest)
            if completer is not None:
                action.completer = completer  # type: ignore[attr-defined]
    argcomplete.autocomplete(parser, always_complete_options=False)


def _declared(prefix: str, **_: object) -> Iterable[str]:
    """Names of declared studies, and TOML files."""
    from hpo.declarations.files import declared_files

    return [*declared_files("study"), *FilesCompleter(("toml",))(prefix)]


def _run_here(parsed_args: argparse.Namespace, **_: object) -> Iterable[str]:
    """Names of the studies with a folder: a database would take a second to open."""
    runs: Path = getattr(parsed_args, "runs_dir", None) or Path("runs")
    return sorted(path.parent.name for path in runs.expanduser().glob("*/study.json"))
