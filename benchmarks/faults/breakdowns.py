"""Trials that break down: out of memory, a GPU gone mad, an abort, an exception."""

from __future__ import annotations

from functools import partial

from benchmarks.faults.driver import with_gpus
from benchmarks.faults.journal import EVERY, Trouble
from benchmarks.faults.registry import Fault
from benchmarks.faults.rig import PATIENCE_S, Bench, Rig, Row
from benchmarks.faults.toy import Protocol

_FAILED_RUN = 1


def break_down(what: str, state: str, constraint: str, bench: Bench, row: Row) -> None:
    """Breaks some trials down once, which are tried again, and one twice, which is recorded."""
    for _ in range(bench.times(5, 1)):
        rig = bench.rig()
        doomed = bench.random.randrange(3, 5)
        # Others between them come to their end: no device is to look bad.
        troubles = {
            0: [Trouble(_some_step(bench), what)],
            doomed: [Trouble(_some_step(bench), what, times=2)],
        }
        if not bench.short:
            troubles[8] = [Trouble(_some_step(bench), what)]
        rig.plan(troubles)
        driver = rig.finish()
        row.expect(driver.code == 0, f"{rig.name}: exit code {driver.code}")
        row.add(rig.audit(bench.undisturbed(), {doomed: state}), rig.name)
        row.message = row.message or driver.line_with("trying it again")
        _expect_fresh_processes(rig, row)
        reason, told = rig.reasons().get(doomed), rig.constraints().get(doomed, [])
        row.expect(bool(reason), f"{rig.name}: trial {doomed} has no reason")
        wanted = [f"constraints:{constraint}"] if constraint else []
        row.expect(told == wanted, f"{rig.name}: constraints {told}, not {wanted}")


def fail_always(bench: Bench, row: Row) -> None:
    """Lets every trial raise: the study stops with the cause, and goes on when it is mended."""
    for _ in range(bench.times(5, 1)):
        rig = bench.rig()
        rig.journal.plan({EVERY: [Trouble("step 2", "raise", times=99)]})
        driver = rig.start()
        row.expect(driver.wait(PATIENCE_S) == _FAILED_RUN, f"{rig.name}: exit code {driver.code}")
        row.message = driver.line_with("the run failed")
        row.expect("a crash" in row.message, f"{rig.name}: the cause is not told")
        row.injections += sum(line.event == "trouble" for line in rig.journal.lines())
        failed = {number: "FAIL" for number, one in rig.told().items() if one.state == "FAIL"}
        row.expect(5 <= len(failed) <= 6, f"{rig.name}: it stopped after {len(failed)} trials")
        rig.journal.plan({})
        row.expect(rig.finish().code == 0, f"{rig.name}: exit code {rig.drivers[-1].code}")
        row.add(rig.audit(bench.undisturbed(), failed), rig.name)


def quarantine(bench: Bench, row: Row) -> None:
    """Lets one of two GPUs break down under every trial: it gets no more, the other goes on."""
    for _ in range(bench.times(5, 1)):
        rig = bench.rig(slots=None)
        rig.journal.plan({EVERY: [Trouble("step 6", "device assert", times=99, gpu="1")]})
        driver = rig.start(patches=[with_gpus(("0", "1"), rig.folder / "fake")])
        row.expect(driver.wait(PATIENCE_S) == 0, f"{rig.name}: exit code {driver.code}")
        row.message = row.message or driver.line_with("is given no more work")
        row.expect("gpu 1" in row.message, f"{rig.name}: the GPU was not taken out of work")
        row.add(rig.audit(bench.undisturbed()), rig.name)
        _expect_fresh_processes(rig, row)


def _expect_fresh_processes(rig: Rig, row: Row) -> None:
    """After a breakdown the next attempt, and the next trial, are another process's."""
    lines = rig.journal.lines()
    for place, line in enumerate(lines):
        if line.event == "trouble":
            row.injections += 1
            again = any(after.pid == line.pid for after in lines[place + 1 :])
            row.expect(not again, f"{rig.name}: process {line.pid} went on after {line.argument}")
            seconds = rig.recovery_s(line.trial, line.pid, line.at)
            if seconds is not None:
                row.recoveries_s.append(seconds)


def _some_step(bench: Bench) -> str:
    return f"step {bench.random.randrange(1, Protocol().second_steps + 1)}"


_KINDS = {
    "RLIMIT_AS reached in a trial": ("memory limit", "PRUNED", "memory"),
    "torch.OutOfMemoryError in a trial": ("gpu memory", "PRUNED", "memory"),
    "CUDA device-side assert in a trial": ("device assert", "FAIL", ""),
    "os._exit(134) in a trial": ("abort", "FAIL", ""),
    "an exception in a trial": ("raise", "FAIL", ""),
}

FAULTS = (
    *(Fault(name, "breakdowns", partial(break_down, *kind)) for name, kind in _KINDS.items()),
    Fault("every trial fails", "breakdowns", fail_always),
    Fault("one of two GPUs breaks down under every trial", "breakdowns", quarantine),
)
