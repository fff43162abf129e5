"""The command `python -m hpo run` on the toy study, as a process that can be killed.

It is forked from the bench, which has imported what a driver imports, in a session of its own: a
start takes hundredths of a second instead of seconds of imports. From there on it is the command
itself, with three changes: its children run `benchmarks.faults.toy`, no report is drawn, and the
modules that tell Optuna's versions of a database are loaded once for all. Patches, called before
it begins, change it further.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

import alembic.util
import optuna

import hpo.__main__
import hpo.analysis.grad_norms
import hpo.analysis.report
import hpo.analysis.stability
import hpo.analysis.timeline
import hpo.launch
import hpo.output
import hpo.showcase.contents
import hpo.view
import hpo.workers.local
from core import registry
from hpo.processes import end_with_parent
from hpo.workers.local import LocalSlot, local_slots
from hpo.workers.ray_slots import ray_slots

Patch = Callable[[], None]

TOY = "benchmarks.faults.toy"
_LOOK_EVERY_S = 0.005


class HungError(Exception):
    """A process did not end in the time it was given."""


class Driver:
    """A running driver and its log."""

    def __init__(
        self,
        arguments: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        patches: Sequence[Patch] = (),
    ) -> None:
        self.log = log
        self.begun = time.monotonic()
        self.code: int | None = None
        """Its exit code, negative for a signal, once it has ended."""
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(_be_driver(arguments, log, environment, patches))

    @property
    def has_ended(self) -> bool:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def wait(self, limit_s: float) -> int:
        """Its exit code. Raises: HungError, having killed it, if that takes over `limit_s`."""
        if not self.ends_within(limit_s):
            self.kill()
            raise HungError(f"the driver did not end within {limit_s:.0f} s; see {self.log}")
        assert self.code is not None
        return self.code

    def ends_within(self, limit_s: float) -> bool:
        """Whether it ends in that time, waited for."""
        return wait_until(lambda: self.has_ended, limit_s)

    def send(self, number: signal.Signals) -> None:
        if not self.has_ended:
            os.kill(self.pid, number)

    def kill(self) -> float:
        """Kills it, its children left to themselves, and returns when."""
        at = time.monotonic()
        self.send(signal.SIGKILL)
        self.ends_within(10)
        return at

    def workers(self) -> list[int]:
        """Its children now, idle ones too."""
        return children_of(self.pid)

    def text(self) -> str:
        """What it has printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def line_with(self, text: str) -> str:
        """The first line it printed that has `text` in it; empty without one."""
        return next((line.strip() for line in self.text().splitlines() if text in line), "")


def load_databases() -> None:
    """Loads what drivers load with their database, half of the CPU time of a short study."""
    alembic.util.load_python_file = functools.cache(alembic.util.load_python_file)
    storage = optuna.storages.RDBStorage("sqlite://")
    storage.remove_session()
    storage.engine.dispose()


def wait_until(is_so: Callable[[], bool], limit_s: float) -> bool:
    """Whether something became so within `limit_s`."""
    end = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True


def children_of(pid: int) -> list[int]:
    """The living child processes of a process, asked of the kernel."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(one) for one in path.read_text().split()]
        except OSError:
            continue
    return [one for one in found if is_alive(one)]


def is_alive(pid: int) -> bool:
    """Whether there is such a process and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def dying(target: str, when: str, nth: int = 1) -> Patch:
    """Kills the process with SIGKILL `before` or `after` the n-th call of a function.

    `target` is `module:function` or `module:Class.method`.
    """

    def patch() -> None:
        module, _, path = target.partition(":")
        *outer, name = path.split(".")
        owner = import_module(module)
        for part in outer:
            owner = getattr(owner, part)
        original, left = getattr(owner, name), [nth]

        def wrapped(*args: object, **kwargs: object) -> object:
            left[0] -= 1
            if left[0] == 0 and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*args, **kwargs)
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, name, wrapped)

    return patch


def silent_for(seconds: float) -> Patch:
    """Takes a worker that says nothing for so long for a hanging one."""

    def patch() -> None:
        _default(LocalSlot.__init__, "silence_s", seconds)

    return patch


def with_gpus(gpus: Sequence[str], folder: Path) -> Patch:
    """Makes driver and workers see GPUs, by a `torch` of two lines in `folder`."""

    def patch() -> None:
        folder.mkdir(exist_ok=True)
        (folder / "torch.py").write_text(
            "class cuda:\n    is_available = staticmethod(lambda: True)\n"
        )
        sys.path.insert(0, str(folder))
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)

    return patch


def clock_jumping(after_s: Sequence[float], by_s: Sequence[float]) -> Patch:
    """Moves what `time.time` says, by `by_s[i]` from `after_s[i]` seconds on."""

    def patch() -> None:
        real, begun = time.time, time.monotonic()

        def now() -> float:
            since = time.monotonic() - begun
            past = [by for after, by in zip(after_s, by_s, strict=True) if since >= after]
            return real() + (past[-1] if past else 0.0)

        time.time = now

    return patch


def _be_driver(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str], patches: Sequence[Patch]
) -> int:
    code = 1
    try:
        os.setsid()
        end_with_parent(os.getppid())  # a bench that is killed leaves nobody behind
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for ours, theirs in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(ours, theirs)
        os.environ.update(environment)
        _run_the_toy()
        for patch in patches:
            patch()
        sys.argv = [hpo.__main__.__file__, *arguments]
        code = hpo.__main__.main()
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _run_the_toy() -> None:
    registry._MODULES["toy"] = TOY
    _default(local_slots, "module", TOY)
    _default(ray_slots, "module", TOY)
    report = types.ModuleType("hpo.analysis.report")
    report.write_report = lambda record: Path("report.html")  # type: ignore[attr-defined]
    sys.modules[report.__name__] = report


def _default(function: Callable[..., object], name: str, value: object) -> None:
    """Changes the default of a keyword argument."""
    defaults = function.__kwdefaults__ or {}
    assert name in defaults, f"{function.__qualname__} has no keyword argument {name}"
    defaults[name] = value
