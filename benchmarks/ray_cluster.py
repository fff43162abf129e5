"""A Ray cluster of one's own on loopback, whose nodes come and are killed.

It is served by a process of its own, `python -m benchmarks.ray_cluster`, told by its input what to
do. The head takes no trials. `add` adds a node of two cores and prints its place in the list of
nodes, `add FOLDER` one that shares no files and has FOLDER for its own; `kill N` ends a node's
processes as a power cut would, if they have not ended; the end of the input ends all.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path


class NoRayError(Exception):
    """Ray is not installed."""


class RayCluster:
    """The cluster, from its user's side."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """`paths` are where its nodes look for modules. Raises: NoRayError."""
        if importlib.util.find_spec("ray") is None:
            raise NoRayError("the extra `ray` is not installed")
        self.environment = {
            **{key: value for key, value in os.environ.items() if "PYTEST" not in key},
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_worker_niceness": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(16),
        }
        """Of whoever is to find it."""
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.environment["RAY_ADDRESS"] = self._answer()

    def tell(self, words: str) -> str:
        """Has something done, and returns the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{words}\n")
        self._process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """Ends all of its processes."""
        self._process.communicate(timeout=30)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the cluster's process has ended"
        return line


def main() -> None:
    with tempfile.TemporaryDirectory(
        prefix="ray-", dir="/tmp", ignore_cleanup_errors=True
    ) as here:
        _serve(here)


def _serve(here: str) -> None:
    from ray.cluster_utils import Cluster

    common = {"include_dashboard": False, "object_store_memory": 80 * 2**20}
    head = {**common, "num_cpus": 0, "temp_dir": here}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    print(cluster.address, flush=True)
    nodes = []
    for line in sys.stdin:
        words = line.split()
        if words[0] == "kill":
            if (node := nodes[int(words[1])]) is not None:
                cluster.remove_node(node, allow_graceful=False)
                nodes[int(words[1])] = None
            print("killed", flush=True)
            continue
        own = {"HPO_NODE_FOLDER": words[1]} if words[1:] else {}
        nodes.append(cluster.add_node(num_cpus=2, env_vars=own, **common))
        print(len(nodes) - 1, flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
