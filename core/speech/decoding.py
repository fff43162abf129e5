"""Greedy decoding: the likeliest unit at each position, with cached keys and values."""

from __future__ import annotations

import torch
from torch import Tensor

from core.speech.model import SpeechModel
from core.speech.units import BEGIN_ID, END_ID, PAD_ID


def greedy(model: SpeechModel, audio: Tensor, counts: Tensor, max_units: int) -> list[list[int]]:
    """Ids of each utterance in audio [B, A, F] of `counts` [B], without specials.

    An utterance ends with its end, or after `max_units`.
    """
    state = model.start(audio, counts, max_units + 1)
    ids = torch.full((len(audio),), BEGIN_ID, device=audio.device)
    has_ended = torch.zeros_like(ids, dtype=torch.bool)
    found: list[Tensor] = []
    for _ in range(max_units):
        scores = model.head(model.step(ids, state))
        scores[:, [PAD_ID, BEGIN_ID]] = -torch.inf
        ids = scores.argmax(-1)
        has_ended |= ids == END_ID
        if bool(has_ended.all()):
            break
        found.append(ids.masked_fill(has_ended, END_ID))
    rows = torch.stack(found, dim=1).tolist() if found else [[] for _ in range(len(audio))]
    return [[one for one in row if one != END_ID] for row in rows]
