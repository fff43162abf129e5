"""The memory that a translation run cannot do without: a bound from below, no forecast.

Counted is what stands at the same time: the weights with what the optimizer keeps of each, and
beside them either the activations at the end of a forward pass or the gradients at the end of a
backward pass.
"""

from __future__ import annotations

from core.translation.settings import ModelSettings, TranslationData, TranslationProtocol

_WEIGHT_BYTES, _GRADIENT_BYTES = 12, 4
"""Weight and AdamW's two moments, each in fp32; and the gradient."""
_KNOWN_TOKENS, _LEAST_TOKENS = 8, 2
"""Of a sentence in the larger batches of a corpus that we know, half its average; of any sentence:
a token and `<eos>`."""


def least_memory(
    model: ModelSettings, protocol: TranslationProtocol, data: TranslationData, num_weights: int
) -> int:
    """Bytes; `num_weights` is `TaskSpec.count_weights`'s."""
    is_known = data.source in ("pocket", "hub")
    length = min(_KNOWN_TOKENS if is_known else _LEAST_TOKENS, protocol.max_len)
    pairs = 1  # a corpus of unknown size may be smaller than a batch
    if is_known:
        pairs = min(protocol.batch_size, protocol.pretrain_pairs, protocol.finetune_pairs)
        if data.source == "pocket":
            pairs = min(pairs, data.pocket.pretrain_pairs, data.pocket.finetune_pairs)
    # Of each token and encoder layer: two norms' inputs and outputs, query, key and value, the
    # read-out, the widened layer. The decoder has another norm, query and read-out, and the
    # memory's keys and values.
    encoder = 8 * model.d_model + model.d_ff
    decoder = 14 * model.d_model + model.d_ff
    # Reduced precision halves most of them; `auto` may choose it.
    width = 4 if protocol.precision == "fp32" else 2
    activations = pairs * length * model.num_layers * (encoder + decoder) * width
    return _WEIGHT_BYTES * num_weights + max(activations, _GRADIENT_BYTES * num_weights)
