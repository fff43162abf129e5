"""The process that draws: `python -m hpo.showcase.child PARENT STUDY RUNS STORAGE`.

Prints what `lay_out` says as JSON. PARENT is a process number, STORAGE empty for the default one.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from core.errors import UserError
from hpo.processes import end_with_parent

STORAGE_FAILED = 3
"""The exit code where the database could not be read."""


def main() -> int:
    """Draws once. Returns the exit code."""
    parent, name, runs, storage_url = sys.argv[1:]
    end_with_parent(int(parent))
    os.umask(0o077)
    # The answer has its own descriptor: what a library prints goes where complaints go.
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)
        from hpo.showcase.contents import lay_out
        from hpo.storage import StorageError

        try:
            news = lay_out(storage_url or None, name, Path(runs))
        except UserError as error:
            print(error, file=sys.stderr)
            return STORAGE_FAILED if isinstance(error, StorageError) else 1
        json.dump(news, answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
