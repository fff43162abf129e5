"""What helps to write declarations and commands: templates, checks, schemas, completion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hpo.commands.exit_codes import DONE, MISTAKE, complain
from hpo.commands.parsing import Command, CommandError, CommandParser

if TYPE_CHECKING:
    import argparse

    from hpo.declarations.files import Kind
    from hpo.output import Printer

SHELLS = ("bash", "zsh", "fish")


def _new(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.names import label
    from hpo.starting import write_new

    kind: Kind = "study" if arguments.kind == "study" else "search space"
    out.say(label(write_new(kind, arguments.name)))
    return DONE


def _validate(arguments: argparse.Namespace, out: Printer) -> int:
    """Prints a line a file, the problems on standard error."""
    from hpo import as_json
    from hpo.declarations import validate_path
    from hpo.memory import MemoryCheck, slot_memory
    from hpo.options import RunOptions
    from hpo.workers.devices import local_places

    has_bytes = slot_memory([place.device for place in local_places(RunOptions())])
    checked = [
        (file, MemoryCheck(file.study, has_bytes).warning() if file.study else None)
        for file in validate_path(arguments.path)
    ]
    if arguments.json:
        out.show(as_json.document(as_json.validated(checked)))
    for file, warning in () if arguments.json else checked:
        if file.problem is None:
            out.say(f"{file.kind} {file.name}: {file.summary}")
            if warning:
                out.say(f"  {warning}")
        else:
            complain(str(file.problem))
    return MISTAKE if any(file.problem for file, _ in checked) else DONE


def _schema(arguments: argparse.Namespace, out: Printer) -> int:
    """Prints the schemas, or writes them and prints where."""
    from hpo.declarations.schema import schema_text, schemas, write_schemas

    made, name = schemas(), arguments.name
    if name is not None and name not in made:
        raise CommandError("unknown schema", got=name, allowed=", ".join(made))
    if arguments.dir is None:
        out.show(schema_text(made if name is None else made[name]).rstrip())
        return DONE
    from hpo.names import label

    chosen = made if name is None else {name: made[name]}
    for path in write_schemas(chosen, arguments.dir.expanduser()):
        out.say(label(path))
    return DONE


def _completion(arguments: argparse.Namespace, out: Printer) -> int:
    from hpo.completion import shell_code

    out.show(shell_code(arguments.shell).rstrip())
    return DONE


def _add_new_arguments(new: CommandParser) -> None:
    new.add_argument(
        "kind", choices=("study", "space"), metavar="study|space", help="what to write"
    )
    new.add_argument("name", metavar="NAME", help="what to call it")


def _add_validate_arguments(validate: CommandParser) -> None:
    validate.add_argument(
        "path",
        nargs="?",
        metavar="PATH",
        help="a .toml file, a folder of them or a name (default: every declaration found)",
    )


def _add_schema_arguments(schema: CommandParser) -> None:
    schema.add_argument(
        "name",
        nargs="?",
        metavar="study|search_space",
        help="which one (default: both; printed, one object by these names)",
    )
    schema.add_argument(
        "--dir", type=Path, metavar="DIR", help="write NAME.json into a folder instead"
    )


def _add_completion_arguments(completion: CommandParser) -> None:
    completion.add_argument("shell", choices=SHELLS, metavar="|".join(SHELLS))


COMMANDS = (
    Command(
        "new",
        "write a study or a search space to start from",
        _new,
        _add_new_arguments,
        has_place=False,
    ),
    Command(
        "validate",
        "check studies and search spaces",
        _validate,
        _add_validate_arguments,
        has_place=False,
        has_json=True,
    ),
    Command(
        "schema",
        "write JSON Schemas of studies and search spaces, for editors",
        _schema,
        _add_schema_arguments,
        has_place=False,
    ),
    Command(
        "completion",
        "print what completes commands and studies in a shell",
        _completion,
        _add_completion_arguments,
        has_place=False,
    ),
)
