"""What a local cluster's processes inherit."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from hpo.workers import cluster


def test_a_local_cluster_inherits_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []

    def init(**_options: Any) -> None:
        seen.append(dict(os.environ))

    fake = SimpleNamespace(init=init, shutdown=lambda: None, exceptions=SimpleNamespace())
    fake.exceptions.RayError = RuntimeError
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr(cluster, "_keep_to_this_machine", lambda: None)
    monkeypatch.setenv("PGPASSWORD", "canary")
    cluster.connect("local")()
    assert "canary" not in seen[0].values()
    assert os.environ["PGPASSWORD"] == "canary"  # the driver still needs it
