"""Decodes by CTranslate2, the weights converted by its own converter for M2M100."""

from __future__ import annotations

import tempfile
from typing import Any

import ctranslate2
from ctranslate2.converters.transformers import M2M100Loader

from benchmarks.peers.decode_request import Ids, read_request, time_decoder
from benchmarks.peers.processes import Request, answer
from benchmarks.peers.setting import MAX_LEN
from core.translation.pretrained import pretrained_tokenizer
from core.translation.special import EOS_ID
from core.translation.twin import twin

_BATCH = 256
"""Hypotheses at a time, as ours has; it sorts by length itself."""


def measure(request: Request) -> dict[str, Any]:
    """Seconds and hypotheses of all sentences, computed in `compute_type`."""
    ours, tokenizer, sources = read_request(request)
    wrapped, width = pretrained_tokenizer(tokenizer, MAX_LEN), request["beam_size"]
    spec = M2M100Loader()(twin(ours), wrapped)
    with tempfile.TemporaryDirectory() as folder:
        spec.validate()
        spec.save(folder)
        translator = ctranslate2.Translator(
            folder,
            device="cpu",
            compute_type=request["compute_type"],
            inter_threads=1,
            intra_threads=1,
        )

    def decode(ids: Ids) -> Ids:
        results = translator.translate_batch(
            [wrapped.convert_ids_to_tokens([*source, EOS_ID]) for source in ids],
            beam_size=width,
            max_batch_size=_BATCH // width,
            max_decoding_length=MAX_LEN,
        )
        return [wrapped.convert_tokens_to_ids(result.hypotheses[0]) for result in results]

    return time_decoder(decode, sources)


if __name__ == "__main__":
    answer(measure)
