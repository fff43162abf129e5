"""What a decoder is asked: which sentences, with which model, how wide."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.processes import Request
from benchmarks.peers.setting import MAX_LEN, read_captions
from benchmarks.peers.weights import read_model
from core.translation.model import Transformer
from core.translation.special import BOS_ID, EOS_ID, PAD_ID
from core.translation.tokenizer import Tokenizer

Ids = list[list[int]]
WARMUP = 16
"""Sentences decoded before the clock starts."""


def read_request(request: Request) -> tuple[Transformer, Tokenizer, Ids]:
    """The model, the tokenizer, and the sources as token ids without specials."""
    data, cache = Path(request["data"]), Path(request["cache"])
    corpora, tokenizer = read_captions(data, cache)
    model = read_model(data, cache, tokenizer, request["d_model"], request["trained"])
    texts = corpora.pretrain.validation.src[: request["sentences"]]
    return model, tokenizer, [ids[: MAX_LEN - 1] for ids in tokenizer.encode(texts)]


def time_decoder(decode: Callable[[Ids], Ids], sources: Ids) -> dict[str, Any]:
    """Seconds that `decode` takes for all sources, and its hypotheses."""
    decode(sources[:WARMUP])
    began = time.perf_counter()
    hypotheses = decode(sources)
    return {"seconds": time.perf_counter() - began, "hypotheses": hypotheses}


def until_end(tokens: Sequence[int]) -> list[int]:
    """The tokens before the first `<eos>`, other specials left out, as ours has them."""
    before = itertools.takewhile(lambda token: token != EOS_ID, tokens)
    return [token for token in before if token not in (BOS_ID, PAD_ID)]
