"""Contestants in processes of their own: asked in JSON, answering in JSON.

A contestant is a module with a function of a request; `answer` makes it a command whose last line
of output is what the function returned, with the peak of its memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PEERS_PYTHON = ROOT / ".venv" / "peers" / "bin" / "python"

Request = Mapping[str, Any]


class BenchError(Exception):
    """What whoever runs the bench can mend, in one line."""


def answer(measure: Callable[[Request], dict[str, Any]]) -> None:
    """Runs `measure` on the request of the command line and prints what it found."""
    found = measure(json.loads(sys.argv[1]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(found | {"peak_rss_mb": peak / 1024}), flush=True)  # Linux counts in KiB


def ask(python: Path, module: str, request: Request, cores: Sequence[int]) -> dict[str, Any]:
    """What `benchmarks.peers.{module}` answers, bound to `cores`, a thread for each.

    Raises: BenchError with the end of its complaint where it fails.
    """
    command = [
        "taskset",
        "--cpu-list",
        ",".join(map(str, cores)),
        str(python),
        "-m",
        f"benchmarks.peers.{module}",
        json.dumps(request),
    ]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": str(len(cores)),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        complaint = "\n".join(done.stderr.strip().split("\n")[-15:])
        raise BenchError(f"{module} {json.dumps(request)} failed:\n{complaint}")
    found: dict[str, Any] = json.loads(done.stdout.strip().split("\n")[-1])
    return found


def own_python() -> Path:
    """The interpreter that runs our side."""
    return Path(sys.executable)


def find_peers(given: Path | None) -> Path:
    """The interpreter that runs the peers.

    Raises: BenchError where there is none, or nothing to bind a process to a core with.
    """
    if shutil.which("taskset") is None:
        raise BenchError("taskset is not installed. It comes with util-linux.")
    python = given or PEERS_PYTHON
    if not python.exists():
        raise BenchError(f"{python}: no such interpreter. Set the peers up with `make peers`.")
    return python.absolute()


def find_data() -> Path:
    """The folder of corpora that `HPO_DATA` names.

    Raises: BenchError where it names none.
    """
    named = os.environ.get("HPO_DATA")
    if not named:
        raise BenchError("HPO_DATA is not set: name the folder with multi30k/ and iwslt2017/.")
    if not Path(named).is_dir():
        raise BenchError(f"HPO_DATA is no folder: {named}.")
    return Path(named).resolve()


def _default_cache() -> Path:
    """Where tokenizers and trained weights stay between runs of the bench."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "hpo-benchmarks"


def parser(module: str, about: str | None) -> argparse.ArgumentParser:
    """Of the command `benchmarks.peers.{module}`, with what all benches of the peers take."""
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.peers.{module}", description=(about or "").split("\n", 1)[0]
    )
    made.add_argument(
        "--cache",
        type=Path,
        default=_default_cache(),
        help="where tokenizers and trained weights stay",
    )
    made.add_argument("--peers", type=Path, help="interpreter of the peers' environment")
    return made


def one_core() -> list[int]:
    """The last of the cores that this process may use: the first ones have more to do."""
    return all_cores()[-1:]


def all_cores() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def run_command(main: Callable[[], None]) -> None:
    """Runs a bench's `main`; what its user can mend is one line and exit code 2."""
    try:
        main()
    except BenchError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
