"""Disks that become full, files that are not what was written, databases to be repaired."""

from __future__ import annotations

import json
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import hpo.phases
from benchmarks.faults.driver import Driver, Patch
from benchmarks.faults.registry import Fault
from benchmarks.faults.rig import PATIENCE_S, Bench, Rig, Row

_TRIALS = 12
_PAGE = 4096
_LARGEST = 400_000
"""Bytes; the toy study's database comes to half of it."""
_ROOM = 1_500_000
"""Bytes of the small disk; the toy study takes a third of it."""


def limit_files(bench: Bench, row: Row) -> None:
    """Lets no file grow above a random size, as a batch system may."""
    for _ in range(bench.times(40, 1)):
        rig = bench.rig(trials=_TRIALS, storage=None)
        _fill_and_go_on(rig, row, bench, [_limiting(_some_bytes(bench))])


def fill_disk(bench: Bench, row: Row) -> None:
    """Runs on a small disk of its own, on which there is room for a random part of the study."""
    for _ in range(bench.times(40, 1)):
        rig = bench.rig(trials=_TRIALS, storage=None)
        rig.runs.mkdir()
        with _small_disk(rig.runs) as is_mounted:
            if not is_mounted:
                row.note = "not done: no right to mount a small disk here"
                return
            ballast = rig.runs / "ballast"
            ballast.write_bytes(b"x" * (_ROOM - _some_bytes(bench)))
            _fill_and_go_on(rig, row, bench, [_starting_without_a_look], ballast.unlink)


def damage_bundles(bench: Bench, row: Row) -> None:
    """Cuts, empties and flips bits of checkpoints, cached stages and records."""
    cuts, flips = bench.times(100, 5), bench.times(1000, 40)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults.damage", str(cuts), str(flips), str(bench.seed)],
        capture_output=True,
        text=True,
        check=False,
    )
    if not row.expect(done.returncode == 0, done.stderr[-500:]):
        return
    counts = json.loads(done.stdout)
    for kind, (injected, found) in counts.items():
        row.injections += injected
        row.expect(found == injected, f"{kind}: {found} of {injected} found")
    row.message = counts_in_words(counts)


def counts_in_words(counts: dict[str, tuple[int, int]]) -> str:
    """`cut 100 of 100, flipped 1000 of 1000, ...`."""
    return ", ".join(f"{kind} {found} of {injected}" for kind, (injected, found) in counts.items())


def damage_database(bench: Bench, row: Row) -> None:
    """Damages the database of a study whose driver was killed, repairs it and goes on."""
    damages = (_overwrite, _cut, _behead)
    for turn in range(bench.times(30, 3)):
        rig = bench.rig(trials=_TRIALS, storage=None)
        driver, wanted = rig.start(), bench.random.randrange(1, _TRIALS)
        while not driver.has_ended:
            if sum(line.event == "end" for line in rig.journal.lines()) >= wanted:
                driver.kill()
            time.sleep(0.01)
        damages[turn % len(damages)](rig.runs / "hpo.db", bench)
        row.injections += 1
        refused = rig.finish()
        row.message = row.message or refused.line_with("repair")
        row.expect(refused.code == 2, f"{rig.name}: not refused, exit code {refused.code}")
        row.expect("Traceback" not in refused.text(), f"{rig.name}: a traceback")
        begun = time.monotonic()
        row.expect(_repair(rig).code == 0, f"{rig.name}: not repaired")
        row.recoveries_s.append(time.monotonic() - begun)
        row.expect(rig.finish().code == 0, f"{rig.name}: does not go on")
        row.add(rig.audit(bench.undisturbed()), rig.name)


def _some_bytes(bench: Bench) -> int:
    """Up to where the study finds room; in the short bench, which tries once, it finds none."""
    return bench.random.randrange(_LARGEST // 8 if bench.short else _LARGEST)


def _fill_and_go_on(
    rig: Rig,
    row: Row,
    bench: Bench,
    patches: list[Patch],
    make_room: Callable[[], None] = lambda: None,
) -> None:
    driver = rig.start(patches=patches)
    driver.wait(PATIENCE_S)
    if driver.code == 0:
        return  # there was room enough
    row.injections += 1
    said = driver.line_with("disk full: ")
    row.message = row.message or said
    row.expect(driver.code == 2 and bool(said), f"{rig.name}: exit {driver.code}, {driver.log}")
    row.expect("Traceback" not in driver.text(), f"{rig.name}: a traceback")
    make_room()
    begun = time.monotonic()
    again = rig.start(patches=[_starting_without_a_look])
    row.expect(again.wait(PATIENCE_S) == 0, f"{rig.name}: does not go on")
    row.recoveries_s.append(time.monotonic() - begun)
    row.add(rig.audit(bench.undisturbed()), rig.name)


def _starting_without_a_look() -> None:
    """Begins also where there is not the room that a study of real models wants."""
    hpo.phases.check_room = lambda folder, needed: None


def _limiting(size: int) -> Patch:
    def patch() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return patch


@contextmanager
def _small_disk(place: Path) -> Iterator[bool]:
    """Mounts a small disk at `place`, if that is permitted."""
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    options = ["-t", "tmpfs", "-o", f"size={_ROOM + _LARGEST},mode=700", "tmpfs", str(place)]
    is_mounted = (
        bool(mount and unmount)
        and not subprocess.run(  # ours
            [str(mount), *options], capture_output=True, check=False
        ).returncode
    )
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run([str(unmount), "-l", str(place)], check=True)


def _repair(rig: Rig) -> Driver:
    command = ["repair", rig.name, "--runs-dir", str(rig.runs)]
    driver = Driver(command, rig.folder / "repair.log", {})
    driver.wait(PATIENCE_S)
    return driver


def _overwrite(path: Path, bench: Bench) -> None:
    content = bytearray(_folded(path))
    at = _PAGE * bench.random.randrange(1, len(content) // _PAGE)
    content[at : at + _PAGE] = bench.random.randbytes(_PAGE)
    path.write_bytes(content)


def _cut(path: Path, bench: Bench) -> None:
    content = _folded(path)
    path.write_bytes(content[: bench.random.randrange(100, len(content) - _PAGE)])


def _behead(path: Path, bench: Bench) -> None:
    path.write_bytes(bench.random.randbytes(100) + _folded(path)[100:])


def _folded(path: Path) -> bytes:
    """The database in one file, its log folded in."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.read_bytes()


FAULTS = (
    Fault("disk full: a limit on files", "files", limit_files),
    Fault("disk full: a small disk", "files", fill_disk),
    Fault("checkpoint, cache or record damaged", "files", damage_bundles),
    Fault("SQLite damaged, then repaired", "files", damage_database),
)
