"""The hosts of a run on a Ray cluster, and the queue of its slots for them."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.atomic import replace_text
from core.registry import find_task
from core.settings import RunConfig
from core.stage_entries import FOLDER
from hpo.folders import make_private
from hpo.workers.cluster import ClusterError, Share, last_line
from hpo.workers.parcels import Packer, Parcel
from hpo.workers.ray_host import Host, Node, Probe, Supplies

PATIENCE_S = 600.0
"""How long a run waits for a cluster that has no room for a single trial."""
LOOK_EVERY_S = 0.05
NOWHERE = "cluster"
"""Where a slot is that has no node."""
_START_S = 15.0


@dataclass(eq=False)
class PlacedHost:
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


class Hosts:
    """The hosts of a run, as many as it has slots, and the queue for them."""

    def __init__(
        self,
        share: Share,
        cache: Path,
        leave: Callable[[], None],
        module: str,
        patience_s: float,
    ) -> None:
        self._share = share
        self._cache = cache
        self._leave_cluster = leave
        self._module = module
        self._patience_s = patience_s
        self._using = share.slots
        """Slots that have not left."""
        self._probe: Probe | None = None
        self._lock = threading.Lock()
        self._queue: deque[object] = deque()
        self._hosts: list[PlacedHost] = []
        self._asked_at: float | None = None
        self._none_since = time.monotonic()
        self._supplies: dict[str, Any] = {}

    @property
    def device(self) -> str:
        """Of a slot that has no node."""
        return f"{NOWHERE} gpu" if self._share.gpu else f"{NOWHERE} cpu"

    def ask(self) -> None:
        """Asks the cluster for the hosts, if that has not been done."""
        with self._lock:
            if self._asked_at is None:
                self._asked_at = self._none_since = time.monotonic()
                self._hosts = [self._asked() for _ in range(self._share.slots)]

    def first(self, index: int) -> PlacedHost | None:
        """The host that a slot begins with; `None` if it is long in coming."""
        self.ask()
        assert self._asked_at is not None
        end = self._asked_at + min(_START_S, self._patience_s)
        while time.monotonic() < end:
            with self._lock:
                host = self._hosts[index]
                if self._settle(host) and host.placed is not None:
                    return host
            time.sleep(LOOK_EVERY_S)
        return None

    def take(self, earlier: PlacedHost | None, wait: Callable[[], None]) -> PlacedHost:
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

    def give_back(self, host: PlacedHost) -> None:
        """Makes a host free."""
        with self._lock:
            host.is_busy = False

    def drop(self, host: PlacedHost) -> None:
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
            self._using -= 1
            if self._using:
                return
        if self._probe is not None:
            self._probe.path.unlink(missing_ok=True)
        self._leave_cluster()

    def _asked(self) -> PlacedHost:
        import ray

        if self._probe is None:
            self._probe = _write_probe(self._cache)
        share = self._share
        # A GPU's slots take a core each, so that they fit where the GPUs are.
        needs = {"num_cpus": 1 if share.gpu else share.threads, "num_gpus": share.gpu}
        # A job occupies one of its threads at a time; the others are for `kill`.
        made = ray.remote(Host).options(**needs, max_concurrency=4)
        threads, is_on_gpu = _limited(share.threads), bool(share.gpu)
        actor = made.remote(
            self._cache, module=self._module, threads=threads, gpu=is_on_gpu, probe=self._probe
        )
        return PlacedHost(actor, actor.describe.remote())

    def _free(self, earlier: PlacedHost | None) -> PlacedHost | None:
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

    def _settle(self, host: PlacedHost) -> bool:
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
            raise ClusterError(f"a node cannot take the code: {last_line(error)}") from None
        except ray.exceptions.RayActorError as error:
            if error.actor_init_failed:
                raise ClusterError(
                    f"a worker cannot start on the cluster: {last_line(error)}",
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
        names = (f"{node.device} #{count}" for count in range(2, self._share.slots + 2))
        return next(name for name in (node.device, *names) if name not in taken)


def _limited(threads: int) -> int:
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(threads, int(limit)) if limit.isdecimal() and int(limit) else threads


def _write_probe(cache: Path) -> Probe:
    make_private(cache)
    probe = Probe(cache / f".probe-{secrets.token_hex(8)}", secrets.token_hex(16))
    replace_text(probe.path, probe.content)
    return probe


def _packed_cache(cache: Path) -> Parcel:
    def is_wanted(path: Path) -> bool:
        parts = path.relative_to(cache).parts
        # Results of stage A are large: a node that does not see the driver's trains its own, once.
        return parts[0] != FOLDER and not path.name.startswith(".") and path.suffix != ".lock"

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
