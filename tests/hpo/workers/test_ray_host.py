"""The host of a cluster's slot, without a cluster."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toy_work import MakeWork

from hpo.workers import ray_host
from hpo.workers.messages import Job
from hpo.workers.ray_host import Host, NodeError, Probe


class Unpackable:
    """A folder's packer whose disk has just gone."""

    def pack(self) -> Any:
        raise OSError(5, "Input/output error")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    probe = Probe(tmp_path / "probe", "seen")
    probe.path.write_text("seen")
    host = Host(tmp_path / "cache", module="toy_troubles", threads=1, gpu=False, probe=probe)
    yield host
    host._slot.close()


@pytest.mark.parametrize(("kind", "says"), [("run", "Input/output"), ("score_test", "Attribute")])
def test_a_folder_that_cannot_be_packed_is_told_and_nobody_waits(
    kind: Any, says: str, host: Host, make_work: MakeWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "_packer", Unpackable())
    monkeypatch.setattr(host, "_relay", lambda _: ray_host.Verdict.CONTINUE)
    work = make_work()
    host._carry_out(Job(kind, (0, 1), work.config, work.folder), None, ())
    moment = host._moments.get_nowait()
    assert moment.result is None
    assert moment.fault is not None
    assert says in moment.fault[0]


@pytest.mark.parametrize("is_link", [True, False])
def test_a_folder_in_the_shared_temporary_one_is_made_private_or_refused(
    is_link: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder, elsewhere = tmp_path / f"hpo-{os.getuid()}", tmp_path / "elsewhere"
    elsewhere.mkdir()
    if is_link:
        folder.symlink_to(elsewhere)
        with pytest.raises(NodeError, match="somebody else's"):
            ray_host._own_folder(None)
        return
    folder.mkdir()
    folder.chmod(0o777)
    assert ray_host._own_folder(None).stat().st_mode & 0o777 == 0o700
