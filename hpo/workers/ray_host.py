"""What runs on a node of a cluster: one slot, which starts its child as it would anywhere.

An actor around a `LocalSlot`, so that a trial's process, its death and its end are the same as on
one machine. The driver and the host take turns: each event goes up as an answer to the verdict on
the one before.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from core.errors import UserError
from core.settings import RunConfig
from core.task import Evaluation, Outcome, Progress, Scores, Verdict
from hpo.slots import BreakdownKind, Work, WorkerError, WorkerMistakeError
from hpo.workers.breakdowns import kind_of
from hpo.workers.devices import Place
from hpo.workers.local import LocalSlot
from hpo.workers.messages import Hello, Job
from hpo.workers.nursery import Nursery
from hpo.workers.parcels import Packer, Parcel, unpack

OWN_FOLDER = "HPO_NODE_FOLDER"
"""Environment variable of a node: a folder on its own disk in which trials are to run, even if it
sees the driver's files. A node that does not uses `hpo-UID` in its temporary folder by default."""


class NodeError(UserError):
    """A node cannot be worked on."""


@dataclass(frozen=True)
class Node:
    """Where a host has come to be."""

    name: str
    device: str
    """`NAME cpu` or `NAME gpu 1`."""
    is_shared: bool
    """Whether it sees the driver's files."""


@dataclass(frozen=True)
class Probe:
    """A file that the driver has written, for a host to look for."""

    path: Path
    content: str

    def is_seen(self) -> bool:
        try:
            return self.path.read_text(encoding="ascii") == self.content
        except OSError:
            return False


@dataclass(frozen=True)
class Supplies:
    """What a study's trials read, for a node that does not see the driver's files."""

    cache: Parcel
    data: Parcel


@dataclass(frozen=True)
class Moment:
    """What a host has to say: an event, or how its job ended; one of the four is given."""

    event: Progress | Evaluation | None = None
    result: Outcome | Scores | None = None
    fault: tuple[str, BreakdownKind] | None = None
    """Arguments of a `WorkerError`."""
    mistake: tuple[str, str] | None = None
    """Arguments of a `WorkerMistakeError`."""
    parcel: Parcel | None = None
    """What has changed in the job's folder, where the driver does not see it."""


class Host:
    """An actor that carries out one job at a time."""

    def __init__(self, cache: Path, *, module: str, threads: int, gpu: bool, probe: Probe) -> None:
        named = os.environ.get(OWN_FOLDER)
        self._own = None if probe.is_seen() and not named else _own_folder(named)
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") if gpu else None
        name = socket.gethostname()
        device = f"{name} gpu {visible}" if visible else f"{name} cpu"
        self._node = Node(name, device, is_shared=self._own is None)
        near = cache if self._own is None else self._own / "cache"
        nursery = Nursery(Hello(module, tuple(sys.path), threads, near))
        self._slot = LocalSlot(nursery, Place(device, device, visible))
        self._slot.warm()
        self._moments: SimpleQueue[Moment] = SimpleQueue()
        self._verdicts: SimpleQueue[Verdict] = SimpleQueue()
        self._packer: Packer | None = None
        self._supplied: object = None

    def describe(self) -> Node:
        """Where this host is."""
        return self._node

    def begin(
        self, job: Job, parcel: Parcel | None = None, supplies: Sequence[Any] = ()
    ) -> Moment:
        """Begins a job and returns its first moment.

        `parcel` is its folder and `supplies` holds a reference to `Supplies`, where nothing is
        shared.
        """
        thread = threading.Thread(target=self._carry_out, args=(job, parcel, supplies))
        thread.daemon = True
        thread.start()
        return self._moments.get()

    def go_on(self, verdict: Verdict) -> Moment:
        """Answers the last event; the moment after it."""
        self._verdicts.put(verdict)
        return self._moments.get()

    def kill(self) -> None:
        """Ends at once what runs; its job's moment says so."""
        self._slot.kill()

    def _carry_out(self, job: Job, parcel: Parcel | None, supplies: Sequence[Any]) -> None:
        fault: tuple[str, BreakdownKind] | None = None
        mistake: tuple[str, str] | None = None
        result = None
        try:
            if self._own is not None:
                assert parcel is not None
                job = self._bring(job, parcel, supplies)
            result = self._do(job)
        except WorkerError as error:
            fault = (error.reason, error.kind)
        except UserError as error:
            kind = error.kind if isinstance(error, WorkerMistakeError) else type(error).__name__
            mistake = (str(error), kind)
        except Exception as error:
            traceback.print_exc()
            fault = self._fault_of(error)
        last = None
        try:
            last = self._pack()
        except OSError as error:  # what it came to is worth nothing without its files
            result, mistake, fault = None, None, fault or self._fault_of(error)
        if self._packer is not None:
            self._packer = None
            shutil.rmtree(job.folder, ignore_errors=True)
        self._moments.put(Moment(result=result, fault=fault, mistake=mistake, parcel=last))

    def _fault_of(self, error: Exception) -> tuple[str, BreakdownKind]:
        return f"{self._node.name}: {type(error).__name__}: {error}", kind_of(error)

    def _do(self, job: Job) -> Outcome | Scores:
        if job.kind == "score_test":
            return self._slot.score_test(job.config, job.folder)
        return self._slot.run(Work(*job.ticket, job.config, job.folder), self._relay)

    def _relay(self, event: Progress | Evaluation) -> Verdict:
        # After an evaluation the child waits for the answer, and writes nothing.
        parcel = self._pack() if isinstance(event, Evaluation) else None
        self._moments.put(Moment(event=event, parcel=parcel))
        return self._verdicts.get()

    def _pack(self) -> Parcel | None:
        return None if self._packer is None else self._packer.pack()

    def _bring(self, job: Job, parcel: Parcel, supplies: Sequence[Any]) -> Job:
        """The job on this node's own files."""
        assert self._own is not None
        folder = self._own / "jobs" / str(os.getpid())
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        unpack(parcel, folder)
        self._packer = Packer(folder, lambda path: not path.name.startswith(".worker"))
        self._packer.skip()
        data = self._own / "data" / job.config.data_digest
        if supplies[0] != self._supplied:
            import ray

            given: Supplies = ray.get(supplies[0])
            unpack(given.cache, self._own / "cache")
            unpack(given.data, data)
            self._supplied = supplies[0]
        config = job.config
        if data.exists():
            # Where the corpora lie is no part of what decides a run's numbers.
            moved = {**config.data, "source": str(data)}
            config = RunConfig(**{**config.model_dump(), "data": moved})
        return replace(job, config=config, folder=folder)


def _own_folder(named: str | None) -> Path:
    """A folder of this node's, with what dead hosts have left in it swept out."""
    # The name by default can be foretold: whoever came first may have made it.
    default = Path(tempfile.gettempdir()) / f"hpo-{os.getuid()}"
    folder = Path(named).expanduser().resolve() if named else default
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise NodeError(
            "this folder is somebody else's", where=str(folder), way_out=f"Set {OWN_FOLDER}."
        )
    if not named:
        folder.chmod(0o700)
    for left in (folder / "jobs").glob("*"):
        if not Path(f"/proc/{left.name}").exists():
            with contextlib.suppress(OSError):
                shutil.rmtree(left)
    return folder
