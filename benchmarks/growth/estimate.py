"""On paper: how busy the one driver of a cluster of GPUs would be, from what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.growth.series import Series

_SLOTS = 64
_TRIAL_S = 90.0
"""Assumed: a league trial, 2,000 steps at 25 a second and eight evaluations, on one GPU."""
_REPORTS = 8


def estimate(found: Mapping[str, Sequence[Series]]) -> Iterator[str]:
    """Rows of a table: finished trials, a trial's work for the driver, how busy that keeps it.

    The driver's lock is held for all of it, so that a busy share of 1 is where slots begin to
    stand still, whatever the cores.
    """
    calls = {one.name: dict(one.points) for one in found.get("trials", ())}
    yield "| finished trials | driver's work a trial | busy at 64 slots | slots it could serve |"
    yield "|---|---|---|---|"
    for finished in calls.get("ask", {}):
        own_s = calls["ask"][finished] + calls["tell"][finished]
        own_s += _REPORTS * calls["report"][finished]
        busy, most = _SLOTS * own_s / _TRIAL_S, _TRIAL_S / own_s
        yield f"| {finished:,.0f} | {1e3 * own_s:.0f} ms | {busy:.1%} | {most:,.0f} |"
