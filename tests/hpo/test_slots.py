"""Slots with real child processes that run the toy task."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import toy_curves

from core.settings import RunConfig
from core.task import Evaluation, OutcomeState, Progress, Verdict
from hpo.slots import Work, WorkerError, WorkerMistakeError, serve, threads_per_slot
from hpo.workers.devices import Place, parse_listing, visible_gpus
from hpo.workers.local import LocalSlot
from hpo.workers.messages import Hello
from hpo.workers.nursery import Nursery
from hpo.workers.process import ChildProcess

MakeWork = Callable[..., Work]


@pytest.fixture
def slot(tmp_path: Path) -> Iterator[LocalSlot]:
    slot = toy_slot(tmp_path)
    yield slot
    slot.close()


def toy_slot(folder: Path, **options: Any) -> LocalSlot:
    hello = Hello("toy_curves", tuple(sys.path), 3, folder / "cache")
    return LocalSlot(Nursery(hello), Place("cpu", "cpu", None), **options)


@pytest.fixture
def make_work(tmp_path: Path) -> MakeWork:
    def make(number: int = 0, *, attempt: int = 1, kind: str = "fine", **protocol: Any) -> Work:
        config = RunConfig(
            task="toy",
            groups={"model": {"width": 11, "kind": kind}, "finetune": {"rate": 1e-3}},
            protocol=toy_curves.Protocol(**protocol).model_dump(),
            data={"source": "arithmetic"},
            data_digest="d" * 64,
            structure_seed=5,
            seed=7,
        )
        return Work(number, attempt, config, tmp_path / f"{number:04d}")

    return make


class Listener:
    """Answers events, and remembers them."""

    def __init__(self, answer: Callable[[Any], Verdict] | None = None) -> None:
        self.events: list[Any] = []
        self._answer = answer

    def __call__(self, event: Any) -> Verdict:
        self.events.append(event)
        return self._answer(event) if self._answer else Verdict.CONTINUE


def _pid(slot: LocalSlot) -> int:
    assert slot._child is not None
    return slot._child.pid


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _wait_for(condition: Callable[[], bool], seconds: float = 15) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def test_a_child_runs_trials_one_after_another_and_stays_warm(
    slot: LocalSlot, make_work: MakeWork, tmp_path: Path
) -> None:
    heard = Listener()
    work = make_work()
    outcome = slot.run(work, heard)
    assert outcome.state is OutcomeState.COMPLETED
    assert outcome.value == toy_curves.value_at(work.config, 12)
    steps = [event.step for event in heard.events if isinstance(event, Evaluation)]
    assert steps == [3, 6, 9, 12]
    assert sum(isinstance(event, Progress) for event in heard.events) == 12
    assert tuple(heard.events[-1:]) == (outcome.curve[-1],)
    assert outcome.facts == {
        "version": "2.3",
        "machine": {"threads": 3, "device": None},
        "device": "cpu toy",
    }
    assert type(outcome.facts["version"]) is str  # to receive it, nothing need be imported
    first = _pid(slot)
    assert slot.run(make_work(1), Listener()).state is OutcomeState.COMPLETED
    assert _pid(slot) == first != os.getpid()
    assert slot.score_test(work.config, work.folder).signature == "toy|v1"
    assert _pid(slot) == first
    slot.close()
    assert not _is_alive(first)
    attempts = (tmp_path / "cache" / "attempts.txt").read_text().split()
    assert attempts == ["0000", str(first), "0001", str(first)]


@pytest.mark.parametrize(
    ("verdict", "state"),
    [(Verdict.STOP, OutcomeState.STOPPED), (Verdict.PAUSE, OutcomeState.PAUSED)],
)
def test_the_verdict_on_an_evaluation_is_obeyed_at_once(
    verdict: Verdict, state: OutcomeState, slot: LocalSlot, make_work: MakeWork
) -> None:
    def answer(event: Any) -> Verdict:
        is_due = isinstance(event, Evaluation) and event.step == 6
        return verdict if is_due else Verdict.CONTINUE

    outcome = slot.run(make_work(), Listener(answer))
    assert (outcome.state, outcome.step) == (state, 6)


def test_an_interrupt_reaches_a_child_between_evaluations_and_it_goes_on_later(
    slot: LocalSlot, make_work: MakeWork
) -> None:
    work = make_work(step_s=0.02, second_steps=90, eval_every=90)

    def answer(event: Any) -> Verdict:
        return Verdict.PAUSE if event.step >= 4 else Verdict.CONTINUE

    outcome = slot.run(work, Listener(answer))
    assert outcome.state is OutcomeState.PAUSED
    assert 4 <= outcome.step < 60
    resumed = Listener()
    quick = Work(0, 2, work.config, work.folder)
    assert slot.run(quick, resumed).state is OutcomeState.COMPLETED
    assert resumed.events[0].step == outcome.step + 1
    # The interrupt of the first attempt is not answered to the second.
    assert resumed.events[-1].step == 90


def test_a_crash_is_told_and_the_next_attempt_has_a_fresh_child(
    slot: LocalSlot, make_work: MakeWork, capfd: pytest.CaptureFixture[str]
) -> None:
    work = make_work(kind="crash")
    with pytest.raises(WorkerError, match=r"^ValueError: a crash in two lines$") as caught:
        slot.run(work, Listener())
    assert caught.value.kind == "error"
    assert slot._child is None
    log = (work.folder / "worker.log").read_text()
    assert "Traceback" in log
    assert "ValueError: a crash" in log
    assert slot.run(make_work(1), Listener()).state is OutcomeState.COMPLETED
    assert capfd.readouterr() == ("", "")


def test_a_child_that_dies_costs_its_own_trial_an_attempt(
    slot: LocalSlot, make_work: MakeWork
) -> None:
    with pytest.raises(WorkerError, match="the worker exited with code 7") as caught:
        slot.run(make_work(kind="die_once"), Listener())
    assert caught.value.kind == "died"
    heard = Listener()
    outcome = slot.run(make_work(attempt=2, kind="die_once"), heard)
    assert outcome.state is OutcomeState.COMPLETED
    assert heard.events[0].replayed  # it went on from its checkpoint


def test_a_child_that_cannot_start_says_why(
    slot: LocalSlot, make_work: MakeWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no module named x' >&2\nexit 3\n")
    broken.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(WorkerError, match=r"exited with code 3: no module named x"):
        slot.run(make_work(), Listener())


def test_a_child_that_dies_in_mid_message_is_one_that_was_killed(
    slot: LocalSlot, make_work: MakeWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text(
        f"#!{sys.executable}\nimport os, signal, sys\npipe = int(sys.argv[4])\n"
        "os.read(pipe, 1 << 16)\nos.write(pipe, b'\\0\\0\\0\\x64short')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    broken.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(WorkerError, match=r"^the worker was killed$") as caught:
        slot.run(make_work(), Listener())
    assert caught.value.kind == "killed"


def test_a_child_that_dies_before_it_is_greeted_leaves_nothing_open(
    slot: LocalSlot, make_work: MakeWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait_for_death(process: ChildProcess, message: object) -> None:
        process._process.wait()
        raise process._obituary()

    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr(ChildProcess, "send", wait_for_death)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(WorkerError, match="exited with code 1"):
        slot.run(make_work(), Listener())
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_killing_a_child_from_outside_says_nothing_of_memory(
    slot: LocalSlot, make_work: MakeWork
) -> None:
    def kill(event: Any) -> Verdict:
        if event.step == 2:
            os.kill(_pid(slot), signal.SIGKILL)
        return Verdict.CONTINUE

    with pytest.raises(WorkerError, match=r"^the worker was killed$") as caught:
        slot.run(make_work(step_s=0.01), Listener(kill))
    assert caught.value.kind == "killed"


def test_a_child_killed_while_the_kernel_was_short_died_for_want_of_memory(
    slot: LocalSlot, make_work: MakeWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(event: Any) -> Verdict:
        if event.step == 2:
            monkeypatch.setattr("hpo.workers.process.oom_kills", lambda: 10**9)
            os.kill(_pid(slot), signal.SIGKILL)
        return Verdict.CONTINUE

    with pytest.raises(WorkerError, match="for want of memory") as caught:
        slot.run(make_work(step_s=0.01), Listener(kill))
    assert caught.value.kind == "memory"


def test_running_out_of_memory_is_told_apart(slot: LocalSlot, make_work: MakeWork) -> None:
    with pytest.raises(WorkerError, match="MemoryError") as caught:
        slot.run(make_work(kind="memory"), Listener())
    assert caught.value.kind == "memory"


def test_a_silent_child_is_given_up(make_work: MakeWork, tmp_path: Path) -> None:
    slot = toy_slot(tmp_path, silence_s=3.0)
    with pytest.raises(WorkerError, match="said nothing for 3 s") as caught:
        slot.run(make_work(kind="silent"), Listener())
    assert caught.value.kind == "hung"
    slot.close()


def test_a_users_mistake_comes_up_in_its_own_words(slot: LocalSlot, make_work: MakeWork) -> None:
    with pytest.raises(WorkerMistakeError) as caught:
        slot.run(make_work(kind="mistake"), Listener())
    assert str(caught.value) == "numbers.txt: the numbers are gone."
    assert caught.value.kind == "DataError"


def test_a_slot_can_be_killed_from_another_thread(slot: LocalSlot, make_work: MakeWork) -> None:
    threading.Timer(1.5, slot.kill).start()
    with pytest.raises(WorkerError, match="was killed"):
        slot.run(make_work(kind="silent"), Listener())


def test_whoever_answers_may_raise_and_the_child_is_gone(
    slot: LocalSlot, make_work: MakeWork
) -> None:
    pids = []

    def fall(event: Any) -> Verdict:
        pids.append(_pid(slot))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        slot.run(make_work(), Listener(fall))
    assert not _is_alive(pids[0])


PARENT = """
import os, pathlib, sys, time
sys.path[:0] = {paths!r}
import toy_curves
from core.settings import RunConfig
from core.task import Verdict
from hpo.slots import Work
from hpo.options import RunOptions
from hpo.workers.local import local_slots

config = RunConfig(task="toy", groups={{"model": {{"width": 11, "kind": "fine"}}, "finetune":
    {{"rate": 1e-3}}}}, protocol=toy_curves.Protocol(step_s=0.05, second_steps=900).model_dump(),
    data={{}}, data_digest="d", structure_seed=5, seed=7)
folder = pathlib.Path({folder!r})
(slot,) = local_slots(RunOptions(jobs=1), folder / "cache", module="toy_curves")

def answer(event):
    if event.step == 2:
        print(slot._child.pid, "torch" in sys.modules, flush=True)
    return Verdict.CONTINUE

slot.run(Work(0, 1, config, folder / "0000"), answer)
"""


def test_a_child_ends_with_its_parent_and_the_parent_needs_no_torch(tmp_path: Path) -> None:
    # The parent has no `__main__` guard: its child must not run it again.
    script = tmp_path / "unguarded.py"
    here = Path(__file__).parent
    paths = [str(here), str(here.parents[1])]
    script.write_text(PARENT.format(paths=paths, folder=str(tmp_path)))
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, has_torch = parent.stdout.readline().split()
        assert has_torch == "False"
        assert _is_alive(int(pid))
        parent.kill()
    assert _wait_for(lambda: not _is_alive(int(pid)), 5)


def test_a_terminals_signals_do_not_reach_the_child(slot: LocalSlot, make_work: MakeWork) -> None:
    def shake(event: Any) -> Verdict:
        if event.step == 3:
            assert os.getsid(_pid(slot)) == _pid(slot)
            os.kill(_pid(slot), signal.SIGINT)
            os.kill(_pid(slot), signal.SIGTERM)
        return Verdict.CONTINUE

    assert slot.run(make_work(), Listener(shake)).state is OutcomeState.COMPLETED


def test_what_torch_reads_at_its_import_is_set_before(
    slot: LocalSlot, make_work: MakeWork
) -> None:
    seen: dict[str, str] = {}

    def look(event: Any) -> Verdict:
        if not seen:
            environ = Path(f"/proc/{_pid(slot)}/environ").read_bytes().decode().split("\0")
            seen.update(entry.split("=", 1) for entry in environ if "=" in entry)
        return Verdict.CONTINUE

    slot.run(make_work(), Listener(look))
    assert seen["OMP_NUM_THREADS"] == seen["MKL_NUM_THREADS"] == "3"


def test_each_slot_has_one_loop_that_serves_it() -> None:
    seen = []
    together = threading.Barrier(3, timeout=20)

    def loop(index: int, slot: Any) -> None:
        together.wait()
        seen.append((index, slot, threading.get_ident()))

    serve(["a", "b", "c"], loop)  # type: ignore[list-item]  # any slot will do
    assert sorted(one[:2] for one in seen) == [(0, "a"), (1, "b"), (2, "c")]
    assert len({one[2] for one in seen}) == 3


@pytest.mark.parametrize(
    ("slots", "limit", "cores", "expected"),
    [
        (1, None, 7, 7),
        (2, None, 7, 3),
        (9, None, 7, 1),
        (1, "2", 7, 2),
        (2, "5", 7, 3),
        (1, "x", 7, 7),
    ],
)
def test_cores_are_shared_evenly(
    slots: int, limit: str | None, cores: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if limit is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert threads_per_slot(slots) == expected


LISTING = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aa)
  MIG 1g.5gb      Device  0: (UUID: MIG-bb)
  MIG 3g.20gb     Device  1: (UUID: MIG-cc)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-dd)
"""


def test_a_gpu_in_parts_is_listed_as_its_parts() -> None:
    gpus = parse_listing(LISTING)
    assert gpus == ("MIG-bb", "MIG-cc", "GPU-dd")


@pytest.mark.parametrize(
    ("named", "expected"),
    [("", ()), ("-1", ()), ("2, 3", ("2", "3")), ("1,-1,0", ("1",)), ("GPU-aa", ("GPU-aa",))],
)
def test_the_environment_limits_the_gpus(named: str, expected: tuple[str, ...]) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": named}) == expected
