"""Slots on a Ray cluster: the driver's side.

The slots of a run share its hosts, one each as long as the cluster has room for all. Where a node
is lost the hosts that are left go round: a slot that has none waits for the next that is free.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from core.settings import RunConfig
from core.task import OnEvent, Outcome, Progress, Scores, Verdict
from hpo.options import RunOptions
from hpo.slots import Slot, Work, WorkerError, WorkerMistakeError
from hpo.workers.cluster import ClusterError, connect, last_line, share_out
from hpo.workers.devices import refuse_contradictions
from hpo.workers.messages import Job
from hpo.workers.parcels import Packer, unpack
from hpo.workers.ray_host import Moment
from hpo.workers.ray_hosts import LOOK_EVERY_S, NOWHERE, PATIENCE_S, Hosts, PlacedHost

_SIGN_EVERY_S = 1.0
_KILL_S = 3.0
"""In which a host that was told to kill its child is to answer, before it is killed itself."""


def ray_slots(
    options: RunOptions,
    cache: Path,
    *,
    module: str = "core.run",
    patience_s: float = PATIENCE_S,
) -> Sequence[Slot]:
    """The slots on the cluster at `options.cluster`: `auto`, `local` or `ray://HOST:PORT`.

    They connect now, and ask for their hosts when they are first used.

    Raises: ClusterError if Ray is not installed, the cluster cannot be reached, or has not what
        the options ask for; SettingsError for options that contradict.
    """
    if importlib.util.find_spec("ray") is None:
        raise ClusterError(
            "--cluster needs Ray, which is not installed",
            way_out="Install it: pip install 'hpo-harness[ray]'",
        )
    if options.gpus is not None:
        raise ClusterError(
            "--gpus is for the GPUs of this machine: on a cluster Ray hands them out",
            way_out="Leave it out; --trials-per-gpu says how many trials share one.",
        )
    refuse_contradictions(options)
    assert options.cluster is not None
    leave = connect(options.cluster)
    try:
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        share = share_out(nodes, options)
        hosts = Hosts(share, cache, leave, module, patience_s)
    except BaseException:
        leave()
        raise
    return [RaySlot(hosts, index) for index in range(share.slots)]


class RaySlot:
    """A slot that runs its jobs on whichever host it is given."""

    def __init__(self, hosts: Hosts, index: int) -> None:
        self._hosts = hosts
        self._index = index
        self._host: PlacedHost | None = None
        """The one it has, or had last."""
        self._kill_asked = False

    @property
    def name(self) -> str:
        """See `Slot.name`."""
        return NOWHERE if self._host is None else self._host.name

    @property
    def device(self) -> str:
        """See `Slot.device`."""
        return self._hosts.device if self._host is None else self._host.device

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

    def _lose(self, host: PlacedHost) -> None:
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
            time.sleep(LOOK_EVERY_S)

        return wait

    def _follow(self, host: PlacedHost, job: Job, on_event: OnEvent) -> Outcome | Scores:
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

    def _begin(self, host: PlacedHost, job: Job) -> Any:
        if host.node.is_shared:
            return host.actor.begin.remote(job)
        supplies = self._hosts.supplies(job.config)
        return host.actor.begin.remote(job, Packer(job.folder).pack(), [supplies])

    def _hear(self, host: PlacedHost, said: Any) -> Moment:
        """The host's next moment. Raises: WorkerError `lost` if the host has gone."""
        import ray

        kill_since: float | None = None
        while True:
            try:
                ready, _ = ray.wait([said], timeout=LOOK_EVERY_S)
                if ready:
                    moment = ray.get(said)
                    assert isinstance(moment, Moment)
                    return moment
                if self._kill_asked and kill_since is None:
                    kill_since = time.monotonic()
                    host.actor.kill.remote()
            except ray.exceptions.RayTaskError:
                raise
            except ConnectionError as error:  # the client's word for a head that has gone
                raise ClusterError(
                    f"the cluster can no longer be reached: {last_line(error)}",
                    way_out="Run the same command when it is back: the study goes on from here.",
                ) from None
            except ray.exceptions.RayError as error:
                self._lose(host)
                raise WorkerError(
                    f"{host.name} was lost ({type(error).__name__})", "lost"
                ) from None
            if kill_since is not None and time.monotonic() - kill_since > _KILL_S:
                self._lose(host)
                raise WorkerError(f"{host.name} does not answer", "lost")


def _go_on(_event: object) -> Verdict:
    return Verdict.CONTINUE
