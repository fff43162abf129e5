"""The command: `python -m hpo`, and the console script `hpo`."""

from __future__ import annotations

import io
import sys
import warnings

from hpo import cli


def main() -> int:
    """Runs the command of this process and returns its exit code."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # nobody at a command line can mend a library's warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a narrow encoding ends no study
    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
