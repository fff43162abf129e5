"""Decodes by `transformers`' `generate`, as people write it, or tuned.

As people write it: batches in the order of the file, the attention that `transformers` chooses.
Tuned: sentences of like length together, as many at a time as ours has, plain attention.
"""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.peers.decode_request import Ids, read_request, time_decoder, until_end
from benchmarks.peers.processes import Request, answer
from benchmarks.peers.setting import BATCH_SIZE, MAX_LEN
from core.translation.special import EOS_ID, PAD_ID
from core.translation.twin import twin

_OUR_BATCH = 256
"""Hypotheses that ours has at a time."""


def measure(request: Request) -> dict[str, Any]:
    """Seconds and hypotheses of all sentences."""
    ours, _, sources = read_request(request)
    tuned, width = request["tuned"], request["beam_size"]
    model = twin(ours, attention="eager" if tuned else "sdpa")
    size = _OUR_BATCH // width if tuned else BATCH_SIZE

    def decode(ids: Ids) -> Ids:
        order = list(range(len(ids)))
        if tuned:
            order.sort(key=lambda place: len(ids[place]), reverse=True)
        found: Ids = [[]] * len(ids)
        for start in range(0, len(order), size):
            places = order[start : start + size]
            longest = max(len(ids[place]) for place in places)
            src = torch.tensor(
                [[*ids[i], EOS_ID, *[PAD_ID] * (longest - len(ids[i]))] for i in places]
            )
            written = model.generate(
                input_ids=src,
                attention_mask=(src != PAD_ID).long(),
                max_new_tokens=MAX_LEN,
                num_beams=width,
                do_sample=False,
            )
            for place, tokens in zip(places, written.tolist(), strict=True):
                found[place] = until_end(tokens[1:])
        return found

    return time_decoder(decode, sources)


if __name__ == "__main__":
    answer(measure)
