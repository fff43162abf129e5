"""Slots on a Ray cluster: the driver's side.

The slots of a run share its hosts, one each as long as the cluster has room for all. Where a node
is lost the hosts that are left go round: a slot that has none waits for the next that is free.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import math
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.atomic import replace_text
from core.errors import UserError
from core.registry import find_task
from core.settings import RunConfig
from core.task import OnEvent, Outcome, Progress, Scores, Verdict
from hpo.folders import make_private
from hpo.slots import GRACE_S, Slot, Work, WorkerError, WorkerMistakeError
from hpo.workers.messages import Job
from hpo.workers.parcels import Packer, Parcel, unpack
from hpo.workers.ray_host import Host, Moment, Node, Probe, Supplies

PATIENCE_S = 600.0
"""How long a run waits for a cluster that has no room for a single trial."""
_LOOK_EVERY_S = 0.05
_SIGN_EVERY_S = 1.0
_START_S = 15.0
_NOWHERE = "cluster"
"""Where a slot is that has no node."""
_STAGES = "stages"
"""Results of stage A in the cache: large, so that each node trains its own, once, unless it sees
the driver's files."""


class ClusterError(UserError):
    """A cluster cannot be reached, or has no room."""


def ray_slots(
    number: int,
    cache: Path,
    *,
    address: str,
    trials_per_gpu: int = 1,
    module: str = "core.run",
    patience_s: float = PATIENCE_S,
) -> Sequence[Slot]:
    """`number` slots on the cluster at `address`: `auto`, `local` or `ray://HOST:PORT`.

    On a cluster with GPUs each has a share of one, elsewhere of the cores. They connect now and
    ask for their hosts when they are first used.

    Raises: ClusterError if Ray is not installed or the cluster cannot be reached.
    """
    hosts = _Hosts(number, cache, _connect(address), trials_per_gpu, module, patience_s)
    return [RaySlot(hosts, index) for index in range(number)]


class RaySlot:
    """A slot that runs its jobs on whichever host it is given."""

    def __init__(self, hosts: _Hosts, index: int) -> None:
        self._hosts = hosts
        self._index = index
        self._host: _Host | None = None
        """The one it has, or had last."""
        self._kill_asked = False

    @property
    def name(self) -> str:
        """See `Slot.name`."""
        return _NOWHERE if self._host is None else self._host.name

    @property
    def device(self) -> str:
        """See `Slot.device`."""
        return _NOWHERE if self._host is None else self._host.device

    def run(self, work: Work, on_event: OnEvent) -> Outcome:
        """See `Slot.run`."""
        job = Job("run", (work.number, work.attempt), work.config, work.folder)
        outcome = self._do(job, on_event)
        assert isinstance(outcome, Outcome)
        return outcome

    def score_test(self, config: RunConfig, folder: Path) -> Scores:
        """See `Slot.score_test`."""
        scores = self._do(Job("score_test", (-1, 0), config, folder), _go_on)
        assert isinstance(scores, Scores)
        return scores

    def warm(self) -> None:
        """See `Slot.warm`. Waits a little, so that the first trial's place has a name."""
        self._host = self._hosts.first(self._index)

    def kill(self) -> None:
        """See `Slot.kill`. The slot's own thread sees to it: Ray is not for signal handlers."""
        self._kill_asked = True

    def close(self) -> None:
        """See `Slot.close`. The last one leaves the cluster."""
        self._hosts.leave()

    def _do(self, job: Job, on_event: OnEvent) -> Outcome | Scores:
        self._kill_asked = False
        host = self._host = self._hosts.take(self._host, self._waiting(on_event))
        try:
            return self._follow(host, job, on_event)
        except (WorkerError, WorkerMistakeError):
            raise
        except BaseException:
            self._lose(host)  # its job has not ended
            raise
        finally:
            self._hosts.give_back(host)

    def _lose(self, host: _Host) -> None:
        self._host = None
        self._hosts.drop(host)

    def _waiting(self, on_event: OnEvent) -> Callable[[], None]:
        """What to do from time to time while there is no host: give signs of life, and obey."""
        last = time.monotonic()

        def wait() -> None:
            nonlocal last
            if self._kill_asked:
                raise WorkerError("the slot was killed as it waited for a node", "killed")
            if time.monotonic() - last > _SIGN_EVERY_S:
                last = time.monotonic()
                sign = Progress("", 0, 0, None, 0.0, note="waiting for a node")
                if on_event(sign) is not Verdict.CONTINUE:
                    raise WorkerError("no node was free", "lost")
            time.sleep(_LOOK_EVERY_S)

        return wait

    def _follow(self, host: _Host, job: Job, on_event: OnEvent) -> Outcome | Scores:
        said = self._begin(host, job)
        while True:
            moment = self._hear(host, said)
            if moment.parcel is not None:
                unpack(moment.parcel, job.folder)
            if moment.fault is not None:
                raise WorkerError(*moment.fault)
            if moment.mistake is not None:
                raise WorkerMistakeError(*moment.mistake)
            if moment.result is not None:
                return moment.result
            assert moment.event is not None
            said = host.actor.go_on.remote(on_event(moment.event))

    def _begin(self, host: _Host, job: Job) -> Any:
        if host.node.is_shared:
            return host.actor.begin.remote(job)
        supplies = self._hosts.supplies(job.config)
        return host.actor.begin.remote(job, Packer(job.folder).pack(), [supplies])

    def _hear(self, host: _Host, said: Any) -> Moment:
        """The host's next moment. Raises: WorkerError `lost` if the host has gone."""
        import ray

        kill_since: float | None = None
        while True:
            try:
                ready, _ = ray.wait([said], timeout=_LOOK_EVERY_S)
                if ready:
                    moment = ray.get(said)
                    assert isinstance(moment, Moment)
                    return moment
                if self._kill_asked and kill_since is None:
                    kill_since = time.monotonic()
                    host.actor.kill.remote()
            except ray.exceptions.RayTaskError:
                raise
            except ray.exceptions.RayError as error:
                self._lose(host)
                raise WorkerError(f"{host.name} was lost ({type(error).__name__})", "lost") from None
            if kill_since is not None and time.monotonic() - kill_since > GRACE_S:
                self._lose(host)
                raise WorkerError(f"{host.name} does not answer", "lost")


@dataclass(eq=False)
class _Host:
    """A host that was asked for."""

    actor: Any
    described: Any
    """Reference to its `Node`, which is there when the cluster has made room."""
    placed: Node | None = None
    name: str = ""
    is_busy: bool = False

    @property
    def node(self) -> Node:
        assert self.placed is not None
        return self.placed

    @property
    def device(self) -> str:
        return self.node.device


class _Hosts:
    """The hosts of a run, as many as it has slots, and the queue for them."""

    def __init__(
        self,
        number: int,
        cache: Path,
        leave: Callable[[], None],
        trials_per_gpu: int,
        module: str,
        patience_s: float,
    ) -> None:
        import ray

        self._cache = cache
        self._leave_cluster = leave
        self._slots = number
        self._patience_s = patience_s
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        has_gpus = any(node.get("GPU") for node in nodes)
        places = [
            (int(node.get("CPU", 0)), node.get("GPU", 0) * trials_per_gpu if has_gpus else math.inf)
            for node in nodes
        ]
        threads = threads_that_fit(places, number)
        self._share = {"num_cpus": 1 if has_gpus else threads}
        if has_gpus:
            self._share["num_gpus"] = 1 / trials_per_gpu
        self._arguments = {"module": module, "threads": _limited(threads), "gpu": has_gpus}
        self._probe: Probe | None = None
        self._lock = threading.Lock()
        self._queue: deque[object] = deque()
        self._hosts: list[_Host] = []
        self._asked_at: float | None = None
        self._none_since = time.monotonic()
        self._supplies: dict[str, Any] = {}

    def ask(self) -> None:
        """Asks the cluster for the hosts, if that has not been done."""
        with self._lock:
            if self._asked_at is None:
                self._asked_at = self._none_since = time.monotonic()
                self._hosts = [self._asked() for _ in range(self._slots)]

    def first(self, index: int) -> _Host | None:
        """The host that a slot begins with; `None` if it is long in coming."""
        self.ask()
        assert self._asked_at is not None
        end = self._asked_at + min(_START_S, self._patience_s)
        while time.monotonic() < end:
            with self._lock:
                host = self._hosts[index]
                if self._settle(host) and host.placed is not None:
                    return host
            time.sleep(_LOOK_EVERY_S)
        return None

    def take(self, earlier: _Host | None, wait: Callable[[], None]) -> _Host:
        """A host that is free, `earlier` if that is; `wait` is called until there is one.

        Whoever waits longest is served first. Raises: ClusterError if the cluster has no room for
        a single host for too long, or hosts cannot start on it.
        """
        self.ask()
        ticket = object()
        self._queue.append(ticket)
        try:
            while True:
                with self._lock:
                    if self._queue[0] is ticket and (host := self._free(earlier)) is not None:
                        host.is_busy = True
                        return host
                wait()
        finally:
            self._queue.remove(ticket)

    def give_back(self, host: _Host) -> None:
        """Makes a host free."""
        with self._lock:
            host.is_busy = False

    def drop(self, host: _Host) -> None:
        """Ends a host and asks for another in its place, which comes when there is room."""
        import ray

        with self._lock:
            if host in self._hosts:
                self._hosts[self._hosts.index(host)] = self._asked()
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(host.actor)

    def supplies(self, config: RunConfig) -> Any:
        """A reference to what a run of `config` reads, for nodes that share no files."""
        import ray

        with self._lock:
            if config.data_digest not in self._supplies:
                given = Supplies(_packed_cache(self._cache), _packed_data(config))
                self._supplies[config.data_digest] = ray.put(given)
            return self._supplies[config.data_digest]

    def leave(self) -> None:
        """Says that a slot needs no host any more; the last to say so ends all."""
        with self._lock:
            self._slots -= 1
            if self._slots:
                return
        if self._probe is not None:
            self._probe.path.unlink(missing_ok=True)
        self._leave_cluster()

    def _asked(self) -> _Host:
        import ray

        if self._probe is None:
            self._probe = _write_probe(self._cache)
        # A job occupies one of its threads at a time; the others are for `kill`.
        made = ray.remote(Host).options(**self._share, max_concurrency=4)
        actor = made.remote(self._cache, probe=self._probe, **self._arguments)
        return _Host(actor, actor.describe.remote())

    def _free(self, earlier: _Host | None) -> _Host | None:
        for index, host in enumerate(self._hosts):
            if not self._settle(host):
                self._hosts[index] = self._asked()
        if any(host.placed is not None for host in self._hosts):
            self._none_since = time.monotonic()
        elif time.monotonic() - self._none_since > self._patience_s:
            raise ClusterError(
                f"the cluster has had no room for a trial in {self._patience_s:.0f} s",
                way_out="Add nodes and run the same command: the study goes on from here.",
            )
        free = [host for host in self._hosts if host.placed is not None and not host.is_busy]
        return earlier if earlier in free else next(iter(free), None)

    def _settle(self, host: _Host) -> bool:
        """Looks whether a host has been placed; false if it is gone already."""
        import ray

        if host.placed is not None:
            return True
        try:
            ready, _ = ray.wait([host.described], timeout=0)
            if not ready:
                return True
            host.placed = ray.get(host.described)
        except ray.exceptions.RuntimeEnvSetupError as error:
            raise ClusterError(f"a node cannot take the code: {_last_line(error)}") from None
        except ray.exceptions.RayActorError as error:
            if error.actor_init_failed:
                raise ClusterError(
                    f"a worker cannot start on the cluster: {_last_line(error)}",
                    way_out="Every node needs the packages that this project needs.",
                ) from None
            return False
        except ray.exceptions.RayError:
            return False
        host.name = self._name_of(host.node)
        return True

    def _name_of(self, node: Node) -> str:
        """The device, numbered from the second host on it."""
        taken = {host.name for host in self._hosts}
        names = (f"{node.device} #{count}" for count in range(2, self._slots + 2))
        return next(name for name in (node.device, *names) if name not in taken)


def threads_that_fit(nodes: Sequence[tuple[int, float]], slots: int) -> int:
    """The most CPU threads for each of `slots` slots on nodes of (cores, most slots).

    Where there is no room for all of them, as many as fit with one thread each.
    """

    def fitting(threads: int) -> float:
        return sum(min(cores // threads, most) for cores, most in nodes)

    wanted = min(slots, fitting(1))
    best = 1
    for threads in range(1, max((cores for cores, _ in nodes), default=1) + 1):
        if fitting(threads) >= wanted:
            best = threads
    return best


def _limited(threads: int) -> int:
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(threads, int(limit)) if limit.isdecimal() and int(limit) else threads


def _connect(address: str) -> Callable[[], None]:
    """Connects to a cluster, or starts one; returns what leaves it."""
    if importlib.util.find_spec("ray") is None:
        raise ClusterError(
            "--cluster needs Ray, which is not installed",
            way_out="Install it: pip install 'hpo-harness[ray]'",
        )
    folder: str | None = None
    options: dict[str, Any] = {"address": address}
    if address == "local":
        # Sockets' names have little room, so not below a TMPDIR of any length.
        _keep_to_this_machine()
        folder = tempfile.mkdtemp(prefix="hpo-ray-", dir="/tmp")  # noqa: S108  # private by mkdtemp
        options |= {"include_dashboard": False, "_temp_dir": folder}
    import ray

    try:
        ray.init(
            **options,
            # The nodes run this very code, whatever they have installed of it.
            runtime_env={"py_modules": list(_packages()), "excludes": ["__pycache__"]},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise ClusterError(
            f"--cluster {address}: {_last_line(error)}",
            way_out="See docs/cluster.md.",
        ) from None

    def leave() -> None:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    return leave


def _keep_to_this_machine() -> None:
    """Sets what makes Ray listen on loopback alone and ask for a token of this process's own.

    Raises: ClusterError if Ray has been imported without, which is when it reads these.
    """
    wanted = {
        # Named for the systems on which it is the default; it binds servers to 127.0.0.1.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
    }
    if "ray" in sys.modules and wanted.items() - os.environ.items():
        raise ClusterError(
            "Ray was imported before the local cluster could be kept to this machine",
            way_out="Import it after hpo, or start a cluster yourself and name it auto.",
        )
    os.environ.update(wanted)
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # A trial that needs too much is the kernel's to end, as without a cluster.
    os.environ["RAY_memory_monitor_refresh_ms"] = "0"


def _packages() -> Iterable[str]:
    import core
    import hpo

    for package in (core, hpo):
        assert package.__file__ is not None
        yield str(Path(package.__file__).parent)


def _write_probe(cache: Path) -> Probe:
    make_private(cache)
    probe = Probe(cache / f".probe-{secrets.token_hex(8)}", secrets.token_hex(16))
    replace_text(probe.path, probe.content)
    return probe


def _packed_cache(cache: Path) -> Parcel:
    def is_wanted(path: Path) -> bool:
        parts = path.relative_to(cache).parts
        return parts[0] != _STAGES and not path.name.startswith(".") and path.suffix != ".lock"

    return Packer(cache, is_wanted).pack()


def _packed_data(config: RunConfig) -> Parcel:
    """The files of the corpora, where they lie in a folder."""
    spec = find_task(config.task)
    if spec.files is None:
        return Parcel(())
    root, paths = spec.files(spec.data(**config.data))
    return Parcel(
        tuple((path.relative_to(root).as_posix(), path.read_bytes()) for path in sorted(paths))
    )


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).split("\n") if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _go_on(_event: object) -> Verdict:
    return Verdict.CONTINUE
