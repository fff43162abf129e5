"""Replays tables of real learning curves to the harness' schedulers, samplers and pruners.

    python -m benchmarks.replay --tables FOLDER --methods random,tpe --workers 4 --out rows.csv

The rules of its clock are in docs/replay.md.
"""
