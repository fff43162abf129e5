"""The command: parses, has it done, and says by its exit code how it went."""

from __future__ import annotations

import time
from collections.abc import Sequence

from core.errors import UserError
from hpo.arguments import COMMANDS, read_arguments
from hpo.commands.exit_codes import INTERRUPTED, MISTAKE, complain
from hpo.commands.shared_options import DEFAULT_RUNS_DIR


def main(argv: Sequence[str]) -> int:
    """Runs one command; returns 0 done, 1 the run failed, 2 the user's mistake, 130 interrupted.

    A `UserError` is printed as one line; any other exception is a bug and keeps its traceback.
    """
    begun = time.monotonic()
    try:
        arguments = read_arguments(argv)
        arguments.begun = begun
        from hpo.disk import telling_of_room
        from hpo.output import Printer

        with telling_of_room(getattr(arguments, "runs_dir", DEFAULT_RUNS_DIR)):
            return COMMANDS[arguments.command].run(arguments, Printer())
    except UserError as error:
        complain(str(error))
        return MISTAKE
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
