"""The project against what one would use instead, in one run, on the same data.

python -m benchmarks.peers.training --help
python -m benchmarks.peers.decoding --help
python -m benchmarks.peers.configurations --help

Each contestant runs in a process of its own: ours by the interpreter of the command, the others by
that of `.venv/peers`, which `make peers` sets up. docs/performance.md says what is compared.
"""
