"""Decodes by the project's greedy and beam search."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.decode_request import Ids, read_request, time_decoder
from benchmarks.peers.processes import Request, answer
from benchmarks.peers.setting import MAX_LEN
from core.translation.decoding import beam_search, greedy


def measure(request: Request) -> dict[str, Any]:
    """Seconds and hypotheses of all sentences."""
    model, _, sources = read_request(request)
    width = request["beam_size"]

    def decode(ids: Ids) -> Ids:
        if width == 1:
            return greedy(model, ids, max_len=MAX_LEN)
        return beam_search(model, ids, beam_size=width, max_len=MAX_LEN)

    return time_decoder(decode, sources)


if __name__ == "__main__":
    answer(measure)
