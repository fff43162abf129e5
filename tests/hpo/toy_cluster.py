"""A Ray cluster on loopback in a process of its own, told by its input what to do.

The head takes no trials. `add` adds a node of two cores and prints its place in the list of nodes,
`add FOLDER` one that shares no files and has FOLDER for its own; `kill N` ends a node's processes
as a power cut would; the end of the input ends all.
"""

from __future__ import annotations

import sys
import tempfile

from ray.cluster_utils import Cluster


def main() -> None:
    with tempfile.TemporaryDirectory(
        prefix="ray-", dir="/tmp", ignore_cleanup_errors=True
    ) as here:
        _serve(here)


def _serve(here: str) -> None:
    node = {"include_dashboard": False, "object_store_memory": 80 * 2**20}
    head = {**node, "num_cpus": 0, "temp_dir": here}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    print(cluster.address, flush=True)
    nodes = []
    for line in sys.stdin:
        words = line.split()
        if words[0] == "kill":
            cluster.remove_node(nodes[int(words[1])], allow_graceful=False)
            print("killed", flush=True)
            continue
        own = {"HPO_NODE_FOLDER": words[1]} if words[1:] else {}
        nodes.append(cluster.add_node(num_cpus=2, env_vars=own, **node))
        print(len(nodes) - 1, flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
