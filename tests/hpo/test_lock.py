from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hpo.lock import Owner, StudyOwnedError, is_alive, is_held, own, owner_of


def test_a_second_owner_is_refused_with_the_first_ones_name(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "x.lock"
    with (
        own(path, "x"),
        pytest.raises(StudyOwnedError, match=rf"'x' is being run by process {os.getpid()} on"),
        own(path, "x"),
    ):
        pass
    with own(path, "x"):
        pass


def test_a_reader_sees_who_holds_the_lock_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    assert not is_held(path)
    assert not path.exists()
    with own(path, "x"):
        assert is_held(path)
        assert is_held(path)
    assert not is_held(path)


def test_the_lock_ends_with_its_process_however_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    program = (
        "import os, pathlib, sys\n"
        "from hpo.lock import own\n"
        "with own(pathlib.Path(sys.argv[1]), 'x'):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        said = f"process {holder.pid} on"
        with pytest.raises(StudyOwnedError, match=said), own(path, "x"):
            pass
        holder.kill()
    # What a killed owner wrote about itself stays, and means nothing.
    assert json.loads(path.with_suffix(".owner.json").read_text())["pid"] == holder.pid
    with own(path, "x"):
        pass


def test_an_owner_that_has_not_yet_written_its_name_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with own(path, "x"):
        path.with_suffix(".owner.json").write_text('{"host": ')
        with pytest.raises(StudyOwnedError, match="another process"), own(path, "x"):
            pass


def test_a_process_of_the_same_number_is_not_taken_for_the_owner() -> None:
    me = Owner.myself()
    assert me.started > 0
    assert is_alive(me)
    assert is_alive(replace(me, started=me.started - 1)) is False
    assert is_alive(replace(me, boot="of yesterday")) is False
    assert is_alive(replace(me, host="elsewhere")) is None
    assert is_alive(replace(me, boot=me.boot + "1")) is None  # a container of the same name
    assert is_alive(Owner(me.host, me.pid, me.since)) is None


def test_a_dead_owner_is_not_alive_nor_one_that_is_not_yet_buried(tmp_path: Path) -> None:
    program = (
        "import json\n"
        "from dataclasses import asdict\n"
        "from hpo.lock import Owner\n"
        "print(json.dumps(asdict(Owner.myself())), flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        owner = Owner(**json.loads(process.stdout.readline()))
        assert owner.pid == process.pid
        assert is_alive(owner)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert is_alive(owner) is False
    assert is_alive(owner) is False


def test_what_a_dead_owner_left_names_nobody(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with own(path, "x"):
        left = path.with_suffix(".owner.json").read_text()
        assert owner_of(path) == Owner(**json.loads(left))
    path.with_suffix(".owner.json").write_text(left)
    assert owner_of(path) is None
