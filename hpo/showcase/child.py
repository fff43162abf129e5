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


def main() -> int:
    """Draws once. Returns the exit code."""
    parent, name, runs, storage_url = sys.argv[1:]
    end_with_parent(int(parent))
    os.umask(0o077)
    from hpo.showcase.contents import lay_out

    try:
        news = lay_out(storage_url or None, name, Path(runs))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    json.dump(news, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
