"""The command as a user types it: in a process of its own, in a folder of the test's."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import HTTPCookieProcessor, OpenerDirector, build_opener

Command = Callable[..., tuple[int, str, str]]
"""Words and `cwd` -> exit code, standard output, standard error."""

ROOT = Path(__file__).resolve().parents[2]

TINY = (
    "--study=depth_sweep",
    "--trials=2",
    "--set=protocol.finetune_steps=20",
    "--set=protocol.eval_every=10",
    "--set=protocol.validation_pairs=23",
    "--set=protocol.test_pairs=29",
    "--set=data.pocket.pretrain_pairs=211",
    "--set=protocol.vocab_size=307",
    "--set=protocol.max_len=17",
    "--set=pruner.name=none",
)
"""`depth_sweep` with a budget of seconds, every trial run to its end."""

LONGER = (*TINY, "--set=protocol.finetune_steps=80")
"""The same with trials long enough to be interrupted after the first evaluation."""


_ADDRESS = re.compile(r"(http://127\.0\.0\.1:\d+)/\S*\?token=\S+")


def environment(**changes: str) -> dict[str, str]:
    """The tests' environment with the repository's packages, and nothing of pytest's."""
    inherited = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))
    }
    for key in ("FORCE_COLOR", "NO_COLOR", "COLUMNS"):
        inherited.pop(key, None)
    return inherited | {"PYTHONPATH": str(ROOT)} | changes


def hpo(
    *words: str | Path, cwd: Path, timeout: float = 240, **changes: str
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m hpo` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "hpo", *map(str, words)],
        cwd=cwd,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


class Running:
    """`python -m hpo` in a process group of its own, its standard output in a file."""

    def __init__(self, *words: str, cwd: Path) -> None:
        self.log = cwd / "log.txt"
        with self.log.open("w") as log, (cwd / "errors.txt").open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hpo", *words],
                cwd=cwd,
                env=environment(),
                stdout=log,
                stderr=errors,
                start_new_session=True,
            )
        self.errors = cwd / "errors.txt"

    def wait_for(self, text: str, seconds: float = 120) -> None:
        """Returns once standard output holds `text`."""
        give_up = time.monotonic() + seconds
        while text not in self.log.read_text("utf-8"):
            said = f"{self.log.read_text('utf-8')}\n{self.errors.read_text('utf-8')}"
            assert self.process.poll() is None, f"ended before it said {text!r}:\n{said}"
            assert time.monotonic() < give_up, f"did not say {text!r}:\n{said}"
            time.sleep(0.05)

    def enter(self) -> tuple[str, OpenerDirector]:
        """The address of a dashboard without its path, and a browser that has its cookie."""
        give_up = time.monotonic() + 120
        while not (found := _ADDRESS.search(self.errors.read_text("utf-8"))):
            assert self.process.poll() is None, self.errors.read_text("utf-8")
            assert time.monotonic() < give_up, "the dashboard does not say where it is"
            time.sleep(0.05)
        browser = build_opener(HTTPCookieProcessor())
        browser.open(found[0], timeout=60).close()
        return found[1], browser

    def press_ctrl_c(self) -> None:
        """What a terminal does: SIGINT to every process of the foreground group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        """`kill -9` of the driver alone."""
        self.process.kill()
        self.process.wait()

    def wait(self, seconds: float = 120) -> int:
        """The exit code."""
        return self.process.wait(seconds)

    def survivors(self, seconds: float = 20) -> list[int]:
        """Processes of the group that are still alive after at most so many seconds."""
        give_up = time.monotonic() + seconds
        while (alive := _group(self.process.pid)) and time.monotonic() < give_up:
            time.sleep(0.1)
        return alive

    def end(self) -> None:
        """Leaves no process behind, however the test went."""
        for pid in _group(self.process.pid):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


def _group(group: int) -> list[int]:
    """Living processes of a process group; a zombie that nobody waits for is dead."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, pgrp = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(pgrp) == group and state not in "ZX":
                found.append(int(entry.name))
    return found
