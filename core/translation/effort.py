"""About how much a translation run computes: proportions for foretelling seconds, no exact count.

Legend: D d_model, F d_ff, V vocabulary, S and T tokens of a source and a target. A product of an
[n, a] and an [a, b] matrix is 2nab operations; norms, softmax and dropout are not counted.
"""

from __future__ import annotations

import math

from core.task import Effort, Load
from core.translation.settings import ModelSettings, TranslationProtocol

_CAPTION_TOKENS, _TALK_TOKENS = 16, 24
"""Average length of a sentence of the two corpora, `<eos>` included."""
_SET_SIZE, _SHOWN = 1_000, 10
"""Pairs of a validation or test set that is used whole; translations shown at a run's end."""
_DECODED_AT_ONCE = 256
_PASSES = 3
"""An update is a forward pass and a backward one, which is twice as much."""
_OPTIMIZER_FLOPS = 40
"""AdamW and clipping, by weight; bound by memory, so that each counts for more than it is."""
_ENCODER_CALLS, _DECODER_CALLS, _OTHER_CALLS = 16, 26, 30
"""Operations of a forward pass, by layer and besides."""


def estimate_effort(
    model: ModelSettings, protocol: TranslationProtocol, num_weights: int
) -> Effort:
    """The parts of a run with this structure; `num_weights` is `TaskSpec.count_weights`'s."""
    on_talks = protocol.finetune_corpus == "finetune"
    validation = protocol.validation_pairs or _SET_SIZE
    captions = _decode(model, protocol, validation, _CAPTION_TOKENS, width=1)
    final = captions + _decode(model, protocol, _SHOWN, _CAPTION_TOKENS, width=protocol.beam_size)
    if on_talks:
        final += _decode(model, protocol, validation, _TALK_TOKENS, width=1)
    return Effort(
        updates={
            "pretrain": _update(model, protocol, num_weights, _CAPTION_TOKENS),
            "finetune": _update(
                model, protocol, num_weights, _TALK_TOKENS if on_talks else _CAPTION_TOKENS
            ),
        },
        evaluation=captions,
        final=final,
        test=_decode(
            model,
            protocol,
            protocol.test_pairs or _SET_SIZE,
            _CAPTION_TOKENS,
            width=protocol.beam_size,
        ),
    )


def _update(
    model: ModelSettings, protocol: TranslationProtocol, num_weights: int, tokens: int
) -> Load:
    length = min(tokens, protocol.max_len)
    products = update_flops(model, protocol.vocab_size, length, length)
    calls = model.num_layers * (_ENCODER_CALLS + _DECODER_CALLS) + _OTHER_CALLS
    return Load(
        protocol.batch_size * products + _OPTIMIZER_FLOPS * num_weights, float(_PASSES * calls)
    )


def update_flops(model: ModelSettings, vocab_size: int, src: float, tgt: float) -> float:
    """Matrix products of an update, forward and backward, for a pair of `src` and `tgt` tokens."""
    by_layer = src * (_encoder_flops(model, src) + _memory_flops(model))
    by_layer += tgt * _decoder_flops(model, src, tgt)
    return _PASSES * (model.num_layers * by_layer + tgt * 2 * model.d_model * vocab_size)


def _decode(
    model: ModelSettings, protocol: TranslationProtocol, pairs: int, tokens: int, *, width: int
) -> Load:
    """Token by token, with keys and values kept; `width` hypotheses a sentence."""
    length = min(tokens, protocol.max_len)
    by_token = (
        model.num_layers * _decoder_flops(model, length, length / 2)
        + 2 * model.d_model * protocol.vocab_size
    )
    by_source = model.num_layers * (_encoder_flops(model, length) + _memory_flops(model))
    batches = math.ceil(pairs / max(_DECODED_AT_ONCE // width, 1))
    # The longest sentence of a batch keeps it going.
    places = min(1.5 * length, protocol.max_len)
    steps = places * (model.num_layers * _DECODER_CALLS + _OTHER_CALLS)
    return Load(
        pairs * length * (by_source + width * by_token),
        batches * (steps + model.num_layers * _ENCODER_CALLS),
    )


def _encoder_flops(model: ModelSettings, length: float) -> float:
    """By token and layer: attention's matrices, scores and read-out, and the feed-forward."""
    width = model.d_model
    return 8 * width**2 + 4 * length * width + 4 * width * model.d_ff


def _decoder_flops(model: ModelSettings, memory: float, past: float) -> float:
    """By token and layer, the memory's keys and values apart."""
    width = model.d_model
    return 12 * width**2 + 4 * (past + memory) * width + 4 * width * model.d_ff


def _memory_flops(model: ModelSettings) -> float:
    """Keys and values of the memory, by source token and layer."""
    return 4 * model.d_model**2
